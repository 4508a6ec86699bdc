"""Minutes gained and lost in the queue, twice: by formula, and by playing the node's own arrivals through its own list.

The formula assumes one steady stream and one list in which flags come first. The play takes the arrivals as they were, the order
as this node makes it (STAT, bounds, urgency), flags from the moment on at which they were decided, and reading times as people
told them; where nobody did, times are drawn and labelled so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from triage_node.domain.priority import Flag, ListPolicy, Mode, OrderClass, WorklistRow
from triage_node.domain.replay import Queue, Share, Wait
from triage_node.processes.lab.studies import Case, Judged
from triage_node.queueing.closed_form import ReadingRoom, Test, flagged_first, plain_wait
from triage_node.queueing.simulation import Arrivals, mean_of_runs, waits
from triage_node.worklist.order import first_to_read

MOST_PLAYED, MOST_WHEN_FULL = 1200, 300
"""Studies of one run, other ones of the list included: a second or two of computing; a list that is full is long as well."""
LEAST_TOLD = 20
"""Reading times from which the site's own are drawn again; fewer say little."""
RUNS = 6
_SEED = 23
_LONGEST_READING_MIN = 240.0
"""What is open for longer was left open."""

Bools = NDArray[np.bool_]
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Room:
    """What the administrator says of the reading room. `other_per_hour`: further studies of the same list, never flagged.

    `reading_min` None: as people told it.
    """

    readers: int = 2
    reading_min: float | None = None
    other_per_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class _ReadingTimes:
    """`told`: minutes that people told of; empty where the mean is assumed. Units: minutes."""

    mean: float
    told: Array

    def drawn(self, rng: np.random.Generator, n: int) -> Array:
        return rng.choice(self.told, n) if len(self.told) else rng.exponential(self.mean, n)


DEFAULT_READING_MIN = 7.0
"""Minutes for a head CT where nobody told: the ED-like example of PAPERS.md section 10."""


def queue_of(
    cases: Sequence[Case],
    in_force: Sequence[Judged],
    candidate: Sequence[Judged],
    told_min: dict[str, float],
    room: Room,
    policy: ListPolicy,
    test: tuple[tuple[Share, Share], tuple[Share, Share]],
    prevalence: Share,
    days: float,
) -> Queue:
    """`test`: sensitivity and specificity of both policies; `told_min`: study -> minutes of reading as people told."""
    told = np.array([m for m in told_min.values() if 0 < m <= _LONGEST_READING_MIN])
    own = len(told) >= LEAST_TOLD and room.reading_min is None
    mean = float(told.mean()) if own else room.reading_min or DEFAULT_READING_MIN
    reading = _ReadingTimes(mean, told if own else told[:0])
    per_min = len(cases) / (days * 1440)
    both = per_min + room.other_per_hour / 60
    stream = ReadingRoom(both, mean, room.readers) if both else None
    basis = [
        f"Reading takes {mean:.1f} min, the mean of {len(told)} studies that people told of"
        if own
        else f"Reading takes {mean:.1f} min: assumed, {len(told)} studies have a time that people told",
        f"{per_min * 60:.2f} head CTs an hour over {days:.1f} days"
        + (
            f", and {room.other_per_hour:g} other studies an hour on the same list, as stated"
            if room.other_per_hour
            else ""
        ),
    ]
    most = MOST_WHEN_FULL if stream is not None and stream.utilisation >= 0.95 else MOST_PLAYED
    formula, formula_why = _formula(cases, in_force, candidate, stream, test, prevalence, per_min)
    played, played_why = _played(cases, in_force, candidate, reading, room, policy, most)
    if played:
        n = sum(w.n for w in played[:2])
        basis.append(
            f"Played: the newest {n} studies with the times at which they came, {RUNS} runs with other reading times, as in active mode"
        )
    return Queue(
        utilisation=stream.utilisation if stream else 0.0,
        readers=room.readers,
        reading_min=mean,
        formula=formula,
        formula_why=formula_why,
        played=played,
        played_why=played_why,
        basis=tuple(basis),
    )


def _formula(
    cases: Sequence[Case],
    in_force: Sequence[Judged],
    candidate: Sequence[Judged],
    stream: ReadingRoom | None,
    test: tuple[tuple[Share, Share], tuple[Share, Share]],
    prevalence: Share,
    per_min: float,
) -> tuple[tuple[Wait, ...], str]:
    if stream is None:
        return (), "no study arrived"
    if stream.utilisation >= 1:
        return (), "the list takes more time than its readers have: it grows without end, and no mean wait exists"
    share = per_min / stream.arrivals_per_min  # of head CTs among everything on the list
    plain = plain_wait(stream)
    sides = [float(_flagged(judged).mean()) * share if cases else 0.0 for judged in (in_force, candidate)]
    first = [flagged_first(stream, q) for q in sides]
    n_flagged = int(_flagged(candidate).sum())
    rows = [
        Wait("Flagged", n_flagged, plain, first[0][0], first[1][0], plain - first[1][0]),
        Wait("Not flagged", len(cases) - n_flagged, plain, first[0][1], first[1][1], plain - first[1][1]),
    ]
    known = [v.value for pair in test for v in pair] + [prevalence.value]
    if any(v is None for v in known) or prevalence.value is None:
        return tuple(rows), ""
    pi = prevalence.value * share
    by_truth = []
    for sensitivity, specificity in test:
        # others never flagged make the specificity over the whole list better than that among head CTs
        false_share = (1 - (specificity.value or 0.0)) * (1 - prevalence.value) * share
        whole = Test(sensitivity.value or 0.0, 1 - false_share / (1 - pi) if pi < 1 else 1.0, pi)
        flagged, unflagged = flagged_first(stream, whole.flagged_share)
        by_truth.append(
            (
                whole.sensitivity * flagged + (1 - whole.sensitivity) * unflagged,
                unflagged,
                (1 - whole.specificity) * flagged + whole.specificity * unflagged,
            )
        )
    for i, who in enumerate(("Bleeds", "Missed bleeds", "Everyone else")):
        rows.append(Wait(who, 0, plain, by_truth[0][i], by_truth[1][i], plain - by_truth[1][i]))
    return tuple(rows), ""


