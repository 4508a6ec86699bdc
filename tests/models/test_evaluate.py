"""Choosing and measuring on studies whose right answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from models.bloodnet.choose import (
    Settings,
    aggregation_figures,
    balanced_logistic,
    chosen_aggregation,
    development_studies,
    picture_slices,
    slices_of,
    threshold,
)
from models.bloodnet.evaluate import Figures, Thresholds, measure, slice_answers
from models.bloodnet.pool import built_in
from models.bloodnet.score import Study, keep, kept, least_blood
from triage_node.bundle.manifest import Figure
from triage_node.detection.study_score import Scoring


def study(patient: str, bleeds: bool, *logits: float, origin: str = "mirrored", dressed: bool = False) -> Study:
    truth = tuple(int(bleeds and v > 0) for v in logits)
    kinds = ("sdh",) if bleeds and origin != "real" else ("iph",) if bleeds else ()
    thickness = 3.0 if kinds == ("sdh",) else np.nan
    return Study(patient, origin, dressed, kinds, "acute", thickness, 4.0 * bleeds, "", logits, truth, 0.9 * bleeds)


def some(n: int = 12) -> list[Study]:
    rng = np.random.default_rng(0)
    found = []
    for i in range(n):
        found.append(study(f"{i}", True, -3, *rng.normal(2, 1, 2), origin="real"))
        found.append(study(f"{i}", True, -3, *rng.normal(1, 1, 2)))
        for dressed in (False, True):
            found.append(study(f"{i}", False, *rng.normal(-2, 1, 3), dressed=dressed))
    return found


def test_threshold_leaves_the_asked_share_of_negatives_silent():
    negatives = np.linspace(0.05, 0.95, 40)
    chosen = threshold(negatives, 0.9)
    assert (negatives < chosen).mean() == pytest.approx(0.9)
    assert threshold(negatives, 1.0) > negatives.max()


def test_calibration_finds_the_logistic_that_made_the_answers_whatever_the_share_of_positives():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, 20000)
    y = rng.random(20000) < 1 / (1 + np.exp(-(1.5 * x)))
    few = y & (rng.random(20000) < 0.3) | ~y
    slope, offset = balanced_logistic(x[few], y[few])
    assert slope == pytest.approx(1.5, rel=0.08)
    assert abs(offset) < 0.15


def test_ways_to_join_slices_are_compared_by_group():
    figures = aggregation_figures(some())
    assert set(figures) >= {"max", "pair", "top3", "noisy-or", "sequence"}
    assert all(0.8 < real <= 1 and 0.8 < mean <= 1 for real, mean in figures.values())


def test_single_pictures_stand_in_the_scores_file_so_that_choosing_again_needs_no_network(tmp_path):
    class Bright:
        def run(self, pictures):
            return None, pictures[:, 1].reshape(len(pictures), -1).max(axis=1, keepdims=True)

    said = picture_slices(Bright(), built_in(1), Settings(pictures=16))
    keep(said, tmp_path / "development.json")
    logits, truth = slices_of(kept(tmp_path / "development.json"))
    assert truth.tolist() == [True] * 8 + [False] * 8
    assert logits.tolist() == [s.logits[0] for s in said]
    assert {s.patient[-1] for s in said} == {"5"}


def test_parts_together_are_all_development_studies_by_the_same_scanners(tmp_path):
    class Sum:
        def read(self, study):
            n = len(study.hu)
            return np.zeros((n, 6, 192, 192), np.float32), study.hu.reshape(n, -1).mean(axis=1)[:, None]

    def said(jobs):
        parts = [development_studies(Sum(), built_in(1), Settings(jobs=jobs), k) for k in range(jobs)]
        return sorted((s.patient, s.scan, s.bleeds, s.logits) for part in parts for s in part)

    assert said(1) == said(2)
    assert {scan for _, scan, _, _ in said(2)} == {"", "another"}


def test_figures_count_by_patient_and_fit_the_manifest():
    figures = Figures(Scoring(), Thresholds(0.5, 0.8, 0.3, 0.5))
    measure(some(), figures)
    by_name = {r["name"]: r for r in figures.rows}
    assert by_name["study_auc"]["n"] == 36
    assert by_name["study_auc"]["n_patients"] == 12
    assert by_name["study_auc"]["low"] <= by_name["study_auc"]["value"] <= by_name["study_auc"]["high"]
    assert by_name["study_auc_simulated_extra_axial_under_5_mm"]["n"] == 24
    assert by_name["dice_real_median"]["value"] == pytest.approx(0.9)
    assert by_name["study_auc_simulated_sdh_acute"]["evidence"] == "E0"
    assert "study_auc_simulated_edh" not in by_name
    for row in figures.rows:
        Figure.model_validate(row)


def test_slices_of_unknown_class_are_left_out():
    assert slice_answers([study("a", True, 1.0, -1.0)], Scoring()).n == 2
    unsure = Study("a", "real", False, ("iph",), "", np.nan, 1.0, "", (1.0, -1.0), (1, -1), 0.5)
    assert slice_answers([unsure], Scoring()).n == 1


def test_scores_come_back_from_their_file_as_they_were(tmp_path):
    keep(some(2), tmp_path / "scores.json")
    back = kept(tmp_path / "scores.json")
    assert [s.logits for s in back] == [s.logits for s in some(2)]
    assert back[0].truth == some(2)[0].truth


def test_study_without_a_visible_bleed_is_told_from_one_with():
    pool = built_in(2)
    assert [least_blood(pool, s) for s in pool.studies[:4]] == [False, True, False, True]


def test_of_equally_good_ways_to_join_slices_the_best_for_real_bleeds_is_taken():
    figures = {"max": (0.990, 0.823), "pair": (0.997, 0.820), "top5": (0.999, 0.800)}
    assert chosen_aggregation(figures) == "pair"
