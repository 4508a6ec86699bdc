"""Latencies and queue depth from the moments of timelines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from triage_node.domain.study import Moment
from triage_node.processes.operations.latency import PIECES, RECENT, STEPS, WHOLE, WINDOW, depths, latencies, quantile

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def passage(uid: str, complete_at: datetime, waited_s: float, took_s: float) -> list[tuple[str, str, datetime]]:
    claimed = complete_at + timedelta(seconds=waited_s)
    return [
        (uid, Moment.LAST_SLICE, complete_at - timedelta(seconds=3)),
        (uid, Moment.COMPLETE, complete_at),
        (uid, Moment.CLAIMED, claimed),
        (uid, Moment.DECIDED, claimed + timedelta(seconds=took_s)),
    ]


def in_order(*passages: list[tuple[str, str, datetime]]) -> list[tuple[str, str, datetime]]:
    return sorted((moment for p in passages for moment in p), key=lambda m: m[2])


def test_each_stage_is_measured_by_itself_and_each_passage_of_a_study_counts():
    again = NOW - 20 * MINUTE
    moments = in_order(passage("a", NOW - 50 * MINUTE, 1, 5), passage("b", again, 2, 7), passage("a", again, 4, 9))
    found = {latency.step.name: sorted(latency.recent) for latency in latencies(moments, NOW)}
    assert found["Waiting for analysis"] == [1, 2, 4]
    assert found["Analysis to the decision"] == [5, 7, 9]
    assert found[WHOLE.name] == [9, 12, 16]
    assert found["Prognosis and objects"] == []


def test_last_hour_and_history_are_kept_apart():
    early, late = passage("a", NOW - RECENT - 5 * MINUTE, 100, 5), passage("b", NOW - 5 * MINUTE, 1, 5)
    (waiting,) = latencies(in_order(early, late), NOW, [STEPS[2]])
    assert waiting.recent == (1,)
    assert [v for v in waiting.history if v is not None] == [100, 1]
    assert waiting.history[-1] == 1


def test_decision_without_a_beginning_inside_the_window_is_left_out():
    (whole,) = latencies([("a", Moment.DECIDED, NOW - MINUTE)], NOW, [WHOLE])
    assert (whole.recent, whole.p95_s) == ((), None)


@pytest.mark.parametrize(("q", "value"), [(0.0, 1), (0.5, 10), (0.95, 19), (1.0, 20)])
def test_quantile_is_a_value_that_occurred(q, value):
    assert quantile([float(k) for k in range(20, 0, -1)], q) == value
    assert quantile([], q) is None


def test_queue_is_told_back_from_what_waits_now():
    piece = WINDOW / PIECES
    then = NOW - 10.5 * piece
    # five came at once and were taken one after the other within the piece; two have come since and wait now
    burst = [passage(f"s{k}", then, 60 * k, 5) for k in range(1, 6)]
    waiting = [(uid, Moment.COMPLETE, NOW - 2 * MINUTE) for uid in ("x", "y")]
    found = depths(in_order(*burst, waiting), 2, NOW)
    assert found[-1] == 2
    assert found[PIECES - 11] == 5
    assert set(found[: PIECES - 11]) == {0}
    assert set(found[PIECES - 10 : -1]) == {0}
