"""What holds for every score: for whom it speaks, and that its interval is true."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prognosis.cases import IVH, detection, piece
from triage_node.domain.finding import Location
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.prognosis.clinical import PLACES
from triage_node.prognosis.scores import PREDICTORS, predict

ADULT = ClinicalFacts(age_years=60, gcs=12, cognitive_impairment_before=False, trauma=False)
EXTRA_AXIAL = Location.EXTRA_AXIAL

OF_OUTCOME = PREDICTORS[:2]
"""ICH score and FUNC give the range that is left open; the scores of expansion need every input (their own tests)."""
each_score = pytest.mark.parametrize("predictor", OF_OUTCOME, ids=lambda p: p.name)


def test_every_score_speaks_once():
    assert [p.name for p in predict(detection(piece()), ADULT)] == ["ich_score", "func", "brain", "nag"]


@each_score
@pytest.mark.parametrize(
    ("pieces", "facts", "why"),
    [
        ((piece(),), replace(ADULT, trauma=True), "trauma: only for spontaneous hemorrhage"),
        ((piece(),), replace(ADULT, age_years=17), "children: only for patients of 18 years or more"),
        ((piece(),), replace(ADULT, age_years=0), "children: only for patients of 18 years or more"),
        ((piece(), piece("sdh", 5)), ADULT, "subdural hemorrhage: only for spontaneous parenchymal hemorrhage"),
        ((piece("sdh", 40),), ADULT, "subdural hemorrhage: only for spontaneous parenchymal hemorrhage"),
        ((piece("edh", 40),), ADULT, "epidural hemorrhage: only for spontaneous parenchymal hemorrhage"),
        ((piece("sah", 9),), ADULT, "isolated subarachnoid hemorrhage: only for parenchymal hemorrhage"),
        ((IVH,), ADULT, "isolated intraventricular hemorrhage: only for parenchymal hemorrhage"),
        (
            (IVH, piece("sah", 9)),
            ADULT,
            "isolated intraventricular hemorrhage and subarachnoid hemorrhage: only for parenchymal hemorrhage",
        ),
        ((piece("elsewhere"),), ADULT, "isolated hemorrhage of unknown kind: only for parenchymal hemorrhage"),
        ((), ADULT, "no hemorrhage was measured"),
    ],
)
def test_outside_its_group_a_score_abstains_by_name(predictor, pieces, facts, why):
    said = predictor.predict(detection(*pieces), facts)
    assert said.abstained == why
    assert (said.items, said.score_range, said.columns) == ((), None, ())


@each_score
def test_parenchymal_bleed_that_broke_into_cisterns_and_ventricles_is_scored(predictor):
    assert not predictor.predict(detection(piece(), IVH, piece("sah", 3, EXTRA_AXIAL)), ADULT).abstained


@each_score
def test_trauma_that_nobody_ruled_out_is_said(predictor):
    said = predictor.predict(detection(piece()), replace(ADULT, trauma=None))
    assert said.caution == (
        "Holds only for a spontaneous hemorrhage: trauma is not ruled out. "
        "Describes a historic group of patients. Never a reason to limit care."
    )
    assert "trauma" not in predictor.predict(detection(piece()), ADULT).caution


@each_score
@pytest.mark.parametrize(
    "facts",
    [
        replace(ADULT, gcs=2),
        replace(ADULT, gcs=16),
        replace(ADULT, gcs=True),
        replace(ADULT, gcs="15"),
        replace(ADULT, gcs=math.nan),
        replace(ADULT, gcs=10**30),
    ],
)
def test_gcs_that_no_patient_can_have_counts_as_not_known(predictor, facts):
    assert predictor.predict(detection(piece()), facts).missing == ("GCS",)


@each_score
@pytest.mark.parametrize("age", [-1, 126, 10**12, "60", math.inf])
def test_age_that_no_patient_can_have_counts_as_not_known(predictor, age):
    assert predictor.predict(detection(piece()), replace(ADULT, age_years=age)).missing == ("age",)


@each_score
@pytest.mark.parametrize("ml", [math.nan, math.inf, -math.inf, -3.0, 0.0])
def test_volume_that_cannot_be_is_not_known_and_nothing_is_raised(predictor, ml):
    said = predictor.predict(detection(piece(ml=ml)), ADULT)
    assert "hematoma volume" in said.missing
    assert not any("nan" in i.value or "inf" in i.value for i in said.items)


@each_score
def test_markup_in_a_source_stays_text_and_the_last_of_two_sources_counts(predictor):
    facts = replace(ADULT, sources=(("gcs", "x"), ("gcs", "<b>y</b>"), ("unknown field", "z")))
    assert "12 (<b>y</b>)" in [i.value for i in predictor.predict(detection(piece()), facts).items]


@each_score
def test_prediction_goes_through_json(predictor):

    said = predictor.predict(detection(piece()), ClinicalFacts())
    assert json.loads(json.dumps(asdict(said)))["score_range"] == list(said.score_range)


# ---- properties: the interval is true, and no better fact makes a score worse

ages = st.integers(18, 110)
scales = st.integers(3, 15)
volumes = st.floats(0.1, 200, allow_nan=False)
places = st.sampled_from(sorted(PLACES))


@st.composite
def complete_cases(draw):
    pieces = [piece(ml=draw(volumes), location=draw(places))] + ([IVH] if draw(st.booleans()) else [])
    facts = ClinicalFacts(
        age_years=draw(ages), gcs=draw(scales), cognitive_impairment_before=draw(st.booleans()), trauma=False
    )
    return pieces, facts


def hidden(pieces, facts, what):
    """The same case without the facts named in `what`."""
    main = pieces[0]
    if "volume" in what:
        main = replace(main, volume_ml=math.nan)
    if "place" in what:
        main = replace(main, location=Location.UNKNOWN)
    blank = {f: None for f in ("age_years", "gcs", "cognitive_impairment_before") if f in what}
    return [main, *pieces[1:]], replace(facts, **blank)


@settings(max_examples=150, deadline=None)
@given(
    complete_cases(), st.sets(st.sampled_from(["volume", "place", "age_years", "gcs", "cognitive_impairment_before"]))
)
def test_interval_holds_the_score_of_every_completion(case, what):
    pieces, facts = case
    for predictor in OF_OUTCOME:
        whole = predictor.predict(detection(*pieces), facts)
        less_pieces, less_facts = hidden(pieces, facts, what)
        part = predictor.predict(detection(*less_pieces), less_facts)
        assert whole.missing == ()
        assert whole.score_range[0] == whole.score_range[1]
        assert part.score_range[0] <= whole.score_range[0] <= part.score_range[1]
        for (label, low, high, unit), exact in zip(part.columns, whole.columns, strict=True):
            assert (label, unit) == (exact[0], exact[3])
            assert low <= exact[1] <= high
        assert not what or set(part.missing) or predictor.name == "ich_score"


def test_both_ends_of_the_interval_are_reached_by_a_patient():
    """An interval that is wider than the truth would be no more than a shrug."""
    open_case = detection(piece(ml=10, location=Location.UNKNOWN))
    facts = ClinicalFacts(trauma=False)
    for predictor in OF_OUTCOME:
        low, high = predictor.predict(open_case, facts).score_range
        reached = {
            predictor.predict(
                detection(piece(ml=10, location=place)),
                replace(facts, age_years=age, gcs=gcs, cognitive_impairment_before=impaired),
            ).score_range
            for place, age, gcs, impaired in itertools.product(PLACES, (18, 75, 90), (3, 8, 12, 15), (True, False))
        }
        assert (min(reached), max(reached)) == ((low, low), (high, high))


@settings(max_examples=150, deadline=None)
@given(complete_cases(), complete_cases())
def test_worse_in_every_item_never_scores_better(a, b):
    (pieces, facts), (other_pieces, other) = a, b
    order = [Location.LOBAR, Location.DEEP, Location.INFRATENTORIAL]
    worse_pieces = [
        replace(
            pieces[0],
            volume_ml=max(pieces[0].volume_ml, other_pieces[0].volume_ml),
            location=max(pieces[0].location, other_pieces[0].location, key=order.index),
        ),
        *(pieces[1:] or other_pieces[1:]),
    ]
    worse_facts = replace(
        facts,
        age_years=max(facts.age_years, other.age_years),
        gcs=min(facts.gcs, other.gcs),
        cognitive_impairment_before=facts.cognitive_impairment_before or other.cognitive_impairment_before,
    )
    better = predict(detection(*pieces), facts)
    worse = predict(detection(*worse_pieces), worse_facts)
    assert worse[0].score_range >= better[0].score_range
    assert worse[1].score_range <= better[1].score_range
    assert worse[0].columns[0][1] >= better[0].columns[0][1]
    assert all(w[1] <= g[1] for w, g in zip(worse[1].columns, better[1].columns, strict=True))
