"""Objects that leave the node, and how far each one has come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ObjectKind(StrEnum):
    FINDINGS_SR = "findings_sr"
    LOCATION_SR = "location_sr"
    SEG = "seg"
    HEATMAP_SC = "heatmap_sc"
    SUMMARY_SC = "summary_sc"
    NOT_FLAGGED_SR = "not_flagged_sr"
    NOT_ANALYSED_SC = "not_analysed_sc"
    NOT_ANALYSED_SR = "not_analysed_sr"
    REJECTION_NOTE = "rejection_note"


class OutboxState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    COMMITTED = "committed"
    DELIVERED = "delivered"
    PARKED = "parked"


OUTBOX_FINAL = frozenset({OutboxState.COMMITTED, OutboxState.DELIVERED, OutboxState.PARKED})


@dataclass(frozen=True, slots=True)
class BuiltObject:
    """A file that was built once and is sent byte for byte the same each time (DESIGN.md section 3, UIDs).

    `refers_to` lists SOP Instance UIDs of our own objects that must be sent (or parked) before this one.
    """

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    kind: ObjectKind
    revision: int
    sha256: str
    size_bytes: int
    refers_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One object for one peer."""

    id: int
    peer: str
    kind: ObjectKind
    study_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    sha256: str
    state: OutboxState
    tries: int
    not_before: datetime
    reason: str = ""
    transaction_uid: str = ""
    refers_to: tuple[str, ...] = ()
    created_at: datetime | None = None
    sent_at: datetime | None = None
