"""The silence alarm keeps the rate that it states, and finds a feed that ended. All feeds here are simulated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triage_node.study.silence import (
    LEARNED_FROM,
    ONE_FALSE_ALARM_IN,
    OUT_OF_SERVICE_AFTER,
    Pattern,
    judge,
    learn,
)

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
BERLIN = ZoneInfo("Europe/Berlin")


def busy_by_day(at: datetime) -> float:
    """Studies an hour of a scanner that works day and night, less at night and at the weekend."""
    rate = 1.2 if 7 <= at.hour < 19 else 0.15
    return rate * (0.4 if at.weekday() >= 5 else 1.0)


def weekdays_only(at: datetime) -> float:
    return 1.5 if at.weekday() < 5 and 8 <= at.hour < 17 else 0.0


def simulated(rate, days: float, rng: np.random.Generator, start: datetime = START) -> list[datetime]:
    """A Poisson feed, hour by hour."""
    hours = [start + timedelta(hours=h) for h in range(int(days * 24))]
    numbers = rng.poisson([rate(h) for h in hours])
    return sorted(h + timedelta(hours=float(u)) for h, n in zip(hours, numbers, strict=True) for u in rng.random(n))


def uneven(at: datetime) -> float:
    """No Poisson feed: some days are three times as busy as others, for no reason that the hour or the weekday tells."""
    return busy_by_day(at) * (0.5, 1.5, 0.8, 1.2, 1.0)[at.toordinal() * 7919 % 5]


@pytest.mark.parametrize("rate", [busy_by_day, weekdays_only, lambda at: 0.12, uneven])
def test_false_alarms_of_simulated_feeds_stay_within_the_stated_rate(rate):
    rng = np.random.default_rng(20261121)
    feeds, watched = 12, 75
    false = 0
    for _ in range(feeds):
        history = simulated(rate, LEARNED_FROM.days, rng)
        pattern = learn(history, UTC)
        assert isinstance(pattern, Pattern)
        ahead = simulated(rate, watched, rng, START + LEARNED_FROM)
        for a, b in pairwise([history[-1], *ahead]):
            until = pattern.silent_until(a) if b - a > timedelta(hours=2) else None
            false += until is not None and until < b
    months = feeds * watched / (ONE_FALSE_ALARM_IN / timedelta(days=1))
    assert false / months <= 1.0


@pytest.mark.parametrize(("hour", "found_within_h"), [(9, 12), (22, 24)])
def test_feed_that_ends_is_found_within_half_a_day_by_day_and_within_a_day_by_night(hour, found_within_h):
    late = 0
    for seed in range(20):
        ended = START + timedelta(days=57, hours=hour)
        history = [t for t in simulated(busy_by_day, 58, np.random.default_rng(seed)) if t < ended]
        feed = judge("CT1", history, ended + timedelta(hours=found_within_h), UTC)
        late += not feed.is_alarm
    assert late <= 1


def test_department_that_scans_on_weekdays_gives_no_alarm_on_sunday_and_one_on_monday():
    history = simulated(weekdays_only, 54, np.random.default_rng(5))  # to Friday night, in week 8
    friday = START + timedelta(days=53)
    assert friday.weekday() == 4
    assert history[-1].date() <= friday.date()
    feed = judge("CT1", history, START + timedelta(days=55, hours=23), UTC)  # Sunday, 23 h
    assert not feed.is_alarm
    assert judge("CT1", history, START + timedelta(days=56, hours=18), UTC).is_alarm  # nothing on Monday either


def test_night_by_the_clock_of_the_site_is_quiet_across_the_change_of_time():
    """Summer time begins on 2026-03-29: the quiet hours move by one in UTC, not at the site."""
    local = datetime(2026, 2, 16, tzinfo=BERLIN)
    history = []
    for day in range(49):  # to April 5th
        for k in range(20):
            minute = 8 * 60 + k * 27  # every 27 minutes from 8:00 to 16:33
            history.append((local + timedelta(days=day)).replace(hour=minute // 60, minute=minute % 60))
    at_seven = datetime(2026, 4, 6, 7, 59, tzinfo=BERLIN)
    assert not judge("CT1", history, at_seven, BERLIN).is_alarm
    assert judge("CT1", history, at_seven + timedelta(hours=8), BERLIN).is_alarm


def test_short_history_is_told_and_never_an_alarm():
    few = [START + timedelta(days=2 * k) for k in range(12)]
    feed = judge("CT1", few, START + timedelta(days=40), UTC)
    assert feed.unknown == "not enough history: 11 studies in 22 days"
    assert not feed.is_alarm
    assert feed.alarm_at is None
    young = [START + timedelta(hours=k) for k in range(100)]
    assert judge("CT1", young, young[-1] + timedelta(days=2), UTC).unknown.endswith("99 studies in 4 days")
    assert judge("CT1", [START], START, UTC).unknown == "not enough history: 0 studies in 0 days"
    assert learn([], UTC) == "not enough history: no studies"


def test_one_outage_in_the_history_does_not_hide_the_next():
    rng = np.random.default_rng(3)
    outage = (START + timedelta(days=20), START + timedelta(days=24))
    history = [t for t in simulated(busy_by_day, 84, rng) if not outage[0] <= t <= outage[1]]
    assert judge("CT1", history, history[-1] + timedelta(hours=36), UTC).is_alarm


def test_bursts_with_long_pauses_are_a_pattern_of_their_own():
    """A back-load sends 40 studies at once every third day: no Poisson feed, but silent for three days each time."""
    history = [START + timedelta(days=3 * d, seconds=20 * k) for d in range(19) for k in range(40)]
    assert not judge("PACS", history, history[-1] + timedelta(days=2, hours=22), UTC).is_alarm
    assert judge("PACS", history, history[-1] + timedelta(days=9), UTC).is_alarm


def test_sender_that_was_taken_out_of_service_leaves_the_alarms():
    history = simulated(busy_by_day, 56, np.random.default_rng(1))
    assert judge("CT1", history, history[-1] + OUT_OF_SERVICE_AFTER - timedelta(hours=1), UTC).is_alarm
    assert not judge("CT1", history, history[-1] + OUT_OF_SERVICE_AFTER, UTC).is_alarm


def test_arrivals_after_now_do_not_count():
    history = simulated(busy_by_day, 57, np.random.default_rng(1))
    now = START + timedelta(days=56)
    assert judge("CT1", history, now, UTC) == judge("CT1", [t for t in history if t <= now], now, UTC)
    assert not judge("CT1", [START], START - timedelta(days=1), UTC).is_alarm


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 100 * 86400), min_size=1, max_size=120),
    st.integers(0, 200 * 86400),
    st.sampled_from([UTC, BERLIN, ZoneInfo("Asia/Kathmandu")]),
)
def test_whatever_the_arrivals_are_it_answers_and_an_alarm_is_past_its_own_limit(seconds, now_s, zone):
    now = START + timedelta(seconds=now_s)
    feed = judge("CT1", [START + timedelta(seconds=s) for s in seconds], now, zone)
    if feed.is_alarm:
        assert feed.alarm_at is not None
        assert feed.last < feed.alarm_at <= now
        assert not feed.unknown
