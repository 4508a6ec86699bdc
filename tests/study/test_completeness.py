from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.study.headers import read_series, series
from tests.support.unpacked import ge_head, philips
from triage_node.domain.expected import CountSource, ExpectedCount
from triage_node.study.completeness import (
    Arrival,
    Closed,
    CompletenessPolicy,
    SeriesProgress,
    Signal,
    StillArriving,
    evaluate,
    evaluate_study,
)
from triage_node.study.selection import SeriesHeaders

T0 = datetime(2026, 1, 5, 10, 15, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def progress(
    headers: SeriesHeaders,
    open_: bool = False,
    expected: tuple[ExpectedCount, ...] = (),
    quiet: float | None = None,
    last: float = 0.0,
) -> SeriesProgress:
    """Instances that came in the last seconds, the last one at `last`."""
    return SeriesProgress(
        headers.series_instance_uid,
        tuple(Arrival(h, at(last - i * 0.01)) for i, h in enumerate(reversed(headers.headers))),
        association_open=open_,
        expected=expected,
        quiet=None if quiet is None else timedelta(seconds=quiet),
    )


def named(headers: SeriesHeaders, source: CountSource = CountSource.MPPS) -> ExpectedCount:
    """A modality or an archive named these instances."""
    uids = frozenset(h.sop_instance_uid for h in headers.headers)
    return ExpectedCount(headers.series_instance_uid, source, len(uids), T0, T0, uids)


def counted(instances: int, first: float = 1.0, last: float = 4.0) -> ExpectedCount:
    """An archive gave the same number from `first` to `last`."""
    return ExpectedCount("1.2.3.2", CountSource.C_FIND, instances, at(first), at(last))


def without(headers: SeriesHeaders, *indices: int) -> SeriesHeaders:
    kept = tuple(h for i, h in enumerate(headers.headers) if i not in indices)
    return SeriesHeaders(headers.series_instance_uid, kept)


def test_released_quiet_covered_series_closes_after_three_seconds() -> None:
    whole = progress(series())
    waiting = evaluate(whole, at(2.9))
    assert waiting == StillArriving("waiting for 3 s of quiet", at(3))
    assert evaluate(whole, at(3)) == Closed(
        Signal.RELEASED, False, "30 slices without a gap over 150 mm", whole.series_instance_uid
    )


def test_quiet_time_of_the_sender_counts() -> None:
    slow = progress(series(), quiet=20)
    assert isinstance(evaluate(slow, at(19)), StillArriving)
    assert isinstance(evaluate(slow, at(20)), Closed)


def test_open_association_holds_a_whole_series_until_the_deadline() -> None:
    whole = progress(series(), open_=True)
    assert evaluate(whole, at(30)) == StillArriving("its association is open", at(60))
    closed = evaluate(whole, at(60))
    assert isinstance(closed, Closed)
    assert closed.signal is Signal.DEADLINE
    assert closed.incomplete


def test_whole_series_is_not_called_incomplete_because_nobody_looked_for_a_minute() -> None:
    """A restart must not turn what was whole into a deadline."""
    closed = evaluate(progress(series()), at(600))
    assert isinstance(closed, Closed)
    assert (closed.signal, closed.incomplete) == (Signal.RELEASED, False)


def test_gap_waits_and_then_closes_as_incomplete_naming_what_is_missing() -> None:
    """DESIGN.md section 2: "not analysed: 9 slices missing"."""
    holed = progress(without(series(slices=40), *range(10, 19)))
    assert evaluate(holed, at(10)) == StillArriving("9 slices missing", at(60))
    closed = evaluate(holed, at(60))
    assert closed == Closed(Signal.DEADLINE, True, "nothing came for 60 s; 9 slices missing", holed.series_instance_uid)


def test_short_series_waits_for_coverage() -> None:
    assert evaluate(progress(series(slices=23)), at(10)) == StillArriving("115 of at least 120 mm covered", at(60))
    assert isinstance(evaluate(progress(series(slices=24)), at(10)), Closed)


def test_images_in_acquisition_close_at_once_when_the_geometry_agrees() -> None:
    headers = series(slices=28, images_in_acquisition=28)
    closed = evaluate(progress(headers, open_=True), at(0))
    assert isinstance(closed, Closed)
    assert closed.signal is Signal.IMAGES_IN_ACQUISITION


@pytest.mark.parametrize(
    ("slices", "announced"),
    [
        (28, 56),  # counts a second reconstruction too
        (28, 12),  # smaller than what came
        (12, 12),  # agrees, but covers 60 mm only
    ],
)
def test_implausible_images_in_acquisition_do_not_close(slices: int, announced: int) -> None:
    headers = series(slices=slices, images_in_acquisition=announced)
    assert isinstance(evaluate(progress(headers, open_=True), at(0)), StillArriving)


def test_resent_instances_do_not_count_twice() -> None:
    headers = series(slices=14)
    twice = replace(
        progress(headers, expected=(named(series(slices=28)),)),
        arrivals=progress(headers).arrivals + progress(headers).arrivals,
    )
    assert isinstance(evaluate(twice, at(5)), StillArriving)


def test_ge_study_with_three_steps_has_no_gap() -> None:
    ge = read_series(ge_head())
    closed = evaluate(progress(ge), at(3))
    assert closed == Closed(Signal.RELEASED, False, "28 slices without a gap over 150 mm", ge.series_instance_uid)


@pytest.mark.parametrize("missing", [3, 12, 13, 14, 15, 20])
def test_ge_study_with_a_slice_missing_has_a_gap(missing: int) -> None:
    """Slices 14 and 15 (indices 13, 14) lie 1.08 mm apart: without one of them the step is still within the thickness."""
    ge = read_series(ge_head())
    outcome = evaluate(progress(without(ge, missing)), at(3))
    at_the_junction = missing in (13, 14)
    assert isinstance(outcome, Closed) is at_the_junction
    if not at_the_junction:
        assert isinstance(outcome, StillArriving)
        assert outcome.why == "1 slice missing"


def test_old_protocol_with_distances_beyond_the_thickness_has_no_gap() -> None:
    """5 mm slices every 10 mm are legal; so is 5 mm below and 10 mm above."""
    wide = series(slices=15, step_mm=10.0)
    assert isinstance(evaluate(progress(wide), at(3)), Closed)
    fossa = series(slices=10)
    top = tuple(
        replace(h, slice_thickness_mm=10.0, image_position_patient=(-125.0, -125.0, 52.5 + 10.0 * i))
        for i, h in enumerate(series(slices=20, start=10).headers[:9])
    )
    mixed = SeriesHeaders(fossa.series_instance_uid, fossa.headers + top)
    assert isinstance(evaluate(progress(mixed), at(3)), Closed)


def test_series_without_instances_is_an_error() -> None:
    with pytest.raises(ValueError, match="without instances"):
        evaluate(SeriesProgress("1.2", (), False), T0)
    with pytest.raises(ValueError, match="without series"):
        evaluate_study([], T0)


# what others told


@pytest.mark.parametrize("source", [CountSource.MPPS, CountSource.IAN])
def test_series_of_which_all_is_here_that_was_named_closes_at_once_and_says_who_named_it(source: CountSource) -> None:
    whole = series(slices=28)
    closed = evaluate(progress(whole, open_=True, expected=(named(whole, source),)), at(0))
    assert closed == Closed(
        Signal(source), False, f"28 of 28 announced instances ({source})", whole.series_instance_uid
    )


@pytest.mark.parametrize(
    "told", [named(series(slices=30)), named(series(slices=30), CountSource.IAN), counted(30, 1, 1)]
)
def test_series_of_which_more_was_told_waits_until_the_deadline_and_is_incomplete_then(told: ExpectedCount) -> None:
    some = progress(series(slices=28, images_in_acquisition=28), expected=(told,))
    why = f"28 of 30 announced instances ({told.source})"
    assert evaluate(some, at(10)) == StillArriving(why, at(60))
    late = evaluate(some, at(60))
    assert late == Closed(Signal.DEADLINE, True, f"nothing came for 60 s; {why}", some.series_instance_uid)


def test_what_the_geometry_forbids_no_count_closes() -> None:
    holed = without(series(slices=40), 20)
    with_gap = progress(holed, expected=(named(holed), counted(39)))
    assert evaluate(with_gap, at(59)) == StillArriving("1 slice missing", at(60))
    part = progress(series(slices=20), open_=True, expected=(named(series(slices=20)),))
    assert evaluate(part, at(2)) == StillArriving("waiting for 3 s of quiet", at(3))


@pytest.mark.parametrize("told", [named(series(slices=20)), counted(20)])
def test_short_series_of_which_nothing_more_was_told_closes_after_the_quiet_time(told: ExpectedCount) -> None:
    """100 mm, which without a word from others waits a minute for the rest."""
    short = progress(series(slices=20), open_=True, expected=(told,))
    assert evaluate(short, at(4)) == Closed(
        Signal(told.source), False, f"20 of 20 announced instances ({told.source})", short.series_instance_uid
    )


@pytest.mark.parametrize(("first", "last"), [(-2, -1), (-1, 4), (4, 4)], ids=["before", "from before on", "once"])
def test_archive_is_believed_when_it_told_the_same_twice_since_the_last_instance(first: float, last: float) -> None:
    waiting = progress(series(slices=28), open_=True, expected=(counted(28, first, last),))
    assert evaluate(waiting, at(5)) == StillArriving("its association is open", at(60))
    whole = replace(waiting, expected=(counted(28),))
    assert isinstance(evaluate(whole, at(2)), StillArriving)  # not quiet yet
    closed = evaluate(whole, at(5))
    assert isinstance(closed, Closed)
    assert closed.signal is Signal.C_FIND


@pytest.mark.parametrize(
    "told",
    [
        named(series(slices=26)),  # fewer than came
        named(series(9, slices=28)),  # as many, but others
        named(series(slices=40, start=2), CountSource.IAN),
        counted(27),
        counted(1),
    ],
)
def test_whoever_does_not_know_what_is_here_neither_closes_nor_holds(told: ExpectedCount) -> None:
    whole = progress(series(slices=28), expected=(told,))
    assert evaluate(whole, at(2)) == StillArriving("waiting for 3 s of quiet", at(3))
    closed = evaluate(whole, at(3))
    assert isinstance(closed, Closed)
    assert closed.signal is Signal.RELEASED


def test_series_that_was_named_and_has_not_begun_takes_the_haste_away_and_nothing_else() -> None:
    """The one that ranks higher may follow on the same association; or it is never sent here."""
    whole = series(slices=28)
    first = replace(progress(whole, open_=True, expected=(named(whole),)), more_series=True)
    assert evaluate(first, at(10)) == StillArriving("its association is open", at(60))
    closed = evaluate(replace(first, association_open=False), at(3))
    assert isinstance(closed, Closed)
    assert closed.signal is Signal.RELEASED


def test_sources_that_contradict_each_other_wait_for_the_one_that_told_more() -> None:
    here = series(slices=28)
    both = (named(here), named(series(slices=30), CountSource.IAN))
    assert evaluate(progress(here, expected=both), at(5)) == StillArriving("28 of 30 announced instances (IAN)", at(60))
    behind = (named(here), counted(12))
    closed = evaluate(progress(here, open_=True, expected=behind), at(0))
    assert isinstance(closed, Closed)
    assert closed.signal is Signal.MPPS


def test_dose_report_inside_a_series_is_no_slice() -> None:
    """29 instances of which 28 are CT; the modality named 29 images."""
    some = series(slices=28)
    dose = replace(some.headers[0], sop_instance_uid="1.2.3.2.99", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.67")
    mixed = SeriesHeaders(some.series_instance_uid, (*some.headers, dose))
    waiting = evaluate(progress(mixed, expected=(named(series(slices=29)),)), at(5))
    assert waiting == StillArriving("28 of 29 announced instances (MPPS COMPLETED)", at(60))
    assert isinstance(evaluate(progress(mixed, open_=True, expected=(named(some),)), at(0)), Closed)


@settings(deadline=None)
@given(
    st.sets(st.integers(0, 29), min_size=1),
    st.sets(st.integers(0, 40)),
    st.sets(st.integers(0, 40)),
    st.integers(1, 10**9),
    st.floats(0, 200),
)
def test_whatever_others_tell_the_deadline_holds_and_no_announced_slice_is_left_behind(
    there: set[int], by_modality: set[int], by_archive: set[int], count: int, seconds: float
) -> None:
    many = series(slices=41).headers
    uid = many[0].series_instance_uid
    told = tuple(
        named(SeriesHeaders(uid, tuple(many[i] for i in sorted(uids))), source)
        for source, uids in ((CountSource.MPPS, by_modality), (CountSource.IAN, by_archive))
        if uids
    )
    some = progress(
        SeriesHeaders(uid, tuple(many[i] for i in sorted(there))), expected=(*told, counted(count, 0, seconds / 2))
    )
    outcome = evaluate_study([some], at(seconds))
    if seconds >= 60:
        assert isinstance(outcome, Closed)
    if isinstance(outcome, StillArriving):
        assert at(seconds) < outcome.due_at <= at(60)
    elif seconds < 60:
        assert not any(there < uids for uids in (by_modality, by_archive))
        assert not len(there) < count


# the study


def localizer() -> SeriesHeaders:
    return series(1, slices=1, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))


def thin(slices: int = 140) -> SeriesHeaders:
    return series(3, slices=slices, step_mm=1.0, slice_thickness_mm=1.0)


def test_localizer_and_bone_series_hold_nothing_up() -> None:
    bone = progress(series(4, slices=5, convolution_kernel=("H70h",)), open_=True, last=3)
    outcome = evaluate_study([progress(localizer(), open_=True), bone, progress(series(2))], at(3))
    assert isinstance(outcome, Closed)
    assert outcome.series_instance_uid == "1.2.3.2"


def test_series_ranked_higher_that_is_still_arriving_is_awaited() -> None:
    """The thin one is whole; of the 5 mm one only four slices are there, too few to be eligible by themselves."""
    arriving = progress(series(2, slices=4), open_=True, last=3)
    outcome = evaluate_study([progress(thin()), arriving], at(4))
    assert isinstance(outcome, StillArriving)
    assert "series 2" in outcome.why
    assert outcome.due_at == at(63)


def test_series_ranked_lower_that_is_still_arriving_is_not_awaited() -> None:
    outcome = evaluate_study([progress(thin(60), open_=True, last=3), progress(series(2))], at(3))
    assert isinstance(outcome, Closed)
    assert outcome.series_instance_uid == "1.2.3.2"


def test_higher_series_that_never_became_whole_lets_the_lower_one_go_at_its_deadline() -> None:
    stuck = progress(series(2, slices=4), open_=True)
    outcome = evaluate_study([progress(thin()), stuck], at(60))
    assert isinstance(outcome, Closed)
    assert (outcome.series_instance_uid, outcome.signal) == ("1.2.3.3", Signal.RELEASED)


def test_study_of_a_localizer_only_closes_at_its_deadline() -> None:
    lonely = progress(localizer())
    outcome = evaluate_study([lonely], at(5))
    assert outcome == StillArriving("no series that could be analysed yet", at(60))
    closed = evaluate_study([lonely], at(60))
    assert isinstance(closed, Closed)
    assert (closed.signal, closed.incomplete) == (Signal.DEADLINE, True)


def test_exam_a_closes_on_series_201() -> None:
    a = [progress(read_series(philips(f"A{n}"))) for n in (100, 202, 201, 203, 401)]
    outcome = evaluate_study(a, at(3))
    assert isinstance(outcome, Closed)
    assert outcome.series_instance_uid == a[2].series_instance_uid
    assert outcome.signal is Signal.RELEASED


@settings(deadline=None)
@given(st.sets(st.integers(0, 29), min_size=1), st.booleans(), st.floats(0, 200))
def test_any_subset_is_closed_at_the_deadline_and_due_at_lies_ahead_before(
    there: set[int], open_: bool, seconds: float
) -> None:
    whole = series()
    some = progress(SeriesHeaders(whole.series_instance_uid, tuple(whole.headers[i] for i in sorted(there))), open_)
    outcome = evaluate_study([some], at(seconds), CompletenessPolicy())
    if seconds >= 60:
        assert isinstance(outcome, Closed)
    if isinstance(outcome, StillArriving):
        assert outcome.due_at > at(seconds)
        assert isinstance(evaluate_study([some], max(outcome.due_at, at(60))), Closed)


def test_localizer_inside_a_series_makes_no_gap() -> None:
    axial = series(2)
    scout = replace(
        localizer().headers[0], series_instance_uid="1.2.3.2", image_position_patient=(-125.0, -125.0, -400.0)
    )
    outcome = evaluate(progress(SeriesHeaders("1.2.3.2", (scout, *axial.headers))), at(3))
    assert isinstance(outcome, Closed)
    assert outcome.signal is Signal.RELEASED
