"""Two neighbours decide; one loud slice alone counts half."""

from __future__ import annotations

import numpy as np
import pytest

from triage_node.detection.study_score import study_probability


def logistic(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def test_best_pair_of_neighbours_decides_and_not_two_loud_slices_apart():
    near = np.array([-4, 2, 3, -4, -4], np.float32)
    apart = np.array([2, -4, 3, -4, -4], np.float32)
    assert study_probability(near) == pytest.approx(logistic(2.5))
    assert study_probability(apart) == pytest.approx(logistic(-0.5))


def test_single_slice_counts_for_itself():
    assert study_probability(np.array([2.0], np.float32)) == pytest.approx(logistic(2.0))
