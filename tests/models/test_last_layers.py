"""Last layers fitted at once: they find what made the labels, leave missing ones out and dead maps alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.quantification.last_layers import logistic_layer, put, volume_layer

rng = np.random.default_rng(0)
X = np.c_[rng.normal(2, 3, (3000, 2)), np.full(3000, 7.0)]
"""The last map is dead."""


def test_logistic_layer_finds_the_weights_that_drew_the_labels():
    chance = 1 / (1 + np.exp(-(0.3 + X @ np.array([0.5, -0.25, 0.0]))))
    y = (rng.random(3000) < chance).astype(float)
    y[::5] = np.nan
    weights, bias = logistic_layer(X[:2500], y[:2500], X[2500:], y[2500:])
    assert weights == pytest.approx([0.5, -0.25, 0.0], abs=0.12)
    assert bias == pytest.approx(0.3, abs=0.3)
    assert weights[2] == 0


def test_volume_layer_is_not_moved_by_a_few_that_are_far_off():
    ml = 20 + X @ np.array([2.0, 1.0, 0.0])
    wrong = ml + np.where(np.arange(3000) % 20 == 0, 60.0, 0.0)
    weights, bias = volume_layer(X, wrong, (np.array([1.5, 1.0, 0.0]), 19.0), (2.0, 0.1))
    assert np.abs(X @ weights + bias - ml).max() < 0.5


def test_what_was_found_is_written_in_units_of_the_layer():
    layer = nn.Linear(2, 2)
    before = layer.weight[0].clone()
    put(layer, 1, (np.array([20.0, 40.0]), 10.0), 20.0)
    assert layer.weight[1].tolist() == [1.0, 2.0]
    assert layer.bias.tolist()[1] == 0.5
    assert torch.equal(layer.weight[0], before)
