from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from tests.worklist.lists import ACTIVE, OBSERVE, at, flag, row, some_now, some_rows
from triage_node.domain.priority import ReadingState
from triage_node.worklist.leaving import Departure, departures, late_flags, not_confirmed, without_flag

S = ReadingState
DAY = 24 * 60


def changed(the_row, minutes):
    return [(d.old, d.new) for d in departures([the_row], at(minutes), ACTIVE)]


def test_an_unflagged_row_leaves_as_status_unknown_after_a_day():
    assert changed(row("1.1"), DAY - 0.1) == []
    assert departures([row("1.1")], at(DAY), ACTIVE) == [
        Departure("1.1", S.WAITING, S.STATUS_UNKNOWN, "not reported as read within 24 h")
    ]


def test_what_somebody_pinned_stays_for_as_long_again():
    late = row("1.1", flag=flag(), pinned_at=at(3 * DAY))
    assert changed(late, 4 * DAY - 1) == []
    assert changed(late, 4 * DAY) == [(S.WAITING, S.NOT_CONFIRMED)]


def test_a_flagged_row_becomes_reading_not_confirmed_and_stays_so():
    assert changed(row("1.1", flag=flag()), DAY) == [(S.WAITING, S.NOT_CONFIRMED)]
    assert changed(row("1.1", flag=flag(), reading_state=S.NOT_CONFIRMED), 90 * DAY) == []


def test_a_flag_that_comes_after_the_row_had_left_is_not_lost():
    assert changed(row("1.1", flag=flag(), reading_state=S.STATUS_UNKNOWN), 1) == [(S.STATUS_UNKNOWN, S.NOT_CONFIRMED)]


def test_a_claim_lapses_and_the_row_waits_again():
    claimed = row("1.1", reading_state=S.BEING_READ, claimed_by="dr. lee", claimed_at=at(0))
    assert changed(claimed, 59) == []
    assert departures([claimed], at(60), ACTIVE) == [
        Departure("1.1", S.BEING_READ, S.WAITING, "claim by dr. lee lapsed after 1 h")
    ]


def test_time_does_nothing_while_somebody_reads():
    claimed = row("1.1", reading_state=S.BEING_READ, claimed_at=at(DAY - 1))
    assert changed(claimed, DAY + 1) == []
    assert changed(claimed, DAY + 60) == [(S.BEING_READ, S.STATUS_UNKNOWN)]


@settings(max_examples=200, deadline=None)
@given(some_rows(), some_now())
def test_time_never_makes_a_row_read_and_never_drops_a_flag(rows, now):
    due = departures(rows, now, ACTIVE)
    by_uid = {r.study_instance_uid: r for r in rows}
    assert all(d.new is not S.READ and d.old is not S.READ for d in due)
    assert not any(by_uid[d.study_instance_uid].flag and d.new is S.STATUS_UNKNOWN for d in due)
    new = {d.study_instance_uid: d.new for d in due}
    settled = [replace(r, reading_state=new.get(r.study_instance_uid, r.reading_state)) for r in rows]
    assert departures(settled, now, ACTIVE) == []


@settings(max_examples=200, deadline=None)
@given(some_rows())
def test_every_unread_flag_that_left_the_order_is_shown_apart_exactly_once(rows):
    late, unconfirmed = late_flags(rows, ACTIVE), not_confirmed(rows, ACTIVE)
    shown = [r.study_instance_uid for r in [*late, *unconfirmed]]
    assert len(shown) == len(set(shown))
    for r in rows:
        apart = r.flag is not None and (
            (not r.live and r.reading_state is not S.READ) or (r.live and r.reading_state is S.NOT_CONFIRMED)
        )
        assert (r.study_instance_uid in shown) == apart


def test_late_flags_come_newest_first():
    rows = [row(f"1.{i}", live=False, flag=flag(raised_min=i)) for i in (1, 3, 2)]
    assert [r.study_instance_uid for r in late_flags(rows, ACTIVE)] == ["1.3", "1.2", "1.1"]


@settings(max_examples=200, deadline=None)
@given(some_rows())
def test_observe_mode_shows_no_flag_in_any_section(rows):
    assert late_flags(rows, OBSERVE) == []
    assert not_confirmed(rows, OBSERVE) == []
    masked = [without_flag(r) for r in rows]
    assert all(r.flag is None and r.reading_state is not S.NOT_CONFIRMED for r in masked)
