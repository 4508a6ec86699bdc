"""When a flagged study is passed on: never twice to one order, never after somebody looked, never while nobody tells of readings."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage_node.domain.priority import Flag, OrderClass, ReadingState, Urgency, WorklistRow
from triage_node.worklist.escalation import Told, next_order, standing

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
AFTER = 15 * MINUTE
FLAG = Flag("ich", Urgency.HIGH, "Suspected ICH", NOON)
ROW = WorklistRow("1.2.3", OrderClass.ROUTINE, NOON, FLAG)
FIRST = [Told(1, NOON)]


def test_it_is_passed_on_after_the_set_time_and_not_before():
    assert next_order(ROW, FIRST, {1, 2}, False, AFTER, NOON + AFTER - timedelta(seconds=1)) is None
    assert next_order(ROW, FIRST, {1, 2}, False, AFTER, NOON + AFTER) == 2


def test_it_goes_up_by_one_order_at_a_time_and_ends_after_the_last():
    told = [*FIRST, Told(3, NOON + AFTER), Told(3, NOON + AFTER)]
    assert next_order(ROW, told, {1, 3, 7}, False, AFTER, NOON + AFTER + MINUTE) is None
    assert next_order(ROW, told, {1, 3, 7}, False, AFTER, NOON + 2 * AFTER) == 7
    assert next_order(ROW, [*told, Told(7, NOON)], {1, 3, 7}, False, AFTER, NOON + DAY) is None


@pytest.mark.parametrize(
    ("row", "looked_at", "told"),
    [
        (ROW, True, FIRST),
        (ROW, False, []),
        (replace(ROW, flag=None), False, FIRST),
        (replace(ROW, live=False), False, FIRST),
        (replace(ROW, reading_state=ReadingState.BEING_READ), False, FIRST),
        (replace(ROW, reading_state=ReadingState.READ), False, FIRST),
        (replace(ROW, reading_state=ReadingState.STATUS_UNKNOWN), False, FIRST),
    ],
)
def test_what_was_looked_at_ended_or_never_told_is_not_passed_on(row, looked_at, told):
    assert next_order(row, told, {1, 2}, looked_at, AFTER, NOON + DAY) is None


def test_time_alone_does_not_close_it():
    assert (
        next_order(replace(ROW, reading_state=ReadingState.NOT_CONFIRMED), FIRST, {1, 2}, False, AFTER, NOON + DAY) == 2
    )


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["tick", "tick", "tick", "view", "claim", "lapse", "read", "cancel", "expire", "disagree"]),
    ),
    max_size=60,
)


@given(EVENTS, st.sets(st.integers(1, 6), min_size=1, max_size=5))
def test_whatever_happens_no_order_is_told_twice_and_nobody_after_somebody_looked(events, orders):
    now, row, looked_at = NOON, ROW, False
    told = [Told(min(orders), NOON)]
    for minutes, event in events:
        now += minutes * MINUTE
        if event == "tick":
            due = next_order(row, told, orders, looked_at, AFTER, now)
            if due is None:
                continue
            assert not looked_at
            assert row.flag is not None
            assert due not in {t.order for t in told}
            assert now - told[-1].at >= AFTER
            told.append(Told(due, now))
            assert next_order(row, told, orders, looked_at, AFTER, now) is None, "the same tick once more"
            continue
        looked_at = looked_at or event not in ("lapse", "expire")
        state = {
            "claim": ReadingState.BEING_READ,
            "lapse": ReadingState.WAITING,
            "read": ReadingState.READ,
            "cancel": ReadingState.NOT_CONFIRMED,
            "expire": ReadingState.NOT_CONFIRMED,
        }.get(event, row.reading_state)
        row = replace(row, reading_state=state, flag=None if event == "disagree" else row.flag)
    assert [t.order for t in told] == sorted({t.order for t in told})


def test_it_is_off_with_the_reason_until_somebody_tells_of_readings():
    week = 7 * DAY
    assert not standing({1}, True, None, week, NOON).is_on
    off = standing({1, 2}, False, None, week, NOON)
    assert (off.is_on, off.words.startswith("off: nobody has told of a reading for 7 d")) == (False, True)
    assert not standing({1, 2}, False, (NOON - 9 * DAY, NOON - 8 * DAY), week, NOON).is_on
    on = standing({1, 2}, False, (NOON - DAY, NOON - 5 * MINUTE), week, NOON)
    assert (on.is_on, on.since, on.words) == (True, NOON - DAY, "on: a reading was told 5 min ago")
    here = standing({1, 2}, True, None, week, NOON)
    assert (here.is_on, here.since) == (True, None)
