"""Figures whose right answer is known, and what is not defined."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.records import separable
from triage_node.evaluation import metrics
from triage_node.evaluation.scored import Scored, answers


def of(*pairs: tuple[bool, float]) -> list[Scored]:
    return [Scored(str(i), f"p{i}", truth, p) for i, (truth, p) in enumerate(pairs)]


def test_auc_is_the_share_of_pairs_in_the_right_order():
    assert metrics.auc(answers(of((True, 0.9), (True, 0.4), (False, 0.5), (False, 0.1)))) == pytest.approx(3 / 4)


def test_figures_at_a_threshold_are_counted_by_hand():
    found = metrics.discrimination(
        answers(of((True, 0.9), (True, 0.8), (True, 0.2), (False, 0.9), (False, 0.1), (False, 0.1), (False, 0.5))), 0.8
    )
    assert (found["n"], found["positives"]) == (7, 3)
    assert found["sensitivity"] == pytest.approx(2 / 3)
    assert found["specificity"] == pytest.approx(3 / 4)
    assert found["ppv"] == pytest.approx(2 / 3)
    assert found["npv"] == pytest.approx(3 / 4)
    assert found["false_alarms_per_100"] == pytest.approx(25)
    assert found["reasons"] == {}


@pytest.mark.parametrize("truth", [True, False])
def test_one_class_gives_null_with_a_reason(truth):
    found = metrics.discrimination(answers(of(*[(truth, 0.1 * i) for i in range(8)])), 0.5)
    assert found["auc"] is None
    assert found["auc_ci"] is None
    assert "one class only" in found["reasons"]["auc"]
    assert (found["sensitivity"] is None) is (not truth)
    assert (found["specificity"] is None) is truth


def test_nothing_scored_gives_null_with_a_reason():
    found = metrics.discrimination(answers([]), 0.5)
    assert found["n"] == 0
    assert {found[k] for k in ("auc", "sensitivity", "specificity", "ppv")} == {None}
    assert found["reasons"]["auc"] == "nothing with a label was scored"


def test_without_a_stored_threshold_only_the_auc_stands():
    found = metrics.discrimination(answers(separable(30, 2.0)), None)
    assert found["auc"] > 0.8
    assert found["sensitivity"] is None
    assert found["reasons"]["sensitivity"] == "no operating point is stored"


def test_calibrated_answers_have_slope_one_and_sharpened_ones_less():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 3000)
    truth = rng.random(3000) < 1 / (1 + np.exp(-logits))
    right = metrics.calibration(answers(of(*zip(truth, 1 / (1 + np.exp(-logits)), strict=True))))
    sharp = metrics.calibration(answers(of(*zip(truth, 1 / (1 + np.exp(-2 * logits)), strict=True))))
    assert right["slope"] == pytest.approx(1.0, abs=0.1)
    assert right["intercept"] == pytest.approx(0.0, abs=0.15)
    assert right["ece"] < 0.025 < sharp["ece"]
    assert sharp["slope"] == pytest.approx(0.5, abs=0.05)
    assert right["brier"] < sharp["brier"] < right["brier_of_the_base_rate"]
    assert sum(b["n"] for b in right["bins"]) == 3000


def test_calibration_of_a_handful_is_not_given():
    assert "noise" in metrics.calibration(answers(separable(20, 1.0)))["reason"]


def test_ppv_falls_with_prevalence_as_bayes_says():
    assert metrics.ppv_at(0.756, 0.921, 0.027) == pytest.approx(0.21, abs=0.005)
    assert metrics.ppv_at(0.0, 1.0, 0.1) is None
    assert metrics.ppv_at(None, 0.9, 0.1) is None


def test_threshold_table_reaches_what_its_rows_say():
    found = answers(separable(400, 2.5))
    rows = {r["name"]: r for r in metrics.threshold_table(found, {"raise": 0.5}, (0.027,))}
    assert rows["sensitivity 0.95 here"]["sensitivity"] >= 0.95
    assert rows["specificity 0.98 here"]["specificity"] >= 0.98
    assert rows["raise"]["threshold"] == 0.5
    assert 0 < rows["raise"]["ppv_at"]["2.7%"] < rows["raise"]["ppv"]


def test_unsure_answers_are_stated_both_ways_and_never_hidden():
    found = metrics.not_sure(
        answers(of((True, 0.9), (True, 0.45), (False, 0.45), (False, 0.55), (False, 0.1), (False, 0.2))), 0.4, 0.6, 0.5
    )
    assert (found["n"], found["positives"]) == (3, 1)
    assert found["rate"] == pytest.approx(0.5)
    assert found["error"] == pytest.approx(2 / 3)
    assert found["error_of_the_sure"] == 0.0
    assert found["counted_as_flagged"] == {"sensitivity": 1.0, "specificity": 0.5}
    assert found["counted_as_not_flagged"] == {"sensitivity": 0.5, "specificity": 1.0}
    assert found["left_out"] == {"sensitivity": 1.0, "specificity": 1.0}
    assert metrics.not_sure(answers([]), None, None, 0.5)["defined"] is False


def test_bland_altman_of_a_constant_excess():
    found = metrics.bland_altman(np.array([1.0, 5.0, 9.0]), np.array([3.0, 7.0, 11.0]))
    assert (found["bias"], found["low"], found["high"]) == pytest.approx((2.0, 2.0, 2.0))
    assert metrics.bland_altman(np.zeros(1), np.zeros(1))["bias"] is None


def test_the_slope_of_separated_classes_is_not_given():
    found = metrics.calibration(answers(of(*[(i % 2 == 0, 0.9 if i % 2 == 0 else 0.1) for i in range(60)])))
    assert found["slope"] is None
    assert "any steep slope" in found["slope_reason"]
    assert found["brier"] == pytest.approx(0.01)


def test_the_error_of_a_volume_is_told_in_shares_of_what_is_allowed():
    reference, patients = np.tile([5.0, 10.0, 40.0], 10), np.arange(30)
    found = metrics.volume_error(reference, reference + np.tile([1.0, 2.0, 8.0], 10), patients)
    assert (found["n"], found["median"]) == (30, 1.0)
    assert found["median_ci"][0] <= 1.0 <= found["median_ci"][1]
    assert metrics.volume_error(np.zeros(0), np.zeros(0), patients[:0]) == {"n": 0, "median": None, "median_ci": None}
