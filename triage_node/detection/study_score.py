"""From slices to the study."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit


def study_probability(slice_logits: NDArray[np.float32]) -> float:
    """Best pair of neighbouring slices: the mean of their logits as a probability. Shape: slice_logits (block,).

    A bleed of a centimetre reaches into two slices of 5 mm, a speck of calcium or a streak often does not. There is no fit, so
    nothing is learnt from simulated studies. A single slice counts for itself.
    """
    pairs = (slice_logits[1:] + slice_logits[:-1]) / 2 if len(slice_logits) > 1 else slice_logits
    return float(expit(np.float64(pairs.max())))
