"""Serves one established association by pynetdicom itself: slower, and independent of the fast path.

pynetdicom 3.0.4 bounds neither the length of a PDU nor the time it takes, and keeps whole instances in memory; so its
socket is replaced by one that does (STANDARDS.md 7.2), and data sets go through a file. This is the ONE module that uses
private names of pynetdicom; PRIVATE_NAMES lists them, and a test fails when another version lacks one.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, dimse_messages, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from triage_node.association.limits import ASSOCIATE_PDU_BYTES
from triage_node.association.negotiation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from triage_node.association.session import OtherService, Outcome, Services, report_commitment
from triage_node.association.status import Status
from triage_node.association.wire import ConnectionLost, TooSlow, Wire
from triage_node.domain.reception import Peer, StoreRequest

TESTED_VERSION = "3.0.4"
PRIVATE_NAMES = (
    "pynetdicom._config:STORE_RECV_CHUNKED_DATASET",
    "pynetdicom.dimse_messages:NamedTemporaryFile",
    "pynetdicom.dimse_primitives:C_STORE._dataset_path",
    "pynetdicom.dul:DULServiceProvider.kill_dul",
    "pynetdicom.transport:AssociationSocket.recv",
    "pynetdicom.transport:AssociationSocket.ready",
)
_COPY_BYTES = 1 << 18
_FILE_META_LENGTH_AT = 140  # value of (0002,0000), which stands first
_POLL_S = 0.25

log = logging.getLogger(__name__)


def use_spool(folder: Path) -> None:
    """Let pynetdicom keep what it receives in files in `folder` instead of in memory. Once, before the first call.

    The name of a file begins with the thread that receives, so that the files of an association can be found again.
    """

    def temporary_file(**more: Any) -> Any:
        return tempfile.NamedTemporaryFile(dir=folder, prefix=_spool_prefix(threading.get_ident()), **more)

    _config.STORE_RECV_CHUNKED_DATASET = True
    dimse_messages.NamedTemporaryFile = temporary_file  # type: ignore[assignment]
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # its tracebacks tell nothing that we do not log


def _spool_prefix(thread: int | None) -> str:
    return f"receiving-{thread}-"


def serve(
    sock: socket.socket, request: bytes, peer: Peer, supported: Sequence[PresentationContext], services: Services
) -> tuple[Outcome, int]:
    """Serve until the association ends. `request` is the A-ASSOCIATE-RQ PDU. Returns (outcome, instances stored)."""
    return _StockAssociation(peer, services).serve(sock, request, supported)


def serve_other(sock: socket.socket, request: bytes, peer: Peer, other: OtherService, services: Services) -> Outcome:
    """The same for an association that stores nothing; `services.limits.instance_bytes` bounds each message."""
    return _StockAssociation(peer, services).serve(sock, request, other.contexts, other.handlers(peer))[0]


class _StockAssociation:
    def __init__(self, peer: Peer, services: Services) -> None:
        self._peer, self._services = peer, services
        self._outcome = Outcome.LOST
        self._instances = 0
        self._busy = threading.Lock()
        self._bounded: _BoundedSocket | None = None

    def serve(
        self,
        sock: socket.socket,
        request: bytes,
        supported: Sequence[PresentationContext],
        handlers: Sequence[tuple[Any, Callable[..., Any]]] | None = None,
    ) -> tuple[Outcome, int]:
        limits = self._services.limits
        ae = AE(self._peer.called_ae_title or "TRIAGE")
        ae.maximum_pdu_size = limits.maximum_pdu_bytes
        ae.acse_timeout, ae.dimse_timeout = limits.acse_timeout_s, limits.dimse_timeout_s
        ae.network_timeout = limits.network_timeout_s
        ae.maximum_associations = 10_000  # the listener has counted already
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        association = Association(ae, "acceptor")
        self._bounded = _BoundedSocket(association, Wire(sock, request), sock, self._services)
        association.set_socket(self._bounded)
        association.acceptor.maximum_length = limits.maximum_pdu_bytes
        association.acceptor.ae_title = ae.ae_title
        association.acceptor.address_info = AddressInformation.from_tuple(sock.getsockname())
        association.requestor.address_info = AddressInformation.from_tuple(sock.getpeername())
        association.acceptor.implementation_class_uid = ae.implementation_class_uid
        association.acceptor.implementation_version_name = ae.implementation_version_name
        association.acceptor.supported_contexts = list(supported)
        association.bind(evt.EVT_C_ECHO, lambda _: int(Status.SUCCESS))
        if handlers is None:
            association.bind(evt.EVT_C_STORE, self._on_store)
            association.bind(evt.EVT_N_EVENT_REPORT, self._on_event_report)
        else:
            association.bind(evt.EVT_DIMSE_RECV, lambda _: self._message_ended())
        for event, handler in handlers or ():
            association.bind(event, self._while_busy, [handler])
        association.bind(evt.EVT_RELEASED, lambda _: self._ended(Outcome.RELEASED))
        association.bind(evt.EVT_ABORTED, lambda _: self._ended(Outcome.ABORTED))
        association.start()
        self._watch(association)
        association.dul.kill_dul()
        association.dul.join(limits.pdu_deadline_s)
        self._remove_unfinished(association)
        if self._bounded.was_lost:
            return Outcome.LOST, self._instances
        if self._bounded.was_too_slow:
            return Outcome.TIMED_OUT, self._instances
        return self._outcome, self._instances

    def _watch(self, association: Association) -> None:
        """Until it ended; when the node stops, after the instance in hand."""
        while association.is_alive():
            association.join(_POLL_S)
            if self._services.stopping() and association.is_alive():
                idle = association.dimse.message is None and association.dimse.msg_queue.empty()
                if idle and self._busy.acquire(blocking=False):
                    try:
                        association.abort()
                    finally:
                        self._busy.release()

    def _while_busy(self, event: evt.Event, handler: Callable[[evt.Event], Any]) -> Any:
        with self._busy:
            return handler(event)

    def _message_ended(self) -> None:
        assert self._bounded is not None
        self._bounded.instance_ended()

    def _ended(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def _remove_unfinished(self, association: Association) -> None:
        """Files of data sets that never became complete, or whose request pynetdicom did not hand on."""
        for path in self._services.spool.glob(_spool_prefix(association.dul.ident) + "*"):
            path.unlink(missing_ok=True)

    def _on_store(self, event: evt.Event) -> int:
        with self._busy:
            request = StoreRequest(
                self._peer,
                str(event.request.AffectedSOPClassUID or ""),
                str(event.request.AffectedSOPInstanceUID or ""),
                str(event.context.transfer_syntax),
            )
            assert self._bounded is not None
            self._bounded.instance_ended()
            reception = self._services.open_reception(request)
            try:
                with event.dataset_path.open("rb", buffering=0) as file:
                    head = os.pread(file.fileno(), 4, _FILE_META_LENGTH_AT)
                    file.seek(_FILE_META_LENGTH_AT + 4 + struct.unpack("<L", head)[0])
                    while True:
                        count = file.readinto(reception.room(_COPY_BYTES))
                        if not count:
                            break
                        reception.filled(count)
            except BaseException:
                reception.abandon()
                raise
            status = reception.finish()
            self._instances += status == Status.SUCCESS
            return status

    def _on_event_report(self, event: evt.Event) -> tuple[int, Dataset | None]:
        with self._busy:
            return int(report_commitment(self._services, event.event_information)), None


class _BoundedSocket(AssociationSocket):
    """pynetdicom's socket with a bound on the length of a PDU, its time, and the bytes of one instance."""

    def __init__(self, association: Association, wire: Wire, sock: socket.socket, services: Services) -> None:
        super().__init__(association, client_socket=sock)
        self._wire, self._limits = wire, services.limits
        self._deadline = 0.0
        self._instance_bytes = 0
        self._began_at = 0.0
        self.was_too_slow = self.was_lost = False

    @property
    def ready(self) -> bool:
        return self._wire.has_ahead or bool(super().ready)

    def instance_ended(self) -> None:
        self._instance_bytes = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """pynetdicom asks for the six bytes that every PDU has, then for the rest. Raises: OSError ends it."""
        if nr_bytes == 6:
            self._deadline = time.monotonic() + self._limits.pdu_deadline_s
        limit = max(ASSOCIATE_PDU_BYTES, self._limits.maximum_pdu_bytes)
        if self.assoc.is_established:
            limit = self._limits.maximum_pdu_bytes
        if nr_bytes > limit:
            raise OSError(f"a PDU with {nr_bytes} bytes, at most {limit} are taken")
        self._instance_bytes += nr_bytes
        if self._instance_bytes > self._limits.instance_bytes + limit:
            raise OSError("an instance longer than it may be")
        data = bytearray(nr_bytes)
        try:
            if nr_bytes:
                self._wire.read(memoryview(data), self._deadline)
        except ConnectionLost:
            self.was_lost = True
            return bytearray()
        except TooSlow as error:
            self.was_too_slow = True
            raise OSError("the PDU did not come in time") from error
        return data
