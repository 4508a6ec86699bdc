from __future__ import annotations

import pytest

from tests.console.sample import NOW, SampleNode, ago, flag, night
from triage_node.console.rows import FLAG_SIGNS, MOST_ROWS, Filter, Sign, Wanted, list_view
from triage_node.domain.priority import ListPolicy, Mode, OrderClass, ReadingState, Urgency
from triage_node.domain.study import StudyState


def rows_of(node: SampleNode, flags_count: bool = False):
    view = list_view(node.reading_list(NOW, flags_count), NOW)
    listed = [row for _, rows in view.groups for row in rows]
    return view, [view.first, *listed] if view.first else listed


def test_the_first_waiting_study_stands_alone_and_no_study_is_lost():
    node = night()
    view, rows = rows_of(node)
    assert view.first.headline == "Suspected SAH, 34 mL, very likely"
    assert view.first.details == ("raised 36 places", "4 min ago")
    placed = [p.row.study_instance_uid for p in node.reading_list(NOW, False).placed]
    assert sorted([r.uid for r in rows] + [r.uid for r in view.being_read]) == sorted(placed)
    assert [r.position for r in rows] == sorted(r.position for r in rows)
    assert (view.waiting, view.flagged, view.not_analysed) == (38, 4, 3)


def test_only_flagged_rows_bear_the_flags_sign():
    node = night()
    _, rows = rows_of(node)
    for row in rows:
        the_flag = node.rows[row.uid].flag
        assert (row.sign in FLAG_SIGNS) == (the_flag is not None and node.rows[row.uid].live)


def test_observe_mode_shows_no_flag_anywhere():
    view, rows = rows_of(night(Mode.OBSERVE))
    assert {r.sign for r in rows} == {Sign.ANALYSED, Sign.AT_WORK, Sign.NOT_ANALYSED}
    assert (view.flagged, view.late, view.not_confirmed) == (0, (), ())
    assert not any("Suspected" in text for r in rows for text in (r.headline, *r.details))


def test_would_move_shows_the_place_without_flags():
    _, rows = rows_of(night(Mode.OBSERVE), flags_count=True)
    assert (rows[0].moved_from, rows[0].position) == (37, 1)


def test_being_read_late_and_not_confirmed_stand_apart():
    view, _ = rows_of(night())
    assert [(r.read_by, r.position) for r in view.being_read] == [("Dr. Lee", 3)]
    assert [(r.sign, r.position, r.details[-1]) for r in view.late] == [
        (Sign.LATE_FLAG, None, "acquired 2 d 3 h before it arrived")
    ]
    assert [(r.sign, r.sign_word) for r in view.not_confirmed] == [(Sign.LATE_FLAG, "not confirmed")]


@pytest.mark.parametrize(
    "state", [StudyState.DECLINED, StudyState.OUT_OF_SCOPE, StudyState.QUARANTINED, StudyState.FAILED]
)
def test_what_was_not_analysed_never_looks_like_no_bleed(state):
    node = SampleNode()
    node.add(state=state, status_words="not analysed: 9 slices missing")
    view, (row,) = rows_of(node)
    assert (row.sign, row.sign_word, row.headline) == (
        Sign.NOT_ANALYSED,
        "not analysed",
        "Not analysed: 9 slices missing",
    )
    assert view.not_analysed == 1


def test_not_sure_is_an_answer_of_its_own_and_moves_nothing():
    node = SampleNode()
    plain, unsure = node.add(minutes=20), node.add(minutes=10, unsure=True)
    view, rows = rows_of(node)
    assert [(r.uid, r.sign, r.sign_word) for r in rows] == [
        (plain, Sign.ANALYSED, "no flag"),
        (unsure, Sign.NOT_SURE, "not sure"),
    ]
    assert (view.not_sure, view.flagged) == (1, 0)
    assert not rows[1].is_flagged


def test_readers_do_not_see_in_observe_mode_that_the_model_was_not_sure():
    node = SampleNode(policy=ListPolicy(mode=Mode.OBSERVE))
    node.add(unsure=True)
    view, (row,) = rows_of(node)
    assert (row.sign, row.sign_word, view.not_sure) == (Sign.ANALYSED, "analysed", 0)


def test_a_flag_goes_before_not_sure_and_a_failed_study_before_both():
    node = SampleNode()
    node.add(unsure=True, flag=flag(Urgency.HIGH, "Suspected IPH", 3))
    node.add(unsure=True, state=StudyState.FAILED, status_words="not analysed, failed: x")
    _, rows = rows_of(node)
    assert {r.sign for r in rows} == {Sign.HIGH, Sign.NOT_ANALYSED}


