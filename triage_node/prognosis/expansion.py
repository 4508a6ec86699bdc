"""Hematoma expansion: from native HU to the coarse picture the network reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOWEST_HU, HIGHEST_HU = -10.0, 100.0


def stored(hu: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.uint8]:
    """HU, clipped to the window of blood and brain, in 256 steps. Shape: as hu."""
    clipped = np.clip(hu.astype(np.float32), LOWEST_HU, HIGHEST_HU) - LOWEST_HU
    return np.round(clipped * (255 / (HIGHEST_HU - LOWEST_HU))).astype(np.uint8)


def network_input(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `stored` gave, as the network reads it: (n, 1, slice, row, column), -1 to 1."""
    return (picture.astype(np.float32) * np.float32(2 / 255) - 1)[:, None]
