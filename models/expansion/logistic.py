"""Logistic regression with forward selection, in numpy: what "Clinical-to-HE" and "Integrated-to-HE" are.

Forward selection: the variable that raises the likelihood most comes in, as long as the likelihood-ratio test is below ENTER.
Variables are standardised over the patients that have them; where one is missing its mean stands in (gaps depend on nothing,
so that only dilutes). A weak ridge keeps a rare variable finite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from triage_node.prognosis.expansion import Logistic

Floats = NDArray[np.float64]
ENTER = 0.05
RIDGE = 1e-3
STEPS = 50


def standardised(values: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Missing values (NaN) become the mean, 0. Shape: (n, variable)."""
    z = (values - mean) / deviation
    return np.where(np.isnan(z), 0.0, z)


def fitted(x: Floats, y: Floats) -> tuple[Floats, Floats, float]:
    """(intercept and coefficients, their covariance, log likelihood) by Newton's method. Shape: x (n, k), y (n,) 0 or 1."""
    design = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    ridge = np.full(design.shape[1], RIDGE)
    ridge[0] = 0.0
    beta = np.zeros(design.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-design @ beta))
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(hessian, design.T @ (y - p) - ridge * beta)
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    eta = design @ beta
    likelihood = float((y * eta - np.logaddexp(0, eta)).sum())
    return beta, np.linalg.inv(hessian), likelihood


def forward_selection(x: Floats, y: Floats, names: Sequence[str]) -> list[str]:
    """Names in the order in which they came in."""
    chosen: list[str] = []
    best = fitted(x[:, :0], y)[2]
    while len(chosen) < len(names):
        gains = {}
        for name in names:
            if name not in chosen:
                columns = [names.index(n) for n in (*chosen, name)]
                gains[name] = fitted(x[:, columns], y)[2] - best
        name = max(gains, key=lambda n: gains[n])
        if float(chi2.sf(2 * gains[name], 1)) >= ENTER:
            break
        chosen.append(name)
        best += gains[name]
    return chosen


def logistic(x: Floats, y: Floats, names: Sequence[str], chosen: Sequence[str]) -> Logistic:
    beta, covariance, _ = fitted(x[:, [list(names).index(n) for n in chosen]], y)
    rows = tuple(tuple(round(float(c), 6) for c in row) for row in covariance)
    rounded = [round(float(b), 5) for b in beta]
    return Logistic(tuple(chosen), rounded[0], tuple(rounded[1:]), rows)
