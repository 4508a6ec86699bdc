"""Repeats: who counts as the same patient, what counts as growth, and when people are notified."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage_node.domain.study import StudyIdentity
from triage_node.worklist.repeat import WITHIN, Scan, has_grown, names_somebody, repeat_of, same_patient

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def patient(patient_id: str = "P4711", issuer: str = "KH", born: str = "19500312", name: str = "DOE^JANE"):
    return StudyIdentity(patient_id, issuer, name, born, "F", "A1")


def scan(
    uid: str = "1.2.9", at: datetime = NOON, ml: float = 20.0, subtypes=("iph",), bundle="b", is_told=True
) -> Scan:
    return Scan(uid, at, at + timedelta(minutes=5), ml, tuple(subtypes), bundle, is_told)


def test_the_same_id_issuer_and_birth_date_are_one_patient_whatever_the_name():
    assert same_patient(patient(), patient(name="MARRIED^JANE"))
    assert same_patient(patient(patient_id="P4711 "), patient())
    assert same_patient(patient(issuer=""), patient(issuer=""))


@pytest.mark.parametrize(
    "other", [patient(patient_id="P4712"), patient(issuer="OTHER"), patient(issuer=""), patient(born="19500313")]
)
def test_one_difference_makes_another_patient(other):
    assert not same_patient(patient(), other)


@pytest.mark.parametrize(
    "identity",
    [
        *(patient(patient_id=i) for i in ("", " ", "0", "000000", "UNKNOWN", "unknown", "Anonymous", "ANON", "N/A", "-")),
        *(patient(patient_id=i) for i in ("9999999", "Test", "x", "\x00", "<script>", "JOHN^DOE", "????") if i != "<script>"),
        *(patient(born=b) for b in ("", "19000101", "00000000", "18991231", "1950", "19500230", "99999999", "1950-03-12")),
        patient(issuer="UNKNOWN"),
    ],
)  # fmt: skip
def test_placeholders_never_match_not_even_themselves(identity):
    assert not names_somebody(identity)
    assert not same_patient(identity, identity)


def test_a_scan_of_another_day_within_two_weeks_is_a_repeat_and_not_after():
    for after, repeats in ((HOUR, True), (WITHIN, True), (WITHIN + timedelta(seconds=1), False)):
        assert (repeat_of(scan(), [scan("1.2.1", NOON - after)]) is not None) is repeats
    assert repeat_of(scan(), []) is None
    assert repeat_of(scan(), [scan()]) is None, "a study is no repeat of itself"
    assert repeat_of(scan(), [scan("1.2.1", NOON + HOUR)]) is None, "nor of one that was scanned after it"


@pytest.mark.parametrize(
    ("before", "now", "grown"),
    [(30, 35.9, False), (30, 36, True), (10, 13.2, False), (10, 13.4, True), (30, 12, False), (30, 30, False), (100, 106, True)],
)  # fmt: skip
def test_growth_is_six_ml_or_a_third_and_less_is_none(before, now, grown):
    assert has_grown(before, now) is grown
    found = repeat_of(scan(ml=now), [scan("1.2.1", NOON - DAY, before)])
    assert (found.growth, found.is_news) == (grown, grown)
    assert "6 mL or 33 %" in found.words


@pytest.mark.parametrize(
    ("now", "before"),
    [
        (scan(ml=math.nan), scan("1.2.1", NOON - DAY)),
        (scan(ml=0.0), scan("1.2.1", NOON - DAY)),
        (scan(), scan("1.2.1", NOON - DAY, ml=math.inf)),
        (scan(), scan("1.2.1", NOON - DAY, ml=0.0)),
        (scan(bundle="other"), scan("1.2.1", NOON - DAY)),
    ],
)
def test_growth_that_cannot_be_computed_is_news(now, before):
    found = repeat_of(now, [before])
    assert (found.growth, found.earlier_ml, found.is_news) == (None, None, True)
    assert found.words == "repeat after 1 d, growth not known".replace("1 d", "24 h")


def test_a_new_subtype_is_news_and_one_seen_in_any_earlier_scan_is_not():
    before = [scan("1.2.1", NOON - 2 * DAY, subtypes=("sah",)), scan("1.2.2", NOON - DAY, subtypes=("iph",))]
    found = repeat_of(scan(subtypes=("iph", "ivh", "sah")), before)
    assert (found.of, found.new_subtypes, found.growth, found.is_news) == ("1.2.2", ("ivh",), False, True)
    assert found.words == "repeat after 24 h, new: IVH, 20 mL then, no growth (from 6 mL or 33 % on)"
    assert not repeat_of(scan(subtypes=("sah",)), before).is_news


def test_what_nobody_was_told_of_is_news_although_it_has_not_grown():
    before = [scan("1.2.1", NOON - 2 * DAY, is_told=False), scan("1.2.2", NOON - DAY, is_told=False)]
    found = repeat_of(scan(), before)
    assert (found.growth, found.is_news) == (False, True)
    assert not repeat_of(scan(), [*before, scan("1.2.0", NOON - 3 * DAY)]).is_news


def test_a_bleed_that_grows_in_small_steps_is_news_in_the_end():
    history, news = [scan("1.2.0", NOON - 5 * DAY, 20.0)], []
    for step in range(1, 5):
        now = scan(f"1.2.{step}", NOON - (5 - step) * DAY, 20.0 + 4 * step)
        found = repeat_of(now, history)
        news.append(found.is_news)
        history.append(scan(now.study_instance_uid, now.scanned_at, now.volume_ml, is_told=found.is_news))
    assert news == [False, True, False, True]


@given(
    st.lists(
        st.tuples(st.integers(-400, 400), st.floats(-1, 1000) | st.sampled_from((math.nan, math.inf)), st.booleans()),
        max_size=8,
    ),
    st.floats(-1, 1000) | st.sampled_from((math.nan, math.inf)),
)
def test_a_repeat_lies_within_two_weeks_and_only_proven_sameness_is_silent(history, ml):
    flagged = [scan(f"1.2.{i}", NOON - h * HOUR, v, is_told=n) for i, (h, v, n) in enumerate(history)]
    found = repeat_of(scan(ml=ml), flagged)
    within = [f for f in flagged if timedelta(0) < NOON - f.scanned_at <= WITHIN]
    assert (found is None) is (not within)
    if found is not None:
        assert found.of in {f.study_instance_uid for f in within}
        assert timedelta(0) < found.after <= WITHIN
        if not found.is_news:
            assert math.isfinite(ml)
            assert 0 < ml < found.earlier_ml + 6
