from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from tests.instances.requests import PEER
from tests.support.waiting import wait_until
from triage_node.domain.errors import StoreError, StoreUnavailable
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.domain.reception import Peer
from triage_node.instances import backlog, journal
from triage_node.instances.backlog import Backlog
from triage_node.instances.journal import BEHIND, Journal, Rows

AT = datetime(2026, 11, 21, tzinfo=UTC)


class Table:
    """Stands for the database; can be away, and can refuse a row for ever."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.batches: list[list[ReceivedInstance]] = []
        self.away = threading.Event()
        self.refused: set[str] = set()

    def rows(self) -> Rows:
        return Rows(self.record_association, self.close_association, self.record_batch)

    def _check(self) -> None:
        if self.away.is_set():
            raise StoreUnavailable("database is locked")

    def record_association(self, *values) -> int:
        self._check()
        self.calls.append(("open", *values))
        return 100 + len(self.calls)

    def close_association(self, row, outcome, instances, at) -> None:
        self._check()
        self.calls.append(("close", row, outcome, instances))

    def record_batch(self, batch) -> None:
        self._check()
        if any(i.sha256 in self.refused and i.header is not None for i in batch):
            raise StoreError("a row that cannot be written")
        self.calls.append(("batch", len(batch)))
        self.batches.append(list(batch))

    def written(self) -> list[str]:
        return [i.sha256 for batch in self.batches for i in batch]


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr(journal, "RETRY_S", 0.02)
    return Table()


def one(sha256: str):
    header = InstanceHeader("1.2.4", "1.2.3", "1.2.5", "1.2.6")
    return lambda with_header: ReceivedInstance(
        sha256, 10, "1.2.4", "1.2.3", "1.2", AT, header if with_header else None
    )


def test_rows_follow_the_order_of_an_association(table):
    j = Journal(table.rows())
    j.opened(PEER, AT)
    j.received(PEER.number, one("a"))
    j.received(PEER.number, one("b"))
    j.closed(PEER.number, "released", 2, AT)
    j.start()
    assert j.stop(30)
    assert [c[0] for c in table.calls] == ["open", "batch", "close"]
    assert table.calls[0][1:5] == ("CT1", "TRIAGE", "10.0.0.5", False)
    assert table.calls[2] == ("close", 101, "released", 2)
    assert {i.association_id for i in table.batches[0]} == {101}


def test_many_instances_come_in_few_batches(table):
    j = Journal(table.rows())
    for k in range(600):
        j.received(1, one(f"{k}"))
    j.start()
    assert j.stop(30)
    assert [len(b) for b in table.batches] == [256, 256, 88]


def test_lone_instance_is_written_soon(table):
    j = Journal(table.rows())
    j.start()
    j.received(1, one("a"))
    wait_until(lambda: table.written() == ["a"], 30, "the row")
    assert j.stop(30)


def test_database_that_comes_back_gets_everything_in_order(table):
    table.away.set()
    j = Journal(table.rows())
    j.start()
    j.opened(PEER, AT)
    for k in range(70):
        j.received(PEER.number, one(f"{k}"))
    j.closed(PEER.number, "released", 70, AT)
    wait_until(lambda: j.waiting == 72, 30, "everything to wait")
    table.away.clear()
    wait_until(lambda: j.waiting == 0, 30, "everything to be written")
    assert table.written() == [f"{k}" for k in range(70)]
    assert table.calls[-1][0] == "close"
    assert sum(c[0] == "open" for c in table.calls) == 1
    assert j.stop(30)


def test_row_that_cannot_be_written_is_quarantined_and_does_not_hold_up_the_others(table):
    table.refused = {"3"}
    j = Journal(table.rows())
    for k in range(6):
        j.received(1, one(f"{k}"))
    j.start()
    wait_until(lambda: sorted(table.written()) == ["0", "1", "2", "3", "4", "5"], 30, "the rows")
    assert j.stop(30)
    row = next(i for batch in table.batches for i in batch if i.sha256 == "3")
    assert (row.header, row.quarantine_reason) == (None, "its attributes cannot be stored")
    assert all(i.quarantine_reason == "" for batch in table.batches for i in batch if i.sha256 != "3")


def test_header_that_cannot_be_read_is_quarantined(table):
    def broken(with_header: bool) -> ReceivedInstance:
        if with_header:
            raise UnicodeError("whatever the header reader did not foresee")
        return one("b")(False)

    j = Journal(table.rows())
    j.received(1, broken)
    j.received(1, one("a"))
    j.start()
    wait_until(lambda: sorted(table.written()) == ["a", "b"], 30, "both rows")
    assert j.stop(30)


def test_database_that_is_away_quarantines_nothing(table):
    table.away.set()
    j = Journal(table.rows())
    j.start()
    j.received(1, one("a"))
    wait_until(lambda: j.waiting == 1, 30, "the entry")
    threading.Event().wait(0.3)  # several tries
    table.away.clear()
    wait_until(lambda: table.written() == ["a"], 30, "the row")
    assert j.stop(30)
    assert table.batches[0][0].header is not None


def test_full_journal_says_so(table):
    j = Journal(table.rows(), maximum_waiting=3)
    for k in range(3):
        assert not j.backlog.is_full
        j.received(1, one(f"{k}"))
    assert j.backlog.is_full


def waits_for_rows(j: Journal, monkeypatch) -> threading.Thread:
    """Somebody who gives way, and would for an hour."""
    monkeypatch.setattr(backlog, "LONGEST_S", 3600.0)
    sender = threading.Thread(target=j.backlog.give_way, daemon=True)
    sender.start()
    return sender


def test_senders_wait_while_rows_are_behind_and_go_on_when_they_are_written(table, monkeypatch):
    j = Journal(table.rows())
    for k in range(BEHIND):
        j.received(1, one(f"{k}"))
    sender = waits_for_rows(j, monkeypatch)
    assert sender.is_alive()
    j.start()
    sender.join(30)
    assert not sender.is_alive()
    assert not j.backlog.is_full
    assert j.stop(30)


def test_nobody_waits_for_rows_that_a_database_takes_only_later(table, monkeypatch):
    table.away.set()
    j = Journal(table.rows())
    j.start()
    for k in range(BEHIND):
        j.received(1, one(f"{k}"))
    sender = waits_for_rows(j, monkeypatch)
    sender.join(30)
    assert not sender.is_alive()
    table.away.clear()
    wait_until(lambda: len(table.written()) == BEHIND, 30, "the rows")
    assert j.stop(30)


def test_an_answer_is_held_back_for_a_moment_only(monkeypatch):
    behind, slept = Backlog(), []
    monkeypatch.setattr(backlog.time, "monotonic", lambda: float(sum(slept)))
    monkeypatch.setattr(backlog.time, "sleep", slept.append)
    behind.give_way()
    assert slept == []
    behind.say(is_behind=True, is_full=False)
    behind.give_way()
    assert sum(slept) == pytest.approx(backlog.LONGEST_S, abs=0.02)


def test_stop_does_not_wait_for_a_database_that_is_away(table):
    table.away.set()
    j = Journal(table.rows())
    j.start()
    j.received(1, one("a"))
    assert j.stop(30)
    assert j.waiting == 1


def test_instance_of_an_association_that_is_not_known_has_no_association(table):
    j = Journal(table.rows())
    j.closed(99, "lost", 0, AT)
    j.received(98, one("a"))
    j.opened(Peer(1, "A", "B", "::1"), AT)
    j.start()
    assert j.stop(30)
    assert table.batches[0][0].association_id is None
