"""What an order, a patient message or a report says, as facts; how it said it stays here. Pure.

Source: HL7 v2.5.1 chapters 3 (ADT, MRG), 4 (ORC, OBR, TQ1, IPC), 7 (OBX); IHE RAD TF-2 4.4 and 4.2 (OBR-18 accession number,
ZDS-1 Study Instance UID).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from typing import Any

from triage_node.domain.clinical import MG_DL_PER_MMOL_L, ClinicalEntry
from triage_node.domain.identifiers import is_uid
from triage_node.domain.orders import OrderEvent, OrderFacts, PatientKey
from triage_node.domain.priority import OrderClass
from triage_node.hl7v2.messages import LOCAL
from triage_node.hl7v2.names import person_name
from triage_node.hl7v2.parse import Message, Segment, instant

_ORDERS = frozenset({("ORM", "O01"), ("OMG", "O19"), ("OMI", "O23"), ("ORU", "R01")})
_PATIENTS = {
    ("ADT", "A01"): OrderEvent.PATIENT,
    ("ADT", "A04"): OrderEvent.PATIENT,
    ("ADT", "A08"): OrderEvent.PATIENT_UPDATED,
    ("ADT", "A40"): OrderEvent.PATIENT_MERGED,
}
TAKEN = frozenset({*_ORDERS, *_PATIENTS})
_CLASSES = {
    **dict.fromkeys(("S", "T", "STAT", "EMERGENCY"), OrderClass.STAT),
    **dict.fromkeys(("A", "P", "C", "ASAP", "URGENT"), OrderClass.URGENT),
    **dict.fromkeys(("R", "PRN", "ROUTINE"), OrderClass.ROUTINE),
}
"""TQ1-9, table 0485: S stat, T timing critical, A as soon as possible, P preoperative, C callback, R routine; and as words."""
_CANCELS = frozenset({"CA", "OC", "CR", "DC", "OD"})
_STUDY_UID_CODES = frozenset({"110180", "113014"})
_REPORT_TYPES = frozenset({"TX", "FT", "ST", "ED", "RP", "CE", "CWE"})
_GONE = frozenset({"D", "W", "X"})
_YES = frozenset({"Y", "YES", "TRUE", "1", "LA33-6", "373066001"})
_NO = frozenset({"N", "NO", "FALSE", "0", "LA32-8", "373067005"})
_WHOLE = frozenset({"gcs", "gcs_eye", "gcs_verbal", "gcs_motor", "nihss", "systolic_mmhg"})
MOST_ORDERS = 50


@dataclass(slots=True)
class _Group:
    """The segments of one order."""

    segments: list[Segment] = field(default_factory=list)

    def all(self, name: str) -> Iterator[Segment]:
        return (s for s in self.segments if s.name == name)

    def get(self, name: str, number: int, component: int = 1) -> str:
        return next((v for s in self.all(name) if (v := s.get(number, component))), "")


def facts_of(message: Message, observations: Mapping[str, str], zone: tzinfo) -> list[OrderFacts]:
    """Facts by order or patient. Raises: ValueError for a type that is not TAKEN, or with more orders than MOST_ORDERS."""
    if message.kind in _PATIENTS:
        return _of_patients(message, _PATIENTS[message.kind])
    if message.kind not in _ORDERS:
        raise ValueError(f"{'^'.join(message.kind)} is not taken here")
    patient = message.first("PID")
    groups = _groups(message)
    if len(groups) > MOST_ORDERS:
        raise ValueError(f"more than {MOST_ORDERS} orders in one message")
    return _unambiguous([_of_order(message.kind[0], patient, g, observations, zone) for g in groups])


def _unambiguous(found: list[OrderFacts]) -> list[OrderFacts]:
    """Two orders that were done in one scan share its study: none of their numbers is the study's alone."""
    numbers: dict[str, set[str]] = {}
    for f in found:
        numbers.setdefault(f.study_instance_uid, set()).add(f.assigned_accession)
    return [f if len(numbers[f.study_instance_uid]) == 1 else replace(f, assigned_accession="") for f in found]


def _of_patients(message: Message, event: OrderEvent) -> list[OrderFacts]:
    found, patient = [], None
    for s in message.segments:
        if s.name == "PID":
            patient = s
            if event is not OrderEvent.PATIENT_MERGED:
                found.append(OrderFacts(event, **_patient(s)))
        elif s.name == "MRG" and patient is not None and event is OrderEvent.PATIENT_MERGED:
            old, who = _keys(s, 1), _patient(patient)
            if old and who["patients"]:
                found.append(OrderFacts(event, merged_from=old[0], **who))
    return [f for f in found if f.patients]


def _groups(message: Message) -> list[_Group]:
    groups: list[_Group] = []
    for s in message.segments:
        begins = s.name == "ORC" or (s.name == "OBR" and (not groups or any(groups[-1].all("OBR"))))
        if begins:
            groups.append(_Group())
        if groups:
            groups[-1].segments.append(s)
    return groups


