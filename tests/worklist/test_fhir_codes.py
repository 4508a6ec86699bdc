"""Our own code lists: fhir.resources passes any word."""

from __future__ import annotations

import pytest
from fhir.resources.R4B.task import Task

from tests.worklist.adapter_contract import message
from triage_node.domain.priority import Urgency
from triage_node.worklist.fhir_codes import WANTED, Priority, check_codes, rank
from triage_node.worklist.fhir_report import resources


def test_the_library_passes_what_our_lists_refuse():
    """The reason for our lists; if this fails the library has learned to check."""
    Task.model_validate({"resourceType": "Task", "status": "requested", "intent": "order", "priority": "HIGH"})
    assert "HIGH" not in list(Priority)


def test_priorities_are_those_of_r4_in_their_order():
    assert [p.value for p in Priority] == ["routine", "urgent", "asap", "stat"]
    assert [rank(p) for p in ("", *Priority, "sometime")] == [0, 0, 1, 2, 3, 4]
    assert set(WANTED) == set(Urgency)
    assert rank(WANTED[Urgency.CRITICAL]) > rank(WANTED[Urgency.HIGH]) > rank(WANTED[Urgency.MODERATE]) > 0


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("status", ["prelim", "final", "amended", "PRELIMINARY", "", None])
def test_no_status_but_ours_passes(number, status):
    built = resources(message(), None, [], "", "")
    check_codes(built[number])
    with pytest.raises(ValueError):
        check_codes(built[number] | {"status": status})


@pytest.mark.parametrize(
    "coding",
    [
        {},
        {"system": "http://snomed.info/sct"},
        {"system": "http://snomed.info/SCT", "code": "1386000"},
        {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "none"},
    ],
)
def test_no_coding_of_an_unknown_system_passes(coding):
    report = resources(message(), None, [], "", "")[-1]
    with pytest.raises(ValueError):
        check_codes(report | {"code": {"coding": [coding]}})


def test_what_is_none_of_ours_does_not_pass():
    with pytest.raises(ValueError):
        check_codes({"resourceType": "Patient", "status": "active"})
