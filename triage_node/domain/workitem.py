"""Words of the node's reading workitems (unified procedure steps, PS3.4 annex CC)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from triage_node.domain.priority import OrderClass
from triage_node.domain.study import StudyIdentity

GLOBAL_SUBSCRIPTION = "1.2.840.10008.5.1.4.34.5"
FILTERED_SUBSCRIPTION = "1.2.840.10008.5.1.4.34.5.1"
"""Well-known instances that stand for all workitems, and for those that match a filter (PS3.6 table A-1)."""

Json = Mapping[str, Any]
"""A data set in the DICOM JSON model (PS3.18 F)."""


class ItemState(StrEnum):
    """Procedure Step State (0074,1000)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


OPEN_STATES = frozenset({ItemState.SCHEDULED, ItemState.IN_PROGRESS})


class ItemPriority(StrEnum):
    """Scheduled Procedure Step Priority (0074,1200), most urgent first."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


class Ended(StrEnum):
    """Why a workitem is final."""

    READ = "read"
    RELEASED = "released by its owner"
    LAPSED = "the claim ended"
    EXPIRED = "expired, status unknown"
    WITHDRAWN = "canceled on request before anybody read it"


@dataclass(frozen=True, slots=True)
class Workitem:
    """One attempt to have a study read. `own_priority` follows the node's list, `asked_priority` is what a peer set.

    `comment` is the flag in words as readers may see it; `performed` what the performer told (DICOM JSON model).
    `performer` is who claimed it, for people and the audit.
    """

    uid: str
    study_instance_uid: str
    attempt: int
    own_priority: ItemPriority
    created_at: datetime
    changed_at: datetime
    state: ItemState = ItemState.SCHEDULED
    asked_priority: ItemPriority | None = None
    comment: str = ""
    input_ready: bool = False
    transaction_uid: str = ""
    performer: str = ""
    ended: Ended | None = None
    performed: Json = field(default_factory=dict)

    @property
    def priority(self) -> ItemPriority:
        """The more urgent of what the node's list gives and what a peer asked for: nobody lowers the other's."""
        wanted = {self.own_priority, self.asked_priority}
        return next(p for p in ItemPriority if p in wanted)


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What a workitem says about its study."""

    study_instance_uid: str
    identity: StudyIdentity
    description: str
    order_class: OrderClass
    arrived_at: datetime
    calling_ae_title: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """One AE's wish to hear of one workitem, or of all (`scope` is then a well-known UID).

    `subscribed` False: taken out of a global subscription. `suspended_at`: new workitems from then on are left out.
    """

    ae_title: str
    scope: str
    subscribed: bool = True
    deletion_lock: bool = False
    keys: Json = field(default_factory=dict)
    suspended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class QueuedEvent:
    """An event that its subscriber has not taken yet. `event_type` of PS3.4 table CC.2.4-1."""

    id: int
    ae_title: str
    workitem_uid: str
    event_type: int
    body: Json
