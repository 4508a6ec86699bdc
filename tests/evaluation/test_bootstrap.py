"""Intervals that count patients, not slices."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.evaluation.records import separable
from triage_node.domain.intervals import proportion_interval, wilson
from triage_node.evaluation.bootstrap import auc_interval, interval
from triage_node.evaluation.scored import Scored, answers


def test_fast_auc_of_a_draw_equals_scikit_learns_of_the_repeated_rows():
    found = answers([*separable(60, 1.0, of_patient=3), *(Scored("t", "ties", bool(i % 2), 0.5) for i in range(6))])
    resampled = interval(
        lambda rows: (
            float(roc_auc_score(found.truth[rows], found.probability[rows]))
            if len(set(found.truth[rows])) == 2
            else None
        ),
        found.patients,
        resamples=500,
    )
    assert auc_interval(found) == pytest.approx(resampled, abs=0.04)


def test_slices_of_one_patient_do_not_narrow_the_interval():
    alone = separable(40, 1.5)
    copied = [Scored(f"{s.key}.{k}", s.patient, s.truth, s.probability) for s in alone for k in range(30)]
    assert auc_interval(answers(copied)) == pytest.approx(auc_interval(answers(alone)), abs=1e-9)


def test_an_interval_of_too_few_patients_or_one_class_is_none():
    assert auc_interval(answers(separable(4, 1.0))) is None
    assert auc_interval(answers([s for s in separable(40, 1.0) if s.truth])) is None
    assert auc_interval(answers([])) is None


def test_a_draw_is_repeatable():
    found = answers(separable(50, 1.0))
    assert auc_interval(found) == auc_interval(found)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"), [(10, 10, 0.722, 1.0), (5, 10, 0.237, 0.763), (0, 10, 0.0, 0.278)]
)
def test_one_row_a_patient_gives_wilsons_interval(hits, n, low, high):
    rows = np.arange(n) < hits
    assert proportion_interval(rows, np.arange(n)) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


def test_a_share_over_repeated_rows_is_as_wide_as_over_their_patients():
    rows = np.repeat(np.arange(20) < 14, 25)
    low, high = proportion_interval(rows, np.repeat(np.arange(20), 25))
    assert (low, high) == pytest.approx(wilson(0.7, 20), abs=0.02)
    assert proportion_interval(np.ones(500, bool), np.repeat(np.arange(20), 25)) == pytest.approx(wilson(1.0, 20))
    assert proportion_interval(np.ones(0, bool), np.zeros(0, int)) is None
