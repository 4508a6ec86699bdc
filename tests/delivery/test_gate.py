"""What may leave the node, to whom (DESIGN.md section 4)."""

from __future__ import annotations

import itertools

import pytest

from triage_node.delivery.gate import Destination, may_reach, may_send
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.priority import Mode

E0, E1, E2, E3 = EvidenceLevel
CLINICAL = Destination("pacs", clinical=True, loopback=False)
CLINICAL_HERE = Destination("pacs", clinical=True, loopback=True)
RESEARCH = Destination("research", clinical=False, loopback=False)
RESEARCH_HERE = Destination("research", clinical=False, loopback=True)


@pytest.mark.parametrize(
    ("destination", "level", "mode", "simulation", "allowed"),
    [
        (RESEARCH, E0, Mode.OBSERVE, False, True),
        (RESEARCH, E3, Mode.ACTIVE, False, True),
        (CLINICAL, E1, Mode.ACTIVE, False, False),
        (CLINICAL, E2, Mode.OBSERVE, False, False),
        (CLINICAL, E2, Mode.ACTIVE, False, True),
        (CLINICAL_HERE, E1, Mode.ACTIVE, False, False),
        (CLINICAL_HERE, E0, Mode.ACTIVE, True, True),
        (CLINICAL_HERE, E0, Mode.OBSERVE, True, False),
        (CLINICAL, E3, Mode.ACTIVE, True, False),
        (RESEARCH, E0, Mode.OBSERVE, True, False),
        (RESEARCH_HERE, E0, Mode.OBSERVE, True, True),
    ],
)
def test_gate_follows_the_table(destination, level, mode, simulation, allowed):
    said, why = may_send(destination, level, mode, simulation)
    assert said is allowed
    assert bool(why) is not allowed
    assert allowed or why.startswith(f"{destination.name}: ")


def test_no_simulated_patient_ever_reaches_another_machine():
    for destination, level, mode in itertools.product((CLINICAL, RESEARCH), EvidenceLevel, Mode):
        assert may_send(destination, level, mode, True) == (
            False,
            f"{destination.name}: simulated studies go to this machine only",
        )
    assert may_reach(CLINICAL, True)[0] is False
    assert may_reach(CLINICAL_HERE, True) == may_reach(CLINICAL, False) == (True, "")


def test_more_evidence_never_closes_the_gate():
    for destination, mode, simulation in itertools.product(
        (CLINICAL, CLINICAL_HERE, RESEARCH, RESEARCH_HERE), Mode, (True, False)
    ):
        allowed = [may_send(destination, level, mode, simulation)[0] for level in EvidenceLevel]
        assert allowed == sorted(allowed)
