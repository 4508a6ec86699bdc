"""Modalities, and the network between them and the node: slices late, twice, out of order, cut off, sent again."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from tests.simulated_faults.ledger import Ledger
from tests.simulated_faults.studies import EXPLICIT, Slice
from tests.simulated_faults.world import Actor, Event, Process, World
from triage_node.domain.reception import Peer, StoreRequest

SUCCESS = 0x0000
_CHUNK = 400

log = logging.getLogger(__name__)


class Lost(Exception):
    """The connection broke, or nobody listens."""


class Network:
    """Where the node's listener is found."""

    def __init__(self, world: World, ledger: Ledger) -> None:
        self.world, self.ledger = world, ledger
        self.listener: Listener | None = None

    def commitment(self, transaction: str, committed: Sequence[str], failed: Sequence[tuple[str, int]]) -> bool:
        """An archive tells what it committed, over an association of its own. False when nobody listens."""
        listener = self.listener
        if listener is None:
            return False

        def report() -> None:
            listener.on_commitment(transaction, [("", u) for u in committed], [("", u, why) for u, why in failed])

        self.world.spawn("ingest/commitment", _quietly(report), process=listener.process)
        return True


def _quietly(call: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            call()
        except Exception:  # the association answers a failure status
            log.exception("no result of storage commitment")

    return run


class Listener:
    """Stands in for association.listener.Listener: the same callables, no socket."""

    network: Network
    port = 104

    def __init__(
        self, endpoint: Any, senders: Any, limits: Any, open_reception: Any, on_commitment: Any, on_opened: Any,
        on_closed: Any, elsewhere: Any = None,
    ) -> None:  # fmt: skip
        self.open_reception, self.on_commitment = open_reception, on_commitment
        self.on_opened, self.on_closed = on_opened, on_closed
        self.numbers = itertools.count(1)
        self.connections: list[Connection] = []
        actor = self.network.world.actor
        assert actor is not None
        assert actor.process is not None
        self.process: Process = actor.process
        self.is_stopping = False

    def start(self) -> None:
        self.network.listener = self
        self.process.at_death.append(self._gone)

    def offer(self, _: object) -> None: ...

    def stop(self, _: float) -> None:
        self.is_stopping = True
        self._gone()

    def _gone(self) -> None:
        if self.network.listener is self:
            self.network.listener = None
        for connection in self.connections:
            connection.breaks()


class Connection:
    """One association: a sender's end, and an actor in the process of ingest."""

    def __init__(self, network: Network, ae_title: str) -> None:
        network.world.point("connect")
        listener = network.listener
        if listener is None:
            raise Lost
        self._world, self._ledger, self._listener = network.world, network.ledger, listener
        self._wanted, self._answered = Event(self._world), Event(self._world)
        self._request: Slice | None = None
        self._cut_at: int | None = None
        self._status: int | None = None
        self._is_closed = False
        self._peer = Peer(next(listener.numbers), ae_title, "TRIAGE", "127.0.0.1")
        listener.connections.append(self)
        self._server: Actor = self._world.spawn("ingest/association", self._serve, process=listener.process)

    def store(self, instance: Slice, cut_at: int | None = None) -> int:
        """The status of one C-STORE. `cut_at`: the line breaks after so many bytes. Raises: Lost."""
        self._world.point("send")
        if self._is_closed:
            raise Lost
        self._ledger.sent[instance.sha256] = instance
        self._request, self._cut_at, self._status = instance, cut_at, None
        self._answered.clear()
        self._wanted.set()
        self._answered.wait(60.0)
        if self._status is None:
            self._is_closed = True
            self._wanted.set()
            raise Lost
        return self._status

    def release(self) -> None:
        self._is_closed = True
        self._wanted.set()

    def breaks(self) -> None:
        self._is_closed = True
        self._answered.set()
        self._wanted.set()

    def _serve(self) -> None:
        number, stored, outcome = self._peer.number, 0, "released"
        self._listener.on_opened(self._peer, self._world.now())
        while not self._is_closed:
            self._wanted.wait(60.0)
            self._wanted.clear()
            request, self._request = self._request, None
            if request is None:
                continue
            status = self._receive(request)
            if status is None:
                outcome = "aborted"
                break
            stored += status == SUCCESS
            self._status = status
            self._answered.set()
        self._listener.on_closed(number, outcome, stored, self._world.now())

    def _receive(self, instance: Slice) -> int | None:
        reception = self._listener.open_reception(
            StoreRequest(self._peer, instance.sop_class_uid, instance.sop_instance_uid, EXPLICIT)
        )
        left, done = memoryview(instance.data), 0
        while left:
            if self._cut_at is not None and done >= self._cut_at:
                reception.abandon()
                self.breaks()
                return None
            room = reception.room(min(len(left), _CHUNK))
            count = len(room)
            room[:] = left[:count]
            room.release()
            reception.filled(count)
            left, done = left[count:], done + count
        status = reception.finish()
        self._world.note(f"answer 0x{status:04X} {instance.sop_instance_uid}")
        if status == SUCCESS:
            self._ledger.answered[instance.sha256] = instance
        else:
            self._ledger.refused[status] += 1
        return status


def send(network: Network, ae_title: str, instances: Sequence[Slice], gap_s: float, restless: float) -> None:
    """Send until each was answered 0x0000, or refused for good. `restless`: how often the line breaks or a slice goes out twice."""
    world = network.world
    waiting = list(instances)
    for _ in range(200):
        if not waiting:
            return
        try:
            connection = Connection(network, ae_title)
            while waiting:
                world.pause(gap_s * world.rng.random())
                broken = world.rng.random() < restless
                status = connection.store(waiting[0], cut_at=world.rng.randrange(1, 900) if broken else None)
                if status == SUCCESS and world.rng.random() < restless:
                    continue  # the answer is not believed: the same slice again
                if status == SUCCESS or status & 0xFF00 in (0xA900, 0xC000, 0x0100):
                    waiting.pop(0)
                else:
                    world.pause(1.0)
            connection.release()
        except Lost:
            world.pause(0.5 + 2 * world.rng.random())
