"""A flagged study that nobody opens goes to the next contacts.

Invariants:
(1) no order of contacts is told twice of the same round of notices, and the last order ends it;
(2) what a person opened, claimed or read, or a report or cancel message closed, is passed on no more, also when a claim lapses;
(3) time alone never closes it, and nothing is passed on while it is not known that readings are told to this node.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from triage_node.domain.durations import in_words
from triage_node.domain.priority import ReadingState, WorklistRow

_UNREAD = frozenset({ReadingState.WAITING, ReadingState.NOT_CONFIRMED})


@dataclass(frozen=True, slots=True)
class Told:
    """One notice of a round: the contact's order, and when the notice was written, whenever it arrived."""

    order: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Escalation:
    """Whether studies are passed on. `since`: only those first notified from then on; None: all."""

    is_on: bool
    words: str
    since: datetime | None = None


def standing(
    orders: Collection[int],
    read_here: bool,
    readings: tuple[datetime, datetime] | None,
    within: timedelta,
    now: datetime,
) -> Escalation:
    """`readings`: first and last time within `within` that somebody told of a reading.

    Studies that were flagged before readings began to be told may have been read: they are left alone.
    """
    if len(set(orders)) < 2:
        return Escalation(False, "off: there are no contacts of a second order")
    if read_here:
        return Escalation(True, "on: studies are read on this node's page")
    if readings is None or now - readings[1] > within:
        return Escalation(
            False,
            f"off: nobody has told of a reading for {in_words(within)} (report message, UPS COMPLETED, page); "
            "what is read elsewhere would be passed on",
        )
    return Escalation(True, f"on: a reading was told {in_words(now - readings[1])} ago", readings[0])


def next_order(
    row: WorklistRow, told: Sequence[Told], orders: Collection[int], looked_at: bool, after: timedelta, now: datetime
) -> int | None:
    """The order of contacts who are due to be told of a study, None when nobody is. `told`: the latest round of notices."""
    if not told or looked_at or row.flag is None or not row.live or row.reading_state not in _UNREAD:
        return None
    if now - max(t.at for t in told) < after:
        return None
    reached = max(t.order for t in told)
    return min((o for o in orders if o > reached), default=None)
