"""What is missing widens the chance and is named; nothing is filled in; files that are not right are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.prognosis.bundles import OUTCOME
from triage_node.domain.errors import ManifestInvalid
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.prognosis.chance_of_outcome import OutcomeModel, refusal, too_open, used

MODEL = OutcomeModel.from_json(json.dumps(OUTCOME).encode())


def test_known_facts_give_the_regressions_own_chance_inside_its_interval():
    chance = MODEL.chance(1.0, ClinicalFacts(age_years=83, gcs=15))
    logit = 0.5 + 0.4 * 0.5 + 0.7 * 1.0 - 0.8 * (4 / 3.5)
    error = 1.96 * np.sqrt(0.01 * (1 + 0.5**2 + 1 + (4 / 3.5) ** 2))
    assert chance.value == pytest.approx(1 / (1 + np.exp(-logit)))
    assert chance.low == pytest.approx(1 / (1 + np.exp(-(logit - error))))
    assert chance.high == pytest.approx(1 / (1 + np.exp(-(logit + error))))
    assert chance.missing == ()


def test_a_missing_gcs_widens_the_interval_and_is_named():
    known = MODEL.chance(1.0, ClinicalFacts(age_years=83, gcs=11))
    without = MODEL.chance(1.0, ClinicalFacts(age_years=83))
    assert without.missing == ("GCS",)
    assert without.low < known.low < known.high < without.high


def test_without_age_and_gcs_too_much_is_possible():
    nothing = MODEL.chance(0.0, ClinicalFacts())
    assert nothing.missing == ("age", "GCS")
    assert too_open(nothing) == "not computable: without age and GCS too much is possible"


@pytest.mark.parametrize("odd", [-1, 2, 16, "12", None, True])
def test_a_gcs_that_no_patient_has_counts_as_missing(odd: object):
    assert "GCS" in MODEL.chance(0.0, ClinicalFacts(age_years=70, gcs=odd)).missing or odd is True


def test_age_outside_the_cohort_is_refused_by_name():
    assert refusal(ClinicalFacts(age_years=103)) == "age: only for 18 to 100 years"
    assert refusal(ClinicalFacts(age_years=100)) == ""
    assert refusal(ClinicalFacts()) == ""


def test_what_was_used_says_who_said_it():
    facts = ClinicalFacts(age_years=70, gcs=9, sources=(("gcs", "entered by Dr A"),))
    assert used(1.25, facts) == (
        ("image score", "1.25"),
        ("age", "70 years (source not stated)"),
        ("GCS", "9 (entered by Dr A)"),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["image", "gcs", "age_years"]},
        {"coefficients": [0.4, 0.7]},
        {"covariance": [[1.0]]},
        {"intercept": float("nan")},
        {"scale": {"image": [0, 1], "age_years": [0, 0], "gcs": [0, 1]}},
        {"scale": {"image": [0, 1]}},
        {"choices": {"age_years": [], "gcs": [3]}},
        {"choices": {"gcs": [3]}},
        {"names": None},
    ],
)
def test_a_model_file_of_another_kind_is_refused(change: dict):
    with pytest.raises(ManifestInvalid):
        OutcomeModel.from_json(json.dumps({**OUTCOME, **change}).encode())


@pytest.mark.parametrize("text", [b"", b"\xff", b"[]", b"null", b"{}"])
def test_a_file_that_is_no_model_is_refused(text: bytes):
    with pytest.raises(ManifestInvalid):
        OutcomeModel.from_json(text)
