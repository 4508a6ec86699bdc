"""How long a study may be in each state, whatever fails, from the configuration: stated in one place, watched by the scheduler.

Every study ends in a state that can be seen, with a reason where it was not analysed. The bounds hold while the machine gives the
node a processor and the database takes rows; what keeps it from that is told by itself (machine.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from triage_node.config.schema import Settings
from triage_node.delivery.retry import LONGEST_WAIT
from triage_node.domain.study import StudyState
from triage_node.processes.running import Running, now
from triage_node.processes.supervisor import BACKOFF_CAP_S
from triage_node.store import studies
from triage_node.store.engine import Store

MOST_SCANS = 3
"""Acquisitions of one study that are read; each costs as much as the first."""
MOST_TRIED = MOST_SCANS + 2
"""Acquisitions that are decoded for that, those among them that are no head or make no volume."""
_BESIDE_DECODING = timedelta(minutes=5)
_START = timedelta(seconds=60)
AWAY = timedelta(seconds=BACKOFF_CAP_S) + _START
"""A role that was killed works again: the supervisor's longest wait, and its start on a slow machine."""


@dataclass(frozen=True, slots=True)
class Bound:
    """`of`: the part of the way; `words`: what its length is made of."""

    of: str
    longest: timedelta
    words: str


def turn(settings: Settings) -> timedelta:
    """The longest that one try of one study lasts; analysis ends itself after it, and the next one begins anew."""
    return MOST_TRIED * timedelta(seconds=settings.model.decode_timeout_s) + _BESIDE_DECODING


def arriving(settings: Settings) -> timedelta:
    """From the last instance until a study counts as complete."""
    return timedelta(seconds=settings.completeness.deadline_s) + AWAY


def analysed(settings: Settings, ahead: int = 0) -> timedelta:
    """From complete to a result or a reason, with so many studies before it that each use up all their tries."""
    return (ahead + 1) * studies.MAX_TRIES * (turn(settings) + AWAY)


def bounds(settings: Settings) -> tuple[Bound, ...]:
    """The way of one study that nothing stands before, in its order."""
    tries, deadline = studies.MAX_TRIES, settings.completeness.deadline_s
    return (
        Bound(
            "arriving",
            arriving(settings),
            f"after its last instance: completeness.deadline_s ({deadline:g} s), and a scheduler that was killed is back ({AWAY.total_seconds():.0f} s)",
        ),
        Bound(
            "waiting and analysed",
            analysed(settings),
            f"{tries} tries of {turn(settings).total_seconds():.0f} s ({MOST_TRIED} x model.decode_timeout_s, and {_BESIDE_DECODING.total_seconds():.0f} s), "
            f"each after a restart ({AWAY.total_seconds():.0f} s); as long again for each study before it; then it reads failed, with the reason",
        ),
        Bound(
            "sent",
            LONGEST_WAIT + AWAY,
            "once the archive answers: the longest wait between tries; the result stands on the list all the time",
        ),
    )


@dataclass(frozen=True, slots=True)
class Late:
    """A study beyond its bound. `since`: when it came to where it is."""

    study_instance_uid: str
    state: StudyState
    since: datetime
    bound: timedelta


def late(store: Store, settings: Settings, at: datetime) -> Iterator[Late]:
    """Studies that have been on their way for longer than `bounds` allows, in the order in which they are worked on."""
    found = studies.in_states(store, StudyState.RECEIVING, StudyState.COMPLETE, StudyState.ANALYSING)
    waiting = [s for s in found if s.state is not StudyState.RECEIVING]
    waiting.sort(key=lambda s: s.closed_at or s.last_instance_at)
    for s in found:
        if s.state is StudyState.RECEIVING and at - s.last_instance_at > arriving(settings):
            yield Late(s.study_instance_uid, s.state, s.last_instance_at, arriving(settings))
    for ahead, s in enumerate(waiting):
        since = s.closed_at or s.last_instance_at
        if at - since > analysed(settings, ahead):
            yield Late(s.study_instance_uid, s.state, since, analysed(settings, ahead))


def watch(running: Running) -> None:
    """For the scheduler: say of each late study on the list that it is."""
    at = now()
    found = {
        s.study_instance_uid: (
            s.state,
            f"for longer than the {s.bound.total_seconds() / 60:.0f} min that it may take; look at it yourself",
        )
        for s in late(running.store, running.settings, at)
    }
    if found:
        studies.say_late(running.store, found, at)
