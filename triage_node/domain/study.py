"""The life of a study: one table.

Invariants, each kept by `store.studies.advance`, the only writer:
(1) a study is never declined, quarantined or failed without a reason;
(2) `delivered` is reached only when every outbox row of the study is delivered, committed or parked;
(3) a failed or declined study stays visible as "not analysed", never as "negative" (DESIGN.md invariant 5);
(4) nothing leads back to `receiving` but a late instance.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum


class StudyState(StrEnum):
    RECEIVING = "receiving"
    COMPLETE = "complete"
    ANALYSING = "analysing"
    REPORTED = "reported"
    DELIVERED = "delivered"
    DECLINED = "declined"
    OUT_OF_SCOPE = "out_of_scope"
    QUARANTINED = "quarantined"
    FAILED = "failed"


class StudyEvent(StrEnum):
    CLOSED = "closed"
    CLAIMED = "claimed"
    RELEASED = "released"
    REPORTED = "reported"
    DELIVERED = "delivered"
    DECLINED = "declined"
    RULED_OUT = "ruled_out"
    QUARANTINED = "quarantined"
    FAILED = "failed"
    REOPENED = "reopened"


S, E = StudyState, StudyEvent
TRANSITIONS: dict[tuple[StudyState, StudyEvent], StudyState] = {
    (S.RECEIVING, E.CLOSED): S.COMPLETE,
    (S.RECEIVING, E.QUARANTINED): S.QUARANTINED,
    (S.COMPLETE, E.CLAIMED): S.ANALYSING,
    (S.COMPLETE, E.QUARANTINED): S.QUARANTINED,
    (S.COMPLETE, E.FAILED): S.FAILED,
    (S.ANALYSING, E.RELEASED): S.COMPLETE,  # lease given back or expired: somebody takes it over
    (S.ANALYSING, E.REPORTED): S.REPORTED,
    (S.ANALYSING, E.DECLINED): S.DECLINED,
    (S.ANALYSING, E.RULED_OUT): S.OUT_OF_SCOPE,
    (S.ANALYSING, E.QUARANTINED): S.QUARANTINED,
    (S.ANALYSING, E.FAILED): S.FAILED,
    (S.REPORTED, E.DELIVERED): S.DELIVERED,
    (S.COMPLETE, E.REOPENED): S.RECEIVING,
    (S.REPORTED, E.REOPENED): S.RECEIVING,
    (S.DELIVERED, E.REOPENED): S.RECEIVING,
    (S.DECLINED, E.REOPENED): S.RECEIVING,
    (S.OUT_OF_SCOPE, E.REOPENED): S.RECEIVING,
    (S.FAILED, E.REOPENED): S.RECEIVING,
    (S.FAILED, E.RELEASED): S.COMPLETE,  # what it failed for want of may be there again
}
del S, E


@dataclass(frozen=True, slots=True)
class SelectedSeries:
    """The series that is analysed, or none, with a reason for each candidate that was not taken.

    `rejected` holds (series_instance_uid, series number or None, reason in words) in rank order.
    """

    series_instance_uid: str | None
    reason: str
    rejected: tuple[tuple[str, int | None, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StudyIdentity:
    """What names the patient and the order, as decoded text; compared when the same pixels arrive again."""

    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    accession_number: str


@dataclass(frozen=True, slots=True)
class IdentityCorrection:
    """Somebody who may correct identities gave a study another one. Values, so that what left under the old one can be found."""

    at: datetime
    by: str
    old: StudyIdentity
    new: StudyIdentity

    @property
    def changed(self) -> tuple[str, ...]:
        return tuple(f.name for f in fields(StudyIdentity) if getattr(self.old, f.name) != getattr(self.new, f.name))


class Moment(StrEnum):
    """Points of a study's timeline, in the order in which they normally happen."""

    FIRST_BYTE = "first byte"
    LAST_SLICE = "last slice"
    COMPLETE = "complete"
    CLAIMED = "analysis started"
    VOLUME = "volume assembled"
    DECIDED = "decided"
    FLAGGED = "flagged"
    PROGNOSIS = "prognosis computed"
    REPORTED = "report built"
    SENT = "object sent"
    COMMITTED = "object committed"
    PARKED = "object parked"
    TOLD = "other worklist"
    DECLINED = "declined"
    FAILED = "failed"
    FACTS = "clinical facts entered"


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    study_instance_uid: str
    at: datetime
    moment: str
    detail: str = ""