def _of_order(
    kind: str, patient: Segment | None, group: _Group, observations: Mapping[str, str], zone: tzinfo
) -> OrderFacts:
    notes: list[str] = []
    entry = _entry(group, observations, zone, notes)
    accession = group.get("IPC", 1) or group.get("OBR", 18) or group.get("OBR", 3) or group.get("ORC", 3)
    if len(accession) > 64:
        notes.append("accession number of more than 64 characters")
        accession = ""
    uid = _study_uid(group, notes)
    # OBR-3 and ORC-3 are the filler's number: an accession number at many sites, at others not
    own = group.get("IPC", 1) or group.get("OBR", 18)
    is_assigned = kind != "ORU" and bool(uid) and own == accession
    return OrderFacts(
        event=_event(kind, group, observations),
        study_instance_uid=uid,
        assigned_accession=accession if is_assigned else "",
        accession_number=accession,
        order_class=_order_class(group, notes),
        entry=entry,
        notes=tuple(notes),
        **(_patient(patient) if patient is not None else {}),
    )


def _event(kind: str, group: _Group, observations: Mapping[str, str]) -> OrderEvent:
    control, status = group.get("ORC", 1), group.get("ORC", 5)
    if kind == "ORU":
        return OrderEvent.REPORT if _is_report(group, observations) else OrderEvent.ORDER
    if control in _CANCELS or status in ("CA", "DC"):
        return OrderEvent.CANCELLED
    return OrderEvent.COMPLETED if status == "CM" else OrderEvent.ORDER


def _is_report(group: _Group, observations: Mapping[str, str]) -> bool:
    """Final or corrected, and it says something in words: a GCS or a laboratory value that is final is no report.

    The suggestion of a node like this one is none either, nor is its withdrawal.
    """
    if group.get("OBR", 25) not in ("F", "C"):
        return False
    said = False
    for s in group.all("OBX"):
        if s.get(3, 3) == LOCAL:
            return False
        told = s.get(5) or s.get(5, 2) or s.get(5, 5)
        known = s.get(3) in observations or s.get(3) in _STUDY_UID_CODES
        said = said or (s.get(2) in _REPORT_TYPES and bool(told) and not known and s.get(11) not in _GONE)
    return said


def _study_uid(group: _Group, notes: list[str]) -> str:
    named = next((s.get(5) for s in group.all("OBX") if s.get(3) in _STUDY_UID_CODES), "")
    uid = group.get("IPC", 3) or group.get("ZDS", 1) or named
    if uid and not is_uid(uid):
        notes.append("Study Instance UID that is none")
        return ""
    return uid


def _order_class(group: _Group, notes: list[str]) -> OrderClass | None:
    code = group.get("TQ1", 9) or group.get("ORC", 7, 6) or group.get("OBR", 27, 6) or group.get("OBR", 5)
    if code and code.upper() not in _CLASSES:
        notes.append(f"priority {code[:16]!r}")
    return _CLASSES.get(code.upper())


def _entry(group: _Group, observations: Mapping[str, str], zone: tzinfo, notes: list[str]) -> ClinicalEntry:
    values: dict[str, Any] = {}
    for s in group.all("OBX"):
        name = observations.get(s.get(3)) or observations.get(s.get(3, 4))
        text = s.get(5) or s.get(5, 2)
        if name is None or not text or s.get(11) in _GONE:
            continue
        value = _value(name, text, s.get(6), zone)
        if value is None:
            notes.append(f"{name.replace('_', ' ')}: {text[:32]!r}")
        else:
            values[name] = value
    return ClinicalEntry(**values)


def _value(name: str, text: str, unit: str, zone: tzinfo) -> int | float | bool | datetime | None:
    if name == "onset_at":
        return instant(text, zone)
    if name in _WHOLE:
        number = _number(text)
        return int(number) if number is not None and number.is_integer() else None
    if name == "glucose_mg_dl":
        number = _number(text)
        if number is None or unit.casefold() not in ("mg/dl", "mmol/l"):
            return None
        return number if unit.casefold() == "mg/dl" else round(number * MG_DL_PER_MMOL_L, 1)
    return True if text.upper() in _YES else False if text.upper() in _NO else None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[+-]?\d{1,6}(?:\.\d{1,6})?", text) else None


def _patient(pid: Segment) -> dict[str, Any]:
    birth_date, sex = pid.get(7)[:8], pid.get(8).upper()
    return {
        "patients": _keys(pid, 3),
        "patient_name": person_name(pid.repetitions(5, 8))[:324],
        "birth_date": birth_date if _is_day(birth_date) else "",
        "sex": sex if sex in ("M", "F", "O") else "",
    }


def _keys(segment: Segment, number: int) -> tuple[PatientKey, ...]:
    return tuple(PatientKey(r[0][:128], r[3][:128]) for r in segment.repetitions(number, 4) if r[0])


def _is_day(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y%m%d")
    except ValueError:
        return False
    return len(text) == 8
