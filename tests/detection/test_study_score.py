from __future__ import annotations

import numpy as np
import pytest

from triage_node.detection.study_score import study_probability

NO_MASK = np.zeros((5, 4, 4), np.float32)


def test_one_loud_slice_counts_a_third():
    logits = np.array([-6, -6, 3, -6, -6], np.float32)
    assert study_probability(logits, NO_MASK) == pytest.approx(1 / (1 + np.exp(3.0)))


def test_fewer_slices_than_asked_for_are_enough():
    assert study_probability(np.array([2.0], np.float32), NO_MASK[:1]) == pytest.approx(1 / (1 + np.exp(-2.0)))
