"""The processes that receive: each takes its share, rows and ends come back, and none outlives or survives ingest alone."""

from __future__ import annotations

import psutil
import pytest

from tests.association.node import Node, running, start
from tests.association.raw_client import RawClient
from tests.association.test_protocol import instance, is_stored
from tests.support.waiting import wait_until
from triage_node.instances.study_counts import StudyCounts
from triage_node.processes.receivers import RECEIVERS


def receivers(node: Node) -> list[psutil.Process]:
    return psutil.Process(node.pid).children()


def of_senders(node: Node, process: psutil.Process) -> list[str]:
    """The states of its connections, without one to a database of another process."""
    return [c.status for c in process.net_connections("tcp") if c.laddr.port == node.port]


@pytest.fixture
def node(tmp_path):
    with running(tmp_path / "data") as started:
        yield started


def test_associations_at_the_same_time_go_to_different_processes(node):
    assert len(receivers(node)) == RECEIVERS
    clients = [RawClient(node.port) for _ in range(2 * RECEIVERS)]
    try:
        for client in clients:
            assert client.associate() == 2

        def shared() -> bool:  # asked again: the kernel's table is read in pieces, and may miss a connection
            return [of_senders(node, p).count("ESTABLISHED") for p in receivers(node)] == [2] * RECEIVERS

        wait_until(shared, 10, "two connections in each process")
    finally:
        for client in clients:
            client.socket.close()
    wait_until(lambda: not any(of_senders(node, p) for p in receivers(node)), 30, "the sockets to be closed")


def test_instances_of_all_processes_have_rows(node):
    sent = [instance() for _ in range(4)]
    clients = [RawClient(node.port) for _ in sent]
    try:
        for client, (uid, data) in zip(clients, sent, strict=True):
            client.associate()
            assert client.store(data, uid) == 0
    finally:
        for client in clients:
            client.socket.close()
    wait_until(lambda: node.rows() == len(sent), 30, "the rows")
    assert all(is_stored(node, data) for _, data in sent)


def test_receiver_that_dies_ends_ingest_and_nothing_is_lost(node):
    uid, data = instance()
    with RawClient(node.port) as client:
        client.associate()
        assert client.store(data, uid) == 0
        for process in receivers(node):
            process.kill()
        assert client.ended_within(30)
    assert node.process.wait(60) == 1
    assert "a process that receives has ended" in node.log()
    again = start(node.folder, node.port)
    try:
        wait_until(lambda: again.rows() == 1, 30, "the row")
        assert is_stored(again, data)
    finally:
        again.store.close()
        again.kill()


def test_receivers_end_with_ingest(node):
    found = receivers(node)
    node.kill()
    gone, alive = psutil.wait_procs(found, 10)
    assert alive == []


def test_study_is_counted_over_all_processes():
    counts = StudyCounts(3)
    first, second = counts.of(0), counts.of(2)
    for part, times in ((first, 2), (second, 3)):
        for _ in range(times):
            part.add("1.2.3")
    assert first.total("1.2.3") == second.total("1.2.3") == counts.of(1).total("1.2.3") == 5
    assert counts.total("1.2.4") == 0


def test_study_that_lost_its_place_begins_again_at_nothing(monkeypatch):
    monkeypatch.setattr("triage_node.instances.study_counts._PLACES", 1)
    counts = StudyCounts(1)
    counts.add("1.2.3")
    counts.add("1.2.4")
    assert (counts.total("1.2.3"), counts.total("1.2.4")) == (0, 1)
