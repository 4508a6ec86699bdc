"""The same heads as other hospitals show them: a threshold that was fixed before is counted, and what is missed is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from tests.detection.heads import simple_head
from triage_node.bundle.load import load_bundle
from triage_node.bundle.manifest import Figure
from triage_node.detection.ich import BloodNetDetector
from triage_node.domain.errors import EvaluationError
from triage_node.evaluation.stress import SetScores, StressHead, Thresholds, figures, markdown, stress, told
from triage_node.simulation.appearance import APPEARANCES, FURTHER
from triage_node.simulation.scanners import SCANS

BLOODNET = Path(__file__).resolve().parents[2] / "models" / "bloodnet"
AT = Thresholds(study=0.5, slice=0.5)


def scores(level: str, name: str, drift: float, seed: int = 0) -> SetScores:
    rng = np.random.default_rng(seed)
    truth = np.arange(200) % 2 == 0
    return SetScores(level, name, truth, expit(np.where(truth, 3.0, -3.0) + rng.normal(0, 1, 200) + drift))


@pytest.fixture(scope="module")
def drifted():
    return told([scores("hu", "as scanned", 0.0), scores("hu", "sharp kernel", 4.0), scores("hu", "7 mm", -1.0)], AT)


def test_the_auc_travels_and_the_threshold_does_not(drifted):
    rows = {r["set"]: r for r in drifted["levels"]["hu"]["sets"]}
    assert all(r["auc"] > 0.99 for r in rows.values())
    assert rows["as scanned"]["specificity"] > 0.98
    assert rows["sharp kernel"]["specificity"] < 0.3


def test_worst_and_mean_stand_beside_the_bounds_and_a_missed_one_is_said(drifted):
    level = drifted["levels"]["hu"]
    assert level["fixed"]["worst"]["specificity"] == min(r["specificity"] for r in level["sets"])
    assert level["fixed"]["mean"]["sensitivity"] == pytest.approx(np.mean([r["sensitivity"] for r in level["sets"]]))
    assert level["bounds"]["worst_sensitivity"] == 0.93
    assert [m for m in level["missed"] if "worst specificity" in m and "sharp kernel" in m and "0.88" in m]
    assert drifted["missed"][0].startswith("Hounsfield units")
    text = markdown(drifted)
    assert "MISSED: " in text
    assert "E0" in drifted["evidence"]


def test_the_report_shows_what_the_site_shift_buys(drifted):
    row = next(r for r in drifted["levels"]["hu"]["sets"] if r["set"] == "sharp kernel")
    assert row["shift"] == pytest.approx(4.0, abs=0.3)
    assert row["shifted_specificity"] > 0.95
    assert drifted["levels"]["hu"]["shifted"]["worst"]["specificity"] > 0.95
    assert "most that the shift can buy" in markdown(drifted)


def test_pictures_are_held_to_the_bounds_of_pictures():
    fine = told([scores("picture", n, 0.0) for n in ("canonical 80/40", "noisy")], AT)
    assert fine["levels"]["picture"]["missed"] == []
    assert fine["levels"]["picture"]["bounds"]["mean_specificity"] == 0.88
    assert "All met" in markdown(fine)


def test_figures_fit_the_metadata_of_a_bundle(drifted):
    made = figures(drifted, "simulated alterations of made-up scores", 100)
    names = {Figure.model_validate(f).name for f in made}
    assert {"stress_hu_worst_sensitivity", "stress_hu_worst_specificity_after_site_shift"} <= names
    assert "stress_hu, sharp kernel, auc" in names
    assert {f["evidence"] for f in made} == {"E0"}


@pytest.fixture(scope="module")
def run():
    heads = []
    for i in range(2):
        hu = np.clip(simple_head(5, 20.0, size=128).astype(np.float32), -20, 100)
        if i % 2:
            hu[2:4, 50:72, 50:72] = 70
        labels = tuple(int(bool(i % 2) and 2 <= z < 4) for z in range(5))
        heads.append(StressHead(f"p{i}", hu, bool(i % 2), labels, 1.5, 20.0, (-20, 100)))
    detector = BloodNetDetector(load_bundle(BLOODNET))
    steps: list[None] = []
    some = {n: {**APPEARANCES, **FURTHER}[n] for n in ("noisy", "hot")}
    scans = {n: SCANS[n] for n in ("as scanned", "noise 7 HU")}

    def once(*levels: str):
        settings = {"scans": scans, "appearances": some, "levels": levels, "singles": 2}
        return stress(detector, heads, AT, advance=lambda: steps.append(None), **settings)

    return once("hu", "picture_study", "picture"), once("picture"), steps


def test_all_three_levels_are_scored_and_a_set_repeats_itself(run):
    first, again, steps = run
    assert first["levels"]["picture"] == again["levels"]["picture"]
    assert len(steps) == 2 * 4
    assert set(first["levels"]) == {"hu", "picture_study", "picture"}
    for level, per_head in (("hu", 1), ("picture_study", 1), ("picture", 2)):
        rows = first["levels"][level]["sets"]
        assert [r["n"] for r in rows] == [2 * per_head] * 2
        assert [r["positives"] for r in rows] == [per_head] * 2


def test_a_large_clot_is_ranked_above_a_head_without_one(run):
    assert all(r["auc"] == 1 for r in run[0]["levels"]["hu"]["sets"])


def test_heads_of_one_class_are_refused():
    with pytest.raises(EvaluationError, match="with and without"):
        stress(None, [StressHead("p", np.zeros((3, 64, 64), np.float32), True)], AT)
