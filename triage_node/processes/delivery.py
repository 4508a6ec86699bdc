"""The delivery role: one queue per archive, so that one that is down holds up nobody else."""

from __future__ import annotations

import logging
import random
import threading
from datetime import timedelta

from triage_node.config.schema import ArchiveSettings
from triage_node.delivery.commitment import request_commitment
from triage_node.delivery.retry import Verdict, next_step
from triage_node.delivery.store_scu import Outgoing, send_batch
from triage_node.domain.delivery import OutboxRow, OutboxState
from triage_node.domain.errors import StoreError
from triage_node.domain.identifiers import deterministic_uid
from triage_node.instances.archive import Archive
from triage_node.processes.running import Running, now, owner, run_role
from triage_node.processes.wiring import built_folder
from triage_node.store import outbox

log = logging.getLogger(__name__)

LEASE = timedelta(minutes=5)
POLL_S = 0.25
COMMITMENT_ASKED_AGAIN = timedelta(minutes=10)


class Queue:
    """The way to one archive."""

    def __init__(self, running: Running, archive: ArchiveSettings) -> None:
        self._running, self._archive = running, archive
        self._built = Archive(built_folder(running.settings))
        self._owner = f"{owner('delivery')}/{archive.name}"
        self._jitter = random.Random(archive.name).random

    def run(self) -> None:
        """Until the role is stopped; a database that is away for a while ends nothing."""
        while not self._running.stop.is_set():
            try:
                busy = self.send_some()
                self.ask_again()
            except StoreError:
                log.exception("archive=%s", self._archive.name)
                busy = False
            if not busy:
                self._running.stop.wait(POLL_S)

    def send_some(self) -> bool:
        """Send one batch. False when nothing is due."""
        store, archive = self._running.store, self._archive
        if archive.name not in outbox.peers_with_work(store, now()):
            return False
        rows = outbox.claim_batch(store, archive.name, self._owner, now(), LEASE, archive.batch)
        if not rows:
            return False
        files = [Outgoing(r.sop_instance_uid, r.sop_class_uid, self._built.path(r.sha256)) for r in rows]
        outcomes = send_batch(archive, files)
        stored = [r for r in rows if outcomes[r.sop_instance_uid].verdict is Verdict.STORED]
        transaction_uid = self._transaction(stored) if archive.storage_commitment and stored else ""
        for row in rows:
            outcome = outcomes[row.sop_instance_uid]
            step = next_step(outcome, row.tries, now(), archive.storage_commitment, self._jitter)
            uid = transaction_uid if step.state is OutboxState.SENT else ""
            outbox.record_outcome(store, row.id, step.state, now(), step.not_before, step.reason, uid)
            log.log(
                logging.ERROR if step.state is OutboxState.PARKED else logging.INFO,
                "archive=%s kind=%s instance=%s state=%s %s",
                archive.name,
                row.kind,
                row.sop_instance_uid,
                step.state,
                step.reason,
            )
        failure = next((outcomes[r.sop_instance_uid].words for r in rows if r not in stored), "")
        outbox.record_peer(store, archive.name, now(), "" if stored else failure)
        if transaction_uid:
            self._ask(transaction_uid, stored)
        return bool(stored)

    def ask_again(self) -> None:
        """Objects whose commitment was asked for and not answered in time are asked for again."""
        if not self._archive.storage_commitment:
            return
        waiting = outbox.pending_commitments(self._running.store, self._archive.name, now() - COMMITMENT_ASKED_AGAIN)
        if waiting:
            uid = self._transaction(waiting)
            outbox.renew_commitment(self._running.store, [r.id for r in waiting], uid, now())
            self._ask(uid, waiting)

    def _ask(self, transaction_uid: str, rows: list[OutboxRow]) -> None:
        wanted = [(r.sop_class_uid, r.sop_instance_uid) for r in rows]
        outcome = request_commitment(self._archive, transaction_uid, wanted)
        if outcome.verdict is Verdict.STORED:
            return
        log.warning("archive=%s commitment: %s", self._archive.name, outcome.words)
        if outcome.verdict is Verdict.NEVER:
            # it does not offer the service: what it answered 0x0000 is all that it will ever say
            for row in rows:
                outbox.record_outcome(self._running.store, row.id, OutboxState.DELIVERED, now(), reason=outcome.words)

    def _transaction(self, rows: list[OutboxRow]) -> str:
        return deterministic_uid("commitment", now().isoformat(), *(r.sop_instance_uid for r in rows))


def main(running: Running) -> None:
    """One thread per archive; ends when all have finished what they had in hand."""
    logging.getLogger("pynetdicom").setLevel(logging.ERROR)
    queues = [Queue(running, a) for a in running.settings.archives]
    threads = [
        threading.Thread(target=q.run, name=a.name) for q, a in zip(queues, running.settings.archives, strict=True)
    ]
    for thread in threads:
        thread.start()
    while not running.stop.wait(1.0):
        try:
            running.beat()
        except StoreError:
            log.exception("no sign of life could be written")
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    raise SystemExit(run_role("delivery", main))
