"""Where a row goes after a try, without any peer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage_node.delivery.retry import (
    FIRST_WAIT,
    LONGEST_WAIT,
    Outcome,
    Verdict,
    next_step,
    outcome_of_status,
    pause_after,
    wait_after,
)
from triage_node.domain.delivery import OutboxState

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
verdicts = st.sampled_from(Verdict)
jitters = st.floats(0, 1, exclude_max=True)


def step(verdict, tries=0, resume_at=NOW, commitment=False, jitter=0.0, words="why"):
    return next_step(Outcome(verdict, words), tries, NOW, resume_at, commitment, lambda: jitter)


@pytest.mark.parametrize(
    "status", [0xA900, 0xA901, 0xA9FF, 0xC000, 0xC0FF, 0x0122, 0x0124, 0x0117, 0x0106, 0x0115, 0x0118, 0x0119]
)
def test_permanent_refusal_is_parked_at_once_with_its_status(status):
    outcome = outcome_of_status(status)
    done = next_step(outcome, 0, NOW, NOW, True, lambda: 0.0)
    assert (done.state, done.reason) == (OutboxState.PARKED, f"refused with 0x{status:04X}")


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110, 0x0213, 0xC211, 0xFE00, 0xFF00, 0x0002, 0xFFFF])
def test_what_may_pass_is_tried_again(status):
    assert outcome_of_status(status) == Outcome(Verdict.AGAIN, f"answered 0x{status:04X}")


@pytest.mark.parametrize("status", [0x0000, 0x0001, 0x0111, 0xB000, 0xB006, 0xB007])
def test_success_warning_and_duplicate_of_our_own_uid_are_stored(status):
    assert outcome_of_status(status).verdict is Verdict.STORED


@given(st.integers(0, 0xFFFF))
def test_every_status_has_a_verdict(status):
    assert outcome_of_status(status).verdict in (Verdict.STORED, Verdict.AGAIN, Verdict.NEVER)


def test_stored_is_delivered_only_where_no_commitment_is_offered():
    assert step(Verdict.STORED).state is OutboxState.DELIVERED
    assert step(Verdict.STORED, commitment=True).state is OutboxState.SENT


def test_waits_double_up_to_a_quarter_of_an_hour():
    waits = [wait_after(n, lambda: 0.999999) for n in range(12)]
    assert [round(w.total_seconds()) for w in waits] == [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


@given(st.integers(0, 10**9), jitters)
def test_wait_stays_between_half_the_first_and_the_longest(failures, jitter):
    wait = wait_after(failures, lambda: jitter)
    assert FIRST_WAIT / 2 <= wait <= LONGEST_WAIT


@given(verdicts, st.integers(0, 10**6), st.integers(0, 900), st.booleans(), jitters)
def test_nothing_but_a_refusal_ever_parks_and_nothing_goes_out_before_the_queue(verdict, tries, wait_s, commitment, j):
    """Objects wait for an absent peer without end (DESIGN.md section 3)."""
    resume_at = NOW + wait_s * SECOND
    done = step(verdict, tries, resume_at, commitment, j)
    assert (done.state is OutboxState.PARKED) == (verdict is Verdict.NEVER)
    if done.state is OutboxState.PENDING:
        assert resume_at <= done.not_before <= max(resume_at, NOW + LONGEST_WAIT)


def test_object_that_was_not_tried_waits_for_the_queue_only():
    assert step(Verdict.UNTRIED, tries=30, resume_at=NOW + SECOND).not_before == NOW + SECOND
    assert step(Verdict.AGAIN, tries=30, resume_at=NOW + SECOND).not_before > NOW + 400 * SECOND


def test_peer_that_decides_on_an_object_makes_no_queue_wait():
    for verdict in (Verdict.STORED, Verdict.NEVER):
        outcomes = [Outcome(Verdict.UNTRIED), Outcome(Verdict.AGAIN), Outcome(verdict)]
        assert pause_after(outcomes, 7, lambda: 0.5) == (timedelta(0), 0)


def test_queue_waits_longer_and_longer_only_while_nobody_is_reached():
    away, failures, waits = [Outcome(Verdict.UNTRIED)], 0, []
    for _ in range(11):
        wait, failures = pause_after(away, failures, lambda: 0.999999)
        waits.append(round(wait.total_seconds()))
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert pause_after([Outcome(Verdict.STORED)], failures, lambda: 0.5)[1] == 0


def test_object_that_fails_for_ever_costs_the_next_patient_seconds_only():
    assert pause_after([Outcome(Verdict.AGAIN)], 30, lambda: 0.999999)[0] <= FIRST_WAIT
    assert pause_after([Outcome(Verdict.AGAIN), Outcome(Verdict.UNTRIED)], 30, lambda: 0.0) == (FIRST_WAIT / 2, 0)
