"""The node on a simulated machine: its roles' own `main`, a supervisor that starts them again, one SQLite file."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event

from tests.simulated_faults import seams
from tests.simulated_faults.world import Event, Process, World
from triage_node.config.schema import Settings
from triage_node.domain.finding import OperatingPoint
from triage_node.processes import analysis, delivery, ingest, scheduler
from triage_node.processes.running import Running
from triage_node.store import heartbeat, meta, policy
from triage_node.store.engine import Store, open_store
from triage_node.store.turns import Turns
from triage_node.store.upgrade import upgrade

MAINS: dict[str, Callable[[Running], None]] = {
    "ingest": ingest.main,
    "analysis": analysis.main,
    "scheduler": scheduler.main,
    "delivery": delivery.main,
}
_AGAIN_S = 2.0

log = logging.getLogger(__name__)


class Database:
    """One engine for all seeds, so that no statement is compiled twice; `enter` leads it to another file.

    synchronous=OFF: what a commit keeps through a power loss is SQLite's promise and not tried here. No waiting for a lock: who
    holds one here holds it longer than anybody waits.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template.db"
        self.at = self._template
        self.is_full = False
        self._world: World | None = None
        self.store = open_store(f"sqlite:///{self._template}")
        event.listen(self.store.engine, "do_connect", self._connect)
        event.listen(self.store.engine, "connect", self._connected)
        event.listen(self.store.engine, "checkout", self._limit)

    def make(self, *prepare: Callable[[Store], None]) -> None:
        """The store that every seed begins with."""
        upgrade(self.store)
        for step in prepare:
            step(self.store)
        self.store.engine.dispose()
        with sqlite3.connect(self._template) as c:
            c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        c.close()

    def enter(self, folder: Path, world: World) -> Path:
        """A fresh copy in this folder, which the engine leads to from now on."""
        self.leave()
        self._world = world
        self.at = folder / "triage.db"
        shutil.copyfile(self._template, self.at)
        self.is_full = False
        return self.at

    def leave(self) -> None:
        self.store.engine.dispose()

    def _connect(self, dialect: Any, record: Any, args: list[Any], how: dict[str, Any]) -> None:
        args[0], how["timeout"] = str(self.at), 0

    def _connected(self, connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")
        connection.create_function("moment", 0, lambda: self._world.transactions if self._world else -1)
        connection.create_function("seconds", 0, lambda: self._world.seconds if self._world else 0.0)

    def _limit(self, connection: Any, record: Any, proxy: Any) -> None:
        """A full disk is SQLite's own: it may have no more pages than it has."""
        if record.info.get("full", False) != self.is_full:
            pages = connection.execute("PRAGMA page_count").fetchone()[0] if self.is_full else 1 << 30
            connection.execute(f"PRAGMA max_page_count = {pages}")
            record.info["full"] = self.is_full


def prepare(simulation: bool) -> Callable[[Store], None]:
    """What `triage-node init` writes, with thresholds for the stand-in of the detector."""

    def write(store: Store) -> None:
        meta.set_simulation(store, simulation)
        point = OperatingPoint("ich", 0.5, 0.8, 0, 0.4)
        policy.add(store, [point], "simulated", "first", datetime(2026, 1, 1, tzinfo=UTC))

    return write


class Stepped(Store):
    """A store whose transactions are points of the world."""

    __slots__ = ("brings_work", "world")
    world: World
    brings_work: bool

    def __init__(self, store: Store, world: World, brings_work: bool = True) -> None:
        super().__init__(store.engine, store.tenant)
        object.__setattr__(self, "world", world)
        object.__setattr__(self, "brings_work", brings_work)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self.world.point("read")
        with super().read() as c:
            yield c

    @contextmanager
    def write(self) -> Iterator[Connection]:
        world = self.world
        world.point("write")
        with super().write() as c:
            world.in_transaction = True
            try:
                yield c
                world.point("commit")
            finally:
                world.in_transaction = False
        world.transactions += 1
        world.changes += self.brings_work
        world.point("committed")

    def close(self) -> None:
        """The engine is everybody's."""


@dataclass(slots=True)
class Quiet(Running):
    """Signs of life only where somebody waits for what they tell: a row every two seconds is no part of this."""

    def __post_init__(self) -> None:
        store = Stepped(self.store, self.store.world, brings_work=False)  # type: ignore[attr-defined]
        self.turns = Turns(store, seams._owner(self.role), seams._is_dead, seams._now)

    def beat(self, detail: dict[str, object] | None = None) -> None:
        if detail is not None:
            heartbeat.beat(self.store, self.role, seams._now(), detail)


class Node:
    """Roles that are started, end, and are started again."""

    def __init__(self, world: World, settings: Settings, database: Database) -> None:
        self.world, self.settings = world, settings
        self.store = Stepped(database.store, world)
        self.running: dict[str, tuple[Process, Event]] = {}
        self.is_off = False
        self.deaths: list[str] = []

    def start(self, *roles: str) -> None:
        """Each role's own main, in a process of its own. Names after a dash tell two of a role apart."""
        for role in roles:
            self.world.spawn(f"supervisor of {role}", self._supervise, role)

    def stop(self, role: str) -> None:
        """As SIGTERM does."""
        self.running[role][1].set()

    def lose_power(self, seconds: float) -> None:
        """Everything ends at once, and starts again after so long."""
        self.is_off = True
        for process, _ in list(self.running.values()):
            self.world.kill(process)
        self.world.pause(seconds)
        self.is_off = False

    def _supervise(self, role: str) -> None:
        while True:
            while self.is_off:
                self.world.pause(0.5)
            process, stop = self.world.process(role), Event(self.world)
            self.running[role] = process, stop
            ended = Event(self.world)
            process.at_death.append(ended.set)
            running = Quiet(role.partition("-")[0], self.settings, self.store, stop)  # type: ignore[arg-type]
            self.world.spawn(role, self._main, role, running, process, process=process)
            ended.wait()
            self.world.pause(_AGAIN_S * self.world.rng.random())

    def _main(self, role: str, running: Running, process: Process) -> None:
        try:
            MAINS[running.role](running)
        except Exception as error:  # run_role's process ends with it, whatever it is
            log.exception("role=%s", role)
            self.deaths.append(f"{role}: {type(error).__name__}: {error}")
            self.world.note(f"{role} ends: {type(error).__name__}: {error}"[:200])
        self.world.kill(process)
