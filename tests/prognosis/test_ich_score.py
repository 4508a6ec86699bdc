"""Values from Hemphill 2001 as PAPERS.md 5.1 has them, and the wrong copies that it names."""

from __future__ import annotations

import pytest

from tests.prognosis.cases import IVH, detection, piece
from triage_node.domain.finding import Location
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.prognosis.ich_score import MORTALITY_PERCENT, IchScore, gcs_points

KNOWN = ClinicalFacts(
    age_years=72, gcs=14, trauma=False, sources=(("age_years", "DICOM header"), ("gcs", "entered by A. Reader"))
)


def score(*pieces, **facts):
    values = {"age_years": 72, "gcs": 14, "trauma": False} | facts
    return IchScore().predict(detection(*pieces), ClinicalFacts(**values))


@pytest.mark.parametrize(
    ("gcs", "points"), [(3, 2), (4, 2), (5, 1), (6, 1), (8, 1), (12, 1), (13, 0), (14, 0), (15, 0)]
)
def test_gcs_has_the_cuts_of_the_paper_and_not_those_of_the_wrong_copy(gcs, points):
    """A wrong copy gives 2 points at GCS 5 (3-5 / 6-12)."""
    assert gcs_points(gcs) == points
    assert score(piece(ml=10), gcs=gcs).score_range == (points, points)


@pytest.mark.parametrize(("ml", "points"), [(0.1, 0), (29.9, 0), (29.94, 0), (29.96, 1), (30.0, 1), (200.0, 1)])
def test_volume_counts_from_30_ml_as_it_is_shown(ml, points):
    """29.96 mL is shown as 30.0 mL; a page that says 30.0 mL and gives no point would look wrong."""
    assert score(piece(ml=ml)).score_range == (points, points)


@pytest.mark.parametrize(("age", "points"), [(18, 0), (79, 0), (80, 1), (101, 1)])
def test_age_counts_from_80(age, points):
    assert score(piece(ml=10), age_years=age).score_range == (points, points)


def test_ventricles_and_infratentorial_origin_count_one_each():
    assert score(piece(ml=10)).score_range == (0, 0)
    assert score(piece(ml=10), IVH).score_range == (1, 1)
    assert score(piece(ml=10, location=Location.INFRATENTORIAL)).score_range == (1, 1)
    assert score(piece(ml=10, location=Location.INFRATENTORIAL), IVH).score_range == (2, 2)


def test_blood_in_the_ventricles_is_no_parenchymal_volume():
    assert score(piece(ml=20), piece("ivh", 25.0, Location.VENTRICULAR)).items[1].value.startswith("20.0 mL")


@pytest.mark.parametrize(
    ("facts", "pieces", "points", "percent"),
    [
        ({}, (piece(ml=10),), 0, 0),
        ({}, (piece(ml=34),), 1, 13),
        ({}, (piece(ml=34), IVH), 2, 26),
        ({"gcs": 9}, (piece(ml=34), IVH), 3, 72),
        ({"gcs": 4}, (piece(ml=34), IVH), 4, 97),
        ({"gcs": 4, "age_years": 80}, (piece(ml=34), IVH), 5, 100),
    ],
)
def test_mortality_is_that_of_the_paper(facts, pieces, points, percent):
    said = score(*pieces, **facts)
    assert said.score_range == (points, points)
    assert said.columns == (("30-day mortality, 1997-98 cohort", percent, percent, "%"),)
    assert said.missing == ()


def test_94_percent_of_the_wrong_copy_is_nowhere():
    assert MORTALITY_PERCENT == (0, 13, 26, 72, 97, 100, 100)
    assert 94 not in MORTALITY_PERCENT


def test_six_points_say_that_nobody_had_them():
    said = score(piece(ml=34, location=Location.INFRATENTORIAL), IVH, gcs=3, age_years=85)
    assert said.score_range == (6, 6)
    assert "no patient had 6 points, 100 % is estimated" in said.source
    assert "estimated" not in score(piece(ml=34)).source


def test_missing_gcs_is_not_computable_and_leaves_an_interval():
    said = score(piece(ml=34), IVH, gcs=None)
    (gcs,) = [i for i in said.items if i.name == "GCS"]
    assert (gcs.known, gcs.value, gcs.points, gcs.points_range) == (False, "not computable", None, (0, 2))
    assert said.missing == ("GCS",)
    assert said.score_range == (2, 4)
    assert said.columns == (("30-day mortality, 1997-98 cohort", 26, 97, "%"),)


def test_header_alone_names_all_that_is_missing():
    said = IchScore().predict(detection(piece(ml=10, location=Location.UNKNOWN)), ClinicalFacts())
    assert said.missing == ("GCS", "infratentorial origin", "age")
    assert said.score_range == (0, 4)


def test_each_known_value_names_who_said_it():
    values = {i.name: i.value for i in IchScore().predict(detection(piece(ml=34.04)), KNOWN).items}
    assert values == {
        "GCS": "14 (entered by A. Reader)",
        "hematoma volume": "34.0 mL (bloodnet 0.1.0, E1)",
        "extension into the ventricles": "not seen (bloodnet 0.1.0, E1)",
        "infratentorial origin": "no (bloodnet 0.1.0, E1)",
        "age": "72 years (DICOM header)",
    }


def test_source_names_cohort_years_and_size_and_the_number_never_limits_care():
    said = score(piece())
    assert "1997-98 cohort, n = 152" in said.source
    assert said.caution == "Describes a historic group of patients. Never a reason to limit care."
