"""Is a series, is a study complete, and why (DESIGN.md section 5). Pure: no clock, no store; DICOM itself has no end of study.

A series closes
- at once when all is here that a modality (MPPS COMPLETED) or an archive (IAN) named, or that Images in Acquisition (0020,1002)
  counts when that is plausible; a gap, too little coverage, or a series that was named and has not begun forbids it;
- when the association that sent it is released, nothing came for the quiet time, there is no gap and enough is covered;
- after the quiet time, the association open or too little covered, when all is here that MPPS, IAN or two equal answers of an
  archive (C-FIND) told: those say that nothing more will come;
- at the latest a fixed time after its last instance, labelled incomplete.
Whoever told less than what came does not know the series and is not heard. Of the others, one that told more makes it wait, until
the fixed time at the latest. A slice that comes after all opens the study again, so a wrong word costs time and no slice.
Analysis starts when the first eligible series closes and none ranked higher is still arriving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from triage_node.domain.expected import CountSource, ExpectedCount
from triage_node.domain.instance import InstanceHeader
from triage_node.study.selection import CT_CLASSES, Candidate, SelectionPolicy, SeriesHeaders, judge
from triage_node.study.stack import Stack, stack_of


class Signal(StrEnum):
    """Which observation closed a series; stored with the study."""

    RELEASED = "association released, quiet, no gap, covered"
    MPPS = CountSource.MPPS.value
    IAN = CountSource.IAN.value
    C_FIND = CountSource.C_FIND.value
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

    `association_open`: an association that sent to this series has not ended. `expected`: what others told, at most one word of
    each source, the most trusted first. `more_series`: they named series of this study of which nothing has come. `quiet`: the time of the sending AE title; None takes the policy's.
    """

    series_instance_uid: str
    arrivals: tuple[Arrival, ...]
    association_open: bool
    expected: tuple[ExpectedCount, ...] = ()
    more_series: bool = False
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
    shape = _what_is_missing(stack, policy)
    told = _told(series)
    lacking = next((t for t in told if t.there < t.announced), None)
    whole = next((t for t in told if t.is_settled), None) if lacking is None else None
    if whole is not None and whole.is_named and not shape and not series.more_series:
        return Closed(whole.signal, False, whole.words, uid)
    announced = _images_in_acquisition(series.headers)
    if announced is not None and count >= announced and not shape and lacking is None:
        return Closed(Signal.IMAGES_IN_ACQUISITION, False, f"{count} of {announced} images of the acquisition", uid)
    missing = shape
    if lacking is not None:
        missing = lacking.words
    elif not missing and series.association_open:
        missing = "its association is open"
    quiet = policy.quiet if series.quiet is None else series.quiet
    quiet_at, deadline = series.last_received_at + quiet, series.last_received_at + policy.deadline
    # a series that was named and has not begun may never be sent here: it is not waited for longer than without the word
    if stack.gaps or (series.association_open and series.more_series):
        whole = None
    if not missing and now >= quiet_at:
        return Closed(
            Signal.RELEASED, False, f"{stack.slices} slices without a gap over {stack.coverage_mm:.0f} mm", uid
        )
    if whole is not None and now >= quiet_at:
        return Closed(whole.signal, False, whole.words, uid)
    if now >= deadline:
        why = f"nothing came for {policy.deadline.total_seconds():.0f} s"
        return Closed(Signal.DEADLINE, True, why + (f"; {missing}" if missing else ""), uid)
    if missing and whole is None:
        return StillArriving(missing, deadline)
    return StillArriving(f"waiting for {quiet.total_seconds():g} s of quiet", min(quiet_at, deadline))


@dataclass(frozen=True, slots=True)
class _Told:
    """One source's word beside what is here. `is_named`: it named the images; `is_settled`: it is the source's last word."""

    signal: Signal
    there: int
    announced: int
    is_named: bool
    is_settled: bool

    @property
    def words(self) -> str:
        return f"{self.there} of {self.announced} announced instances ({self.signal})"


def _told(series: SeriesProgress) -> list[_Told]:
    """The sources that know of all that is here.

    Names are compared among CT images only: a dose report or a presentation state in the series is no slice. An archive's number
    counts everything in the series, here and there; it is settled when it was told twice since the last instance came.
    """
    images = {h.sop_instance_uid for h in series.headers if h.sop_class_uid in CT_CLASSES}
    found = []
    for word in series.expected:
        signal, named = Signal(word.source.value), word.sop_instance_uids
        if named:
            if images <= named:
                found.append(_Told(signal, len(images), len(named), is_named=True, is_settled=True))
        elif len(series.headers) <= word.instances:
            twice = series.last_received_at <= word.first_told_at < word.told_at
            found.append(_Told(signal, len(series.headers), word.instances, is_named=False, is_settled=twice))
    return found


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
