"""The processes that receive for ingest: each serves a share of the associations, and sends back what needs a row.

They are forked from ingest before it has threads, share its memory, and live and die with it: one that ends
unexpectedly ends ingest, which the supervisor starts again, and the re-index then finds what had no row. So there is one
way to recover, not two.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import logging
import mmap
import multiprocessing
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

from triage_node.association import receiver
from triage_node.association.limits import Limits
from triage_node.association.negotiation import Context
from triage_node.association.session import Committed, Failed, Outcome, Services
from triage_node.domain.errors import StoreError
from triage_node.domain.reception import Peer
from triage_node.instances.archive import Archive
from triage_node.instances.backlog import Backlog
from triage_node.instances.intake import Intake, IntakeLimits
from triage_node.instances.journal import Journal, MakeInstance
from triage_node.instances.study_counts import StudyCounts

RECEIVERS = 2
"""On two cores the second one took four associations from 1.6 to 2.1 times Orthanc; more would wait for the disk."""
TOGETHER_S = 0.02
_PR_SET_PDEATHSIG = 1
_REPORT_BYTES = 1 << 20  # the pipe holds the rows of some 300 instances, so that a batch of rows stops no receiver

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Ended:
    number: int
    outcome: Outcome
    instances: int


@dataclass(slots=True)
class _Receiver:
    process: ForkProcess
    control: socket.socket
    reports: Connection
    waiting: dict[int, Future[tuple[Outcome, int]]] = field(default_factory=dict)


class Receivers:
    """`fork` before any thread starts, `listen` after, `serve` from any thread, `stop`."""

    def __init__(
        self,
        archive: Archive,
        limits: IntakeLimits,
        association_limits: Limits,
        counts: StudyCounts,
        backlog: Backlog,
    ) -> None:
        self._archive, self._limits, self._association_limits = archive, limits, association_limits
        self._counts, self._backlog = counts, backlog
        self._stopping = mmap.mmap(-1, mmap.PAGESIZE)
        self._receivers: list[_Receiver] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def fork(self, number: int = RECEIVERS) -> None:
        context = multiprocessing.get_context("fork")
        for k in range(number):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            reports, told = context.Pipe(duplex=False)
            fcntl.fcntl(told.fileno(), fcntl.F_SETPIPE_SZ, _REPORT_BYTES)
            process = context.Process(
                target=self._receive, args=(k, theirs, told, os.getpid()), name=f"receiver {k}", daemon=True
            )
            self._receivers.append(_Receiver(process, ours, reports))  # before the fork: the child closes its copies
            process.start()
            theirs.close()
            told.close()
        # an ingest that cannot go on (a database that takes nothing) must end, or nobody starts it again: Python waits for these
        atexit.register(self._let_go)

    def listen(self, journal: Journal, on_death: Callable[[], None]) -> None:
        """Hand what the receivers report to the journal; `on_death` when one of them is gone."""
        for r in self._receivers:
            thread = threading.Thread(target=self._hear, args=(r, journal, on_death), name="reports", daemon=True)
            thread.start()
            self._threads.append(thread)

    def serve(self, sock: socket.socket, peer: Peer, contexts: Mapping[int, Context]) -> tuple[Outcome, int]:
        """Let the receiver that has the fewest associations serve this one; returns when it ended."""
        result: Future[tuple[Outcome, int]] = Future()
        with self._lock:
            chosen = min(self._receivers, key=lambda r: len(r.waiting))
            chosen.waiting[peer.number] = result
        try:
            receiver.hand_over(chosen.control, sock, peer, contexts)
        except OSError as error:
            log.error("association not handed over peer=%s: %s", peer.address, error.strerror)
            chosen.waiting.pop(peer.number, None)
            return Outcome.LOST, 0
        return result.result()

    def say_stopping(self) -> None:
        """Let the instances in hand be finished and answered, and nothing begin."""
        self._stopping[0] = True

    def stop(self, seconds: float) -> None:
        """End the processes; what they reported has been handed on afterwards."""
        self.say_stopping()
        for r in self._receivers:
            r.control.close()
        for r, thread in zip(self._receivers, self._threads, strict=True):
            thread.join(seconds)
            r.process.join(seconds)

    def _let_go(self) -> None:
        for r in self._receivers:
            r.control.close()

    def _hear(self, r: _Receiver, journal: Journal, on_death: Callable[[], None]) -> None:
        while True:
            try:
                together = r.reports.recv()
            except (EOFError, OSError):
                break
            for report in together:
                if isinstance(report, _Ended):
                    r.waiting.pop(report.number).set_result((report.outcome, report.instances))
                else:
                    journal.received(*report)
        for number in list(r.waiting):
            r.waiting.pop(number).set_result((Outcome.LOST, 0))
        if not self._stopping[0]:
            log.error("%s ended by itself", r.process.name)
            on_death()

    # in the forked process

    def _receive(self, k: int, control: socket.socket, told: Connection, parent: int) -> None:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
        for r in self._receivers:
            r.control.close()
            r.reports.close()
        reports = _Reports(told, self._backlog)
        intake = Intake(self._archive, reports, self._limits, counts=self._counts.of(k))
        services = Services(self._association_limits, intake.open, _no_commitment, lambda: self._stopping[0] != 0)
        receiver.serve(control, services, reports.ended)


class _Reports:
    """Where a receiver's rows and ends of associations go.

    Rows go together every TOGETHER_S, since each message wakes ingest; an end goes at once, a place depends on it.
    """

    def __init__(self, told: Connection, backlog: Backlog) -> None:
        self._told, self.backlog = told, backlog
        self._some, self._now = threading.Event(), threading.Event()
        self._reports: deque[object] = deque()
        threading.Thread(target=self._run, name="reports", daemon=True).start()

    def received(self, number: int, instance: MakeInstance) -> None:
        self._reports.append((number, instance))
        self._some.set()

    def ended(self, number: int, outcome: Outcome, instances: int) -> None:
        self._reports.append(_Ended(number, outcome, instances))
        self._now.set()
        self._some.set()

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._now.wait(TOGETHER_S)
            self._now.clear()
            self._some.clear()
            together = [self._reports.popleft() for _ in range(len(self._reports))]
            self._told.send(together)


def _no_commitment(transaction_uid: str, committed: Committed, failed: Failed) -> None:
    """Raises: StoreError. The listener keeps associations with results of storage commitment to itself."""
    raise StoreError("a receiver takes no results of storage commitment")
