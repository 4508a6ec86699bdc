"""Outside the envelope every prognosis abstains, by name; detection does not ask."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.prognosis.cases import detection, piece
from triage_node.domain.prognosis import ClinicalFacts, ImageFacts
from triage_node.prognosis.clinical import abstention
from triage_node.prognosis.envelope import refusal

HEAD = ImageFacts(slices=32, thickness_mm=5.0, step_mm=5.0, coverage_mm=160.0)
NOBODY = ClinicalFacts()


@pytest.mark.parametrize("facts", [NOBODY, ClinicalFacts(age_years=18), ClinicalFacts(after_surgery=False)])
@pytest.mark.parametrize("image", [None, HEAD, replace(HEAD, thickness_mm=0.6, step_mm=0.6), replace(HEAD, step_mm=7)])
def test_inside_nothing_is_refused_and_what_is_unknown_refuses_nothing(facts, image):
    assert refusal(facts, image) is None


@pytest.mark.parametrize(
    ("facts", "name"), [(ClinicalFacts(age_years=17), "children"), (ClinicalFacts(after_surgery=True), "after surgery")]
)
def test_a_patient_outside_is_refused_by_name_by_the_envelope_and_by_the_scores(facts, name):
    assert (refusal(facts, HEAD) or "").startswith(f"{name}: ")
    assert abstention(detection(piece()), facts).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"thickness_mm": 10.0, "step_mm": 10.0}, "slice thickness: 10 mm, only for 0.4 to 7.5 mm"),
        ({"thickness_mm": 0.1}, "slice thickness: 0.1 mm, only for 0.4 to 7.5 mm"),
        ({"step_mm": 20.0}, "slice distance: 20 mm, only up to 10 mm"),
        ({"coverage_mm": 40.0}, "coverage: 40 mm, only for at least 100 mm of the head"),
        ({"contrast": "Iopamidol"}, "contrast: only for scans without it (Iopamidol)"),
        ({"not_a_head": "not a head: no skull"}, "not a head: no skull"),
        (
            {"not_a_head": "not a patient's head: the inside of the skull is air"},
            "not a patient's head: the inside of the skull is air",
        ),
        ({"coverage_mm": float("nan")}, "slice geometry: not known"),
        ({"thickness_mm": float("inf")}, "slice geometry: not known"),
    ],
)
def test_images_outside_are_refused_by_name(changed, reason):
    assert refusal(NOBODY, replace(HEAD, **changed)) == reason


@pytest.mark.parametrize("age", [-1, "17", 17.5, None])
def test_an_age_that_no_patient_has_is_not_known_and_refuses_nothing(age):
    assert refusal(ClinicalFacts(age_years=age), HEAD) is None
