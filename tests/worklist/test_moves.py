from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from tests.worklist.lists import ACTIVE, OBSERVE, at, flag, row, some_now, some_rows
from triage_node.domain.priority import ON_THE_LIST
from triage_node.worklist.moves import Move, moves, would_move
from triage_node.worklist.order import order


def test_a_flag_is_one_move_and_the_rows_that_make_room_are_none():
    rows = [row(f"1.2.{i}", arrived_min=i) for i in range(13)]
    before = order(rows, at(20), ACTIVE)
    rows[12] = replace(rows[12], flag=flag(raised_min=20))
    assert moves(before, order(rows, at(20), ACTIVE)) == [
        Move("1.2.12", 12, 0, "Suspected IPH, 34 mL · raised 12 places · just now")
    ]


def test_a_row_that_comes_up_because_one_above_it_left_did_not_move():
    rows = [row(f"1.2.{i}", arrived_min=i) for i in range(5)]
    assert moves(order(rows, at(9), ACTIVE), order(rows[2:], at(9), ACTIVE)) == []


def test_a_new_row_is_a_move_from_nowhere():
    old, new = row("1.1"), row("1.2", arrived_min=5)
    found = moves(order([old], at(6), ACTIVE), order([old, new], at(6), ACTIVE))
    assert found == [Move("1.2", None, 1, "ROUTINE, bound in 23 h 59 min")]


def test_moves_between_empty_lists_are_none():
    assert moves([], []) == []


@settings(max_examples=200, deadline=None)
@given(some_rows(), some_now())
def test_would_move_is_what_active_mode_does_to_the_plain_list(rows, now):
    found = would_move(rows, now, OBSERVE)
    assert found == would_move(rows, now, ACTIVE)
    plain = {p.row.study_instance_uid: p.position for p in order(rows, now, OBSERVE)}
    active = {p.row.study_instance_uid: p for p in order(rows, now, ACTIVE)}
    flagged = {r.study_instance_uid for r in rows if r.flag and r.live and r.reading_state in ON_THE_LIST}
    for move in found:
        assert move.old_position == plain[move.study_instance_uid]
        assert move.new_position == active[move.study_instance_uid].position
        assert move.study_instance_uid in flagged
    if [p for p in sorted(plain, key=plain.__getitem__)] != [p for p in active]:
        assert found