def test_a_failure_after_the_flag_keeps_the_flags_sign_and_says_so():
    node = SampleNode()
    node.add(
        state=StudyState.FAILED, flag=flag(Urgency.HIGH, "Suspected IPH", 3), status_words="flagged, objects not sent"
    )
    _, (row,) = rows_of(node)
    assert row.sign is Sign.HIGH
    assert row.details == ("3 min ago", "flagged, objects not sent")


@pytest.mark.parametrize(
    ("order_class", "minutes", "words", "level"),
    [
        (OrderClass.STAT, 12, ("12 min", "30 min", "bound in 18 min"), "calm"),
        (OrderClass.STAT, 21, ("21 min", "30 min", "bound in 9 min"), "near"),
        (OrderClass.STAT, 37, ("37 min", "30 min", "overdue by 7 min"), "over"),
        (OrderClass.ROUTINE, 17 * 60, ("17 h", "24 h", "bound in 7 h"), "calm"),
        (OrderClass.ROUTINE, -5, ("0 min", "24 h", "bound in 24 h 5 min"), "calm"),
    ],
)
def test_waiting_time_stands_against_its_bound(order_class, minutes, words, level):
    node = SampleNode(policy=ListPolicy(mode=Mode.ACTIVE))
    node.add(order_class=order_class, minutes=minutes)
    _, (row,) = rows_of(node)
    assert (row.wait.waited, row.wait.bound, row.wait.standing) == words
    assert row.wait.level == level
    assert 0 <= row.wait.share <= 1


def test_a_pinned_row_says_so_beside_its_reason():
    node = SampleNode()
    uid = node.add(order_class=OrderClass.STAT, minutes=25, pinned_at=ago(1))
    _, (row,) = rows_of(node)
    assert (row.uid, row.pinned, row.headline) == (uid, True, "STAT, bound in 5 min")


def test_a_lapsed_claim_waits_again():
    node = SampleNode()
    node.add(minutes=90, reading_state=ReadingState.BEING_READ, claimed_by="dr. lee", claimed_at=ago(61))
    view, rows = rows_of(node)
    assert (len(rows), view.being_read) == (1, ())


def test_a_flood_of_studies_is_cut_and_counted():
    node = SampleNode()
    for _ in range(MOST_ROWS + 50):
        node.add()
    view, rows = rows_of(node)
    assert len(rows) == MOST_ROWS + 1
    assert view.left_out == 49
    assert view.waiting == MOST_ROWS + 50


def test_an_empty_list_has_no_next_study():
    view, rows = rows_of(SampleNode())
    assert (view.first, rows, view.waiting) == (None, [], 0)


def test_hostile_words_are_cut_and_stripped_before_they_reach_the_page():
    node = SampleNode()
    node.add(state=StudyState.DECLINED, status_words="not analysed: \u202e" + "x" * 500)
    _, (row,) = rows_of(node)
    assert "\u202e" not in row.headline
    assert len(row.headline) == 120


@pytest.mark.parametrize(
    ("shown", "left"),
    [
        (Filter(), 40),
        (Filter(state=Wanted.FLAGGED), 7),
        (Filter(state=Wanted.NOT_ANALYSED), 3),
        (Filter(state=Wanted.BEING_READ), 1),
        (Filter(order_class="STAT"), 4),
        (Filter(source="CT1"), 20),
        (Filter(text="  okafor  "), 2),
        (Filter(text="suspected IPH", source="CT1"), 1),
        (Filter(text="nobody has this name"), 0),
    ],
)
def test_a_filter_narrows_what_is_drawn_and_counts_what_it_hides(shown, left):
    node = night()
    reading = node.reading_list(NOW, False)
    everything, narrowed = list_view(reading, NOW), list_view(reading, NOW, shown)
    drawn = [row for _, rows in narrowed.groups for row in rows]
    drawn += [*narrowed.being_read, *narrowed.late, *narrowed.not_confirmed]
    drawn += [narrowed.first] if narrowed.first is not None else []
    shown_rows = {row.uid: row for row in drawn}  # a late flag stands in the order as an unflagged row too
    assert (len(shown_rows), narrowed.hidden) == (left, 40 - left)
    for count in ("waiting", "flagged", "not_analysed", "not_sure", "sources"):
        assert getattr(narrowed, count) == getattr(everything, count)
    flags = sum(row.is_flagged or row.sign is Sign.LATE_FLAG for row in shown_rows.values())
    assert flags + narrowed.hidden_flagged == 7


def test_a_filter_changes_no_place():
    reading = night().reading_list(NOW, False)
    places = {p.row.study_instance_uid: p.position + 1 for p in reading.placed}
    narrowed = list_view(reading, NOW, Filter(order_class="URGENT"))
    rows = [narrowed.first, *(row for _, rows in narrowed.groups for row in rows)]
    assert all(row.position == places[row.uid] for row in rows)
