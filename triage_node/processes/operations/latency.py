"""How long each stage took, from the moments in the timelines: pure functions.

A study that is opened again goes through the stages again; each passage counts by itself, at the instant where it ended.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from triage_node.domain.study import Moment

WINDOW = timedelta(hours=24)
PIECES = 48
RECENT = timedelta(hours=1)
LEAST = 5
"""Fewer studies in the last hour say nothing about a 95th percentile."""

Moments = Sequence[tuple[str, str, datetime]]


@dataclass(frozen=True, slots=True)
class Step:
    """From one moment to the next one of `until`."""

    name: str
    start: Moment
    until: tuple[Moment, ...]


STEPS = (
    Step("Arriving", Moment.FIRST_BYTE, (Moment.LAST_SLICE,)),
    Step("Until it counts as complete", Moment.LAST_SLICE, (Moment.COMPLETE,)),
    Step("Waiting for analysis", Moment.COMPLETE, (Moment.CLAIMED,)),
    Step("Analysis to the decision", Moment.CLAIMED, (Moment.DECIDED,)),
    Step("Prognosis and objects", Moment.DECIDED, (Moment.REPORTED,)),
    Step("First object at an archive", Moment.REPORTED, (Moment.SENT, Moment.COMMITTED)),
)
WHOLE = Step("Last slice to decision", Moment.LAST_SLICE, (Moment.DECIDED,))
NEEDED = tuple(dict.fromkeys(m for s in (*STEPS, WHOLE) for m in (s.start, *s.until)))


@dataclass(frozen=True, slots=True)
class Latency:
    """`recent`: seconds of the passages of the last hour; `history`: the 95th percentile of each piece of the window."""

    step: Step
    recent: tuple[float, ...]
    history: tuple[float | None, ...]

    @property
    def p50_s(self) -> float | None:
        return quantile(self.recent, 0.5)

    @property
    def p95_s(self) -> float | None:
        return quantile(self.recent, 0.95)

    @property
    def is_measured(self) -> bool:
        return len(self.recent) >= LEAST


def latencies(moments: Moments, now: datetime, steps: Iterable[Step] = (*STEPS, WHOLE)) -> list[Latency]:
    """`moments`: (study, moment, instant), oldest first."""
    by_study: dict[str, list[tuple[str, datetime]]] = defaultdict(list)
    for uid, moment, at in moments:
        by_study[uid].append((moment, at))
    return [_latency(step, by_study.values(), now) for step in steps]


def depths(moments: Moments, depth_now: int, now: datetime) -> tuple[float | None, ...]:
    """The most studies that waited for analysis at a time, in each piece of the window, counted back from now."""
    begin, piece = now - WINDOW, WINDOW / PIECES
    most = [0.0] * PIECES
    depth, place = float(depth_now), PIECES - 1
    most[place] = depth
    for _, moment, at in reversed(moments):
        if moment not in (Moment.COMPLETE, Moment.CLAIMED) or at > now:
            continue
        here = max(math.floor((at - begin) / piece), 0) if at < now else PIECES - 1
        while place > here:
            place -= 1
            most[place] = depth
        # what was known later had not happened yet: before a study was claimed it waited, before it was complete it did not
        depth = max(depth + (1 if moment == Moment.CLAIMED else -1), 0.0)
        most[place] = max(most[place], depth)
    while place > 0:
        place -= 1
        most[place] = depth
    return tuple(most)


def quantile(values: Sequence[float], q: float) -> float | None:
    """The smallest value that at least the share `q` of all values does not exceed; None of nothing."""
    return sorted(values)[max(math.ceil(q * len(values)) - 1, 0)] if values else None


def _latency(step: Step, studies: Iterable[Sequence[tuple[str, datetime]]], now: datetime) -> Latency:
    recent: list[float] = []
    pieces: list[list[float]] = [[] for _ in range(PIECES)]
    begin, piece = now - WINDOW, WINDOW / PIECES
    for moments in studies:
        for at, took in _passages(step, moments):
            if now - RECENT < at <= now:
                recent.append(took)
            if begin <= at <= now:
                pieces[min(math.floor((at - begin) / piece), PIECES - 1)].append(took)
    return Latency(step, tuple(recent), tuple(quantile(p, 0.95) for p in pieces))


def _passages(step: Step, moments: Sequence[tuple[str, datetime]]) -> Iterable[tuple[datetime, float]]:
    started: datetime | None = None
    for moment, at in moments:
        if moment in step.until and started is not None:
            yield at, (at - started) / timedelta(seconds=1)
            started = None
        if moment == step.start:
            started = at
