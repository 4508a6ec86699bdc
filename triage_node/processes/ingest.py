"""The ingest role: the listener and the intake. Loads neither torch nor highdicom nor the web (DESIGN.md section 1).

A start re-indexes first: what was answered 0x0000 before a crash gets its row. Until analysis has stored what its
decoding child decodes, only the uncompressed transfer syntaxes are offered. On SIGTERM nothing more is accepted, the
instance in hand is finished and answered, waiting rows are written.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from triage_node.association import stock_path
from triage_node.association.limits import Limits
from triage_node.association.listener import Endpoint, Listener
from triage_node.association.peers import Sender
from triage_node.association.session import Committed, Failed
from triage_node.blobs.opened import open_blobs
from triage_node.config.schema import ListenerSettings, Settings
from triage_node.domain.errors import ConfigError, TriageNodeError
from triage_node.domain.instance import ReceivedInstance
from triage_node.instances.archive import Archive
from triage_node.instances.backlog import Backlog
from triage_node.instances.intake import Intake, IntakeLimits, reindex
from triage_node.instances.journal import Journal, Rows
from triage_node.instances.study_counts import StudyCounts
from triage_node.processes.certificates import tls_of
from triage_node.processes.operations.names import CALLING_AE_TITLE
from triage_node.processes.operations.own_port import own_address
from triage_node.processes.receivers import RECEIVERS, Receivers
from triage_node.processes.running import Running, ahead, now, run_role
from triage_node.store import heartbeat, instances, outbox
from triage_node.store.engine import Store

if TYPE_CHECKING:
    from triage_node.processes.storage.uploading import Uploader

FINISH_S = 10.0  # below the supervisor's patience
_TICK_S = 1.0
# A thread that comes back from the disk or the network waits at most this long for one that computes
_SWITCH_S = 0.001

log = logging.getLogger(__name__)


def main(running: Running) -> None:
    """Receive until told to stop. Raises: ConfigError when the port or the certificate cannot be used."""
    sys.setswitchinterval(_SWITCH_S)
    # what pydicom finds odd in a sender's values tells nobody anything, and may hold a patient's
    warnings.simplefilter("ignore", UserWarning)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    settings, store = running.settings.listener, running.store
    archive = Archive(running.settings.store.data_folder)
    archive.prepare()
    limits = IntakeLimits(
        instance_bytes=settings.maximum_instance_mb << 20,
        instances_per_study=settings.maximum_instances_per_study,
        stop_free_bytes=int(running.settings.store.stop_free_gb * 1e9),
    )
    counts = StudyCounts(RECEIVERS + 1)
    backlog = Backlog()
    receivers = Receivers(archive, limits, association_limits(settings), counts, backlog)
    gc.collect()
    gc.freeze()  # what was loaded stays, shared by all; a collection need not walk a quarter of a million objects
    receivers.fork()
    instances.close_open_associations(store, now(), heartbeat.host())
    uploader = _uploader(running, archive)
    record = uploader.record_batch if uploader is not None else partial(instances.record_batch, store)
    journal = Journal(
        Rows(
            partial(instances.record_association, store, receiver=heartbeat.host()),
            partial(instances.close_association, store),
            lambda batch: record(_at_agreed_time(batch)),
        ),
        backlog,
    )
    intake = Intake(archive, journal, limits, counts=counts.of(RECEIVERS))
    found = reindex(archive, partial(instances.blobs_without_row, store), journal)
    if found:
        log.info("reindexing=%d blobs that have no row", found)
    if settings.receive_path == "stock":
        stock_path.use_spool(archive.blobs)
    listener = Listener(
        endpoint(settings, archive.blobs),
        [*(Sender(s.ae_title, s.addresses) for s in settings.senders), *_heartbeat_sender(running.settings)],
        association_limits(settings),
        intake.open,
        partial(_on_commitment, store),
        journal.opened,
        journal.closed,
        receivers.serve,
    )
    journal.start()
    if uploader is not None:
        uploader.start()
    died = threading.Event()
    receivers.listen(journal, lambda: (died.set(), running.stop.set()))
    try:
        listener.start()
    except OSError as error:
        raise ConfigError(
            f"listener: {settings.host}:{settings.port} cannot be listened on: {error.strerror}"
        ) from error
    log.info("listening host=%s port=%d ae_title=%s", settings.host, listener.port, settings.ae_title)
    running.beat({"port": listener.port, "associations": 0, "rows_waiting": 0})
    while not running.stop.wait(_TICK_S):
        _tick(running, listener, journal)
    receivers.say_stopping()
    listener.stop(FINISH_S)
    receivers.stop(FINISH_S / 5)
    if not journal.stop(FINISH_S / 2):
        log.error("rows=%d were not written, the next start re-indexes them", journal.waiting)
    if uploader is not None:
        uploader.stop(FINISH_S / 2)
    archive.close()
    if died.is_set():
        raise TriageNodeError("a process that receives has ended")


def _at_agreed_time(batch: Sequence[ReceivedInstance]) -> Sequence[ReceivedInstance]:
    """Two receivers whose clocks differ must not make a series look quiet that is not."""
    by = ahead()
    return [replace(i, received_at=i.received_at + by) for i in batch] if by else batch


def _uploader(running: Running, archive: Archive) -> Uploader | None:
    """Where hosts share a store; nothing of it is loaded elsewhere. After the fork: receivers know nothing of it."""
    if not running.settings.store.blob_url:
        return None
    from triage_node.processes.storage.uploading import Uploader

    return Uploader(running.store, open_blobs(running.settings.store), archive)


def _heartbeat_sender(settings: Settings) -> list[Sender]:
    """This machine itself, under a name of its own, where heartbeats are on."""
    if not settings.operations.heartbeat_min:
        return []
    try:
        return [Sender(CALLING_AE_TITLE, (own_address(settings.listener.host),))]
    except OSError:  # the listener will say what is wrong with this host
        return []


def endpoint(settings: ListenerSettings, spool: Path) -> Endpoint:
    """Raises: ConfigError when certificate or key cannot be used."""
    return Endpoint(
        settings.host,
        settings.port,
        settings.ae_title,
        settings.require_called_ae_title,
        tls_of(settings.tls, "listener.tls"),
        fast=settings.receive_path == "fast",
        spool=spool,
    )


def association_limits(settings: ListenerSettings) -> Limits:
    return Limits(
        maximum_pdu_bytes=settings.maximum_pdu_bytes,
        maximum_associations=settings.maximum_associations,
        maximum_associations_per_address=settings.maximum_associations_per_address,
        acse_timeout_s=settings.acse_timeout_s,
        dimse_timeout_s=settings.dimse_timeout_s,
        network_timeout_s=settings.network_timeout_s,
        pdu_deadline_s=settings.pdu_deadline_s,
        instance_bytes=settings.maximum_instance_mb << 20,
    )


def _tick(running: Running, listener: Listener, journal: Journal) -> None:
    """Say that we live, and offer what analysis decodes. A database that is away stops neither."""
    try:
        running.beat()
        listener.offer(heartbeat.decodable_syntaxes(running.store))
    except Exception as error:
        # the driver's own errors come here; reception goes on without the database until the journal is full
        log.error("database does not answer rows_waiting=%d", journal.waiting, exc_info=error)


def _on_commitment(store: Store, transaction_uid: str, committed: Committed, failed: Failed) -> None:
    named = outbox.commitment_result(
        store,
        transaction_uid,
        [instance for _, instance in committed],
        [(instance, reason) for _, instance, reason in failed],
        now(),
    )
    log.info(
        "storage commitment transaction=%s committed=%d failed=%d rows=%d",
        transaction_uid,
        len(committed),
        len(failed),
        named,
    )


if __name__ == "__main__":
    raise SystemExit(run_role("ingest", main))
