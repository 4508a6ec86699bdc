"""What follows from the outcome of one try: pure functions.

DESIGN. An outbox row is claimed with a lease, sent, and its outcome recorded. Retried without end: an absent peer, timeouts,
aborts, out of resources. Parked at once, with an alarm: what the peer will refuse for ever. Waiting is of two kinds. A row
waits when the peer had trouble with that very object, so that one bad object holds up no other. A queue waits when nobody
was reached, so that an archive that is away sees one attempt, not one for each object, and gets everything when it is back.
A lease that ran out means that an object is sent again: harmless, since the same bytes carry the same UID.

Source: PS3.4 B.2.3, PS3.7 Annex C, PS3.8 section 9.3.4 (reject result 1 is permanent); DESIGN.md section 3, Outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from triage_node.domain.delivery import OutboxState

FIRST_WAIT = timedelta(seconds=2)
LONGEST_WAIT = timedelta(minutes=15)

_DUPLICATE = 0x0111
PERMANENT = frozenset({0x0106, 0x0115, 0x0117, 0x0118, 0x0119, 0x0120, 0x0121, 0x0122, 0x0124})

Jitter = Callable[[], float]
"""Gives numbers in [0, 1)."""


class Verdict(StrEnum):
    """UNTRIED: nothing was learned of the object, since nobody was reached or the association ended before its turn."""

    STORED = "stored"
    AGAIN = "again"
    NEVER = "never"
    UNTRIED = "untried"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one object in one try; `words` names status or error for people.

    perhaps_there: it went out and no answer tells whether the peer keeps it. of_association: the peer rejected the
    association, whatever was to come over it.
    """

    verdict: Verdict
    words: str = ""
    perhaps_there: bool = False
    of_association: bool = False


@dataclass(frozen=True, slots=True)
class NextStep:
    state: OutboxState
    not_before: datetime
    reason: str


def outcome_of_status(status: int) -> Outcome:
    """Judge a C-STORE status. Warnings are stored; a duplicate of our own UID is the second try of a send that arrived.

    Of the Cxxx range only C0xx says that the object cannot be understood; C2xx is also what receivers answer whose own
    program failed, and that passes.
    """
    if status == 0x0000 or status & 0xF000 == 0xB000 or status == 0x0001 or status == _DUPLICATE:
        return Outcome(Verdict.STORED, "" if status == 0 else f"0x{status:04X}")
    if status in PERMANENT or status & 0xFF00 in (0xA900, 0xC000):
        return Outcome(Verdict.NEVER, f"refused with 0x{status:04X}")
    return Outcome(Verdict.AGAIN, f"answered 0x{status:04X}")


def wait_after(failures: int, jitter: Jitter) -> timedelta:
    """Doubles with each failure up to LONGEST_WAIT; half of it is chance, so that many nodes do not knock at once."""
    longest: timedelta = min(FIRST_WAIT * 2 ** min(failures, 20), LONGEST_WAIT)
    return longest * (0.5 + 0.5 * jitter())


def pause_after(outcomes: Iterable[Outcome], failures: int, jitter: Jitter) -> tuple[timedelta, int]:
    """How long the queue waits, and how many attempts in a row have then reached nobody (`failures` before this one).

    The wait grows only while nobody is reached: an object that the peer fails on again and again must not keep the next
    patient's waiting for a quarter of an hour.
    """
    verdicts = {o.verdict for o in outcomes}
    if verdicts & {Verdict.STORED, Verdict.NEVER}:
        return timedelta(0), 0
    if Verdict.AGAIN in verdicts:
        return wait_after(0, jitter), 0
    return wait_after(failures, jitter), failures + 1


def next_step(
    outcome: Outcome, tries: int, now: datetime, resume_at: datetime, commitment: bool, jitter: Jitter
) -> NextStep:
    """Where a row goes after a try. `tries` counts those before this one; the queue goes on at `resume_at`."""
    match outcome.verdict:
        case Verdict.STORED:
            return NextStep(OutboxState.SENT if commitment else OutboxState.DELIVERED, now, outcome.words)
        case Verdict.NEVER:
            return NextStep(OutboxState.PARKED, now, outcome.words)
        case Verdict.UNTRIED:
            return NextStep(OutboxState.PENDING, resume_at, outcome.words)
        case Verdict.AGAIN:
            again_at = max(resume_at, now + wait_after(tries, jitter))
            return NextStep(OutboxState.PENDING, again_at, outcome.words)
