"""From slices to the study."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SLICES = 3


def study_probability(slice_logits: NDArray[np.float32], share: NDArray[np.float32]) -> float:
    """Mean of the three highest slice logits as a probability: no fit, so nothing learnt from simulated studies.

    Shape: slice_logits (block,), share = mask probabilities (block, row, column).
    """
    return float(1 / (1 + np.exp(-np.sort(slice_logits)[-SLICES:].mean())))
