"""The last linear layers of trained heads, fitted to the pooled maps of all patients of training at once.

Gradient steps leave a linear layer where the clock stopped; Newton's steps find its optimum in a second. The ridge is chosen
on patients of "fit". Networks and baselines are treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.quantification.figures import fitted, sigmoid

Array = NDArray[np.float64]
RIDGES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
DEAD = 1e-3
"""A pooled map that varies less says nothing: its weight is 0."""
ROUNDS = 10
"""Of reweighting in the fit of the volume; it has settled by then."""


def _standardised(x: Array) -> tuple[Array, Array]:
    """(mean, deviation), of a dead map infinite."""
    deviation = x.std(axis=0)
    return x.mean(axis=0), np.where(deviation > DEAD, deviation, np.inf)


def logistic_layer(x: Array, y: Array, held_x: Array, held_y: Array) -> tuple[Array, float]:
    """(weights, bias) of the logit of `y`; rows whose label is NaN are left out. Shape: x (n, c), y (n,) of 0, 1, NaN."""
    known, held = ~np.isnan(y), ~np.isnan(held_y)
    mean, deviation = _standardised(x[known])
    scaled, beside = (x[known] - mean) / deviation, (held_x[held] - mean) / deviation
    best: tuple[float, Array, float] | None = None
    for ridge in RIDGES:
        fit = fitted(tuple(map(str, range(x.shape[1]))), scaled, y[known], ridge)
        chance = np.clip(sigmoid(fit.logit(beside)), 1e-6, 1 - 1e-6)
        loss = -float(np.mean(np.log(np.where(held_y[held] > 0, chance, 1 - chance))))
        if best is None or loss < best[0]:
            weights = np.array(fit.coefficients) / deviation
            best = loss, weights, fit.intercept - float(weights @ mean)
    assert best is not None
    return best[1], best[2]


def volume_layer(x: Array, ml: Array, start: tuple[Array, float], bound: Sequence[float]) -> tuple[Array, float]:
    """(weights, bias) of the volume in mL: least absolute errors in units of `bound` (mL, share), near `start`."""
    mean, deviation = _standardised(x)
    scaled = np.c_[np.ones(len(x)), (x - mean) / deviation]
    left = ml - (x @ start[0] + start[1])
    unit = bound[0] + bound[1] * ml
    change = np.zeros(scaled.shape[1])
    ridge = np.diag([0.0, *[1.0] * x.shape[1]])
    for _ in range(ROUNDS):
        weight = 1 / (unit * np.maximum(np.abs(left - scaled @ change), 0.1 * unit))
        change = np.linalg.solve(
            (scaled * weight[:, None]).T @ scaled + ridge + 1e-9 * np.eye(len(ridge)), scaled.T @ (weight * left)
        )
    weights = change[1:] / deviation
    return start[0] + weights, start[1] + float(change[0] - weights @ mean)


def put(layer: nn.Linear, row: int, found: tuple[Array, float], unit: float = 1.0) -> None:
    """Write what was found into one row of a layer that gives units of `unit`."""
    with torch.no_grad():
        layer.weight[row] = torch.from_numpy(found[0] / unit).to(layer.weight)
        layer.bias[row] = found[1] / unit
