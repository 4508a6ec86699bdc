"""Figures on patients with their intervals, and the logistic regressions that evaluate.py fits. One row is one patient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from triage_node.evaluation.bootstrap import LEAST_PATIENTS, SEED
from triage_node.prognosis.expansion import Logistic

Array = NDArray[np.float64]
RESAMPLES = 2000
EVIDENCE = "E0"


@dataclass(frozen=True)
class Row:
    """One figure as metadata.json wants it."""

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    data: str

    def as_dict(self) -> dict:
        ends = [None if v is None else round(v, 4) for v in (self.low, self.high)]
        return {
            "name": self.name, "value": round(self.value, 4), "low": ends[0], "high": ends[1],
            "n": self.n, "n_patients": self.n, "data": self.data, "evidence": EVIDENCE,
        }  # fmt: skip


def figure(name: str, statistic: Callable[[NDArray[np.intp]], float], n: int, data: str) -> Row:
    """`statistic` takes row numbers; its interval is 95 % over resampled patients, None with fewer than LEAST_PATIENTS.

    evaluation/bootstrap.py does the same for patients of several rows; with one row each the draw itself is enough.
    """
    low = high = None
    if n >= LEAST_PATIENTS:
        rng = np.random.default_rng(SEED)
        values = [float(statistic(rng.integers(0, n, n))) for _ in range(RESAMPLES)]
        finite = [v for v in values if math.isfinite(v)]
        if len(finite) >= RESAMPLES / 2:
            low, high = (float(q) for q in np.quantile(finite, [0.025, 0.975]))
    return Row(name, float(statistic(np.arange(n))), low, high, n, data)


def difference(name: str, statistic: Callable[[NDArray[np.intp]], float], n: int, data: str, beaten: str) -> Row:
    """A paired difference for which more is better; its data say whether the interval excludes 0."""
    row = figure(name, statistic, n, data)
    if row.low is not None and row.low > 0:
        verdict = f"better than {beaten}"
    elif row.high is not None and row.high < 0:
        verdict = f"WORSE than {beaten}"
    else:
        verdict = f"NOT shown to be better than {beaten}"
    return Row(row.name, row.value, row.low, row.high, row.n, f"{data}: {verdict}")


def auc(truth: Array, score: Array) -> float:
    """Mann-Whitney, ties half. NaN with one class."""
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return math.nan
    ranks = rankdata(score)
    return float((ranks[truth > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def brier(truth: Array, chance: Array) -> float:
    return float(((truth - chance) ** 2).mean())


def slope_against(p: Array, chance: Array) -> float:
    """Slope of logit(chance) on logit(p), the KNOWN probability: no coin's noise (ML.md 9.6)."""
    x, y = logit(p), logit(chance)
    return float(np.cov(x, y)[0, 1] / x.var(ddof=1))


def calibration_slope(truth: Array, chance: Array) -> float:
    """Coefficient of logit(chance) in a logistic regression of the outcome; 1 is right."""
    return fitted(("logit",), logit(chance)[:, None], truth, penalty=1e-6).coefficients[0]


def calibration_error(truth: Array, chance: Array, bins: int = 10) -> float:
    """Mean distance of mean chance and rate over bins of equal size."""
    order = np.argsort(chance, kind="stable")
    parts = [o for o in np.array_split(order, bins) if len(o)]
    return float(sum(len(o) * abs(chance[o].mean() - truth[o].mean()) for o in parts) / len(truth))


def logit(p: Array) -> Array:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))


def fitted(names: tuple[str, ...], x: Array, y: Array, penalty: float = 0.1) -> Logistic:
    """Logistic regression by Newton's steps with a small ridge on all but the intercept. Shape: x (n, names), y (n,)."""
    rows = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    ridge = penalty * np.eye(rows.shape[1])
    ridge[0, 0] = 0.0
    b = np.zeros(rows.shape[1])
    for _ in range(50):
        p = sigmoid(rows @ b)
        curvature = (rows * (p * (1 - p))[:, None]).T @ rows + ridge + 1e-9 * np.eye(len(b))
        step = np.linalg.solve(curvature, rows.T @ (y - p) - ridge @ b)
        b = b + step
        if np.abs(step).max() < 1e-9:
            break
    covariance = np.linalg.inv(curvature)
    return Logistic(
        names, float(b[0]), tuple(float(c) for c in b[1:]), tuple(tuple(float(c) for c in row) for row in covariance)
    )
