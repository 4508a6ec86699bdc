"""Words of the reading list (DESIGN.md section 2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class OrderClass(StrEnum):
    STAT = "STAT"
    URGENT = "URGENT"
    ROUTINE = "ROUTINE"


class Urgency(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MODERATE = "moderate"


class Mode(StrEnum):
    OBSERVE = "observe"
    ACTIVE = "active"


class ReadingState(StrEnum):
    WAITING = "waiting"
    BEING_READ = "being read"
    READ = "read"
    STATUS_UNKNOWN = "status unknown"
    NOT_CONFIRMED = "flagged, reading not confirmed"


ON_THE_LIST = frozenset({ReadingState.WAITING, ReadingState.BEING_READ})


@dataclass(frozen=True, slots=True)
class Flag:
    """A raised study: what was found and how urgent that is. `words` is the reason as a radiologist reads it."""

    finding: str
    urgency: Urgency
    words: str
    raised_at: datetime


@dataclass(frozen=True, slots=True)
class WorklistRow:
    """One study on the reading list. `flag` is kept also in observe mode and for studies that are not live."""

    study_instance_uid: str
    order_class: OrderClass
    arrived_at: datetime
    flag: Flag | None = None
    live: bool = True
    pinned_at: datetime | None = None
    reading_state: ReadingState = ReadingState.WAITING
    claimed_by: str = ""
    claimed_at: datetime | None = None
    status_words: str = ""
    """What the node could not do, in words ("not analysed: 9 slices missing"); empty when analysed or still at work."""
    apart: bool = False
    """The node observes this study while it acts on others: no evaluation of this site covers its scanner."""
    unsure: bool = False
    """The model could neither raise nor pass it; moves nothing, and is never shown as if it had said no."""


@dataclass(frozen=True, slots=True)
class ListPolicy:
    """How the list is ordered. Instants and lengths of time only: the function that uses it has no clock."""

    mode: Mode = Mode.OBSERVE
    bounds: dict[OrderClass, timedelta] = field(
        default_factory=lambda: {
            OrderClass.STAT: timedelta(minutes=30),
            OrderClass.URGENT: timedelta(minutes=60),
            OrderClass.ROUTINE: timedelta(hours=24),
        }
    )
    guarded: frozenset[OrderClass] = frozenset({OrderClass.STAT})
    guard: timedelta = timedelta(minutes=10)
    live_within: timedelta = timedelta(hours=6)
    claim_for: timedelta = timedelta(minutes=60)
    expires_after: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Placed:
    """A row with its place (0 is first), its tier and the reason in words."""

    row: WorklistRow
    position: int
    tier: int
    reason: str
