from __future__ import annotations

from datetime import timedelta

import pytest

from triage_node.domain.durations import ago, in_words, until


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (-5, "0 min"),
        (0.99, "0 min"),
        (59.9, "59 min"),
        (60, "1 h"),
        (125, "2 h 5 min"),
        (24 * 60, "24 h"),
        (48 * 60, "2 d"),
        (76 * 60, "3 d 4 h"),
    ],
)
def test_a_length_has_two_units_at_most(minutes, words):
    assert in_words(timedelta(minutes=minutes)) == words


def test_what_was_just_now_or_lies_ahead_is_just_now():
    assert ago(timedelta(seconds=59)) == ago(timedelta(minutes=-9)) == "just now"
    assert ago(timedelta(minutes=3)) == "3 min ago"


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (4.5, "bound in 4 min"),
        (0.5, "bound in under 1 min"),
        (0, "overdue"),
        (-0.9, "overdue"),
        (-7, "overdue by 7 min"),
    ],
)
def test_a_bound_is_ahead_or_over_and_never_in_0_min(minutes, words):
    assert until(timedelta(minutes=minutes)) == words
