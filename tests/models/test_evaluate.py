"""The figures of the card: an AUC, intervals and a threshold whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from models.bloodnet.evaluate import Scored, auc, interval, threshold, wilson


def study(patient: str, bleeds: bool, probability: float) -> Scored:
    return Scored(patient, "real", False, ("iph",) if bleeds else (), probability, 0.0)


def test_auc_is_the_share_of_pairs_in_the_right_order():
    studies = [study("a", True, 0.9), study("b", True, 0.4), study("c", False, 0.5), study("d", False, 0.1)]
    assert auc(studies) == pytest.approx(3 / 4)


def test_interval_resamples_patients_and_holds_the_auc():
    rng = np.random.default_rng(0)
    studies = [study(str(i), i % 2 == 0, float(rng.normal(0.5 + 0.15 * (i % 2 == 0), 0.15))) for i in range(60)]
    low, high = interval(studies, np.random.default_rng(1))
    assert low < auc(studies) < high
    assert 0.1 < high - low < 0.4
    alike = [study("one", True, 0.9), study("one", False, 0.2)]
    assert interval(alike, np.random.default_rng(1)) == (1.0, 1.0)


@pytest.mark.parametrize(("hits", "n", "low", "high"), [(10, 10, 0.722, 1.0), (5, 10, 0.237, 0.763)])
def test_wilson_interval_of_known_counts(hits, n, low, high):
    assert wilson(hits, n) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


def test_threshold_leaves_the_asked_share_of_negatives_silent():
    negatives = np.linspace(0.05, 0.95, 40)
    chosen = threshold(negatives, 0.9)
    assert (negatives < chosen).mean() == pytest.approx(0.9)
    assert threshold(negatives, 1.0) > negatives.max()
