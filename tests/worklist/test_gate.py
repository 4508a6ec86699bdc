"""DESIGN.md section 4, the line "UPS, HL7, notify": E2 and active; a simulation below E2, to this machine only."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.priority import Flag, Mode, OrderClass, ReadingState, Urgency, WorklistRow
from triage_node.worklist.gate import Listener, may_raise, may_reach

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
HERE, OUTSIDE = Listener("ris", True), Listener("ris", False)
ROW = WorklistRow("1.2.1", OrderClass.ROUTINE, NOW, Flag("ich", Urgency.HIGH, "Suspected ICH", NOW))
E0, E1, E2, E3 = EvidenceLevel


@pytest.mark.parametrize(
    ("listener", "simulation", "level", "mode", "change", "why"),
    [
        (OUTSIDE, False, E2, Mode.ACTIVE, {}, ""),
        (OUTSIDE, False, E3, Mode.ACTIVE, {}, ""),
        (HERE, False, E2, Mode.ACTIVE, {}, ""),
        (HERE, True, E0, Mode.ACTIVE, {}, ""),
        (OUTSIDE, False, E2, Mode.ACTIVE, {"reading_state": ReadingState.BEING_READ}, ""),
        (OUTSIDE, False, E2, Mode.ACTIVE, {"reading_state": ReadingState.NOT_CONFIRMED}, ""),
        (OUTSIDE, True, E3, Mode.ACTIVE, {}, "simulated studies go to this machine only"),
        (HERE, False, E0, Mode.ACTIVE, {}, "there is no evaluation of this site (E2)"),
        (HERE, False, E1, Mode.ACTIVE, {}, "there is no evaluation of this site (E2)"),
        (OUTSIDE, False, E3, Mode.OBSERVE, {}, "the node observes"),
        (HERE, True, E3, Mode.OBSERVE, {}, "the node observes"),
        (OUTSIDE, False, E2, Mode.ACTIVE, {"apart": True}, "the node only observes this study"),
        (OUTSIDE, False, E2, Mode.ACTIVE, {"live": False}, "the study is not live"),
        (OUTSIDE, False, E2, Mode.ACTIVE, {"flag": None}, "the flag was ended"),
        (OUTSIDE, False, E2, Mode.ACTIVE, {"reading_state": ReadingState.READ}, "the study was read"),
        (OUTSIDE, False, E2, Mode.ACTIVE, {"reading_state": ReadingState.STATUS_UNKNOWN}, "the study has left the list"),
    ],
)  # fmt: skip
def test_who_may_be_told(listener, simulation, level, mode, change, why):
    assert may_raise(listener, replace(ROW, **change), level, mode, simulation) == (not why, why)


def test_more_evidence_never_shuts_the_gate():
    for listener, simulation, mode in itertools.product((HERE, OUTSIDE), (True, False), Mode):
        told = [may_raise(listener, ROW, level, mode, simulation)[0] for level in EvidenceLevel]
        assert told == sorted(told)


def test_a_simulated_patient_reaches_nobody_outside_whatever_is_asked():
    assert may_reach(OUTSIDE, True)[0] is False
    assert all(may_reach(listener, False)[0] for listener in (HERE, OUTSIDE))
    for level, mode in itertools.product(EvidenceLevel, Mode):
        assert not may_raise(OUTSIDE, ROW, level, mode, True)[0]
