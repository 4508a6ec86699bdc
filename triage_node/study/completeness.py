"""Is a series, is a study complete, and why (DESIGN.md section 5). Pure: no clock, no store; DICOM itself has no end of study.

A series closes
- at once on a count that somebody told (MPPS, IAN, C-FIND), or on Images in Acquisition (0020,1002) when that is plausible;
- when the association that sent it is released, nothing came for the quiet time, there is no gap and enough is covered;
- at the latest a fixed time after its last instance, labelled incomplete.
Analysis starts when the first eligible series closes and none ranked higher is still arriving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from triage_node.domain.instance import InstanceHeader
from triage_node.study.selection import Candidate, SelectionPolicy, SeriesHeaders, judge
from triage_node.study.stack import Stack, stack_of


class Signal(StrEnum):
    """Which observation closed a series; stored with the study."""

    RELEASED = "association released, quiet, no gap, covered"
    EXPECTED_COUNT = "expected count"
    IMAGES_IN_ACQUISITION = "images in acquisition"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One instance of a series and when its bytes were durable (aware UTC)."""

    header: InstanceHeader
    received_at: datetime


@dataclass(frozen=True, slots=True)
class SeriesProgress:
    """What is known of a series now.

    `association_open`: an association that sent to this series has not ended. `expected_count`: instances that MPPS, IAN or a
    C-FIND announced. `quiet`: the time of the sending AE title; None takes the policy's.
    """

    series_instance_uid: str
    arrivals: tuple[Arrival, ...]
    association_open: bool
    expected_count: int | None = None
    quiet: timedelta | None = None

    @property
    def last_received_at(self) -> datetime:
        return max(a.received_at for a in self.arrivals)

    @property
    def headers(self) -> tuple[InstanceHeader, ...]:
        """One header per SOP Instance UID: a re-send must not count twice."""
        return tuple({a.header.sop_instance_uid: a.header for a in self.arrivals}.values())


@dataclass(frozen=True, slots=True)
class CompletenessPolicy:
    quiet: timedelta = timedelta(seconds=3)
    deadline: timedelta = timedelta(seconds=60)
    minimum_coverage_mm: float = 120.0
    selection: SelectionPolicy = SelectionPolicy()


@dataclass(frozen=True, slots=True)
class Closed:
    """`series_instance_uid` is the series whose closing decided."""

    signal: Signal
    incomplete: bool
    why: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class StillArriving:
    """`due_at` is the earliest instant at which time alone may change the answer."""

    why: str
    due_at: datetime


def evaluate(
    series: SeriesProgress, now: datetime, policy: CompletenessPolicy = CompletenessPolicy()
) -> Closed | StillArriving:
    """Judge one series. Raises ValueError for a series without instances."""
    if not series.arrivals:
        raise ValueError("a series without instances has no completeness")
    return _judge_series(series, stack_of(series.headers), now, policy)


def evaluate_study(
    series: Sequence[SeriesProgress], now: datetime, policy: CompletenessPolicy = CompletenessPolicy()
) -> Closed | StillArriving:
    """Judge a study by its series: what may be analysed decides, what never can (a scout, a dose page) holds nothing up.

    A study without any series that could be analysed closes when all its series are closed, so at their deadline at the latest.
    """
    if not series:
        raise ValueError("a study without series has no completeness")
    judged = [(s, judge(SeriesHeaders(s.series_instance_uid, s.headers), policy.selection)) for s in series]
    outcomes = {s.series_instance_uid: evaluate(s, now, policy) for s in series}
    contenders = sorted(
        (c for s, c in judged if _is_contender(c, outcomes[s.series_instance_uid])), key=lambda c: c.rank
    )
    waiting: StillArriving | None = None
    for candidate in contenders:
        outcome = outcomes[candidate.series_instance_uid]
        if isinstance(outcome, Closed):
            if waiting is None:
                return outcome
            continue
        waiting = waiting or StillArriving(f"{candidate.name}: {outcome.why}", outcome.due_at)
    if waiting is not None:
        return waiting
    return _without_candidate(series, outcomes, now, policy)


def _is_contender(candidate: Candidate, outcome: Closed | StillArriving) -> bool:
    if candidate.eligible:
        return True
    return candidate.may_become_eligible and isinstance(outcome, StillArriving)


def _without_candidate(
    series: Sequence[SeriesProgress],
    outcomes: dict[str, Closed | StillArriving],
    now: datetime,
    policy: CompletenessPolicy,
) -> Closed | StillArriving:
    last = max(series, key=lambda s: (s.last_received_at, s.series_instance_uid))
    outcome = outcomes[last.series_instance_uid]
    arriving = [o for o in outcomes.values() if isinstance(o, StillArriving)]
    if not arriving:
        return outcome
    return StillArriving("no series that could be analysed yet", max(o.due_at for o in arriving))


def _judge_series(
    series: SeriesProgress, stack: Stack, now: datetime, policy: CompletenessPolicy
) -> Closed | StillArriving:
    uid, count = series.series_instance_uid, len(series.headers)
    if series.expected_count is not None and count >= series.expected_count > 0:
        return Closed(Signal.EXPECTED_COUNT, False, f"{count} of {series.expected_count} announced instances", uid)
    shape = _what_is_missing(stack, policy)
    announced = _images_in_acquisition(series.headers)
    if announced is not None and count >= announced and not shape:
        return Closed(Signal.IMAGES_IN_ACQUISITION, False, f"{count} of {announced} images of the acquisition", uid)
    missing = shape
    if series.expected_count is not None and count < series.expected_count:
        missing = f"{count} of {series.expected_count} announced instances"
    elif not missing and series.association_open:
        missing = "its association is open"
    quiet = policy.quiet if series.quiet is None else series.quiet
    quiet_at, deadline = series.last_received_at + quiet, series.last_received_at + policy.deadline
    if not missing and now >= quiet_at:
        return Closed(
            Signal.RELEASED, False, f"{stack.slices} slices without a gap over {stack.coverage_mm:.0f} mm", uid
        )
    if now >= deadline:
        why = f"nothing came for {policy.deadline.total_seconds():.0f} s"
        return Closed(Signal.DEADLINE, True, why + (f"; {missing}" if missing else ""), uid)
    if missing:
        return StillArriving(missing, deadline)
    return StillArriving(f"waiting for {quiet.total_seconds():g} s of quiet", min(quiet_at, deadline))


def _what_is_missing(stack: Stack, policy: CompletenessPolicy) -> str:
    """Gap or coverage in words; empty when the geometry is complete."""
    if stack.gaps:
        missing = sum(g.missing_slices for g in stack.gaps)
        return f"{missing} {'slice' if missing == 1 else 'slices'} missing"
    if stack.is_multi_frame and stack.coverage_mm < policy.minimum_coverage_mm:
        return ""  # one multi-frame instance carries its whole stack
    if stack.coverage_mm < policy.minimum_coverage_mm:
        return f"{stack.coverage_mm:.0f} of at least {policy.minimum_coverage_mm:.0f} mm covered"
    return ""


def _images_in_acquisition(headers: Sequence[InstanceHeader]) -> int | None:
    """The sum of (0020,1002) over acquisitions, or None when it is missing somewhere or contradicts itself.

    It counts the images of an acquisition over all reconstructions, so it may be too large (then the quiet time decides); one
    that is smaller than what came is implausible.
    """
    told: dict[int | None, int] = {}
    for header in headers:
        value = header.images_in_acquisition
        if value is None or value < 1 or told.setdefault(header.acquisition_number, value) != value:
            return None
    total = sum(told.values())
    return total if total >= len(headers) else None
