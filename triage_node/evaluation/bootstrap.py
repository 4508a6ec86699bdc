"""Intervals whose unit is the patient (PAPERS.md 9.3): all slices and studies of one patient are drawn together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from triage_node.evaluation.scored import Answers

RESAMPLES = 2000
SEED = 8
LEAST_PATIENTS = 5
"""Below this an interval by resampling would pretend to know something."""

Array = NDArray[np.float64]


def times_drawn(n_patients: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """How often each patient is drawn in one resample. Shape: (n_patients,); sums to n_patients."""
    return np.bincount(rng.integers(0, n_patients, n_patients), minlength=n_patients)


def auc_interval(answers: Answers, resamples: int = RESAMPLES, seed: int = SEED) -> tuple[float, float] | None:
    """95 % of the AUC over resampled patients. None with fewer than LEAST_PATIENTS patients, or hardly a two-class draw.

    Sorted once; a draw is two sums over the distinct scores, so that thousands of slices take seconds.
    """
    if not answers.both_classes or answers.n_patients < LEAST_PATIENTS:
        return None
    rank = np.unique(answers.probability, return_inverse=True)[1]
    levels = int(rank.max()) + 1
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        weight = times_drawn(answers.n_patients, rng)[answers.patients].astype(np.float64)
        positive = np.bincount(rank, weight * answers.truth, levels)
        negative = np.bincount(rank, weight * ~answers.truth, levels)
        pairs = positive.sum() * negative.sum()
        if pairs:
            below = np.cumsum(negative) - negative / 2
            values.append(float(positive @ below / pairs))
    return _middle(values, resamples)


def interval(
    statistic: Callable[[NDArray[np.intp]], float | None],
    patients: NDArray[np.intp],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[float, float] | None:
    """95 % of any statistic of rows over resampled patients; `statistic` takes row numbers, None where undefined."""
    n = int(patients.max()) + 1 if len(patients) else 0
    if n < LEAST_PATIENTS:
        return None
    rows = [np.flatnonzero(patients == p) for p in range(n)]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        value = statistic(np.concatenate([rows[p] for p in rng.integers(0, n, n)]))
        if value is not None:
            values.append(value)
    return _middle(values, resamples)


def _middle(values: list[float], resamples: int) -> tuple[float, float] | None:
    if len(values) < resamples / 2:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
