"""Writes rows for what was received, after the answer, in batches.

DESIGN. The threads that receive only append to a queue; one thread writes. A batch is written when 256 entries wait, or
when none came for 50 ms, or 250 ms after its first. (50 ms after the first, as once planned, made batches of ten under
load, and most of a batch's cost is the same for one row as for hundreds.) Order is kept: an association's row before the rows of its
instances, its end after them. Where rows are written, but slower than instances come, senders are slowed down (`backlog`). The
database may be locked or away for as long as it likes: entries wait, and when `maximum_waiting` do, the listener answers 0xA700.
Nothing is lost when the process dies with entries waiting: their files are re-indexed at the next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from triage_node.domain.errors import StoreError, StoreUnavailable
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.reception import Peer
from triage_node.instances.backlog import Backlog

BATCH_INSTANCES = 256
QUIET_S = 0.05
LONGEST_S = 0.25
RETRY_S = 1.0
BEHIND = 512
"""Instances that wait: half a second's rows on a machine with nothing else to do, ten seconds' on a busy one."""

log = logging.getLogger(__name__)


# Called by the thread that writes, so that the header is read there; False: without the header
MakeInstance = Callable[[bool], ReceivedInstance]

# Errors that another try does not mend
_ABOUT_A_ROW = (ValueError, TypeError, KeyError, IndexError, OverflowError, StoreError)


@dataclass(frozen=True, slots=True)
class Rows:
    """What the journal calls; `store.instances` fits once the store is bound."""

    record_association: Callable[[str, str, str, bool, datetime], int]
    close_association: Callable[[int, str, int, datetime], None]
    record_batch: Callable[[Sequence[ReceivedInstance]], None]


@dataclass(frozen=True, slots=True)
class _Opened:
    peer: Peer
    at: datetime


@dataclass(frozen=True, slots=True)
class _Closed:
    number: int
    outcome: str
    instances: int
    at: datetime


@dataclass(frozen=True, slots=True)
class _Received:
    number: int
    instance: MakeInstance


_Entry = _Opened | _Closed | _Received


class Journal:
    """Queue and thread. `start`, then entries from any thread, then `stop`, which writes what waits."""

    def __init__(self, rows: Rows, backlog: Backlog | None = None, maximum_waiting: int = 20_000) -> None:
        self._rows = rows
        self.backlog = backlog or Backlog()
        self._maximum_waiting = maximum_waiting
        self._is_refused = False
        """Whether the database took nothing when it was last asked. Slower senders would not help then."""
        self._entries: deque[_Entry] = deque()
        self._some, self._many, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._association_ids: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Write what waits. Returns whether all of it was written within `seconds`."""
        self._stop.set()
        self._many.set()
        self._some.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def waiting(self) -> int:
        return len(self._entries)

    def opened(self, peer: Peer, at: datetime) -> None:
        self._add(_Opened(peer, at))

    def closed(self, number: int, outcome: str, instances: int, at: datetime) -> None:
        self._add(_Closed(number, outcome, instances, at))

    def received(self, number: int, instance: MakeInstance) -> None:
        self._add(_Received(number, instance))

    def _add(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self._say()
        self._some.set()
        if len(self._entries) >= BATCH_INSTANCES:
            self._many.set()

    def _say(self) -> None:
        waiting = len(self._entries)
        self.backlog.say(waiting >= BEHIND and not self._is_refused, waiting >= self._maximum_waiting)

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            self._gather()
            while self._entries:
                part = [self._entries[k] for k in range(min(len(self._entries), BATCH_INSTANCES))]
                if not self._write_until_done(part):
                    return
                for _ in part:
                    self._entries.popleft()
                self._is_refused = False
                self._say()
            if self._stop.is_set():
                return

    def _gather(self) -> None:
        """Wait until the batch is worth writing."""
        until = time.monotonic() + LONGEST_S
        seen = -1
        while seen != len(self._entries) and time.monotonic() < until:
            seen = len(self._entries)
            if self._many.wait(QUIET_S):
                break
        self._many.clear()

    def _write_until_done(self, part: list[_Entry]) -> bool:
        """True when written; False when told to stop while the database is away."""
        tries = 0
        while True:
            try:
                self._write(part)
                return True
            except Exception as error:
                tries += 1
                self._is_refused = True
                self._say()
                log.error("rows=%d not written, tries=%d: %s", len(part), tries, type(error).__name__, exc_info=error)
                about_a_row = isinstance(error, _ABOUT_A_ROW) and not isinstance(error, StoreUnavailable)
            if about_a_row and len(part) > 1:
                # one that cannot be written must not hold up the others
                return all(self._write_until_done([entry]) for entry in part)
            if about_a_row and isinstance(part[0], _Received) and self._write_without_header(part[0]):
                return True
            if self._stop.wait(RETRY_S):
                return False

    def _write_without_header(self, entry: _Received) -> bool:
        """An instance whose header the database cannot hold was answered 0x0000 all the same: show it in quarantine."""
        bare = replace(entry.instance(False), quarantine_reason="its attributes cannot be stored")
        try:
            self._rows.record_batch([bare])
        except Exception as error:
            log.error("sha256=%s has no row: %s", bare.sha256, type(error).__name__, exc_info=error)
            return False
        return True

    def _write(self, part: list[_Entry]) -> None:
        for entry in part:
            if isinstance(entry, _Opened) and entry.peer.number not in self._association_ids:
                p = entry.peer
                self._association_ids[p.number] = self._rows.record_association(
                    p.calling_ae_title, p.called_ae_title, p.address, p.tls, entry.at
                )
        received = [
            replace(e.instance(True), association_id=self._association_ids.get(e.number))
            for e in part
            if isinstance(e, _Received)
        ]
        if received:
            self._rows.record_batch(received)
        for entry in part:
            if isinstance(entry, _Closed):
                row = self._association_ids.get(entry.number)
                if row is not None:
                    self._rows.close_association(row, entry.outcome, entry.instances, entry.at)
                    del self._association_ids[entry.number]
