"""The signal to the monitor outside: when it goes, what it carries, and when it is held back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.deciding import Site
from triage_node.config.operations import DeadManSettings, OperationsSettings
from triage_node.processes.operations import dead_man
from triage_node.processes.operations.names import MONITOR
from triage_node.processes.running import Running, now
from triage_node.store import heartbeat, operations, operations_synthetic

ROLES = ("ingest", "analysis", "delivery", "scheduler")


class Monitor(ThreadingHTTPServer):
    """Keeps what it was asked. `status`: what it answers with."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, int]] = []
        self.status = 200


class _Handler(BaseHTTPRequestHandler):
    server: Monitor

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path, int(self.headers.get("Content-Length", 0))))
        self.send_response(self.server.status)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    server = Monitor()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join(30)
    server.server_close()


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path)
    for role in ROLES:
        heartbeat.beat(made.store, role, now() + timedelta(hours=6))  # fresh however slow this machine is
    yield made
    made.store.close()


def tell(site: Site, monitor: Monitor, method: str = "GET") -> operations.PeerRecord:
    """One minute's tick; gives what the page then shows of the monitor."""
    address = DeadManSettings(url=f"http://127.0.0.1:{monitor.server_port}/ping/abc", method=method)
    settings = site.settings.model_copy(update={"operations": OperationsSettings(dead_man=address)})
    dead_man.tell(Running("scheduler", settings, site.store, threading.Event()))
    return operations.peers(site.store)[MONITOR]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_signal_goes_while_all_is_well_and_carries_nothing(site, monitor, method):
    told = tell(site, monitor, method)
    assert monitor.asked == [(method, "/ping/abc", 0)]
    assert told.last_success_at is not None
    assert told.last_failure == ""


@pytest.mark.parametrize("role", ROLES)
def test_signal_is_held_back_while_a_role_is_silent(site, monitor, role):
    heartbeat.beat(site.store, role, now() - timedelta(hours=2))
    assert tell(site, monitor).last_failure == f"held back: no sign of life from: {role}"
    assert monitor.asked == []


def test_signal_is_held_back_when_heartbeats_no_longer_come_through_and_goes_again_after_one(site, monitor):
    operations_synthetic.announce(site.store, "2.25.1", "BEAT", "127.0.0.1", now() - timedelta(minutes=61))
    assert tell(site, monitor).last_failure == "held back: no heartbeat came through"
    operations_synthetic.announce(site.store, "2.25.2", "BEAT", "127.0.0.1", now())
    operations_synthetic.conclude(site.store, "2.25.2", True, "well", now())
    assert tell(site, monitor).last_failure == ""
    assert len(monitor.asked) == 1


def test_monitor_that_refuses_or_is_away_stands_among_the_peers_with_the_reason(site, monitor):
    monitor.status = 404
    assert tell(site, monitor).last_failure == "answered with HTTP status 404"
    monitor.server_port = 1  # nobody listens there
    assert "no valid answer" in tell(site, monitor).last_failure


def test_nobody_is_told_where_no_monitor_is_configured(site):
    dead_man.tell(Running("scheduler", site.settings, site.store, threading.Event()))
    assert MONITOR not in operations.peers(site.store)


@pytest.mark.parametrize("url", ["ftp://monitor.example", "https://user:secret@monitor.example", "monitor.example"])
def test_address_that_is_none_or_holds_a_password_is_refused(url):
    with pytest.raises(ValueError, match="url must be"):
        DeadManSettings(url=url)
