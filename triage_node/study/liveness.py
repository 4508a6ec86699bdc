"""Was the study acquired just now, or is it a back-load, an import, a prior? (DESIGN.md section 2 "Live").

What is not known counts as live, labelled: a bleed that comes with a broken clock must not be taken for an old study.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from triage_node.domain.durations import in_words
from triage_node.domain.instance import InstanceHeader

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A scanner's clock may go ahead by this without a word."""
EARLIEST_YEAR = 1975
NO_IMAGE = "no image yet, treated as live"
"""Until the first one comes: reports and dose pages tell when something else was made."""

_DA = re.compile(r"([0-9]{4})[.-]?([0-9]{2})[.-]?([0-9]{2})\Z")
_TM = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.[0-9]{1,6})?)?)?\Z")
_OFFSET = re.compile(r"([+-])([0-9]{2})([0-9]{2})\Z")


@dataclass(frozen=True, slots=True)
class Liveness:
    """`known` is False where the header does not tell; `live` is then True. `words` says why."""

    live: bool
    known: bool
    words: str


def liveness(header: InstanceHeader, arrived_at: datetime, live_within: timedelta, site_zone: tzinfo = UTC) -> Liveness:
    """Compare the acquisition with the arrival (aware). `site_zone` holds where the header names no offset."""
    if not header.acquisition_date.strip():
        return Liveness(True, False, "acquisition time missing, treated as live")
    zone = zone_of(header, site_zone)
    first = acquired_at(header.acquisition_date, header.acquisition_time or "", zone)
    if first is None:
        return Liveness(True, False, "acquisition time implausible, treated as live")
    if not header.acquisition_time.strip():
        # a date alone can only prove that a study is old: the whole of that day lies too far back
        if arrived_at - (first + timedelta(days=1)) > live_within:
            return Liveness(False, True, "acquired on an earlier day: not live")
        return Liveness(True, False, "acquisition time missing, treated as live")
    age = arrived_at - first
    if age < -CLOCK_TOLERANCE:
        return Liveness(True, False, "acquisition time lies in the future, treated as live")
    words = f"acquired {in_words(age)} before it arrived"
    return Liveness(True, True, words) if age <= live_within else Liveness(False, True, f"{words}: not live")


def zone_of(header: InstanceHeader, site_zone: tzinfo) -> tzinfo:
    """Timezone Offset From UTC (0008,0201) when it is one, else the site's zone."""
    told = _OFFSET.match(header.timezone_offset_from_utc.strip())
    if told is None:
        return site_zone
    minutes = int(told[2]) * 60 + int(told[3])
    offset = timedelta(minutes=minutes if told[1] == "+" else -minutes)
    if int(told[3]) > 59 or not timedelta(hours=-12) <= offset <= timedelta(hours=14):
        return site_zone
    return timezone(offset)


def acquired_at(date: str, time: str, zone: tzinfo) -> datetime | None:
    """The instant that a DA and a TM name, or None when they name none. A missing time is the beginning of the day.

    In the hour that the clock repeats in autumn the later reading is taken, so that the study rather counts as live.
    """
    day, clock = _DA.match(date.strip()), _TM.match(time.strip() or "00")
    if day is None or clock is None or int(day[1]) < EARLIEST_YEAR:
        return None
    try:
        return datetime(
            int(day[1]),
            int(day[2]),
            int(day[3]),
            int(clock[1]),
            int(clock[2] or 0),
            min(int(clock[3] or 0), 59),  # TM allows a leap second
            tzinfo=zone,
            fold=1,
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
