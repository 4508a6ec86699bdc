"""From a placed row to what a row of the page says. One sign a row, and a word beside every sign: never colour alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from triage_node.console.deps import About, ReadingList, StudyDetails, ToldAt
from triage_node.console.texts import displayable
from triage_node.domain.durations import ago, in_words, until
from triage_node.domain.priority import Mode, Placed, ReadingState, Urgency, WorklistRow
from triage_node.domain.study import StudyState

# A flood of studies must not become a page that no browser draws; the API has them all.
MOST_ROWS = 300

_NOT_ANALYSED = frozenset({StudyState.DECLINED, StudyState.OUT_OF_SCOPE, StudyState.QUARANTINED, StudyState.FAILED})
_AT_WORK = frozenset({StudyState.RECEIVING, StudyState.COMPLETE, StudyState.ANALYSING})
# a bound is close when a third of the time is left and that is not hours
_NEAR_SHARE, _NEAR = 2 / 3, timedelta(hours=1)


class Sign(StrEnum):
    """What stands at the head of a row. Only the first three are the flag's sign."""

    CRITICAL = "critical"
    HIGH = "high"
    MODERATE = "moderate"
    LATE_FLAG = "late flag"
    NOT_ANALYSED = "not analysed"
    NOT_SURE = "not sure"
    AT_WORK = "at work"
    ANALYSED = "analysed"


FLAG_SIGNS = frozenset({Sign.CRITICAL, Sign.HIGH, Sign.MODERATE})
_OF_URGENCY = {Urgency.CRITICAL: Sign.CRITICAL, Urgency.HIGH: Sign.HIGH, Urgency.MODERATE: Sign.MODERATE}


@dataclass(frozen=True, slots=True)
class Wait:
    """Waiting time against the bound of the class; `share` is waiting time over bound, at most 1."""

    waited: str
    bound: str
    standing: str
    share: float
    level: str


@dataclass(frozen=True, slots=True)
class RowView:
    """`position` counts from 1; None for what stands apart. `headline` is the reason, `details` what follows it."""

    uid: str
    position: int | None
    sign: Sign
    sign_word: str
    headline: str
    details: tuple[str, ...]
    order_class: str
    wait: Wait
    label: str
    description: str
    pinned: bool = False
    read_by: str = ""
    moved_from: int | None = None

    @property
    def is_flagged(self) -> bool:
        return self.sign in FLAG_SIGNS


@dataclass(frozen=True, slots=True)
class ListView:
    """The page's content: the next study to read, the rest by group, and what stands apart."""

    first: RowView | None
    groups: tuple[tuple[str, tuple[RowView, ...]], ...]
    being_read: tuple[RowView, ...]
    late: tuple[RowView, ...]
    not_confirmed: tuple[RowView, ...]
    waiting: int
    flagged: int
    not_analysed: int
    not_sure: int
    left_out: int
    hidden: int = 0
    hidden_flagged: int = 0
    sources: tuple[str, ...] = ()


class Wanted(StrEnum):
    """What the list can be narrowed to; it is a way of looking and changes no place."""

    ALL = ""
    FLAGGED = "flagged"
    NOT_ANALYSED = "not analysed"
    NOT_SURE = "not sure"
    BEING_READ = "being read"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are shown. Counts stay those of the whole list, and what is hidden is counted."""

    state: Wanted = Wanted.ALL
    order_class: str = ""
    source: str = ""
    text: str = ""

    @property
    def is_on(self) -> bool:
        return bool(self.state or self.order_class or self.source or self.text.strip())

    def admits(self, row: RowView, about: About) -> bool:
        if self.order_class not in ("", row.order_class) or self.source not in ("", about.source):
            return False
        is_wanted = {
            Wanted.ALL: True,
            Wanted.FLAGGED: row.is_flagged or row.sign is Sign.LATE_FLAG,
            Wanted.NOT_ANALYSED: row.sign is Sign.NOT_ANALYSED,
            Wanted.NOT_SURE: row.sign is Sign.NOT_SURE,
            Wanted.BEING_READ: bool(row.read_by),
        }[self.state]
        said = " ".join((row.label, row.description, row.headline, *row.details, row.read_by)).casefold()
        return is_wanted and all(word in said for word in self.text.casefold().split())


_GROUPS = {
    0: "Pinned by a person",
    1: "Flagged critical or high",
    2: "Close to its bound, or over it",
    3: "Flagged moderate",
    4: "By class, then deadline",
}


def list_view(reading: ReadingList, now: datetime, shown: Filter = Filter()) -> ListView:
    """The list as it is drawn. `shown` narrows what is drawn, and nothing of what is counted."""

    def wanted(rows: Iterable[RowView]) -> tuple[RowView, ...]:
        return tuple(row for row in rows if shown.admits(row, reading.about[row.uid]))

    rows = [(placed.tier, _placed_row(placed, reading, now)) for placed in reading.placed]
    tiers = {row.uid: tier for tier, row in rows}
    waiting = [row for _, row in rows if row.uid not in reading.claimed]
    claimed = [row for _, row in rows if row.uid in reading.claimed]
    late = [_apart(row, reading, now) for row in reading.late]
    not_confirmed = [_apart(row, reading, now) for row in reading.not_confirmed]
    everything = [*waiting, *claimed, *late, *not_confirmed]
    first, *rest = wanted(waiting) or (None,)
    drawn = rest[:MOST_ROWS]
    groups = [(title, tuple(row for row in drawn if tiers[row.uid] == tier)) for tier, title in _GROUPS.items()]
    hidden = {row.uid: row for row in everything}
    for row in wanted(everything):
        hidden.pop(row.uid, None)
    return ListView(
        first=first,
        groups=tuple(group for group in groups if group[1]),
        being_read=wanted(claimed)[:MOST_ROWS],
        late=wanted(late)[:MOST_ROWS],
        not_confirmed=wanted(not_confirmed)[:MOST_ROWS],
        waiting=len(waiting),
        flagged=sum(row.is_flagged for row in waiting),
        not_analysed=sum(row.sign is Sign.NOT_ANALYSED for _, row in rows),
        not_sure=sum(row.sign is Sign.NOT_SURE for _, row in rows),
        left_out=max(len(rest) - MOST_ROWS, 0),
        hidden=len(hidden),
        hidden_flagged=sum(row.is_flagged or row.sign is Sign.LATE_FLAG for row in hidden.values()),
        sources=tuple(sorted({reading.about[row.uid].source for row in everything} - {""})),
    )


@dataclass(frozen=True, slots=True)
class StudyHead:
    """The head of a study's own page."""

    sign: Sign
    sign_word: str
    headline: str

    @property
    def is_flagged(self) -> bool:
        return self.sign in FLAG_SIGNS


