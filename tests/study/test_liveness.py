from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.study.headers import HEAD
from triage_node.study.liveness import Liveness, acquired_at, liveness

SIX_HOURS = timedelta(hours=6)
NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def told(date: str, time: str, offset: str = "", arrived: datetime = NOON) -> Liveness:
    header = replace(HEAD, acquisition_date=date, acquisition_time=time, timezone_offset_from_utc=offset)
    return liveness(header, arrived, SIX_HOURS, BERLIN)


@pytest.mark.parametrize(
    ("date", "time", "offset", "live", "known", "words"),
    [
        # Berlin is one hour ahead of UTC in January
        ("20260105", "124800", "", True, True, "acquired 12 min before it arrived"),
        ("20260105", "070000.000", "", True, True, "acquired 6 h before it arrived"),
        ("20260105", "065900", "", False, True, "acquired 6 h 1 min before it arrived: not live"),
        ("20260105", "070000", "-0500", True, True, "acquired 0 min before it arrived"),
        ("20260105", "093000", "+0530", False, True, "acquired 8 h before it arrived: not live"),
        ("20260105", "070000", "+9900", True, True, "acquired 6 h before it arrived"),
        ("20260105", "070000", "nonsense", True, True, "acquired 6 h before it arrived"),
        ("2026.01.05", "12:48:00", "", True, True, "acquired 12 min before it arrived"),
        ("20260105", "1248", "", True, True, "acquired 12 min before it arrived"),
        ("20260105", "130400", "", True, True, "acquired 0 min before it arrived"),
        ("20260105", "140000", "", True, False, "acquisition time lies in the future, treated as live"),
        ("", "", "", True, False, "acquisition time missing, treated as live"),
        ("20260105", "", "", True, False, "acquisition time missing, treated as live"),
        ("20251001", "", "", False, True, "acquired on an earlier day: not live"),
        ("19000101", "000000", "", True, False, "acquisition time implausible, treated as live"),
        ("20260199", "120000", "", True, False, "acquisition time implausible, treated as live"),
        ("20260105", "996199", "", True, False, "acquisition time implausible, treated as live"),
        ("yesterday", "noon", "", True, False, "acquisition time implausible, treated as live"),
        ("20240105", "120000", "", False, True, "acquired 731 d 1 h before it arrived: not live"),
    ],
)
def test_liveness_of_a_header(date: str, time: str, offset: str, live: bool, known: bool, words: str) -> None:
    assert told(date, time, offset) == Liveness(live, known, words)


def test_leap_second_is_a_time() -> None:
    assert acquired_at("20161231", "235960", UTC) == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_repeated_hour_in_autumn_is_read_as_the_later_one() -> None:
    """02:30 came twice on 2026-10-25 in Berlin; the first reading would make a fresh study six and a half hours old."""
    arrived = datetime(2026, 10, 25, 7, 0, tzinfo=UTC)
    assert told("20261025", "023000", arrived=arrived).live


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_any_text_gives_an_answer(date: str, time: str, offset: str) -> None:
    assert told(date, time, offset).words
