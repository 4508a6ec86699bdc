"""What messages of other systems (HL7 v2) tell of orders and patients, apart from how they told it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from triage_node.domain.clinical import ClinicalEntry
from triage_node.domain.priority import OrderClass


class OrderEvent(StrEnum):
    ORDER = "order"
    REPORT = "final report"
    CANCELLED = "order cancelled"
    COMPLETED = "order completed"
    PATIENT = "patient"
    PATIENT_UPDATED = "patient updated"
    PATIENT_MERGED = "patient merged"


OF_PATIENTS = frozenset({OrderEvent.PATIENT, OrderEvent.PATIENT_UPDATED, OrderEvent.PATIENT_MERGED})


@dataclass(frozen=True, slots=True)
class PatientKey:
    identifier: str
    issuer: str = ""

    def same_as(self, other: PatientKey) -> bool:
        """The same ID, and no two different issuers."""
        issuers = {i.strip().casefold() for i in (self.issuer, other.issuer) if i.strip()}
        mine, theirs = self.identifier.strip().casefold(), other.identifier.strip().casefold()
        return bool(mine) and mine == theirs and len(issuers) < 2


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """One order or patient of one message. Empty or None: not told.

    `patients` are the IDs of one patient, `merged_from` the ID that ceases (MRG-1). `patient_name` as DICOM's PN, `birth_date`
    as DA. `entry` holds clinical facts; the age is made from `birth_date` once the images tell the day. `notes`: what was
    told and could not be understood. `assigned_accession`: the accession number of an order that also names the study by its UID.
    """

    event: OrderEvent
    study_instance_uid: str = ""
    accession_number: str = ""
    patients: tuple[PatientKey, ...] = ()
    merged_from: PatientKey | None = None
    order_class: OrderClass | None = None
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    entry: ClinicalEntry = ClinicalEntry()
    notes: tuple[str, ...] = ()
    assigned_accession: str = ""


@dataclass(frozen=True, slots=True)
class ReceivedFacts:
    """As stored: from whom and when."""

    id: int
    sender: str
    control_id: str
    received_at: datetime
    facts: OrderFacts
