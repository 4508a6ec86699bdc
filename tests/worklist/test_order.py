"""The properties that DESIGN.md section 2 lists, its worked examples, and the words of each reason."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.worklist.lists import ACTIVE, OBSERVE, at, flag, row, some_flag, some_now, some_rows
from triage_node.domain.priority import (
    ON_THE_LIST,
    ListPolicy,
    Mode,
    OrderClass,
    ReadingState,
    Urgency,
    WorklistRow,
)
from triage_node.worklist.order import GUARDED, counting_flag, first_to_read, is_claimed, order

SEVERITY = [Urgency.MODERATE, Urgency.HIGH, Urgency.CRITICAL]
many = settings(max_examples=250, deadline=None)
mode = st.sampled_from([ACTIVE, OBSERVE])


def uids(rows: list[WorklistRow], now: datetime, policy: ListPolicy = ACTIVE) -> list[str]:
    return [p.row.study_instance_uid for p in order(rows, now, policy)]


@many
@given(some_rows(), some_now(), mode, st.randoms(use_true_random=False))
def test_order_is_total_and_does_not_depend_on_how_the_rows_come(rows, now, policy, random):
    placed = order(rows, now, policy)
    assert [p.position for p in placed] == list(range(len(placed)))
    assert {p.row for p in placed} == {r for r in rows if r.reading_state in ON_THE_LIST}
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert order(shuffled, now, policy) == placed
    assert all(p.reason for p in placed)
    assert [p.tier for p in placed] == sorted(p.tier for p in placed)


@many
@given(some_rows(), some_now(), st.data())
def test_a_flag_or_a_higher_urgency_never_worsens_its_own_place_nor_moves_the_others_among_themselves(rows, now, data):
    i = data.draw(st.integers(0, len(rows) - 1))
    new, old = data.draw(some_flag()), rows[i]
    if old.flag is not None:
        assume(SEVERITY.index(new.urgency) >= SEVERITY.index(old.flag.urgency))
    assume(old.reading_state in ON_THE_LIST)
    before = uids(rows, now)
    after = uids([replace(r, flag=new) if r is old else r for r in rows], now)
    uid = old.study_instance_uid
    assert after.index(uid) <= before.index(uid)
    assert [u for u in after if u != uid] == [u for u in before if u != uid]


@many
@given(some_rows(), some_now(), mode)
def test_the_first_to_read_is_the_first_of_the_order(rows, now, policy):
    waiting = [row for row in rows if row.reading_state in ON_THE_LIST]
    assume(waiting)
    assert first_to_read(waiting, now, policy) == order(rows, now, policy)[0].row


@given(some_rows(), some_now())
def test_observe_mode_and_a_list_without_flags_have_the_plain_order(rows, now):
    bare = [replace(r, flag=None) for r in rows]
    assert uids(rows, now, OBSERVE) == uids(bare, now, ACTIVE) == uids(bare, now, OBSERVE)


@many
@given(some_rows(), some_now())
def test_a_guarded_study_is_behind_a_flagged_one_only_if_that_is_critical_high_or_pinned(rows, now):
    placed = order(rows, now, ACTIVE)
    for i, behind in enumerate(placed):
        if behind.tier != GUARDED:
            continue
        for ahead in placed[:i]:
            urgent = counting_flag(ahead.row, ACTIVE)
            if urgent is not None and ahead.tier != GUARDED:
                assert ahead.row.pinned_at is not None or urgent.urgency in (Urgency.CRITICAL, Urgency.HIGH)


@many
@given(some_rows(), some_now(), mode)
def test_a_claim_moves_nothing(rows, now, policy):
    claimed = [
        replace(r, reading_state=ReadingState.BEING_READ, claimed_at=now) if r.reading_state in ON_THE_LIST else r
        for r in rows
    ]
    assert uids(claimed, now, policy) == uids(rows, now, policy)


@many
@given(some_rows(), some_now())
def test_a_flag_of_a_study_that_is_not_live_changes_no_place_and_no_reason(rows, now):
    not_live = [replace(r, live=False) for r in rows]
    bare = [replace(r, live=False, flag=None) for r in rows]
    with_flags, without = order(not_live, now, ACTIVE), order(bare, now, ACTIVE)
    assert [(p.position, p.tier, p.reason) for p in with_flags] == [(p.position, p.tier, p.reason) for p in without]


@many
@given(some_rows(), some_now())
def test_observe_mode_names_no_flag_in_any_reason(rows, now):
    assert not any("Suspected" in p.reason or "raised" in p.reason for p in order(rows, now, OBSERVE))


def test_one_new_high_routine_study_stands_before_300_overdue_routine_studies():
    rows = [row(f"1.2.{i}", arrived_min=-2000 + i) for i in range(300)]
    assert uids([*rows, row("1.9", arrived_min=995, flag=flag())], at(1000))[0] == "1.9"


def test_one_new_high_routine_study_stands_before_40_overdue_stat_studies():
    rows = [row(f"1.2.{i}", OrderClass.STAT, -2000 + i) for i in range(40)]
    assert uids([*rows, row("1.9", arrived_min=999, flag=flag())], at(1000))[0] == "1.9"


def test_an_overdue_stat_study_stands_before_100_moderate_flags():
    weak = flag(Urgency.MODERATE)
    rows = [row(f"1.2.{i}", OrderClass.STAT, 999, flag=weak) for i in range(100)]
    assert uids([*rows, row("1.9", OrderClass.STAT, 900)], at(1000))[0] == "1.9"


def test_pinned_rows_come_first_in_the_order_of_their_pins():
    rows = [
        row("1.1", flag=flag(Urgency.CRITICAL)),
        row("1.2", pinned_at=at(5)),
        row("1.3", pinned_at=at(4)),
    ]
    assert uids(rows, at(10)) == ["1.3", "1.2", "1.1"]


def test_flags_stand_by_urgency_then_order_class_then_deadline():
    rows = [
        row("1.1", OrderClass.STAT, 3, flag=flag(Urgency.HIGH)),
        row("1.2", OrderClass.ROUTINE, 2, flag=flag(Urgency.CRITICAL)),
        row("1.3", OrderClass.ROUTINE, 1, flag=flag(Urgency.CRITICAL)),
        row("1.4", OrderClass.URGENT, 4, flag=flag(Urgency.CRITICAL)),
    ]
    assert uids(rows, at(5)) == ["1.4", "1.3", "1.2", "1.1"]


def test_stat_enters_the_guard_exactly_ten_minutes_before_its_bound():
    weak, stat = row("1.1", OrderClass.STAT, 0, flag=flag(Urgency.MODERATE)), row("1.2", OrderClass.STAT, 0)
    newer = replace(weak, arrived_at=at(15))
    assert uids([newer, stat], at(19.9)) == ["1.1", "1.2"]
    assert uids([newer, stat], at(20)) == ["1.2", "1.1"]


def test_ties_are_broken_by_study_instance_uid():
    assert uids([row("1.3"), row("1.1"), row("1.2")], at(1)) == ["1.1", "1.2", "1.3"]


@pytest.mark.parametrize("state", [s for s in ReadingState if s not in ON_THE_LIST])
def test_rows_that_have_left_are_not_placed(state):
    assert order([row("1.1", reading_state=state, flag=flag())], at(1), ACTIVE) == []


def test_an_empty_list_has_no_places():
    assert order([], at(0), ACTIVE) == []


def test_reason_of_a_raised_study_says_finding_places_and_age():
    rows = [row(f"1.2.{i}", arrived_min=-100 + i) for i in range(12)]
    rows.append(row("1.9", arrived_min=0, flag=flag(raised_min=1)))
    assert order(rows, at(4), ACTIVE)[0].reason == "Suspected IPH, 34 mL · raised 12 places · 3 min ago"


def test_reason_counts_one_place_in_the_singular_and_leaves_out_none():
    flagged = row("1.9", arrived_min=1, flag=flag(raised_min=4))
    assert order([row("1.1"), flagged], at(4), ACTIVE)[0].reason == "Suspected IPH, 34 mL · raised 1 place · just now"
    assert order([flagged], at(4), ACTIVE)[0].reason == "Suspected IPH, 34 mL · just now"


@pytest.mark.parametrize(
    ("stat_age_min", "reason"),
    [
        (26, "STAT, bound in 4 min"),
        (29.5, "STAT, bound in under 1 min"),
        (30, "STAT, overdue"),
        (30.5, "STAT, overdue"),
        (155, "STAT, overdue by 2 h 5 min"),
    ],
)
def test_reason_of_a_guarded_study_says_its_bound(stat_age_min, reason):
    assert order([row("1.1", OrderClass.STAT)], at(stat_age_min), ACTIVE)[0].reason == reason


def test_reason_of_what_could_not_be_analysed_says_so():
    failed = row("1.1", status_words="not analysed: 9 slices missing")
    assert order([failed], at(1), ACTIVE)[0].reason == "not analysed: 9 slices missing"


def test_a_guarded_study_that_could_not_be_analysed_says_both():
    failed = row("1.1", OrderClass.STAT, status_words="not analysed: 9 slices missing")
    assert order([failed], at(26), ACTIVE)[0].reason == "STAT, bound in 4 min · not analysed: 9 slices missing"


def test_a_failure_after_the_decision_keeps_flag_and_place():
    broken = row("1.9", arrived_min=1, flag=flag(), status_words="flagged, objects not sent")
    first = order([row("1.1"), broken], at(4), ACTIVE)[0]
    assert first.row is broken
    assert first.reason == "Suspected IPH, 34 mL · raised 1 place · 4 min ago · flagged, objects not sent"


def test_a_pinned_flag_names_the_pin_first():
    pinned = row("1.1", flag=flag(), pinned_at=at(1))
    assert order([pinned], at(3), ACTIVE)[0].reason == "pinned · Suspected IPH, 34 mL · 3 min ago"


def test_a_claim_lapses_after_claim_for():
    claimed = row("1.1", reading_state=ReadingState.BEING_READ, claimed_at=at(0))
    assert is_claimed(claimed, at(59.9), ACTIVE)
    assert not is_claimed(claimed, at(60), ACTIVE)
    assert not is_claimed(replace(claimed, claimed_at=None), at(1), ACTIVE)


def test_a_flag_raised_by_a_clock_that_goes_ahead_reads_as_just_now():
    assert "just now" in order([row("1.1", flag=flag(raised_min=30))], at(4), ACTIVE)[0].reason


def test_ordering_takes_time_in_proportion_to_the_rows():
    """The node orders the list in every transaction that moves a row; comparing each with each would make four times 16 times."""
    rows = [row(f"1.2.{i}", arrived_min=-i % 977, flag=flag() if i % 7 == 0 else None) for i in range(1000)]
    few, many = (min(_seconds(some, time.process_time) for _ in range(5)) for some in (rows[:250], rows))
    assert many < 9 * few


def _seconds(rows, clock):
    start = clock()
    order(rows, at(1000), ACTIVE)
    return clock() - start


def test_policy_bounds_and_guard_are_taken_from_the_policy():
    strict = ListPolicy(mode=Mode.ACTIVE, guarded=frozenset({OrderClass.ROUTINE}), guard=timedelta(hours=24))
    placed = order([row("1.1"), row("1.2", OrderClass.STAT)], at(1), strict)
    assert [(p.row.study_instance_uid, p.tier) for p in placed] == [("1.1", 2), ("1.2", 4)]
