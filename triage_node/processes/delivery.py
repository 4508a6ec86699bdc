"""The delivery role: one queue per archive, worklist peer and contact, so that one that is down holds up nobody else.

Of several hosts one has the turn of a destination; it stops between two objects when it has lost it. The rows that it
holds lapse only when nothing of its can be on the way any more, so no row is ever in two associations.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from triage_node.blobs.opened import open_blobs
from triage_node.config.schema import ArchiveSettings
from triage_node.delivery import store_scu, stow_rs
from triage_node.delivery.commitment import Answer, request_commitment
from triage_node.delivery.gate import Destination, may_reach
from triage_node.delivery.outgoing import Outgoing
from triage_node.delivery.retry import Outcome, Verdict, next_step, pause_after
from triage_node.dimse.calling import GRACE_S
from triage_node.domain.delivery import ObjectKind, OutboxRow, OutboxState
from triage_node.domain.errors import StoreError
from triage_node.domain.identifiers import deterministic_uid
from triage_node.processes import messages, notifying
from triage_node.processes.hub.forwarding import Forwarding
from triage_node.processes.operations import sink
from triage_node.processes.outgoing_files import files_of
from triage_node.processes.running import Running, is_dead, now, owner, run_role, until_stopped
from triage_node.processes.wiring import is_loopback
from triage_node.store import meta, modes, outbox
from triage_node.store.engine import Store
from triage_node.store.turns import TRUSTED_S

log = logging.getLogger(__name__)

RENEWED_EVERY_S = 5.0
POLL_S = 0.25
SendBatch = Callable[[ArchiveSettings, Sequence[Outgoing], Callable[[], bool]], dict[str, Outcome]]
"""One batch to one archive: SOP Instance UID -> what became of it."""
COMMITMENT_ASKED_AGAIN = timedelta(minutes=10)


class Queue:
    """The way to one archive."""

    def __init__(self, running: Running, archive: ArchiveSettings, send_batch: SendBatch | None = None) -> None:
        self._running, self._archive = running, archive
        self._send_batch = send_batch or (stow_rs.send_batch if archive.stow_url else store_scu.send_batch)
        self._built = open_blobs(running.settings.store).built
        self._owner = owner("delivery")
        self._turn = f"archive {archive.name}"
        on_the_way = archive.connect_timeout_s + archive.response_timeout_s + GRACE_S
        self._lease = timedelta(seconds=TRUSTED_S + RENEWED_EVERY_S + on_the_way)
        self._renewed_at = now()
        self._failures = 0
        self._resume_at = now()
        self._unasked: list[OutboxRow] = []
        self._is_new = True

    def run(self) -> None:
        """Until the role is stopped."""
        until_stopped(self._running.stop, self._step, f"archive={self._archive.name}", POLL_S)

    def _step(self) -> bool:
        if not self._running.turns.mine(self._turn):
            self._is_new = True
            return False
        if self._is_new:
            outbox.take_from_dead(self._running.store, self._archive.name, is_dead, now())
            self.ask_again()
        busy = self.send_some()
        if self._unasked and (not busy or len(self._unasked) >= self._archive.batch):
            self.ask()
        self.ask_again()
        return busy

    def send_some(self) -> bool:
        """Send one batch. False when nothing is due or nobody was reached."""
        store, archive = self._running.store, self._archive
        if now() < self._resume_at or archive.name not in outbox.peers_with_work(store, now()):
            return False
        if not self._running.turns.mine(self._turn):
            return False
        # what takes something back goes out whatever the mode is
        only = ObjectKind.REJECTION_NOTE if self._is_paused() else None
        rows = outbox.claim_batch(store, archive.name, self._owner, now(), self._lease, archive.batch, only)
        if not rows:
            return False
        self._renewed_at = now()
        files, outcomes = files_of(self._built, rows)
        if files:
            outcomes |= self._send_batch(archive, files, self._must_stop)
        pause, self._failures = pause_after(outcomes.values(), self._failures, random.random)
        self._resume_at = now() + pause
        for row in rows:
            self._record(row, outcomes[row.sop_instance_uid])
        failure = next((o.words for o in outcomes.values() if o.verdict is not Verdict.STORED), "")
        outbox.record_peer(store, archive.name, now(), failure if pause else "")
        if archive.storage_commitment:
            self._unasked += [r for r in rows if outcomes[r.sop_instance_uid].verdict is Verdict.STORED]
        return not pause

    def _must_stop(self) -> bool:
        """Asked between two objects: the node stops, or the destination is somebody else's by now."""
        if self._running.stop.is_set() or not self._running.turns.still(self._turn):
            return True
        if (now() - self._renewed_at).total_seconds() > RENEWED_EVERY_S:
            self._renewed_at = now()
            try:
                outbox.renew(self._running.store, self._archive.name, self._owner, now(), self._lease)
            except StoreError:
                log.exception("archive=%s", self._archive.name)
                return True
        return False

    def _is_paused(self) -> bool:
        # what was queued while the node acted waits for people to switch it on again; a research archive never did depend on it
        return self._archive.clinical and modes.switch(self._running.store).paused is not None

    def ask(self) -> None:
        """Ask for commitment of what was sent since the last time, in one transaction."""
        rows, self._unasked = self._unasked, []
        self._ask(rows)

    def ask_again(self) -> None:
        """Objects whose commitment was not answered in time, or never asked for since we were killed, are asked for again."""
        if self._archive.storage_commitment:
            # what a process before us had sent it may never have asked for: at our start everything is asked for
            patience = None if self._is_new else COMMITMENT_ASKED_AGAIN
            waiting = outbox.pending_commitments(self._running.store, self._archive.name, now(), patience)
            if waiting:
                self._ask(waiting)
        self._is_new = False

    def _record(self, row: OutboxRow, outcome: Outcome) -> None:
        step = next_step(outcome, row.tries, now(), self._resume_at, self._archive.storage_commitment, random.random)
        outbox.record_outcome(
            self._running.store,
            row.id,
            step.state,
            now(),
            step.not_before,
            step.reason,
            perhaps_there=outcome.perhaps_there,
        )
        log.log(
            logging.ERROR if step.state is OutboxState.PARKED else logging.INFO,
            "archive=%s kind=%s instance=%s state=%s %s",
            self._archive.name,
            row.kind,
            row.sop_instance_uid,
            step.state,
            step.reason,
        )

    def _ask(self, rows: list[OutboxRow]) -> None:
        store = self._running.store
        uid = deterministic_uid("commitment", now().isoformat(), *(r.sop_instance_uid for r in rows))
        # before the question: the answer may be here before this process is
        outbox.renew_commitment(store, [r.id for r in rows], uid, now())
        wanted = [(r.sop_class_uid, r.sop_instance_uid) for r in rows]
        outcome = request_commitment(self._archive, uid, wanted, lambda answer: _apply(store, answer))
        if outcome.verdict is Verdict.STORED:
            return
        log.warning("archive=%s commitment: %s", self._archive.name, outcome.words)
        if outcome.verdict is Verdict.NEVER and not outcome.of_association:
            # it does not offer the service: what it answered 0x0000 is all that it will ever say
            for row in rows:
                outbox.record_outcome(store, row.id, OutboxState.DELIVERED, now(), reason=outcome.words)


def _apply(store: Store, answer: Answer) -> None:
    outbox.commitment_result(store, answer.transaction_uid, answer.committed, answer.failed, now())


def main(running: Running) -> None:
    """One thread per archive and worklist peer; ends when all have finished what they had in hand."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    simulation = meta.is_simulation(running.store)
    threads = [*messages.threads(running), *notifying.threads(running)]
    to_sink = Queue(running, sink.archive(), sink.Sink(running.settings).send_batch)
    threads.append(threading.Thread(target=to_sink.run, name="heartbeat"))
    for archive in running.settings.archives:
        destination = Destination(archive.name, archive.clinical, is_loopback(archive))
        allowed, why = may_reach(destination, simulation)
        if not allowed:
            log.error("archive=%s gets nothing: %s", archive.name, why)
            continue
        threads.append(threading.Thread(target=Queue(running, archive).run, name=archive.name))
        if archive.received:
            threads.append(threading.Thread(target=Forwarding(running, archive).run, name=f"to hub {archive.name}"))
    for thread in threads:
        thread.start()
    while not running.stop.wait(1.0):
        running.beat()
        try:
            running.turns.keep()
        except StoreError:
            log.exception("whose turn it is could not be written")
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    raise SystemExit(run_role("delivery", main))
