"""Is a sender silent for longer than its own pattern allows? An auto-forwarding rule that is gone makes no error, only silence.

The arrivals of one calling AE title are taken as an inhomogeneous Poisson process whose rate depends on weekday or weekend
and on the hour at the site. In a history with n arrivals in a cell that was watched for E hours, the rate of the cell is
Gamma(n, E), so that e silent hours of it have the probability (1 + e/E)^-n. The score of a silence is the negative logarithm
of the product over its cells. A silence follows each arrival; with N arrivals in 30 days, scores of ln N and more come
once in 30 days. Real feeds are less even than Poisson, hence the second bound: in its own past the feed was silent for so long
less than once in 30 days. In a history of 60 days and more that leaves out the longest silence, so that one outage does not
hide the next. An alarm is what exceeds both.

The node knows no public holidays: a sender that works on weekdays only can be reported on one.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise

ONE_FALSE_ALARM_IN = timedelta(days=30)
"""The stated rate: a sender at work is reported at most once in this time."""
LEARNED_FROM = timedelta(days=84)
LEAST_DAYS = 30
LEAST_STUDIES = 30
OUT_OF_SERVICE_AFTER = timedelta(days=28)
"""A sender that is silent for so long is no news any more; it leaves the alarms."""

_PIECE = timedelta(minutes=15)
"""All offsets from UTC are multiples of it, so a piece lies in one hour of the site's clock."""

_Cell = tuple[bool, int]


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a sender does in a week. `watched_h`: hours per cell; `limit`: the score from which a silence is an alarm."""

    zone: tzinfo
    days: float
    studies: int
    counts: Mapping[_Cell, int]
    watched_h: Mapping[_Cell, float]
    limit: float

    def _of_cell(self, cell: _Cell, silent_h: float) -> float:
        return _of_cell(self.counts.get(cell, 0), self.watched_h.get(cell, 0.0), silent_h)

    def silent_until(self, last: datetime) -> datetime | None:
        """When a silence since `last` is too long; None when not before the sender counts as out of service."""
        silent_h: dict[_Cell, float] = defaultdict(float)
        score = 0.0
        for cell, begin, end in _pieces(last, last + OUT_OF_SERVICE_AFTER, self.zone):
            score -= self._of_cell(cell, silent_h[cell])
            silent_h[cell] += (end - begin) / timedelta(hours=1)
            score += self._of_cell(cell, silent_h[cell])
            if score >= self.limit and self.counts.get(cell):
                return end
        return None


@dataclass(frozen=True, slots=True)
class Feed:
    """One sender at `now`. `unknown` says why there is no pattern; `alarm_at`: when its silence is too long."""

    calling_ae_title: str
    last: datetime
    alarm_at: datetime | None
    is_alarm: bool
    days: float
    unknown: str = ""


def learn(arrivals: Sequence[datetime], zone: tzinfo) -> Pattern | str:
    """The pattern of the LEARNED_FROM before the last of the arrivals (aware, any order), or why there is none."""
    at = sorted(arrivals)
    if not at:
        return "not enough history: no studies"
    begin = max(at[0], at[-1] - LEARNED_FROM)
    days = (at[-1] - begin) / timedelta(days=1)
    # the study that opens the history is no arrival in it
    at = [t for t in at if t > begin]
    if days < LEAST_DAYS or len(at) < LEAST_STUDIES:
        return f"not enough history: {len(at)} studies in {days:.0f} days"
    counts = Counter(_cell(t, zone) for t in at)
    watched_h = _hours(begin, at[-1], zone)
    in_stated_time = len(at) * (ONE_FALSE_ALARM_IN / timedelta(days=1)) / days
    scores = sorted((_score(counts, watched_h, _hours(a, b, zone)) for a, b in pairwise([begin, *at])), reverse=True)
    # the k longest silences of n days are exceeded k times in the next n days, when the days are alike
    rank = math.floor(days / (ONE_FALSE_ALARM_IN / timedelta(days=1)))
    limit = max(math.log(in_stated_time), scores[rank - 1])
    return Pattern(zone, days, len(at), counts, watched_h, limit)


def judge(calling_ae_title: str, arrivals: Sequence[datetime], now: datetime, zone: tzinfo) -> Feed:
    """How one sender stands. Arrivals: aware, at least one; those after `now` (a clock that was set) do not count."""
    at = [t for t in arrivals if t <= now] or [min(arrivals)]
    last = max(at)
    pattern = learn(at, zone)
    if isinstance(pattern, str):
        return Feed(calling_ae_title, last, None, False, 0.0, pattern)
    alarm_at = pattern.silent_until(last)
    is_alarm = alarm_at is not None and alarm_at <= now < last + OUT_OF_SERVICE_AFTER
    return Feed(calling_ae_title, last, alarm_at, is_alarm, pattern.days)


def _score(counts: Mapping[_Cell, int], watched_h: Mapping[_Cell, float], silent_h: Mapping[_Cell, float]) -> float:
    return sum(_of_cell(counts.get(c, 0), watched_h.get(c, 0.0), h) for c, h in silent_h.items())


def _of_cell(count: int, watched_h: float, silent_h: float) -> float:
    return count * math.log1p(silent_h / watched_h) if count else 0.0


def _hours(begin: datetime, end: datetime, zone: tzinfo) -> dict[_Cell, float]:
    hours: dict[_Cell, float] = defaultdict(float)
    for cell, a, b in _pieces(begin, end, zone):
        hours[cell] += (b - a) / timedelta(hours=1)
    return hours


def _pieces(begin: datetime, end: datetime, zone: tzinfo) -> Iterator[tuple[_Cell, datetime, datetime]]:
    at, end = begin.astimezone(UTC), end.astimezone(UTC)
    edge = at.replace(minute=at.minute - at.minute % 15, second=0, microsecond=0)
    while at < end:
        edge += _PIECE
        until = min(edge, end)
        yield _cell(at, zone), at, until
        at = until


def _cell(at: datetime, zone: tzinfo) -> _Cell:
    local = at.astimezone(zone)
    return local.weekday() >= 5, local.hour
