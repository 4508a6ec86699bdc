"""Each way out of the node, through the queue and over a socket: whatever stands between node and counterpart, one effect.

All ways run at once, as in a node; each trouble is brought about once and asked about for each way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from tests.processes.ways import ARCHIVES, NAMES, Way, decided, delivering, every_way
from tests.support.deciding import Site
from tests.support.door import Trouble
from tests.support.ris import ris
from tests.support.waiting import wait_until
from tests.worklist.adapter_contract import KNOWN
from triage_node.delivery import retry
from triage_node.domain.message import MessageRow, NewMessage, message_id
from triage_node.domain.priority import Flag, Urgency
from triage_node.processes import delivery, messages
from triage_node.processes.running import now
from triage_node.store import messages as stored
from triage_node.store import worklist

HANGING_S = 120.0
PATIENCE_S = 60.0
SHORT_S = 2.0
"""For counterparts of which one answer is late; that they are tried again later is no harm."""
MANY = 500
DOWN = "the counterpart is down through many tries"


@pytest.fixture(scope="module", autouse=True)
def short_waits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "LONGEST_WAIT", timedelta(milliseconds=20))
        patch.setattr(messages, "POLL_S", 0.02)
        patch.setattr(retry, "FIRST_WAIT", timedelta(milliseconds=20))
        patch.setattr(retry, "LONGEST_WAIT", timedelta(milliseconds=20))
        patch.setattr(delivery, "POLL_S", 0.02)
        yield


def all_done(site: Site, ways: dict[str, Way]) -> None:
    wait_until(lambda: all(w.is_done(site) for w in ways.values()), HANGING_S, "all counterparts were told")


def taken(ways: dict[str, Way]) -> dict[str, int]:
    return {name: way.took() for name, way in ways.items()}


def open_all(ways: dict[str, Way]) -> None:
    for way in ways.values():
        way.door.open()


def meet(ways: dict[str, Way]) -> None:
    for way in ways.values():
        assert way.door.met.wait(HANGING_S), way.name


TROUBLES = [Trouble.GARBAGE, Trouble.LATE, Trouble.LOST, Trouble.TWICE]


@pytest.fixture(scope="module", params=[DOWN, *TROUBLES])
def after(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, int]]:
    """How often each counterpart was told when this trouble was over."""
    folder, what = tmp_path_factory.mktemp("way"), request.param
    trouble = Trouble.NONE if what == DOWN else what
    with every_way(folder, trouble, SHORT_S if what is Trouble.LATE else PATIENCE_S) as ways:
        site = decided(folder, ways)
        if what != DOWN:
            open_all(ways)
        with delivering(site, ways):
            if what == DOWN:
                wait_until(lambda: all(w.tries(site) >= 6 for w in ways.values()), HANGING_S, "many tries")
                open_all(ways)
            else:
                meet(ways)
            if what is Trouble.LATE:
                wait_until(lambda: all(w.tries(site) for w in ways.values()), HANGING_S, "the first try is given up")
                for way in ways.values():
                    way.door.go_on.set()
            all_done(site, ways)
        return what, taken(ways)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_happened_once_on_the_way_the_counterpart_was_told_once(after, name):
    what, told = after
    # a service for people knows no identifiers of messages: it is told twice rather than not at all
    assert told[name] == (2 if (name, what) == ("notice", Trouble.LOST) else 1)


@pytest.fixture(
    scope="module", params=[Trouble.SWALLOWED, Trouble.LATE], ids=["before it arrived", "before its answer"]
)
def killed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[dict[str, int]]]:
    """How often each counterpart was told when the delivery role was killed in its push, and after its next start."""
    folder = tmp_path_factory.mktemp("killed")
    with every_way(folder, request.param, PATIENCE_S) as ways:
        site = decided(folder, ways)
        open_all(ways)
        with role(site) as process:
            meet(ways)
            os.kill(process.pid, signal.SIGKILL)
            process.wait(HANGING_S)
        for way in ways.values():
            way.door.go_on.set()
        then = taken(ways)
        with role(site):
            all_done(site, ways)
        return request.param, [then, taken(ways)]


@pytest.mark.parametrize("name", NAMES)
def test_killed_between_decision_and_push_the_role_tells_each_once_when_it_runs_again(killed, name):
    window, (then, at_last) = killed
    assert then[name] == (0 if window is Trouble.SWALLOWED else 1)
    assert at_last[name] == (2 if (name, window) == ("notice", Trouble.LATE) else 1)


@contextmanager
def role(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """The delivery role as a process of its own."""
    command = [sys.executable, "-m", "triage_node.processes.delivery", "--config", str(site.config)]
    with (site.folder / "delivery.log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(HANGING_S)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, Way]]]:
    """All counterparts but one are silent, with 500 studies waiting for each, when the one has been told of all."""
    folder = tmp_path_factory.mktemp("slow")
    many = (KNOWN, *(f"1.2.3.{n}" for n in range(1, MANY)))
    with ris() as quick, every_way(folder, Trouble.SILENCE, 300.0) as ways:
        site = decided(folder, ways, quick.settings(name="quick", order_update="none"), studies=many)
        pattern = site.told(KNOWN)
        with site.store.write() as c:
            for uid in many[1:]:
                worklist.raise_flag(c, uid, Flag("ich", Urgency.HIGH, "Suspected ICH", now()))
            stored.put(c, [like(m, uid) for uid in many[1:] for m in pattern], now())
        open_all(ways)
        with delivering(site, ways):
            meet(ways)
            wait_until(lambda: len(quick.texts) == MANY, 300, "the quick one was told of every study")
            yield site, ways


def like(pattern: MessageRow, uid: str) -> NewMessage:
    told = message_id(uid, 1, pattern.peer, pattern.kind)
    payload = {**pattern.payload, "study_instance_uid": uid, "message_id": told}
    return NewMessage(pattern.peer, pattern.kind, told, uid, 1, payload, pattern.expires_at)


@pytest.mark.parametrize("name", NAMES)
def test_500_studies_to_one_slow_counterpart_hold_back_no_other(slow, name):
    site, ways = slow
    assert (ways[name].took(), waiting(site, name)) == (0, MANY)


def waiting(site: Site, name: str) -> int:
    table = "outbox" if name in ARCHIVES else "message"
    with site.store.read() as c:
        counted = c.exec_driver_sql(f"SELECT count(*) FROM {table} WHERE peer = '{name}' AND state = 'pending'")
        return int(counted.scalar_one())
