"""Values from Rost 2008 as PAPERS.md 5.3 has them, and the wrong copies that it names."""

from __future__ import annotations

import pytest

from tests.prognosis.cases import detection, piece
from triage_node.domain.finding import Location
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.prognosis.func import SURVIVORS_ONLY_PERCENT, WHOLE_COHORT_PERCENT, Func

BEST = {"age_years": 60, "gcs": 15, "cognitive_impairment_before": False, "trauma": False}
LOBAR = Location.LOBAR


def score(*pieces, **facts):
    return Func().predict(detection(*pieces), ClinicalFacts(**BEST | facts))


def points(*pieces, **facts):
    low, high = score(*pieces, **facts).score_range
    assert low == high
    return low


def test_best_case_has_eleven_and_worst_none():
    assert points(piece(ml=10, location=LOBAR)) == 11
    worst = piece(ml=60.1, location=Location.INFRATENTORIAL)
    assert points(worst, age_years=80, gcs=8, cognitive_impairment_before=True) == 0


@pytest.mark.parametrize(("ml", "less"), [(29.9, 0), (30.0, 2), (60.0, 2), (60.1, 4)])
def test_volume_has_cuts_at_30_and_60_ml(ml, less):
    assert points(piece(ml=ml, location=LOBAR)) == 11 - less


@pytest.mark.parametrize(("age", "less"), [(69, 0), (70, 1), (79, 1), (80, 2)])
def test_age_has_cuts_at_70_and_80(age, less):
    assert points(piece(ml=10, location=LOBAR), age_years=age) == 11 - less


@pytest.mark.parametrize(("place", "less"), [(LOBAR, 0), (Location.DEEP, 1), (Location.INFRATENTORIAL, 2)])
def test_location_counts(place, less):
    assert points(piece(ml=10, location=place)) == 11 - less


@pytest.mark.parametrize(("gcs", "less"), [(9, 0), (8, 2)])
def test_gcs_has_a_cut_at_9(gcs, less):
    assert points(piece(ml=10, location=LOBAR), gcs=gcs) == 11 - less


def test_cognitive_impairment_before_costs_one():
    assert points(piece(ml=10, location=LOBAR), cognitive_impairment_before=True) == 10


@pytest.mark.parametrize(
    ("total", "whole", "survivors"),
    [(0, 0, 0), (4, 0, 0), (5, 13, 29), (7, 13, 29), (8, 42, 48), (9, 66, 75), (10, 66, 75), (11, 82, 95)],
)
def test_columns_are_those_of_the_paper(total, whole, survivors):
    assert (WHOLE_COHORT_PERCENT[total], SURVIVORS_ONLY_PERCENT[total]) == (whole, survivors)


def test_columns_are_labelled_and_never_mixed():
    """Wrong copies mix the columns to ranges such as 6-29 % and 55-66 %, or show survivors without saying so."""
    said = score(piece(ml=40, location=LOBAR), age_years=75)
    assert said.score_range == (8, 8)
    assert said.columns == (
        ("Independent at 90 days, whole cohort", 42, 42, "%"),
        ("Independent at 90 days, survivors only", 48, 48, "%"),
    )
    figures = {*WHOLE_COHORT_PERCENT, *SURVIVORS_ONLY_PERCENT}
    assert not figures & {6, 55, 80}


def test_missing_inputs_widen_the_interval_of_both_columns():
    said = score(piece(ml=10, location=LOBAR), gcs=None, cognitive_impairment_before=None)
    assert said.missing == ("GCS", "cognitive impairment before")
    assert said.score_range == (8, 11)
    assert [c[1:3] for c in said.columns] == [(42, 82), (48, 95)]


def test_bleeds_in_different_places_leave_the_place_open():
    deep, lobar = piece(ml=12, location=Location.DEEP), piece(ml=11, location=LOBAR)
    said = score(deep, lobar)
    assert said.missing == ("location",)
    assert said.score_range == (10, 11)


def test_small_satellite_does_not_open_the_place():
    assert points(piece(ml=12, location=LOBAR), piece(ml=1, location=Location.DEEP)) == 11


def test_source_names_cohort_and_size():
    assert "n = 629" in score(piece()).source
    assert "Never a reason to limit care" in score(piece()).caution
