"""Which type of bleed a piece of the mask is: by its mask channels and by what its slices say, since neither is enough.

The mask says where blood is and hardly what kind it is; the slice heads know the kinds of a slice and not their places. A
multinomial regression over both, fitted on development heads (models/bloodnet/naming.py) and stored in the bundle, names a
piece, or says that it looks like none of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from triage_node.bundle.manifest import Naming
from triage_node.domain.finding import SUBTYPES

CLIP = 8.0
"""Logits beyond say no more than sure, and must not outweigh all others."""

Array = NDArray[np.floating]


def features_of(piece: NDArray[np.bool_], share: Array, slice_logits: Array, volume_ml: float) -> NDArray[np.float64]:
    """What a piece is named by: five logits of its mean shares, log10 of its mL, six slice logits weighted by its pixels.

    Shape: piece (block, row, column), share (block, 5, row, column) in [0, 1], slice_logits (block, 6) -> (12,).
    """
    here = np.flatnonzero(piece.any(axis=(1, 2)))
    inside = piece[here]
    means = np.array([share[here, k][inside].mean() for k in range(len(SUBTYPES))], np.float64)
    weights = inside.sum(axis=(1, 2))
    with np.errstate(divide="ignore"):
        channels = logit(means)
    slices = np.average(slice_logits[here], axis=0, weights=weights)
    return np.concatenate([np.clip(channels, -CLIP, CLIP), [np.log10(volume_ml)], np.clip(slices, -CLIP, CLIP)])


def name_of(features: NDArray[np.float64], naming: Naming | None) -> str:
    """The likeliest type, or "" for a piece that looks like none. Without a naming: the channel with the largest share."""
    if naming is None:
        return SUBTYPES[int(features[: len(SUBTYPES)].argmax())]
    scores = np.array(naming.coefficients) @ features + np.array(naming.intercepts)
    return ("", *SUBTYPES)[int(scores.argmax())]
