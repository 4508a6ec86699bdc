"""The messages that the node writes: a result (ORU^R01), an order's new priority (ORM, OMG, OMI), an answer (ACK).

Source: HL7 v2.5.1 chapters 2 (MSH, MSA, ERR), 4 (ORC, OBR, TQ1, IPC; ORM^O01, OMG^O19, OMI^O23), 7 (ORU^R01, OBX). ORM^O01
has no place for TQ1: there the priority stands in ORC-7, OBR-5 and OBR-27, and OMG and OMI have it in both ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from triage_node.hl7v2 import names
from triage_node.hl7v2.build import DELIMITERS, composite, message, segment, timestamp
from triage_node.hl7v2.text import escape, fitted

STAT = "S"
"""TQ1-9, table 0485: the highest that an imaging order has."""
LOCAL = "99TRIAGE"
"""Our own coding scheme."""
STUDY_UID = ("110180", "Study Instance UID", "DCM")
HEAD_CT = ("24725-4", "CT Head", "LN")
_WITH_TQ1 = frozenset({"2.5", "2.5.1"})
_STRUCTURES = {"ORM": ("O01", "ORM_O01"), "OMG": ("O19", "OMG_O19"), "OMI": ("O23", "OMI_O23")}
_LONGEST = {"ST": 199, "TX": 4000}


@dataclass(frozen=True, slots=True)
class Head:
    """What stands in MSH. `processing`: P production, T training (table 0103)."""

    control_id: str
    at: datetime
    version: str = "2.5.1"
    character_set: str = "UNICODE UTF-8"
    sending_application: str = "TRIAGE"
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    processing: str = "P"


@dataclass(frozen=True, slots=True)
class Patient:
    """`name` as DICOM's PN. Without an ID there is no PID segment: nothing may be filed under a name alone."""

    identifier: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    accession_number: str
    study_instance_uid: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One OBX. `value` is plain text, or (code, meaning, scheme) for kind CE."""

    kind: str
    code: tuple[str, str, str]
    value: str | tuple[str, str, str]
    unit: tuple[str, str, str] | None = None
    abnormal: str = ""
    status: str = ""


def result(head: Head, patient: Patient, order: Order, status: str, observations: list[Observation]) -> bytes:
    """ORU^R01. `status` is OBR-25 (table 0123) and, where an observation has none of its own, OBX-11 (table 0085)."""
    request = {
        1: "1",
        3: composite(order.accession_number),
        4: composite(*HEAD_CT),
        18: escape(order.accession_number),
        22: timestamp(head.at),
        24: "RAD",
        25: status,
    }
    lines = [_msh(head, "ORU", "R01", "ORU_R01"), *_pid(patient, head.character_set), segment("OBR", request)]
    lines += [_obx(i, o, status, _sub_id(observations, i)) for i, o in enumerate(observations, 1)]
    return message(lines, head.character_set)


def order_change(kind: str, head: Head, patient: Patient, order: Order, priority: str) -> bytes:
    """ORM^O01, OMG^O19 or OMI^O23 with ORC-1 XO: the order of this accession gets another priority."""
    with_tq1 = kind != "ORM"
    if with_tq1 and head.version not in _WITH_TQ1:
        raise ValueError(f"HL7 {head.version} has no {kind} with TQ1")
    accession, legacy = composite(order.accession_number), f"^^^^^{priority}"
    control = {1: "XO", 3: accession, 7: legacy, 9: timestamp(head.at)}
    request = {
        1: "1",
        3: accession,
        4: composite(*HEAD_CT),
        5: priority,
        18: escape(order.accession_number),
        27: legacy,
    }
    timing = [segment("TQ1", {1: "1", 9: composite(priority)})] if with_tq1 else []
    event, structure = _STRUCTURES[kind]
    lines = [
        _msh(head, kind, event, structure),
        *_pid(patient, head.character_set),
        segment("ORC", control),
        *timing,
        segment("OBR", request),
    ]
    study = order.study_instance_uid
    if kind == "OMI":
        lines.append(segment("IPC", {1: accession, 2: accession, 3: composite(study), 4: accession}))
    else:
        lines.append(_obx(1, Observation("ST", STUDY_UID, study), "O"))
    return message(lines, head.character_set)


def answer(head: Head, event: str, code: str, of: str, error: tuple[str, str] | None = None, words: str = "") -> bytes:
    """ACK with MSA-1 `code` to a message of trigger `event`; `error` is a row of table 0357."""
    lines = [_msh(head, "ACK", event, "ACK"), segment("MSA", {1: code, 2: escape(of), 3: escape(fitted(words, 80))})]
    if error is not None:
        if head.version in _WITH_TQ1:
            lines.append(segment("ERR", {3: composite(*error, "HL70357"), 4: "E", 8: escape(fitted(words, 250))}))
        else:
            lines.append(segment("ERR", {1: "^^^" + composite(*error).replace("^", "&")}))
    return message(lines, head.character_set)


def _msh(head: Head, kind: str, event: str, structure: str) -> str:
    what = composite(kind, event, structure) if event else kind
    return segment(
        "MSH",
        {
            2: DELIMITERS,
            3: escape(head.sending_application),
            4: escape(head.sending_facility),
            5: escape(head.receiving_application),
            6: escape(head.receiving_facility),
            7: timestamp(head.at),
            9: what,
            10: escape(head.control_id),
            11: head.processing,
            12: head.version,
            18: head.character_set,
        },
    )


def _pid(patient: Patient, character_set: str) -> list[str]:
    if not patient.identifier:
        return []
    identifier = composite(patient.identifier, "", "", patient.issuer, "MR")
    # without a name: XPN-7 U, "unspecified" (table 0200), for PID-5 is required
    name = names.xpn(patient.name, character_set) if patient.name else "^^^^^^U"
    fields = {1: "1", 3: identifier, 5: name, 7: escape(patient.birth_date), 8: escape(patient.sex)}
    return [segment("PID", fields)]


def _sub_id(observations: list[Observation], number: int) -> int:
    """OBX-4: which of several observations with one code this is."""
    return sum(o.code == observations[number - 1].code for o in observations[:number])


def _obx(number: int, observation: Observation, status: str, sub_id: int = 1) -> str:
    value = observation.value
    if isinstance(value, tuple):
        text = composite(*value)
    else:
        text = escape(fitted(value, _LONGEST.get(observation.kind, 199)))
    return segment(
        "OBX",
        {
            1: str(number),
            2: observation.kind,
            3: composite(*observation.code),
            4: str(sub_id),
            5: text,
            6: composite(*observation.unit) if observation.unit else "",
            8: observation.abnormal,
            11: observation.status or status,
        },
    )
