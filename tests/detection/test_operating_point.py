"""The decision is a comparison; how much it may say depends on evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from triage_node.detection.operating_point import decide, worded
from triage_node.domain.finding import (
    LOCATION_OUTPUT,
    VOLUME_OUTPUT,
    BundleIdentity,
    Component,
    Detection,
    EvidenceLevel,
    Location,
    OperatingPoint,
)

E0, E1, E2 = EvidenceLevel.E0, EvidenceLevel.E1, EvidenceLevel.E2
POINT = OperatingPoint("ich", 0.6, 0.9, version=4)


def detection(
    probability: float, evidence: dict[str, EvidenceLevel], *pieces: tuple[str, float, Location]
) -> Detection:
    components = tuple(
        Component(i, ml, kind, place, 1, (0.0, 0.0, 0.0), 0.9) for i, (kind, ml, place) in enumerate(pieces, start=1)
    )
    empty = np.zeros((1, 2, 2), np.uint8)
    bundle = BundleIdentity("bloodnet", "0.1.0", "d" * 64, "test", evidence)
    ml = sum(c.volume_ml for c in components)
    return Detection(probability, np.zeros(1, np.float32), {}, empty, empty, ml, components, 0, bundle)


BOTH = (("iph", 12.0, Location.DEEP), ("sdh", 20.0, Location.EXTRA_AXIAL))
KNOWN = {"ich": E1, "iph": E1, "sdh": E0}
MEASURED = {"ich": E2, LOCATION_OUTPUT: E1, VOLUME_OUTPUT: E2}


@pytest.mark.parametrize(("probability", "flagged"), [(0.599, False), (0.6, True), (1.0, True), (0.0, False)])
def test_flagged_from_the_raise_probability_on(probability, flagged):
    assert decide(detection(probability, KNOWN), POINT, E0).flagged is flagged


def test_all_is_said_when_all_outputs_have_the_level():
    d = decide(detection(0.8, KNOWN, *BOTH), POINT, E0)
    assert (d.finding, d.subtypes, d.evidence) == ("sdh", ("sdh", "iph"), E0)
    assert d.locations == (Location.EXTRA_AXIAL, Location.DEEP)
    assert d.hematoma_volume_ml == 32.0
    assert d.operating_point is POINT
    assert d.probability == 0.8


def test_subtype_without_the_level_is_not_said_and_the_next_one_is():
    d = decide(detection(0.8, KNOWN, *BOTH), POINT, E1)
    assert (d.finding, d.subtypes, d.evidence) == ("iph", ("iph",), E1)


def test_nothing_but_the_finding_is_said_when_it_lacks_the_level_itself():
    d = decide(detection(0.8, KNOWN, *BOTH), POINT, E2)
    assert d.flagged
    assert (d.finding, d.subtypes, d.locations, d.hematoma_volume_ml) == ("ich", (), (), 0.0)


def test_place_and_volume_each_need_the_level_themselves():
    d = decide(detection(0.8, MEASURED, *BOTH), POINT, E2)
    assert (d.subtypes, d.locations, d.hematoma_volume_ml) == ((), (), 32.0)
    d = decide(detection(0.8, KNOWN, *BOTH), POINT, E1)
    assert (d.subtypes, d.locations, d.hematoma_volume_ml) == (("iph",), (), 0.0)


def test_a_decision_is_worded_for_those_who_may_read_more_and_stays_the_same():
    found = detection(0.8, KNOWN, *BOTH)
    strict = decide(found, POINT, E2)
    more = worded(strict, found, E0)
    assert (more.subtypes, more.hematoma_volume_ml) == (("sdh", "iph"), 32.0)
    assert (more.flagged, more.probability, more.operating_point) == (True, 0.8, POINT)
    assert worded(more, found, E2) == strict


def test_unknown_location_is_never_listed():
    d = decide(detection(0.8, KNOWN, ("iph", 3.0, Location.UNKNOWN)), POINT, E0)
    assert d.locations == ()


def test_unflagged_study_names_no_subtype():
    d = decide(detection(0.2, KNOWN, *BOTH), POINT, E0)
    assert (d.flagged, d.finding, d.subtypes, d.locations) == (False, "ich", (), ())


def test_finding_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="fracture"):
        decide(detection(0.8, KNOWN), OperatingPoint("fracture", 0.5, 0.5, 1), E0)


def test_decision_does_not_change_what_it_was_given():
    d = detection(0.8, KNOWN, *BOTH)
    before = (d.study_probability, d.components)
    assert decide(d, POINT, E0) == decide(d, POINT, E0)
    assert (d.study_probability, d.components) == before


@pytest.mark.parametrize(
    ("probability", "flagged", "unsure"),
    [(0.6, True, False), (0.599, False, True), (0.4, False, True), (0.399, False, False)],
)
def test_between_silence_and_raise_the_answer_is_not_sure(probability, flagged, unsure):
    d = decide(detection(probability, KNOWN, *BOTH), OperatingPoint("ich", 0.6, 0.9, 4, unsure_from=0.4), E0)
    assert (d.flagged, d.unsure) == (flagged, unsure)
    assert d.subtypes == (() if not flagged else ("sdh", "iph"))


def test_policy_without_such_a_band_is_never_unsure():
    assert not decide(detection(0.599, KNOWN), POINT, E0).unsure


SDH = OperatingPoint("sdh", 0.3, 0.7, version=4, unsure_from=0.2)


@pytest.mark.parametrize(
    ("study", "sdh", "level", "said", "by"),
    [
        (0.1, 0.3, E2, "raised", "sdh"),
        (0.1, 0.29, E2, "not sure", "sdh"),
        (0.1, 0.1, E2, "not raised", "ich"),
        (0.7, 0.8, E2, "raised", "sdh"),  # notified: the stronger answer decides
        (0.95, 0.8, E2, "raised", "ich"),
        (0.7, 0.1, E2, "raised", "ich"),  # never taken away
        (0.1, 0.9, E1, "not raised", "ich"),  # an output without the level that the action needs decides nothing
        (0.1, float("nan"), E2, "not raised", "ich"),
    ],
)
def test_a_subtype_with_a_point_of_its_own_adds_a_flag_when_its_output_has_the_level(study, sdh, level, said, by):
    found = replace(detection(study, {"ich": E2, "sdh": level}), subtype_probabilities={"sdh": sdh})
    d = decide(found, POINT, E2, (SDH,))
    assert (d.answer, d.operating_point.finding, d.finding) == (said, by, by)
    assert d.probability == (sdh if by == "sdh" else study)