def study_head(details: StudyDetails, shows_result: bool) -> StudyHead:
    row = details.row
    if row is not None:
        sign, word = _sign(row, details.about, shows_result)
    elif details.was_flagged and shows_result:
        sign, word = Sign.LATE_FLAG, "was flagged"
    else:
        sign, word = _sign_of_state(details.about, shows_result)
    if sign is Sign.NOT_ANALYSED:
        headline = (row.status_words if row is not None else "") or f"not analysed: {details.reason}"
    elif sign is Sign.AT_WORK:
        headline = (row.status_words if row is not None else "") or "In work"
    else:
        headline = details.result_words if shows_result else "Analysed"
    headline = headline or "Analysed"
    return StudyHead(sign, word, displayable(headline[:1].upper() + headline[1:], 120))


def _placed_row(placed: Placed, reading: ReadingList, now: datetime) -> RowView:
    row = placed.row
    headline, *details = placed.reason.split(" · ")
    if headline == "pinned" and details:
        headline, *details = details
    moved_from = reading.moved_from.get(row.study_instance_uid)
    return _row(
        row,
        reading,
        now,
        position=placed.position + 1,
        headline=headline,
        details=tuple(details),
        moved_from=moved_from + 1 if moved_from is not None and moved_from != placed.position else None,
    )


def _apart(row: WorklistRow, reading: ReadingList, now: datetime) -> RowView:
    assert row.flag is not None
    return _row(
        row,
        reading,
        now,
        position=None,
        headline=row.flag.words,
        details=(ago(now - row.flag.raised_at), *((row.status_words,) if row.status_words else ())),
        moved_from=None,
    )


def _row(
    row: WorklistRow,
    reading: ReadingList,
    now: datetime,
    position: int | None,
    headline: str,
    details: tuple[str, ...],
    moved_from: int | None,
) -> RowView:
    about = reading.about[row.study_instance_uid]
    sign, word = _sign(row, about, reading.policy.mode is Mode.ACTIVE)
    if about.live_words:
        details = (*details, about.live_words)
    told = reading.told.get(row.study_instance_uid, ToldAt())
    details = (*details, *(f"re-ordered at {peer}" for peer in told.reordered), *told.failed)
    return RowView(
        uid=row.study_instance_uid,
        position=position,
        sign=sign,
        sign_word=word,
        headline=displayable(headline[:1].upper() + headline[1:], 120),
        details=tuple(displayable(d, 120) for d in details),
        order_class=row.order_class.value,
        wait=_wait(row, reading, now),
        label=about.label,
        description=about.description,
        pinned=row.pinned_at is not None,
        read_by=(displayable(row.claimed_by) or "somebody") if row.study_instance_uid in reading.claimed else "",
        moved_from=moved_from,
    )


def _sign(row: WorklistRow, about: About, flags_show: bool) -> tuple[Sign, str]:
    if row.flag is not None and flags_show:
        if row.live and row.reading_state is not ReadingState.NOT_CONFIRMED:
            return _OF_URGENCY[row.flag.urgency], row.flag.urgency.value
        return (Sign.LATE_FLAG, "not confirmed") if row.live else (Sign.LATE_FLAG, "late flag")
    flags_show = flags_show and not row.apart
    if row.unsure and flags_show and about.state not in _NOT_ANALYSED and about.state not in _AT_WORK:
        return Sign.NOT_SURE, "not sure"
    return _sign_of_state(about, flags_show)


def _sign_of_state(about: About, flags_show: bool) -> tuple[Sign, str]:
    if about.state in _NOT_ANALYSED:
        return Sign.NOT_ANALYSED, "not analysed"
    if about.state in _AT_WORK:
        return Sign.AT_WORK, "in work"
    # never a tick: that nothing was raised is no statement that there is no bleed
    return Sign.ANALYSED, "no flag" if flags_show else "analysed"


def _wait(row: WorklistRow, reading: ReadingList, now: datetime) -> Wait:
    bound = reading.policy.bounds[row.order_class]
    waited = now - row.arrived_at
    share = max(min(waited / bound, 1.0), 0.0)
    is_near = share >= _NEAR_SHARE and bound - waited <= _NEAR
    level = "over" if share >= 1 else "near" if is_near else "calm"
    return Wait(in_words(waited), in_words(bound), until(bound - waited), share, level)
