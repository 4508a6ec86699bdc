from __future__ import annotations

from dataclasses import replace

import pytest

from tests.prognosis.cases import detection, piece
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.prognosis.bat import Bat

FACTS = ClinicalFacts(age_years=70, onset_to_ct_h=2.4, on_anticoagulant=False, trauma=False)
SEEN = {"blend": True, "hypodensity": True}


@pytest.mark.parametrize(
    ("measured", "hours", "score"),
    [
        (SEEN, 2.4, 5),
        (SEEN, 2.5, 3),
        ({"blend": True, "hypodensity": False}, 9, 1),
        ({"blend": False, "hypodensity": True}, 9, 2),
    ],
)
def test_points_follow_the_common_weights(measured, hours, score):
    p = Bat().predict(measured, detection(piece()), replace(FACTS, onset_to_ct_h=hours))
    assert p.score_range == (score, score)


def test_it_says_that_the_weights_are_not_verified_and_shows_no_rate():
    p = Bat().predict(SEEN, detection(piece()), FACTS)
    assert "not verified" in p.label
    assert any("not seen" in w for w in p.warnings)
    assert p.columns == ()


def test_sign_that_could_not_be_measured_makes_it_not_computable_by_name():
    p = Bat().predict({"blend": None}, detection(piece()), FACTS)
    assert p.abstained == "not computable: blend sign, hypodensity not known"


def test_coagulopathy_was_excluded_so_it_abstains_and_says_when_it_is_open():
    assert "anticoagulant" in Bat().predict(SEEN, detection(piece()), replace(FACTS, on_anticoagulant=True)).abstained
    p = Bat().predict(SEEN, detection(piece()), replace(FACTS, on_anticoagulant=None))
    assert any("coagulopathy" in w for w in p.warnings)


@pytest.mark.parametrize("measured", [{}, {"blend": 1, "hypodensity": "yes"}, {"blend": [True]}])
def test_measurements_of_the_wrong_kind_count_as_not_known(measured):
    assert "blend sign" in Bat().predict(measured, detection(piece()), FACTS).missing
