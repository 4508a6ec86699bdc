"""Hounsfield units that came out of a window: beyond its ends nothing is known, and bone stands at the upper one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BONE_FROM_HU = 100
"""What lies at the upper end is given at least this density: it is bone far more often than clot."""
NO_BONE_BELOW_HU = 200
SPIKE = 3.0
LEAST_SHARE = 0.002
LEAST_LEVELS = 30
"""A scan has that many different values; a drawing is left as it is."""


def opened_upwards(hu: NDArray[np.int16]) -> tuple[NDArray[np.int16], tuple[float, float] | None]:
    """The volume with its saturated voxels lifted to bone, and (lowest, highest known value); None for a whole scan.

    A scan that reaches bone was not clipped. One that ends below 100 HU in a spike of equal values was, at that value.
    """
    low, high = int(hu.min()), int(hu.max())
    if high >= NO_BONE_BELOW_HU:
        return hu, None
    if high < BONE_FROM_HU:
        at_end, below = float((hu == high).mean()), float((hu == high - 1).mean())
        if at_end > LEAST_SHARE and at_end > SPIKE * below and np.unique(hu).size >= LEAST_LEVELS:
            hu = np.where(hu == high, np.int16(BONE_FROM_HU), hu)
    return hu, (float(low), float(high))
