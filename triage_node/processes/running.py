"""What every role needs to run: settings, store, stop signal, sign of life."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from triage_node.config.load import load
from triage_node.config.schema import Settings
from triage_node.domain.errors import StoreError, TriageNodeError
from triage_node.processes.handover import Predecessor
from triage_node.store import agreed_time, heartbeat
from triage_node.store.engine import Store, open_store
from triage_node.store.moving import fence, whereabouts
from triage_node.store.turns import Turns

SUPERVISOR = "TRIAGE_SUPERVISOR_PID"
BEAT_S = 2.0
COMPARED_EVERY_S = 60.0
AFTER_AN_ERROR_S = 2.0
_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


_agreed: tuple[datetime, float] | None = None
"""The database's time, and our monotonic clock at that moment."""


def now() -> datetime:
    """The time that all hosts agree on: this machine's, or with PostgreSQL the database's, whatever our clock is set to."""
    if _agreed is None:
        return datetime.now(UTC)
    at, then = _agreed
    return at + timedelta(seconds=time.monotonic() - then)


def ahead() -> timedelta:
    """How far the agreed time is ahead of this machine's clock, by which receivers stamp what they answer."""
    return now() - datetime.now(UTC) if _agreed is not None else timedelta(0)


def agree(store: Store) -> None:
    """Take the time from the database, where several hosts share one. Raises: StoreError."""
    global _agreed
    if store.is_sqlite or (_agreed is not None and time.monotonic() - _agreed[1] < COMPARED_EVERY_S):
        return
    at = agreed_time.of_database(store)
    _agreed = at, time.monotonic()


def owner(role: str) -> str:
    """Who holds a lease: role, host and process."""
    return f"{role}@{heartbeat.host()}:{os.getpid()}"


def is_dead(lease_owner: str) -> bool:
    """True when the owner was a process of this host that is gone. Nothing is said of other hosts."""
    name, _, pid = lease_owner.rpartition(":")
    return name.endswith(f"@{heartbeat.host()}") and pid.isdigit() and not Path(f"/proc/{pid}").exists()


@dataclass(slots=True)
class Running:
    """A role at work. `stop` is set by SIGTERM and SIGINT; loops wait on it instead of sleeping."""

    role: str
    settings: Settings
    store: Store
    stop: threading.Event
    predecessor: Predecessor | None = None
    """Whom this process is to take over from, beside whom it starts; None: it is the only one."""
    _beaten_at: datetime | None = None
    _untold: dict[str, object] | None = None
    turns: Turns = field(init=False)
    """What this process does while the same role on other hosts stands by."""

    def __post_init__(self) -> None:
        self.turns = Turns(self.store, owner(self.role), is_dead, now)

    @property
    def takes_over(self) -> bool:
        """Whether another process of this role is at work on this host, until this one is `ready`."""
        return self.predecessor is not None

    def ready(self) -> None:
        """From here on this process does the work of its role."""
        if self.predecessor is not None:
            self.predecessor.may_go()
            self.predecessor = None

    def beat(self, detail: dict[str, object] | None = None) -> None:
        """Say that this role is alive, at most every BEAT_S seconds unless there is something to tell.

        A database that takes nothing ends no role: it is told when it does, and until then the role counts as silent.
        """
        at = now()
        if detail is None and self._beaten_at is not None and (at - self._beaten_at).total_seconds() < BEAT_S:
            return
        self._beaten_at = at
        self._untold = detail if detail is not None else self._untold
        try:
            agree(self.store)
            heartbeat.beat(self.store, self.role, at, self._untold)
        except StoreError as error:
            where = fence.has_moved(self.store)
            files = whereabouts.moved_since(self.store)
            if where or files:
                what = "the store has" if where else "the files have"
                log.warning("%s moved to %s; this process ends and is started again there", what, where or files)
                self.stop.set()
            else:
                log.error("no sign of life could be written: %s", error)
            return
        self._untold = None


def until_stopped(stop: threading.Event, step: Callable[[], bool], what: str, poll_s: float) -> None:
    """Take steps until `stop` is set: the next one at once while a step did something, else after `poll_s` seconds.

    No error ends it: nobody else would do what waits for it. `what`: for the log.
    """
    while not stop.is_set():
        try:
            if not step():
                stop.wait(poll_s)
        except Exception:
            log.exception("%s", what)
            stop.wait(AFTER_AN_ERROR_S)


def run_role(role: str, main: Callable[[Running], None], arguments: list[str] | None = None) -> int:
    """Parse --config, open the store, install signals, run `main` until it returns. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"python -m triage_node.processes.{role}", description=f"Run the {role} role alone."
    )
    parser.add_argument("--config", type=Path, default=os.environ.get("TRIAGE_NODE_CONFIG"))
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s {role} %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    _die_with_supervisor()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    predecessor = Predecessor.named_in(os.environ)
    try:
        settings, _ = load(options.config)
        store = open_store(settings.database_url, settings.store.tenant)
    except TriageNodeError as error:
        logging.error("%s", error)
        if predecessor is not None:
            predecessor.must_stay(str(error))
        return 2
    try:
        fence.refuse_unfit(store)
        store = whereabouts.pinned(store, settings.store.blob_url)
    except TriageNodeError as error:
        logging.error("%s", error)
        if predecessor is not None:
            predecessor.must_stay(str(error))
        store.close()
        return 1
    running = Running(role, settings, store, stop, predecessor)
    try:
        agree(store)
        if settings.store.blob_url and role != "ingest":  # which forks, and trims where it uploads
            from triage_node.processes.storage import trimming

            trimming.start(running)
        main(running)
    except TriageNodeError as error:
        logging.error("%s", error)
        if running.predecessor is not None:
            running.predecessor.must_stay(str(error))
        return 1
    finally:
        running.turns.give_up()
        store.close()
    return 0


def _die_with_supervisor() -> None:
    """A supervisor that is killed takes its roles along; else a second one would start them twice."""
    parent = os.environ.get(SUPERVISOR)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died between our start and the call above
        raise SystemExit(0)
