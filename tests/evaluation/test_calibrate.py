"""The site shift: a draft from unlabelled scores, refused where it would mislead, and applied by nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from triage_node.domain.errors import EvaluationError
from triage_node.domain.finding import OperatingPoint
from triage_node.evaluation.calibrate import SiteScore, draft, quartile_logit, write

POINT = OperatingPoint("ich", 0.5, 0.9, 3, 0.3)
BUNDLE = {"name": "bloodnet", "version": "1.0.0", "digest": "0" * 64}


def site(drift: float = 0.0, n: int = 80, bleeding: float = 0.15, seed: int = 1) -> list[SiteScore]:
    rng = np.random.default_rng(seed)
    positive = np.arange(n) < round(n * bleeding)
    logits = np.where(positive, rng.normal(4, 1, n), rng.normal(-3, 1, n)) + drift
    return [SiteScore(f"s{i}", f"p{i}", "Maker A", float(expit(x))) for i, x in enumerate(logits)]


def reference() -> float:
    return quartile_logit(expit(np.random.default_rng(0).normal(-3, 1, 4000)))


def test_a_drift_is_found_without_labels_and_the_thresholds_follow_it():
    made = draft(site(2.0), POINT, reference(), BUNDLE)
    assert made["shift_logit"] == pytest.approx(2.0, abs=0.4)
    low, high = made["shift_interval"]
    assert low < made["shift_logit"] < high
    assert made["supported"] is True
    policy = made["policy"]["ich"]
    assert policy["raise"] == pytest.approx(expit(2.0), abs=0.06)
    assert policy["unsure"] < policy["raise"] < policy["notify"]


def test_what_changes_is_shown_before_anything_is_applied():
    scores = site(2.0)
    made = draft(scores, POINT, reference(), BUNDLE)
    before, after = made["rates"]["before"], made["rates"]["after"]
    assert before["raised"] > after["raised"] == pytest.approx(0.15, abs=0.03)
    assert sum(after[k] for k in ("raised", "not sure", "silent")) == pytest.approx(1)
    assert len(made["changed"]) == sum(c["before"] != c["after"] for c in made["changed"]) > 0
    assert (made["draft"], made["applied"]) == (True, False)
    assert any("observe" in note for note in made["notes"])
    assert made["in_force"]["version"] == 3


def test_scores_without_drift_are_said_not_to_support_a_change():
    made = draft(site(0.0, n=100), POINT, reference(), BUNDLE)
    assert made["supported"] is False
    assert any("do not show that the thresholds need to move" in note for note in made["notes"])


def test_too_few_patients_are_refused_and_one_patient_counts_once():
    with pytest.raises(EvaluationError, match="49 patients.*at least 50"):
        draft(site(n=49), POINT, reference(), BUNDLE)
    same = [replace(s, patient=f"p{i % 20}") for i, s in enumerate(site(n=90))]
    with pytest.raises(EvaluationError, match="20 patients"):
        draft(same, POINT, reference(), BUNDLE)


def test_simulated_studies_are_refused():
    scores = site()
    scores[7] = replace(scores[7], simulated=True)
    with pytest.raises(EvaluationError, match="1 of 80 studies are simulated \\(s7\\)"):
        draft(scores, POINT, reference(), BUNDLE)


@pytest.mark.parametrize("bleeding", [0.7, 0.9, 1.0])
def test_one_sided_sets_are_refused(bleeding):
    with pytest.raises(EvaluationError, match="one-sided"):
        draft(site(bleeding=bleeding), POINT, reference(), BUNDLE)


def test_equal_scores_and_impossible_shifts_are_refused():
    with pytest.raises(EvaluationError, match="same score"):
        draft([replace(s, probability=0.1) for s in site()], POINT, reference(), BUNDLE)
    with pytest.raises(EvaluationError, match="no drift of a scanner"):
        draft(site(-6.0), POINT, reference(), BUNDLE)
    with pytest.raises(EvaluationError, match="0 patients"):
        draft([], POINT, reference(), BUNDLE)


def test_certain_scores_do_not_break_it():
    scores = [replace(s, probability=0.0 if i > 80 else s.probability) for i, s in enumerate(site(1.0, n=90))]
    made = draft([*scores, SiteScore("x", "x", "", 1.0)], POINT, reference(), BUNDLE)
    assert np.isfinite(made["shift_logit"])


def test_draft_and_histogram_are_written_and_a_folder_that_cannot_be_is_said(tmp_path):
    made = draft(site(1.0), POINT, reference(), BUNDLE)
    files = write(made, site(1.0), tmp_path / "new")
    assert json.loads(files[0].read_text())["policy"] == made["policy"]
    assert files[1].read_bytes().startswith(b"\x89PNG")
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="--out"):
        write(made, site(1.0), tmp_path / "file")
