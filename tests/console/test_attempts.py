"""How often somebody may try: waits grow, end, and are nobody else's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from triage_node.console import attempts as module
from triage_node.console.attempts import FORGIVEN_S, FREE, LONGEST_WAIT_S, MOST_PER_ADDRESS, Attempts

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def test_waits_double_and_end_for_this_name_and_address_alone():
    attempts, at, waits = Attempts(), NOW, []
    for _ in range(FREE + 2):
        attempts.failed("Lee ", "10.0.0.7", at)
        waits.append(attempts.wait_s("lee", "10.0.0.7", at))
    assert waits == [0.0] * (FREE - 1) + [15.0, 30.0, 60.0]
    assert attempts.wait_s("lee", "10.0.0.8", at) == 0
    assert attempts.wait_s("okafor", "10.0.0.7", at) == 0
    assert attempts.wait_s("lee", "10.0.0.7", at + timedelta(seconds=59)) == 1
    assert attempts.wait_s("lee", "10.0.0.7", at + timedelta(seconds=60)) == 0
    attempts.failed("lee", "10.0.0.7", at + timedelta(seconds=60))  # one was forgiven meanwhile
    assert attempts.wait_s("lee", "10.0.0.7", at + timedelta(seconds=60)) == 60
    attempts.succeeded("LEE", "10.0.0.7")
    assert attempts.wait_s("lee", "10.0.0.7", at + timedelta(seconds=60)) == 0


def test_no_wait_is_longer_than_ten_minutes_and_failures_are_forgiven():
    attempts = Attempts()
    for _ in range(30):
        attempts.failed("lee", "10.0.0.7", NOW)
    assert attempts.wait_s("lee", "10.0.0.7", NOW) == LONGEST_WAIT_S
    later = NOW + timedelta(seconds=30 * FORGIVEN_S)
    attempts.failed("lee", "10.0.0.7", later)
    assert attempts.wait_s("lee", "10.0.0.7", later) == 0


def test_one_address_cannot_try_a_list_of_names(monkeypatch):
    monkeypatch.setattr(module, "_MOST_KEPT", MOST_PER_ADDRESS + 10)
    attempts = Attempts()
    for number in range(MOST_PER_ADDRESS):
        assert attempts.wait_s(f"name{number}", "10.0.0.7", NOW) == 0
        attempts.failed(f"name{number}", "10.0.0.7", NOW)
    assert attempts.wait_s("another", "10.0.0.7", NOW) == FORGIVEN_S
    assert attempts.wait_s("another", "10.0.0.8", NOW) == 0
    assert attempts.wait_s("another", "10.0.0.7", NOW + timedelta(seconds=FORGIVEN_S)) == 0
    for number in range(100):
        attempts.failed(f"name{number}", f"10.0.1.{number}", NOW)
    assert len(attempts._failures) == MOST_PER_ADDRESS + 10
    assert "name" not in str(attempts._failures)
