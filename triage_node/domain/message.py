"""Messages to the reading lists of others and to people, and how far each one has come (DESIGN.md section 3, Outbox)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from triage_node.domain.identifiers import deterministic_uid
from triage_node.domain.priority import Urgency


class MessageKind(StrEnum):
    RAISE = "raise"
    WITHDRAW = "withdraw"
    NOTIFY = "notify"
    """To a person, not to a list; nothing takes it back."""


class MessageState(StrEnum):
    """NOT_SENT: nothing left the node, on purpose (read meanwhile, the node observes, the peer takes no such message).
    IN_PART: the peer has the result, and refuses to change its order for good."""

    PENDING = "pending"
    ACKNOWLEDGED = "acknowledged"
    NOT_CONFIRMED = "sent, not confirmed"
    IN_PART = "told, order refused"
    UNKNOWN_STUDY = "unknown study"
    TOO_LATE = "too late"
    NOT_SENT = "not sent"
    PARKED = "parked"
    EXPIRED = "expired"


GONE_OUT = frozenset({MessageState.ACKNOWLEDGED, MessageState.NOT_CONFIRMED, MessageState.IN_PART})
"""The peer holds what it says, or may hold it."""

FAILED = frozenset({MessageState.PARKED, MessageState.UNKNOWN_STUDY, MessageState.EXPIRED, MessageState.IN_PART})
"""It was due and will never arrive, or not have its effect: an alarm while the study waits to be read."""

_NEVER_ARRIVED = frozenset({MessageState.NOT_SENT, MessageState.EXPIRED, MessageState.UNKNOWN_STUDY})


@dataclass(frozen=True, slots=True)
class NewMessage:
    """One message for one peer. `payload` is JSON that the store keeps and does not read; `expires_at` None: never."""

    peer: str
    kind: MessageKind
    message_id: str
    study_instance_uid: str
    revision: int
    payload: Mapping[str, Any]
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message and what became of it. `held` and `written`: the peer's priority before and after, in its own words.

    `words`: why it is where it is. `final_at`: since when nothing more will happen to it.
    """

    id: int
    peer: str
    kind: MessageKind
    message_id: str
    study_instance_uid: str
    revision: int
    payload: Mapping[str, Any]
    state: MessageState
    tries: int
    not_before: datetime
    created_at: datetime
    expires_at: datetime | None = None
    held: str = ""
    written: str = ""
    words: str = ""
    sent_at: datetime | None = None
    final_at: datetime | None = None


def message_id(study_instance_uid: str, revision: int, peer: str, kind: MessageKind, times_before: int = 0) -> str:
    """The id of a message: the same on every machine and in every run, so that a peer sees a second sending as such.

    `times_before`: how often a person has undone and redone this very step.
    """
    parts = [study_instance_uid, str(revision), peer, kind.value]
    return deterministic_uid("message", *parts, *([str(times_before)] if times_before else []))


def was_told(before: Iterable[MessageRow], peer: str, kind: MessageKind, urgency: Urgency) -> bool:
    """Whether this peer was sent, or is about to be sent, a message of this kind with this urgency or a higher one."""
    rank = list(Urgency).index
    return any(
        m.peer == peer
        and m.kind is kind
        and m.state not in _NEVER_ARRIVED
        and rank(Urgency(m.payload["urgency"])) <= rank(urgency)
        for m in before
    )
