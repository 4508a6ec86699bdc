"""What follows from the outcome of one try: a pure function.

Retried without end: an absent peer, timeouts, aborts, out of resources. Parked at once, with an alarm: what the peer will
refuse for ever. Source: PS3.4 B.2.3, PS3.7 Annex C, PS3.8 section 9.3.4 (reject result 1 is permanent).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from triage_node.domain.delivery import OutboxState

FIRST_WAIT = timedelta(seconds=2)
LONGEST_WAIT = timedelta(minutes=15)

_DUPLICATE = 0x0111
PERMANENT = frozenset({0x0106, 0x0115, 0x0117, 0x0118, 0x0119, 0x0120, 0x0121, 0x0122, 0x0124})


class Verdict(StrEnum):
    STORED = "stored"
    AGAIN = "again"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one object in one try; `words` names status or error for people."""

    verdict: Verdict
    words: str = ""


@dataclass(frozen=True, slots=True)
class NextStep:
    state: OutboxState
    not_before: datetime
    reason: str


def outcome_of_status(status: int) -> Outcome:
    """Judge a C-STORE status. Warnings are stored; a duplicate of our own UID is the second try of a send that arrived."""
    if status == 0x0000 or status & 0xF000 == 0xB000 or status == 0x0001 or status == _DUPLICATE:
        return Outcome(Verdict.STORED, "" if status == 0 else f"0x{status:04X}")
    if status in PERMANENT or status & 0xFF00 == 0xA900 or status & 0xF000 == 0xC000:
        return Outcome(Verdict.NEVER, f"refused with 0x{status:04X}")
    return Outcome(Verdict.AGAIN, f"answered 0x{status:04X}")


def next_step(outcome: Outcome, tries: int, now: datetime, commitment: bool, jitter: Callable[[], float]) -> NextStep:
    """Where a row goes after a try. `tries` counts the tries before this one; `jitter` gives numbers in [0, 1)."""
    if outcome.verdict is Verdict.STORED:
        state = OutboxState.SENT if commitment else OutboxState.DELIVERED
        return NextStep(state, now, outcome.words)
    if outcome.verdict is Verdict.NEVER:
        return NextStep(OutboxState.PARKED, now, outcome.words)
    wait = min(FIRST_WAIT * 2 ** min(tries, 20), LONGEST_WAIT)
    return NextStep(OutboxState.PENDING, now + wait * (0.5 + 0.5 * jitter()), outcome.words)