def _played(
    cases: Sequence[Case],
    in_force: Sequence[Judged],
    candidate: Sequence[Judged],
    reading: _ReadingTimes,
    room: Room,
    policy: ListPolicy,
    most: int,
) -> tuple[tuple[Wait, ...], str]:
    if len(cases) < 2:
        return (), "fewer than two studies: there is no queue to play"
    newest = slice(len(cases) - _fitting(cases, room, most), None)
    cases, in_force, candidate = cases[newest], in_force[newest], candidate[newest]
    rng = np.random.default_rng(_SEED)
    runs = [_run(rng, cases, in_force, candidate, reading, room, policy) for _ in range(RUNS)]
    flagged = _flagged(candidate)
    known = np.array([c.positive is not None for c in cases], bool)
    positive = np.array([c.positive is True for c in cases], bool)
    groups = [
        ("Flagged", flagged),
        ("Not flagged", ~flagged),
        ("Bleeds", known & positive),
        ("Missed bleeds", known & positive & ~flagged),
        ("Everyone else", known & ~positive),
    ]
    rows = []
    for who, among in groups:
        if not among.any():
            continue
        means = np.array([[waited[among].mean() for waited in run] for run in runs])
        gained, low, high = mean_of_runs(means[:, 0] - means[:, 2])
        plain, before, after = (float(m) for m in means.mean(axis=0))
        longest = np.array([[waited[among].max() for waited in run] for run in runs]).mean(axis=0)
        ends = (float(longest[0]), float(longest[2]))
        rows.append(Wait(who, int(among.sum()), plain, before, after, gained, low, high, *ends))
    return tuple(rows), ""


def _fitting(cases: Sequence[Case], room: Room, most: int) -> int:
    """How many of the newest cases can be played together with the other studies of their time."""
    end = cases[-1].study.arrived_at
    hours = np.array([(end - c.study.arrived_at).total_seconds() / 3600 for c in cases[::-1]])
    n = np.arange(1, len(cases) + 1)
    return max(2, int((n + room.other_per_hour * hours <= most).sum()))


def _run(
    rng: np.random.Generator,
    cases: Sequence[Case],
    in_force: Sequence[Judged],
    candidate: Sequence[Judged],
    reading: _ReadingTimes,
    room: Room,
    policy: ListPolicy,
) -> tuple[Array, Array, Array]:
    """Waits of the cases in the plain order, under the policy in force and under the candidate; the same draws for all."""
    start = cases[0].study.arrived_at
    span = (cases[-1].study.arrived_at - start).total_seconds() / 60
    others = np.sort(rng.uniform(0, span, rng.poisson(room.other_per_hour / 60 * span)))
    at = np.array([(c.study.arrived_at - start).total_seconds() / 60 for c in cases] + others.tolist())
    lasting = reading.drawn(rng, len(at))
    order = np.argsort(at, kind="stable")
    place = np.empty(len(at), int)
    place[order] = np.arange(len(at))
    arrivals = Arrivals(at[order], lasting[order])
    rows = [_row(c) for c in cases] + [
        WorklistRow(f"other {i}", OrderClass.ROUTINE, start + timedelta(minutes=float(m))) for i, m in enumerate(others)
    ]

    def play(judged: Sequence[Judged] | None) -> Array:
        flagged = {} if judged is None else {i: _flag(cases[i], j) for i, j in enumerate(judged) if j.decision.flagged}
        choose = _chooser([rows[i] for i in order], {int(place[i]): f for i, f in flagged.items()}, start, policy)
        return waits(arrivals, room.readers, choose)[place[: len(cases)]]

    return play(None), play(in_force), play(candidate)


def _chooser(
    rows: Sequence[WorklistRow], flags: dict[int, Flag], start: datetime, policy: ListPolicy
) -> Callable[[Sequence[int], float], int]:
    """What the node's own list has first; a flag counts from the instant on at which it was decided."""
    active = replace(policy, mode=Mode.ACTIVE)
    flagged = {i: replace(rows[i], flag=flag) for i, flag in flags.items()}
    number = {row.study_instance_uid: i for i, row in enumerate(rows)}

    def choose(waiting: Sequence[int], minute: float) -> int:
        if len(waiting) == 1:
            return waiting[0]
        now = start + timedelta(minutes=minute)
        seen = (flagged[i] if i in flagged and flags[i].raised_at <= now else rows[i] for i in waiting)
        return number[first_to_read(seen, now, active).study_instance_uid]

    return choose


def _flagged(judged: Sequence[Judged]) -> Bools:
    """Shape: (study,)."""
    return np.array([j.decision.flagged for j in judged], bool)


def _row(case: Case) -> WorklistRow:
    study = case.study
    return WorklistRow(study.study_instance_uid, study.order_class, study.arrived_at, live=study.live)


def _flag(case: Case, judged: Judged) -> Flag:
    assert judged.urgency is not None
    return Flag(judged.decision.finding, judged.urgency, "", max(case.study.decided_at, case.study.arrived_at))
