"""An entry of the audit trail as a DICOM audit message: XML after the schema of PS3.15 A.5.1.

Of the patient it says what the site allows: the Study Instance UID, which stands in the entry, and where configured the
accession number and the patient ID; never a name.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC
from xml.etree import ElementTree as ET

from triage_node.delivery.audit_events import (
    APPLICATION_ACTIVITY,
    EXPORT,
    INSTANCES_TRANSFERRED,
    OTHER,
    QUERY,
    SECURITY_ALERT,
    Code,
    Event,
    event_of,
)
from triage_node.domain.audit import AuditEntry
from triage_node.domain.identifiers import is_uid
from triage_node.domain.study import StudyIdentity

MESSAGE_ID = "DICOM+RFC3881"
"""MSGID of such messages (PS3.15 A.6, IHE ITI-20)."""
NOT_TOLD = "<none>"
_APPLICATION, _LAUNCHER = ("110150", "Application"), ("110151", "Application Launcher")
_DESTINATION, _SOURCE = ("110152", "Destination Role ID"), ("110153", "Source Role ID")
_STUDY, _SOP_CLASS = ("110180", "Study Instance UID"), ("110181", "SOP Class UID")
_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_PARTS_OF_THE_NODE = ("node", "delivery", "analysis", "heartbeat")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Source:
    """Who tells: the node's name and its institution."""

    name: str
    institution: str


def audit_message(entry: AuditEntry, source: Source, identity: StudyIdentity | None, identifiers: str) -> str:
    """`identifiers`: none, accession or patient. `identity`: of the study where the subject is one that the node holds."""
    event = event_of(entry.action) or OTHER
    root = ET.Element("AuditMessage")
    _event(root, event, entry)
    _participants(root, event, entry, source)
    site = {"AuditEnterpriseSiteID": source.institution} if source.institution else {}
    audited_by = _sub(root, "AuditSourceIdentification", AuditSourceID=source.name, **site)
    _sub(audited_by, "AuditSourceTypeCode", **{"csd-code": "4"})  # application server process
    if is_uid(entry.subject):
        _study(root, entry, identity, identifiers)
    elif event.id != APPLICATION_ACTIVITY:
        _object(root, event, entry)
    return '<?xml version="1.0" encoding="UTF-8"?>' + ET.tostring(root, encoding="unicode")


def _event(root: ET.Element, event: Event, entry: AuditEntry) -> None:
    said = _sub(
        root,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=entry.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        EventOutcomeIndicator="4" if event.failed else "0",
    )
    _coded(said, "EventID", event.id)
    for kind in event.types:
        _coded(said, "EventTypeCode", kind)
    if event.failed:
        _sub(said, "EventOutcomeDescription").text = _clean(entry.new or entry.action)


def _participants(root: ET.Element, event: Event, entry: AuditEntry, source: Source) -> None:
    by_itself = entry.actor.partition(":")[0] in _PARTS_OF_THE_NODE
    if event.id in (INSTANCES_TRANSFERRED, EXPORT, QUERY):
        here, there = (_SOURCE, _DESTINATION)
        _participant(root, source.name, by_itself, here, entry.actor)
        _participant(root, _peer(entry), False, there)
    else:
        _participant(root, source.name, by_itself, _APPLICATION, entry.actor if by_itself else "")
    if not by_itself:
        _participant(root, entry.actor, True, _LAUNCHER if event.id == APPLICATION_ACTIVITY else None)


def _peer(entry: AuditEntry) -> str:
    """Who got something, as far as the entry tells: "notify at ANNA", "1.2.3 sr to PACS", "archive 2026-11-20 to ...", ."""
    _, at, name = entry.action.partition(" at ")
    if not at:
        _, at, name = entry.new.partition(" to ")
    name = name if at else entry.subject
    return name.partition(":")[0].strip() or "peer"


def _study(root: ET.Element, entry: AuditEntry, identity: StudyIdentity | None, identifiers: str) -> None:
    study = _sub(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=entry.subject,
        ParticipantObjectTypeCode="2",
        ParticipantObjectTypeCodeRole="3",
    )
    _coded(study, "ParticipantObjectIDTypeCode", _STUDY)
    _sub(study, "ParticipantObjectName").text = entry.subject
    _details(study, entry)
    if identity is not None and identifiers in ("accession", "patient") and identity.accession_number:
        described = _sub(study, "ParticipantObjectDescription")
        _sub(described, "Accession", Number=identity.accession_number)
    is_told = identity is not None and identifiers == "patient" and identity.patient_id
    patient = _sub(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=identity.patient_id if is_told and identity is not None else NOT_TOLD,
        ParticipantObjectTypeCode="1",
        ParticipantObjectTypeCodeRole="1",
    )
    _coded(patient, "ParticipantObjectIDTypeCode", ("2", "Patient Number"), "RFC-3881")
    _sub(patient, "ParticipantObjectName").text = NOT_TOLD


def _object(root: ET.Element, event: Event, entry: AuditEntry) -> None:
    is_query = event.id == QUERY
    thing = _sub(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_STUDY_ROOT_FIND if is_query else entry.subject or "node",
        ParticipantObjectTypeCode="2",
        ParticipantObjectTypeCodeRole="3" if is_query else "13",
    )
    if is_query:
        _coded(thing, "ParticipantObjectIDTypeCode", _SOP_CLASS)
        _sub(thing, "ParticipantObjectQuery").text = _base64(entry.subject)
    else:
        _coded(thing, "ParticipantObjectIDTypeCode", ("12", "URI"), "RFC-3881")
        _sub(thing, "ParticipantObjectName").text = _clean(entry.subject or "node")
    if event.id == SECURITY_ALERT:
        _detail(thing, "Alert Description", entry.action)
    _details(thing, entry)


def _details(thing: ET.Element, entry: AuditEntry) -> None:
    """The entry itself, so that the receiver can walk the chain on its own."""
    kept = {"old": entry.old, "new": entry.new, "previous_hash": entry.previous_hash, "hash": entry.hash}
    for name, value in {"entry": str(entry.id), "action": entry.action, **kept}.items():
        if value:
            _detail(thing, name, value)


def _participant(root: ET.Element, user: str, requests: bool, role: Code | None, other: str = "") -> None:
    also = {"AlternativeUserID": other} if other else {}
    who = _sub(root, "ActiveParticipant", UserID=user, UserIsRequestor=str(requests).lower(), **also)
    if role is not None:
        _coded(who, "RoleIDCode", role)


def _coded(parent: ET.Element, name: str, code: Code, scheme: str = "DCM") -> None:
    _sub(parent, name, **{"csd-code": code[0], "codeSystemName": scheme, "originalText": code[1]})


def _detail(parent: ET.Element, kind: str, value: str) -> None:
    _sub(parent, "ParticipantObjectDetail", type=kind, value=_base64(value))


def _sub(parent: ET.Element, name: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, name, {key: _clean(value) for key, value in attributes.items()})


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def _clean(text: str) -> str:
    """Text that XML 1.0 can hold."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
