"""The node's own modules on a simulated machine: what stands behind each name, and is put back afterwards.

Time (`now`, monotonic), threads and events, chance, process ids, files, the listener, archives, lists and people: names that the
modules of the product hold are changed, and no line of it. `World` and its surroundings come and go; the names stay.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from tests.simulated_faults import peers, senders, standins
from tests.simulated_faults.disk import Disk
from tests.simulated_faults.world import Event, Lock, Thread, World
from triage_node.bundle.load import load_bundle
from triage_node.delivery import store_scu
from triage_node.instances import archive, blob_file, intake, journal
from triage_node.processes import (
    analysis,
    delivery,
    ingest,
    messages,
    notifying,
    reporting,
    running,
    scans,
    scheduler,
)
from triage_node.processes.hosts import lease
from triage_node.processes.wiring import bundle_folder
from triage_node.store import turns

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Surroundings:
    """What the names lead to at the moment."""

    world: World
    disk: Disk
    network: senders.Network
    pacs: peers.Pacs
    lists: dict[str, peers.Ris]
    pager: peers.Line


class _At:
    """The surroundings of the seed that runs."""

    now: Surroundings


def enter(surroundings: Surroundings) -> None:
    """From here on the node lives there."""
    _At.now = surroundings
    world = surroundings.world
    standins.Decoder.world = standins.Detector.world = peers.Pager.world = world
    standins.Detector.failed = Counter()
    senders.Listener.network = surroundings.network
    peers.Pager.ledger, peers.Pager.line = surroundings.network.ledger, surroundings.pager
    blob_file._serial = itertools.count()


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Let the node's modules see the simulated machine until the block ends."""
    everywhere: dict[str, Callable[..., Any]] = {"now": _now, "owner": _owner, "is_dead": _is_dead}
    real = {name: getattr(running, name) for name in everywhere}
    interval = sys.getswitchinterval()
    with contextlib.ExitStack() as stack, warnings.catch_warnings():
        stack.callback(sys.setswitchinterval, interval)
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)
        for name, module in sorted(sys.modules.items()):
            if name.startswith("triage_node."):
                for word, stand_in in everywhere.items():
                    if vars(module).get(word) is real[word]:
                        stack.enter_context(patch.object(module, word, stand_in))
        for target, name, stand_in in _names():
            stack.enter_context(patch.object(target, name, stand_in))
        yield


def _names() -> Iterator[tuple[object, str, object]]:
    threads = SimpleNamespace(
        Thread=lambda **how: Thread(_At.now.world, **how),
        Event=lambda: Event(_At.now.world),
        Lock=lambda: Lock(_At.now.world),
    )
    for module in (journal, delivery, messages, notifying, ingest, lease, turns):
        yield module, "threading", threads
    chance = SimpleNamespace(random=lambda: _At.now.world.rng.random())
    for module in (delivery, messages):
        yield module, "random", chance
    for module in (archive, blob_file, intake):
        yield module, "os", _Os()
    yield blob_file, "ThreadPoolExecutor", _AtOnce
    yield blob_file, "_THREADS", 1  # which is at once there
    yield blob_file, "_serial", blob_file._serial
    yield intake, "datetime", _Datetime
    clock = SimpleNamespace(monotonic=lambda: _At.now.world.seconds, time=lambda: _now().timestamp())
    for module in (archive, journal, turns):
        yield module, "time", clock
    yield ingest, "gc", SimpleNamespace(collect=lambda: 0, freeze=lambda: None)
    yield ingest, "Receivers", _NoReceivers
    yield ingest, "Listener", senders.Listener
    yield scheduler, "BackgroundScheduler", _Scheduler
    shipped = load_bundle(bundle_folder("bloodnet"))  # read once: hashing weights is no part of this
    yield analysis, "load_bundle", lambda folder: shipped
    yield analysis, "BloodNetDetector", standins.Detector
    yield analysis, "Decoder", standins.Decoder
    yield analysis, "Displays", standins.NoDisplays
    yield scans, "check_head", standins.check_head
    yield reporting, "build_objects", standins.build_objects
    yield reporting, "build_rejection_note", standins.build_rejection_note
    yield store_scu, "send_batch", lambda *how: _At.now.pacs.send_batch(*how)
    yield delivery, "request_commitment", lambda *how: _At.now.pacs.request_commitment(*how)
    yield messages, "adapter_for", lambda peer: _At.now.lists[peer.name]
    yield notifying, "ContactSender", peers.Pager


def _now() -> datetime:
    return _At.now.world.now()


def _owner(role: str) -> str:
    return f"{role}@simulated:{_At.now.disk.getpid()}"


def _is_dead(lease_owner: str) -> bool:
    return lease_owner.rpartition(":")[2] not in _At.now.world.processes


class _Datetime(datetime):
    @classmethod
    def now(cls, tz: Any = UTC) -> datetime:
        return _now()


class _Os:
    def __getattr__(self, name: str) -> Any:
        return getattr(_At.now.disk, name)


class _AtOnce:
    """concurrent.futures.ThreadPoolExecutor: what is handed in is done."""

    def __init__(self, *_: object) -> None: ...

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(call(*args))
        except Exception as error:  # noqa: BLE001 - a future holds whatever its task raised
            done.set_exception(error)
        return done


class _NoReceivers:
    """Everything is received by ingest itself: who shares its memory dies with it anyway."""

    serve = None

    def __init__(self, *_: object) -> None: ...
    def fork(self) -> None: ...
    def listen(self, *_: object) -> None: ...
    def say_stopping(self) -> None: ...
    def stop(self, _: float) -> None: ...


class _Scheduler:
    """apscheduler's clock: each job is an actor, a failed tick is followed by the next."""

    def __init__(self, **_: object) -> None:
        self._jobs: list[tuple[Callable[[], object], float, bool]] = []
        self._ended = False

    def add_job(
        self, job: Callable[[], object], _: str, seconds: float = 0, minutes: float = 0, hours: float = 0,
        next_run_time: datetime | None = None,
    ) -> None:  # fmt: skip
        self._jobs.append((job, seconds + 60 * minutes + 3600 * hours, next_run_time is not None))

    def start(self) -> None:
        world = _At.now.world
        actor = world.actor
        assert actor is not None
        for number, (job, every, at_once) in enumerate(self._jobs):
            world.spawn(f"scheduler/{number}", self._run, job, every, at_once, process=actor.process)

    def shutdown(self, wait: bool) -> None:
        self._ended = True

    def _run(self, job: Callable[[], object], every: float, at_once: bool) -> None:
        world = _At.now.world
        if not at_once:
            world.pause(every)
        while not self._ended:
            try:
                job()
            except Exception as error:  # apscheduler logs it, and goes on
                log.exception("a tick failed")
                world.note(f"tick failed: {type(error).__name__}")
            world.idle(every)
