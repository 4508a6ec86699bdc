"""The closed forms against the paper sheet, section 10.3, minutes (QuCAD's own theory where it marks a row)."""

from __future__ import annotations

import pytest

from triage_node.queueing.closed_form import (
    ReadingRoom,
    Test,
    by_truth,
    erlang_c,
    flagged_first,
    interrupting_classes,
    ordered_classes,
    plain_wait,
)

TABLE = [
    (0.5, 0.90, 0.90, 0.10, 1, 10.0000, 0.9890, 11.9780, 2.0879, 10.8791, 5.4945, 10.9890, 6.0440, 10.4396),
    (0.8, 0.90, 0.90, 0.10, 1, 40.0000, 1.6822, 48.4112, 6.3551, 43.7383, 9.3458, 46.7290, 13.0841, 42.9907),
    (0.8, 0.95, 0.90, 0.10, 1, 40.0000, 1.7371, 48.6854, 4.0845, 43.9906, 9.3897, 46.9484, 11.2676, 43.1925),
    (0.9, 0.95, 0.90, 0.10, 1, 90.0000, 1.9976, 109.9760, 7.3965, 99.1782, 10.7978, 107.9784, 15.6569, 98.2603),
    (0.8, 0.90, 0.90, 0.10, 2, 17.7778, 0.2118, 21.6337, 2.3539, 19.4915, 4.1537, 20.7684, 5.8152, 19.1070),
    (0.9, 0.95, 0.90, 0.05, 2, 42.6316, 0.1672, 49.6883, 2.6433, 44.7362, 4.8903, 48.9034, 7.0910, 44.5021),
    (0.8, 0.90, 0.90, 0.10, 3, 10.7865, 0.0397, 13.1456, 1.3503, 11.8350, 2.5202, 12.6011, 3.5283, 11.5930),
    (0.8, 0.90, 0.90, 0.10, 4, 7.4554, 0.0088, 9.0900, 0.9169, 8.1819, 1.7419, 8.7096, 2.4387, 8.0128),
    (0.95, 0.93, 0.95, 0.15, 2, 92.5641, 0.3082, 113.0905, 8.2029, 107.4514, 5.5957, 111.9140, 13.0380, 106.5981),
]


def room(rho: float, readers: int, reading_min: float = 10) -> ReadingRoom:
    return ReadingRoom(rho * readers / reading_min, reading_min, readers)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"rho {row[0]}, {row[4]} readers, se {row[1]}")
def test_waits_equal_the_table_of_the_literature_and_no_time_is_created(row):
    rho, se, sp, pi, readers, *expected = row
    test, there = Test(se, sp, pi), room(rho, readers)
    interrupted, finished = by_truth(there, test, interrupts=True), by_truth(there, test)
    found = [finished.plain]
    for w in (interrupted, finished):
        found += [w.flagged, w.unflagged, w.diseased, w.others]
        q = test.flagged_share
        assert q * w.flagged + (1 - q) * w.unflagged == pytest.approx(w.plain, rel=1e-12)
        assert pi * w.gained_by_bleeds == pytest.approx((1 - pi) * w.lost_by_others, rel=1e-9)
        assert w.lost_by_missed_bleeds > 0
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("rho", "se", "sp", "pi", "plain", "diseased", "others_lose", "missed_lose"),
    [
        (0.8, 0.92, 0.94, 0.063, 12.44, 3.62, 0.59, 1.25),
        (0.8, 0.756, 0.921, 0.027, 12.44, 12.44 - 7.1, 0.20, 1.05),
        (0.9, 0.92, 0.94, 0.063, 29.84, 5.72, 1.62, 3.42),
    ],
)
def test_an_emergency_department_loses_what_the_table_says(rho, se, sp, pi, plain, diseased, others_lose, missed_lose):
    waits = by_truth(room(rho, 2, 7), Test(se, sp, pi))
    assert (waits.plain, waits.diseased) == (pytest.approx(plain, abs=0.005), pytest.approx(diseased, abs=0.05))
    assert waits.lost_by_others == pytest.approx(others_lose, abs=0.006)
    assert waits.lost_by_missed_bleeds == pytest.approx(missed_lose, abs=0.006)


def test_three_classes_with_stat_first_wait_as_the_table_says():
    there, flagged = room(0.85, 2, 7), Test(0.92, 0.94, 0.063).flagged_share
    stat, flagged_routine, routine = ordered_classes(there, (0.3, 0.7 * flagged, 0.7 * (1 - flagged)))
    assert (stat, flagged_routine, routine) == pytest.approx((3.67, 5.42, 26.92), abs=0.005)
    assert ordered_classes(there, (0.3, 0.7))[1] == pytest.approx(24.46, abs=0.005)


def test_classes_that_interrupt_with_their_own_reading_times_equal_qucad():
    # rho .8, one reader: a tenth interrupts and takes 5 min, the others 10; se .95, sp .89, prevalence .15 among the others
    rate = 0.8 / (0.1 * 5 + 0.9 * 10)
    test = Test(0.95, 0.89, 0.15)
    _, plain = interrupting_classes((0.1 * rate, 0.9 * rate), (5, 10))
    q = test.flagged_share
    _, first, rest = interrupting_classes((0.1 * rate, 0.9 * rate * q, 0.9 * rate * (1 - q)), (5, 10, 10))
    diseased, others = 0.95 * first + 0.05 * rest, 0.11 * first + 0.89 * rest
    expected = (41.0989, 3.1186, 52.8310, 5.6042, 47.3627)
    assert (plain, first, rest, diseased, others) == pytest.approx(expected, abs=1e-4)


def test_one_reader_waits_as_the_simplest_formula_says_and_flags_for_all_or_none_change_nothing():
    there = room(0.8, 1)
    assert plain_wait(there) == pytest.approx(0.8 * 10 / 0.2)
    assert flagged_first(there, 0.0)[1] == pytest.approx(40)
    assert flagged_first(there, 1.0)[0] == pytest.approx(40)
    assert by_truth(there, Test(1, 0, 0.1), interrupts=True).flagged == pytest.approx(40)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: plain_wait(room(1.0, 2)),
        lambda: erlang_c(2, 2.5),
        lambda: interrupting_classes((0.2,), (10,)),
        lambda: ReadingRoom(0, 10, 1),
        lambda: ReadingRoom(1, 10, 0),
        lambda: ReadingRoom(float("nan"), 10, 1),
        lambda: Test(1.2, 0.9, 0.1),
        lambda: Test(float("nan"), 0.9, 0.1),
        lambda: ordered_classes(room(0.5, 1), (0.5, 0.4)),
        lambda: ordered_classes(room(0.5, 1), (1.5, -0.5)),
    ],
)
def test_a_list_that_has_no_mean_wait_is_refused(wrong):
    with pytest.raises(ValueError, match="."):
        wrong()
