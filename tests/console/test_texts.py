from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage_node.console.texts import clock, displayable, person_name, since, size

NOW = datetime(2026, 11, 21, 3, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("CT head", "CT head"),
        ("  CT \n head\t", "CT head"),
        ("a\x00b\x1b[31mc", "a b [31mc"),
        ("abc\u202edef\u200b", "abcdef"),
        ("x" * 65, "x" * 63 + "…"),
        ("", ""),
    ],
)
def test_foreign_text_becomes_one_line_without_marks_that_hide_or_reorder(foreign, shown):
    assert displayable(foreign) == shown


@given(st.text(max_size=300))
def test_any_text_is_shown_within_the_limit_and_without_control_characters(text):
    shown = displayable(text)
    assert len(shown) <= 64
    assert shown.isprintable() or " " in shown
    assert not any(ord(c) < 32 or c in "\u202e\u2066\u200f" for c in shown)


@pytest.mark.parametrize(
    ("dicom", "shown"),
    [
        ("DOE^JANE^M^^", "DOE, JANE M"),
        ("DOE", "DOE"),
        ("^JANE", "JANE"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"),
        ("=山田^太郎", "山田, 太郎"),
        ("^^^^", ""),
        ("", ""),
        ("<script>alert(1)</script>^X", "<script>alert(1)</script>, X"),
    ],
)
def test_person_name_is_family_and_given(dicom, shown):
    assert person_name(dicom) == shown


def test_clock_is_the_sites_and_names_the_date_when_it_is_not_today():
    zone = timezone(timedelta(hours=1))
    assert clock(NOW, NOW, zone) == "04:12"
    assert clock(NOW - timedelta(days=2), NOW, zone) == "19 Nov 04:12"
    assert clock(NOW - timedelta(days=400), NOW, zone) == "17 Oct 2025 04:12"


def test_lengths_on_the_timeline_and_sizes():
    assert since(NOW + timedelta(seconds=17.44), NOW) == "+17.4 s"
    assert since(NOW + timedelta(hours=3), NOW) == "+3 h"
    assert [size(n) for n in (0, 999, 21_340, 7_812_000)] == ["1 kB", "1 kB", "21 kB", "7.8 MB"]
