"""From slices to the study: one number per slice becomes one number per study, then a calibrated probability.

Which way of joining slices serves, and its calibration, stand in the bundle (manifest `calibration`): chosen and fitted on
development heads by models/bloodnet/evaluate.py, never on those that measure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from triage_node.bundle.manifest import Manifest

Array = NDArray[np.float64]
SMOOTHING, SHARPNESS = 0.5, 1.0
"""Of the sequence score: weight of each neighbour beside 1 of the slice itself, and logits within which slices add up."""


def _largest(k: int) -> Callable[[Array], float]:
    return lambda logits: float(np.sort(logits)[-k:].mean())


def _best_pair(logits: Array) -> float:
    """A bleed of a centimetre reaches into two slices of 5 mm, a speck of calcium or a streak often does not."""
    return float(((logits[1:] + logits[:-1]) / 2).max()) if len(logits) > 1 else float(logits[0])


def _noisy_or(logits: Array) -> float:
    """Logit of 1 - product(1 - p): any slice would do, were they independent."""
    spent = float(np.logaddexp(0, logits).sum())  # - log product(1 - p)
    return spent + float(np.log(-np.expm1(-spent)))


def _sequence(logits: Array) -> float:
    """Each slice with its neighbours, then a soft maximum along the head."""
    padded = np.pad(logits, 1, mode="edge")
    smooth = (logits + SMOOTHING * (padded[:-2] + padded[2:])) / (1 + 2 * SMOOTHING)
    return float(SHARPNESS * logsumexp(smooth / SHARPNESS))


AGGREGATIONS: dict[str, Callable[[Array], float]] = {
    "max": _largest(1),
    "pair": _best_pair,
    "top2": _largest(2),
    "top3": _largest(3),
    "top5": _largest(5),
    "noisy-or": _noisy_or,
    "sequence": _sequence,
}


@dataclass(frozen=True, slots=True)
class Scoring:
    """How slice logits become probabilities. Without a calibration the best pair counts and logits are taken as they are."""

    aggregation: str = "pair"
    slope: float = 1.0
    offset: float = 0.0
    slice_slope: float = 1.0
    slice_offset: float = 0.0

    def study(self, slice_logits: NDArray[np.floating]) -> float:
        """Probability of the study. Shape: slice_logits (block,), at least one."""
        return float(expit(self.slope * self.study_logit(slice_logits) + self.offset))

    def study_logit(self, slice_logits: NDArray[np.floating]) -> float:
        """Before calibration."""
        return AGGREGATIONS[self.aggregation](np.asarray(slice_logits, np.float64))

    def slices(self, slice_logits: NDArray[np.floating]) -> NDArray[np.float32]:
        """Probability of every slice. Shape: as given."""
        return expit(self.slice_slope * np.asarray(slice_logits, np.float64) + self.slice_offset).astype(np.float32)


def scoring_of(manifest: Manifest, finding: str = "ich", picture: bool = False) -> Scoring:
    """As the bundle was calibrated. `picture`: for 8-bit pictures, so that one threshold serves them and Hounsfield units."""
    c = manifest.calibration.get(finding)
    if c is None:
        return Scoring()
    lines = c.picture if picture and c.picture is not None else c
    return Scoring(c.aggregation, lines.slope, lines.offset, lines.slice_slope, lines.slice_offset)


def study_probability(slice_logits: NDArray[np.floating]) -> float:
    """Of a network whose scores nobody has calibrated. Shape: slice_logits (block,)."""
    return Scoring().study(slice_logits)
