from __future__ import annotations

from dataclasses import replace

import pytest

from tests.prognosis.cases import detection, piece
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.prognosis.nag import Nag

FACTS = ClinicalFacts(age_years=70, nihss=9, on_anticoagulant=False, glucose_mg_dl=132.9, trauma=False)


@pytest.mark.parametrize(
    ("changed", "score", "percent"),
    [
        ({}, 0, 4),
        ({"nihss": 10}, 1, 25),
        ({"nihss": 10, "glucose_mg_dl": 133.0}, 2, 60),
        ({"nihss": 42, "glucose_mg_dl": 300, "on_anticoagulant": True}, 3, 100),
    ],
)
def test_each_item_gives_one_point_and_the_published_rate(changed, score, percent):
    p = Nag().predict(detection(piece()), replace(FACTS, **changed))
    assert p.score_range == (score, score)
    assert p.columns[0][1] == percent
    assert any("very few" in w for w in p.warnings) == (score == 3)


@pytest.mark.parametrize(("field", "name"), [("nihss", "NIHSS"), ("glucose_mg_dl", "glucose"), ("on_anticoagulant", "anticoagulant")])  # fmt: skip
def test_a_missing_input_makes_it_not_computable_by_name(field, name):
    p = Nag().predict(detection(piece()), replace(FACTS, **{field: None}))
    assert p.abstained == f"not computable: {name} not known"
    assert p.columns == ()


@pytest.mark.parametrize("glucose", [-5, 7.4, float("nan"), 1e12, "high", True])
def test_glucose_in_mmol_or_absurd_is_not_guessed_at(glucose):
    assert Nag().predict(detection(piece()), replace(FACTS, glucose_mg_dl=glucose)).missing == ("glucose",)
