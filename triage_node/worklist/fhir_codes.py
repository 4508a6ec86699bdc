"""The R4 value sets that the FHIR adapter writes or reads, and a check of what it writes.

fhir.resources checks structure and types but no code values (STANDARDS.md 3.4.3): a Task of priority "HIGH" passes it.

Source: HL7 FHIR R4 (4.0.1): request-priority, request-status, task-status, diagnostic-report-status, observation-status,
data-absent-reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from triage_node.domain.priority import Urgency


class Priority(StrEnum):
    """request-priority, lowest first; a request without one is routine."""

    ROUTINE = "routine"
    URGENT = "urgent"
    ASAP = "asap"
    STAT = "stat"


WANTED = {Urgency.CRITICAL: Priority.STAT, Urgency.HIGH: Priority.ASAP, Urgency.MODERATE: Priority.URGENT}
PRELIMINARY, WITHDRAWN = "preliminary", "entered-in-error"
"""What our reports and observations may be; never final: no person has seen them."""

_STATUSES = {
    "DiagnosticReport": frozenset(
        "registered partial preliminary final amended corrected appended cancelled entered-in-error unknown".split()
    ),
    "Observation": frozenset(
        "registered preliminary final amended corrected cancelled entered-in-error unknown".split()
    ),
    "Device": frozenset("active inactive entered-in-error unknown".split()),
}
_OURS = {
    "DiagnosticReport": frozenset({PRELIMINARY, WITHDRAWN}),
    "Observation": frozenset({PRELIMINARY, WITHDRAWN}),
    "Device": frozenset({"active"}),
}
_ABSENT = frozenset("unknown not-performed".split())
_SYSTEMS = frozenset(
    {
        "http://dicom.nema.org/resources/ontology/DCM",
        "http://snomed.info/sct",
        "http://loinc.org",
        "http://terminology.hl7.org/CodeSystem/v2-0074",
        "http://terminology.hl7.org/CodeSystem/v3-ActReason",
        "http://terminology.hl7.org/CodeSystem/data-absent-reason",
    }
)

WAITING = {
    "ServiceRequest": frozenset("draft active on-hold unknown".split()),
    "Task": frozenset("draft requested received accepted ready on-hold".split()),
}
"""Statuses of a request that still waits; any other means that it is being done, was done or was called off."""


def rank(priority: str) -> int:
    """Higher is sooner. One that R4 does not know ranks highest: it is nothing that we could improve on."""
    known = list(Priority)
    return 0 if not priority else known.index(Priority(priority)) if priority in known else len(known)


def check_codes(resource: Mapping[str, Any]) -> None:
    """Raises: ValueError when a resource that we built holds a code that R4 does not know or that is not ours to say."""
    kind, status = str(resource.get("resourceType")), resource.get("status")
    if kind not in _STATUSES:
        raise ValueError(f"{kind} is nothing that we write")
    if status not in _STATUSES[kind] or status not in _OURS[kind]:
        raise ValueError(f"{kind}.status {status!r}")
    _check_codings(resource)


def _check_codings(value: Any) -> None:
    if isinstance(value, Mapping):
        for coding in (*value.get("coding", ()), *value.get("tag", ())):
            if coding.get("system") not in _SYSTEMS or not coding.get("code"):
                raise ValueError(f"coding {coding}")
            if str(coding["system"]).endswith("data-absent-reason") and coding["code"] not in _ABSENT:
                raise ValueError(f"dataAbsentReason {coding['code']!r}")
        for part in value.values():
            _check_codings(part)
    elif isinstance(value, list):
        for part in value:
            _check_codings(part)
