"""A small archive that stands for the PACS in the demo: C-ECHO, C-STORE of anything, storage commitment.

    python -m triage_node.simulation.archive --folder FOLDER --port PORT [--ae-title AE] [--node AE@host:port]

Each instance is one file `FOLDER/<study>/<instance>.dcm`, with the bytes as received. Commitment is answered on a new
association to `--node`, as most archives do (PS3.4 J.3.3); without it, nothing is promised and the request is refused.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import signal
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from triage_node.dimse.checkpoint import steady_from_the_start
from triage_node.domain.identifiers import is_uid

SUCCESS, NO_SUCH_OBJECT, PROCESSING_FAILURE, CANNOT_UNDERSTAND, OUT_OF_RESOURCES = (
    0x0000,
    0x0112,
    0x0110,
    0xC000,
    0xA700,
)
TRANSFER_SYNTAXES = [
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
]
ASK_AGAIN_S, ATTEMPTS = 2.0, 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Promise:
    """A storage commitment request that waits for its answer: (SOP class, SOP instance) pairs under one transaction."""

    transaction_uid: str
    instances: tuple[tuple[str, str], ...]


class Archive:
    """The storage SCP. `port` 0 lets the system choose; the one in use is `self.port`."""

    def __init__(
        self, folder: Path, ae_title: str = "DEMOPACS", port: int = 0, node: tuple[str, str, int] | None = None
    ) -> None:
        self._folder, self._ae_title, self._node = folder, ae_title, node
        self._promises: queue.Queue[Promise | None] = queue.Queue()
        folder.mkdir(parents=True, exist_ok=True)
        ae = AE(ae_title=ae_title)
        ae.maximum_associations = 100  # a sender's TCP probe counts as one until its time to associate is over
        ae.acse_timeout = 5
        ae.add_supported_context(Verification)
        if node is not None:
            ae.add_supported_context(StorageCommitmentPushModel)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax, TRANSFER_SYNTAXES)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._promise)]
        self._server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
        self.port: int = self._server.socket.getsockname()[1]  # type: ignore[union-attr]
        self._answering = threading.Thread(target=self._answer_promises, name="commitment", daemon=True)
        self._answering.start()

    def close(self) -> None:
        self._promises.put(None)
        self._server.shutdown()  # type: ignore[union-attr]
        self._answering.join(5)

    def _path(self, study_instance_uid: str, sop_instance_uid: str) -> Path:
        return self._folder / study_instance_uid / f"{sop_instance_uid}.dcm"

    def _store(self, event: evt.Event) -> int:
        """Keep one instance. UIDs from outside are checked before they become names of files."""
        try:
            study = str(event.dataset.get("StudyInstanceUID", ""))
        except (AttributeError, ValueError, KeyError, EOFError, NotImplementedError):
            return CANNOT_UNDERSTAND
        instance = str(event.request.AffectedSOPInstanceUID)
        if not (is_uid(study) and is_uid(instance)):
            return CANNOT_UNDERSTAND
        path = self._path(study, instance)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as stream:
                stream.write(event.encoded_dataset())
                stream.flush()
                os.fsync(stream.fileno())
            Path(stream.name).replace(path)
        except OSError as error:
            log.error("cannot keep %s: %s", instance, error)
            return OUT_OF_RESOURCES
        return SUCCESS

    def _promise(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Take a storage commitment request (PS3.4 J.3.2); the answer follows on an association of its own."""
        try:
            asked = event.action_information
            items = tuple(
                (str(i.ReferencedSOPClassUID), str(i.ReferencedSOPInstanceUID)) for i in asked.ReferencedSOPSequence
            )
            promise = Promise(str(asked.TransactionUID), items)
        except (AttributeError, ValueError, KeyError, EOFError, NotImplementedError):
            return PROCESSING_FAILURE, None
        if event.action_type != 1 or not is_uid(promise.transaction_uid):
            return PROCESSING_FAILURE, None
        self._promises.put(promise)
        return SUCCESS, None

    def _answer_promises(self) -> None:
        while (promise := self._promises.get()) is not None:
            for attempt in range(ATTEMPTS):
                if self._answered(promise):
                    break
                log.warning("transaction %s not answered, try %d of %d", promise.transaction_uid, attempt + 1, ATTEMPTS)
                threading.Event().wait(ASK_AGAIN_S)

    def _answered(self, promise: Promise) -> bool:
        assert self._node is not None
        title, host, port = self._node
        ae = AE(ae_title=self._ae_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = ae.associate(
            host,
            port,
            [build_context(StorageCommitmentPushModel)],
            ae_title=title,
            ext_neg=[role],
            evt_handlers=[(evt.EVT_CONN_OPEN, steady_from_the_start)],
        )
        if not association.is_established:
            return False
        kept = {path.stem for path in self._folder.glob("*/*.dcm")}
        have = [i for i in promise.instances if i[1] in kept]
        lack = [i for i in promise.instances if i[1] not in kept]
        try:
            status, _ = association.send_n_event_report(
                _event_information(promise.transaction_uid, have, lack),
                2 if lack else 1,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )
        finally:
            association.release()
        return bool(status) and status.Status == SUCCESS


def _event_information(
    transaction_uid: str, have: Sequence[tuple[str, str]], lack: Sequence[tuple[str, str]]
) -> Dataset:
    def item(sop_class: str, sop_instance: str) -> Dataset:
        ds = Dataset()
        ds.ReferencedSOPClassUID, ds.ReferencedSOPInstanceUID = sop_class, sop_instance
        return ds

    report = Dataset()
    report.TransactionUID = transaction_uid
    if have:
        report.ReferencedSOPSequence = [item(*i) for i in have]
    if lack:
        report.FailedSOPSequence = [item(*i) for i in lack]
        for failed in report.FailedSOPSequence:
            failed.FailureReason = NO_SUCH_OBJECT
    return report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m triage_node.simulation.archive", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ae-title", default="DEMOPACS")
    parser.add_argument("--node", help="AE@host:port of the node that asks for storage commitment")
    options = parser.parse_args(arguments)
    node = None
    if options.node:
        title, _, address = options.node.partition("@")
        host, _, port = address.rpartition(":")
        if not (title and host and port.isdigit()):
            parser.error(f"--node {options.node!r}: write AE@host:port")
        node = (title, host, int(port))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s archive %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    archive = Archive(options.folder, options.ae_title, options.port, node)
    log.info("listening ae=%s port=%d", options.ae_title, archive.port)
    stop.wait()
    archive.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
