"""How rows leave the list by time, and what a reader may see of those that have left.

Invariants:
(1) time never makes a row `read`;
(2) a flagged row never leaves silently: it becomes "flagged, reading not confirmed", until a person or a report closes it;
(3) while somebody reads a study, time does nothing to its row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from triage_node.domain.durations import in_words
from triage_node.domain.priority import ListPolicy, Mode, ReadingState, WorklistRow
from triage_node.worklist.order import is_claimed


@dataclass(frozen=True, slots=True)
class Departure:
    """A change of reading state that time brings, to be stored with its reason; a change to `waiting` ends the claim."""

    study_instance_uid: str
    old: ReadingState
    new: ReadingState
    reason: str


def departures(rows: Iterable[WorklistRow], now: datetime, policy: ListPolicy) -> list[Departure]:
    """The changes that are due at `now`. Applying them and asking again gives none."""
    due = []
    for row in rows:
        new, reason = _next(row, now, policy)
        if new is not row.reading_state:
            due.append(Departure(row.study_instance_uid, row.reading_state, new, reason))
    return due


def _next(row: WorklistRow, now: datetime, policy: ListPolicy) -> tuple[ReadingState, str]:
    state = row.reading_state
    if state is ReadingState.STATUS_UNKNOWN and row.flag is not None:
        # analysed only after it had left (the node was down): a flag must not end where nobody looks
        return ReadingState.NOT_CONFIRMED, "flagged after the row had left the list"
    if state not in (ReadingState.WAITING, ReadingState.BEING_READ) or is_claimed(row, now, policy):
        return state, ""
    # whoever pins a row wants it in sight from now on, however long ago it came
    since = max(row.arrived_at, row.pinned_at or row.arrived_at)
    if now - since >= policy.expires_after:
        after = f"not reported as read within {in_words(policy.expires_after)}"
        return (ReadingState.NOT_CONFIRMED if row.flag is not None else ReadingState.STATUS_UNKNOWN), after
    if state is ReadingState.BEING_READ:
        return (
            ReadingState.WAITING,
            f"claim by {row.claimed_by or 'somebody'} lapsed after {in_words(policy.claim_for)}",
        )
    return state, ""


def late_flags(rows: Iterable[WorklistRow], policy: ListPolicy) -> list[WorklistRow]:
    """Flagged, not live and unread, newest flag first: shown apart until a person raises or dismisses them."""
    rows = (r for r in rows if policy.mode is Mode.ACTIVE and r.reading_state is not ReadingState.READ and not r.live)
    return _newest_first(rows)


def not_confirmed(rows: Iterable[WorklistRow], policy: ListPolicy) -> list[WorklistRow]:
    """Live flags of which nobody said that the study was read, newest first. A late flag stands under late flags only."""
    wanted = ReadingState.NOT_CONFIRMED
    return _newest_first(r for r in rows if policy.mode is Mode.ACTIVE and r.reading_state is wanted and r.live)


def _newest_first(rows: Iterable[WorklistRow]) -> list[WorklistRow]:
    flagged = [(row.flag.raised_at, row.study_instance_uid, row) for row in rows if row.flag is not None]
    return [row for _, _, row in sorted(flagged, key=lambda f: f[:2], reverse=True)]


def as_readers_see(rows: Iterable[WorklistRow], policy: ListPolicy) -> list[WorklistRow]:
    """In observe mode no flag, in active mode none of a study that the node only observes."""
    return [without_flag(r) if policy.mode is Mode.OBSERVE or r.apart else r for r in rows]


def without_flag(row: WorklistRow) -> WorklistRow:
    """The row as readers see it in observe mode: no flag, no "not sure", and no state that would betray one."""
    state = row.reading_state
    if state is ReadingState.NOT_CONFIRMED:
        state = ReadingState.STATUS_UNKNOWN
    return replace(row, flag=None, unsure=False, reading_state=state)
