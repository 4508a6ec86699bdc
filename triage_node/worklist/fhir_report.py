"""A raise as FHIR R4 resources: a preliminary DiagnosticReport, its Observations, and the Device that made them.

Their ids follow from the study, so that sending again replaces and adds nothing; a server that gives ids of its own knows them by
an identifier of the same value. The report names the message that it says.
What the peer held before is kept in the report too: a try whose answer was lost has raised already, and the next one must
not take our own priority for the one from before.

Built as plain JSON, checked against fhir.resources' R4B classes (equal to R4 for these) and our own code lists.

Source: HL7 FHIR R4; STANDARDS.md 3.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fhir.resources.R4B.device import Device
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.observation import Observation

import triage_node
from triage_node.domain.finding import FINDINGS, EvidenceLevel
from triage_node.domain.identifiers import deterministic_uid
from triage_node.worklist.adapter import RaiseMessage
from triage_node.worklist.fhir_codes import PRELIMINARY, WITHDRAWN, check_codes

Json = dict[str, Any]

NOT_DIAGNOSTIC = "Not for diagnostic use."
SIMULATED = "SIMULATED DATA: no real patient."
MESSAGE = f"urn:oid:{deterministic_uid('fhir', 'message')}"
"""System of the identifier that names the message."""
OURS = f"urn:oid:{deterministic_uid('fhir', 'resource')}"
"""System of the identifier that is also the id, where the server takes ours."""
HELD = f"urn:oid:{deterministic_uid('fhir', 'priority before')}"
"""URL of the extension that keeps what the peer held before."""

_DCM, _SCT, _LOINC = "http://dicom.nema.org/resources/ontology/DCM", "http://snomed.info/sct", "http://loinc.org"
_SYSTEMS = {"SCT": _SCT, "DCM": _DCM}
_FINDING = {"coding": [{"system": _DCM, "code": "121071", "display": "Finding"}]}
_PROBABILITY = {"coding": [{"system": _DCM, "code": "122157", "display": "Probability"}]}
_VOLUME = {"coding": [{"system": _SCT, "code": "118565006", "display": "Volume"}]}
_IMAGING = {"coding": [{"system": _LOINC, "code": "18748-4", "display": "Diagnostic imaging study"}]}
_RADIOLOGY = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}
_TEST = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}
_CLASSES: dict[str, Any] = {"DiagnosticReport": DiagnosticReport, "Observation": Observation, "Device": Device}


def report_id(study_instance_uid: str) -> str:
    return _id("report", study_instance_uid)


def resources(
    message: RaiseMessage, subject: Json | None, orders: Sequence[str], imaging_study: str, held: str
) -> list[Json]:
    """Device, Observations and report, in this order. `orders` and `imaging_study`: references at the peer.

    Raises: ValueError, TypeError when the message cannot be said in FHIR.
    """
    uid = message.study_instance_uid
    at = (message.issued_at or datetime.now(UTC)).isoformat(timespec="seconds")
    common: Json = {"status": PRELIMINARY}
    if message.simulation:
        common["meta"] = {"tag": [_TEST]}
    if subject:
        common["subject"] = subject
    if orders:
        common["basedOn"] = [{"reference": r} for r in orders]
    device = _device()
    observed = common | {"effectiveDateTime": at, "device": {"reference": f"Device/{device['id']}"}}
    observations = [
        {"resourceType": "Observation", **_named(_id(name, uid)), **observed, **said}
        for name, said in (
            ("finding", _finding(message)),
            ("probability", {"code": _PROBABILITY} | _quantity(message.probability, "1", 3)),
            ("volume", {"code": _VOLUME} | _quantity(message.hematoma_volume_ml, "mL", 1)),
        )
    ]
    report: Json = {
        "resourceType": "DiagnosticReport",
        **_named(report_id(uid), {"system": MESSAGE, "value": message.message_id}),
        **common,
        "category": [_RADIOLOGY],
        "code": _IMAGING,
        "effectiveDateTime": at,
        "result": [{"reference": f"Observation/{o['id']}"} for o in observations],
        "conclusion": " ".join(_words(message)),
    }
    if held:
        report["extension"] = [{"url": HELD, "valueString": held}]
    if imaging_study:
        report["imagingStudy"] = [{"reference": imaging_study}]
    return [_checked(r) for r in (device, *observations, report)]


def elsewhere(resources: Sequence[Json], places: Mapping[str, str]) -> list[Json]:
    """The same with other ids: `places` maps "Type/id" of ours to how the server calls it. Without a place: without an id."""
    found = []
    for resource in resources:
        place = places.get(f"{resource['resourceType']}/{resource['id']}", "")
        moved = {k: _moved(v, places) for k, v in resource.items() if k != "id"}
        kind, _, identity = place.partition("/")
        found.append(moved | ({"id": identity} if kind == resource["resourceType"] else {}))
    return found


def withdrawn(resource: Mapping[str, Any]) -> Json:
    """One of ours as the peer holds it, taken back."""
    return {k: v for k, v in resource.items() if k != "meta"} | {"status": WITHDRAWN} | _tag(resource)


def message_of(report: Mapping[str, Any]) -> str:
    """Id of the message that a report at the peer says; empty when it is none of ours."""
    return next((str(i.get("value", "")) for i in _objects(report.get("identifier")) if i.get("system") == MESSAGE), "")


def held_of(report: Mapping[str, Any]) -> str:
    return next((str(e.get("valueString", "")) for e in _objects(report.get("extension")) if e.get("url") == HELD), "")


def observations_of(study_instance_uid: str) -> list[str]:
    return [f"Observation/{_id(name, study_instance_uid)}" for name in ("finding", "probability", "volume")]


def _named(identity: str, *others: Json) -> Json:
    return {"id": identity, "identifier": [{"system": OURS, "value": identity}, *others]}


def _moved(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: places.get(v, v) if k == "reference" else _moved(v, places) for k, v in value.items()}
    return [_moved(v, places) for v in value] if isinstance(value, list) else value


def _finding(message: RaiseMessage) -> Json:
    level = EvidenceLevel(message.evidence)
    notes = [f"Suggested reading priority: {message.urgency.value}.", f"Evidence {level.value}: {level.in_words}."]
    said: Json = {
        "code": _FINDING,
        "valueCodeableConcept": _coded(message.finding if message.finding in FINDINGS else "ich"),
        "note": [{"text": text} for text in (*notes, NOT_DIAGNOSTIC)],
    }
    if message.subtype in FINDINGS and message.subtype != message.finding:
        said["component"] = [{"code": _FINDING, "valueCodeableConcept": _coded(message.subtype)}]
    return said


def _coded(key: str) -> Json:
    value, scheme, meaning = FINDINGS[key].code
    coding = {"system": _SYSTEMS[scheme], "code": value, "display": meaning}
    return {"coding": [coding], "text": f"Suspected {FINDINGS[key].name}"}


def _quantity(value: float | None, unit: str, digits: int) -> Json:
    if value is None:
        system = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
        return {"dataAbsentReason": {"coding": [{"system": system, "code": "unknown"}]}}
    quantity = {"value": round(value, digits), "system": "http://unitsofmeasure.org", "code": unit}
    return {"valueQuantity": quantity if unit == "1" else quantity | {"unit": unit}}


def _device() -> Json:
    name, version = "Triage Node", triage_node.__version__
    return {
        "resourceType": "Device",
        **_named(_id("device", version)),
        "status": "active",
        "deviceName": [{"name": name, "type": "manufacturer-name"}],
        "version": [{"value": version}],
    }


def _words(message: RaiseMessage) -> list[str]:
    said = [message.words]
    if NOT_DIAGNOSTIC.rstrip(".").casefold() not in message.words.casefold():
        said.append(NOT_DIAGNOSTIC)
    if message.simulation:
        said.append(SIMULATED)
    if message.link:
        said.append(message.link)
    return said


def _checked(resource: Json) -> Json:
    check_codes(resource)
    _CLASSES[resource["resourceType"]].model_validate(resource)
    return resource


def _id(*parts: str) -> str:
    """1 to 64 of letters, digits, - and . (FHIR id); not digits alone, which some servers refuse from a client."""
    return "triage-" + hashlib.sha256("|".join(parts).encode()).hexdigest()[:40]


def _tag(resource: Mapping[str, Any]) -> Json:
    meta = resource.get("meta")
    return {"meta": {"tag": meta["tag"]}} if isinstance(meta, dict) and meta.get("tag") else {}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
