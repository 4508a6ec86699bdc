"""BRAIN against its published table, and against the copy with swapped volume coefficients."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.prognosis.cases import IVH, detection, piece
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.prognosis.brain import Brain, expansion_probability, hours_points, volume_points

TABLE = (
    3.4, 4.2, 5.1, 6.3, 7.7, 9.4, 11.3, 13.7, 16.4, 19.5, 23.1, 27.2, 31.6,
    36.4, 41.5, 46.7, 52.1, 57.4, 62.5, 67.4, 71.9, 76.0, 79.7, 83.0, 85.8,
)  # fmt: skip
FACTS = ClinicalFacts(
    age_years=70, onset_to_ct_h=2.5, on_anticoagulant=True, on_warfarin=True, recurrent_ich=False, trauma=False,
    sources=(("onset_to_ct_h", "entered by A"),),
)  # fmt: skip


def test_formula_gives_the_published_rates_to_a_tenth():
    assert len(TABLE) == 25
    for score, percent in enumerate(TABLE):
        assert abs(100 * expansion_probability(score) - percent) < 0.07, score


def test_larger_volumes_get_more_points_so_the_swapped_copy_did_not_come_in():
    assert [volume_points(ml) for ml in (0.5, 10, 10.1, 20, 20.1, 90)] == [0, 0, 5, 5, 7, 7]


def test_hours_lose_a_point_each():
    assert [hours_points(h) for h in (0, 1, 1.1, 2, 3, 4, 5, 5.1, 30)] == [5, 5, 4, 4, 3, 2, 1, 0, 0]


def test_score_with_every_input_is_shown_with_its_rate_and_who_said_what():
    p = Brain().predict(detection(piece(ml=15), IVH), FACTS)
    assert p.score_range == (5 + 0 + 6 + 2 + 3,) * 2
    assert p.columns[0][1] == pytest.approx(52.1, abs=0.07)
    assert not p.abstained
    assert any("entered by A" in i.value for i in p.items)
    assert "n = 964" in p.source


@pytest.mark.parametrize(
    ("field", "name"),
    [("onset_to_ct_h", "hours from onset to CT"), ("recurrent_ich", "recurrent ICH"), ("on_warfarin", "warfarin")],
)
def test_score_with_a_missing_input_is_not_computable_by_its_name(field, name):
    p = Brain().predict(detection(piece()), replace(FACTS, **{field: None}))
    assert p.missing == (name,)
    assert p.abstained == f"not computable: {name} not known"
    assert p.score_range is None
    assert p.columns == ()


def test_who_takes_no_anticoagulant_takes_no_warfarin():
    p = Brain().predict(detection(piece()), replace(FACTS, on_warfarin=None, on_anticoagulant=False))
    assert not p.missing


@pytest.mark.parametrize("hours", [-1, float("nan"), float("inf"), 1e9, True, "2"])
def test_impossible_hours_count_as_not_known(hours):
    p = Brain().predict(detection(piece()), replace(FACTS, onset_to_ct_h=hours))
    assert p.missing == ("hours from onset to CT",)


@pytest.mark.parametrize("score", [-1, 25])
def test_score_that_cannot_be_is_refused(score):
    with pytest.raises(ValueError, match="0 to 24"):
        expansion_probability(score)


def test_trauma_and_isolated_subdural_blood_abstain():
    assert "trauma" in Brain().predict(detection(piece()), replace(FACTS, trauma=True)).abstained
    assert "subdural" in Brain().predict(detection(piece("sdh")), FACTS).abstained.lower()


def test_an_onset_as_far_back_as_may_be_entered_counts():
    known = Brain().predict(detection(piece()), replace(FACTS, onset_to_ct_h=240.333333))
    assert not known.missing
    assert any(i.value.startswith("240.3 h (") for i in known.items)
