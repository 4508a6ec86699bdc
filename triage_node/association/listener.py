"""Accepts connections, keeps them waiting without a thread, and turns requests into associations.

DESIGN. A connection that has not sent a whole A-ASSOCIATE-RQ costs one socket and the bytes it sent: one thread holds
all of them in a selector (the "lobby"), does their TLS handshakes, and closes each when its time is up. So a load
balancer's connects, half a PDU on thirty sockets or two hundred silent ones take no thread and no association, and a
C-ECHO of somebody else passes them by. Only a whole request takes a place among the associations, and then a thread.

Both receive paths (fast, stock) begin after that, so admission is the same for both. What the fast path serves without
TLS may be served by another process (`receiver.py`); the thread here then only waits for its end.
"""

from __future__ import annotations

import itertools
import logging
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pynetdicom.sop_class import StorageCommitmentPushModel

from triage_node.association import negotiation, stock_path
from triage_node.association.contexts import supported_contexts
from triage_node.association.fast_path import FastAssociation
from triage_node.association.limits import ASSOCIATE_PDU_BYTES, Limits
from triage_node.association.negotiation import Context, NotARequest, Request
from triage_node.association.peers import Places, Sender, is_allowed
from triage_node.association.session import OnCommitment, OtherService, Outcome, Services
from triage_node.association.status import Abort, Reject
from triage_node.association.wire import ConnectionLost, TooSlow, Wire, close
from triage_node.domain.reception import Peer, Reception, StoreRequest

_BACKLOG = 128
_RECEIVE_BYTES = 1 << 20  # two CT slices: the sender need not wait while the one before is flushed
_LOBBY_TICK_S = 0.25
_SAY_AGAIN_S = 10.0
_ASSOCIATE_RQ = 1
_KNOWN_REQUESTS = 16
"""A modality asks the same each time, and to read its hundred contexts takes as long as five of its slices."""

# Serves an established association elsewhere; returns how it ended and how many instances it brought
ServeElsewhere = Callable[[socket.socket, Peer, Mapping[int, Context]], tuple[Outcome, int]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen and as whom. Port 0: any free one."""

    host: str = "127.0.0.1"
    port: int = 11112
    ae_title: str = "TRIAGE"
    require_called_ae_title: bool = False
    tls: ssl.SSLContext | None = None
    fast: bool = True  # False: pynetdicom's own receive path
    spool: Path = Path()  # for that path: where a data set lies until it is complete


@dataclass(slots=True)
class _Waiting:
    """A connection in the lobby."""

    socket: socket.socket
    address: str
    until: float
    handshake: bool
    data: bytearray = field(default_factory=bytearray)


class Listener:
    """`start`, `offer` whenever the decodable syntaxes change, `stop`."""

    def __init__(
        self,
        endpoint: Endpoint,
        senders: Sequence[Sender],
        limits: Limits,
        open_reception: Callable[[StoreRequest], Reception],
        on_commitment: OnCommitment,
        on_opened: Callable[[Peer, datetime], None],
        on_closed: Callable[[int, str, int, datetime], None],
        elsewhere: ServeElsewhere | None = None,
        other: OtherService | None = None,
    ) -> None:
        """`on_opened(peer, at)` and `on_closed(peer.number, outcome, instances, at)` must not block.

        With `other`, that service is offered and nothing is received.
        """
        self._elsewhere, self._other = elsewhere, other
        self._endpoint, self._senders, self._limits = endpoint, tuple(senders), limits
        self._on_opened, self._on_closed = on_opened, on_closed
        self._stop = threading.Event()
        self._services = Services(limits, open_reception, on_commitment, self._stop.is_set, endpoint.spool)
        self._offered: tuple[str, ...] = ()
        self._supported = supported_contexts(self._offered)
        self._read = lru_cache(_KNOWN_REQUESTS)(negotiation.read_request)
        self._answer = self._answering()
        self._negotiating = threading.Lock()  # associations that begin together are alike: one is read, the others wait
        self._lobby = Places(limits.maximum_waiting, limits.maximum_waiting_per_address)
        self._associations = Places(limits.maximum_associations, limits.maximum_associations_per_address)
        self._threads: set[threading.Thread] = set()
        self._threads_lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._say_again_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="lobby", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on, also when 0 was asked for."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    @property
    def associations(self) -> int:
        return self._associations.taken

    @property
    def waiting(self) -> int:
        """Connections that have not asked for an association."""
        return self._lobby.taken

    def start(self) -> None:
        """Raises: OSError when the address is taken."""
        family = socket.AF_INET6 if ":" in self._endpoint.host else socket.AF_INET
        self._socket = socket.create_server(
            (self._endpoint.host, self._endpoint.port), family=family, backlog=_BACKLOG, reuse_port=False
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)  # inherited by what is accepted
        self._socket.setblocking(False)
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._thread.start()

    def offer(self, decodable: Sequence[str]) -> None:
        """From the next association on, offer these transfer syntaxes beside the uncompressed ones."""
        wanted = tuple(sorted(decodable))
        if wanted != self._offered:
            self._supported, self._offered = supported_contexts(wanted), wanted
            self._answer = self._answering()

    def _answering(self) -> Callable[[Request], tuple[bytes, dict[int, Context]]]:
        """For what is offered now."""
        supported, length = self._supported, self._limits.maximum_pdu_bytes
        return lru_cache(_KNOWN_REQUESTS)(lambda request: negotiation.accept(request, supported, length))

    def stop(self, seconds: float) -> bool:
        """Accept no more; let what is being received be finished and answered. Returns whether all ended in time."""
        self._stop.set()
        deadline = time.monotonic() + seconds
        self._thread.join(seconds)
        with self._threads_lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(t.is_alive() for t in threads)

    # the lobby

    def _run(self) -> None:
        assert self._socket is not None
        while not self._stop.is_set():
            for key, _ in self._selector.select(_LOBBY_TICK_S):
                if key.data is None:
                    self._accept()
                else:
                    self._hear(key.data)
            self._send_away_late_ones()
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                self._dismiss(key.data)
        self._selector.close()
        self._socket.close()

    def _accept(self) -> None:
        assert self._socket is not None
        for _ in range(_BACKLOG):
            try:
                sock, address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of descriptors, or the peer was gone before
                if time.monotonic() > self._say_again_at:  # a flood must not fill the log's disk too
                    log.warning("accept failed: %s", error.strerror)
                    self._say_again_at = time.monotonic() + _SAY_AGAIN_S
                self._stop.wait(0.05)  # else the selector would report the same connection at once, for ever
                return
            if not self._lobby.take(address[0]):
                log.warning("connection refused, too many wait peer=%s", address[0])
                sock.close()
                continue
            try:
                self._admit(sock, address[0])
            except OSError:
                self._lobby.leave(address[0])
                sock.close()

    def _admit(self, sock: socket.socket, address: str) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._endpoint.tls is not None:
            sock = self._endpoint.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        until = time.monotonic() + self._limits.acse_timeout_s
        waiting = _Waiting(sock, address, until, self._endpoint.tls is not None)
        self._selector.register(sock, selectors.EVENT_READ, waiting)

    def _hear(self, waiting: _Waiting) -> None:
        """Something came from a connection in the lobby."""
        try:
            if waiting.handshake:
                assert isinstance(waiting.socket, ssl.SSLSocket)
                waiting.socket.do_handshake()
                waiting.handshake = False
            while (missing := _missing(waiting.data)) > 0:
                part = waiting.socket.recv(min(missing, 1 << 16))
                if not part:
                    self._dismiss(waiting)
                    return
                waiting.data += part
        except (BlockingIOError, ssl.SSLWantReadError):
            self._selector.modify(waiting.socket, selectors.EVENT_READ, waiting)
            return
        except ssl.SSLWantWriteError:
            self._selector.modify(waiting.socket, selectors.EVENT_WRITE, waiting)
            return
        except (OSError, ValueError) as error:
            log.info("connection dropped peer=%s: %s", waiting.address, type(error).__name__)
            self._dismiss(waiting)
            return
        if missing < 0:
            log.warning("connection dropped, no association request peer=%s", waiting.address)
            self._tell(waiting.socket, negotiation.abort(*Abort.UNRECOGNIZED_PDU))
            self._dismiss(waiting)
            return
        self._begin(waiting)

    def _begin(self, waiting: _Waiting) -> None:
        """A whole request is here: out of the lobby, into a thread."""
        self._selector.unregister(waiting.socket)
        self._lobby.leave(waiting.address)
        if not self._associations.take(waiting.address):
            log.warning("association rejected, local limit peer=%s", waiting.address)
            self._tell(waiting.socket, negotiation.reject(*Reject.LOCAL_LIMIT))
            close(waiting.socket)
            return
        thread = threading.Thread(target=self._associate, args=(waiting,), name="association", daemon=True)
        with self._threads_lock:
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # no more threads in this process
            log.error("no thread for an association peer=%s", waiting.address)
            self._forget(thread, waiting.address)
            waiting.socket.close()

    def _send_away_late_ones(self) -> None:
        at = time.monotonic()
        for key in list(self._selector.get_map().values()):
            if key.data is not None and at > key.data.until:
                self._dismiss(key.data)

    def _dismiss(self, waiting: _Waiting) -> None:
        self._selector.unregister(waiting.socket)
        self._lobby.leave(waiting.address)
        waiting.socket.close()

    @staticmethod
    def _tell(sock: socket.socket, data: bytes) -> None:
        try:
            sock.send(data)
        except OSError as error:
            log.info("peer was gone before it could be told: %s", type(error).__name__)

    # associations

    def _associate(self, waiting: _Waiting) -> None:
        """One association from its request to its end."""
        wire = Wire(waiting.socket)
        try:
            self._negotiate(waiting, wire)
        except (ConnectionLost, TooSlow):
            log.info("association lost while it was negotiated peer=%s", waiting.address)
        except Exception:
            # whatever it is, it ends one association, not the node
            log.exception("association failed peer=%s", waiting.address)
        finally:
            wire.close()
            self._forget(threading.current_thread(), waiting.address)

    def _negotiate(self, waiting: _Waiting, wire: Wire) -> None:
        data = bytes(waiting.data)
        try:
            with self._negotiating:
                request = self._read(data)
        except NotARequest as error:
            log.warning("association request cannot be read peer=%s: %s", waiting.address, error)
            wire.send(negotiation.abort(*Abort.INVALID_PARAMETER))
            return
        refusal = self._refusal(request, waiting.address)
        if refusal is not None:
            log.warning(
                "association rejected calling_ae_title=%r called_ae_title=%r peer=%s reason=%s",
                request.calling_ae_title,
                request.called_ae_title,
                waiting.address,
                refusal,
            )
            wire.send(negotiation.reject(*refusal))
            return
        peer = Peer(
            next(self._numbers),
            request.calling_ae_title,
            request.called_ae_title,
            waiting.address,
            self._endpoint.tls is not None,
        )
        self._serve(wire, waiting, peer, request, data)

    def _serve(self, wire: Wire, waiting: _Waiting, peer: Peer, request: Request, data: bytes) -> None:
        outcome, instances = Outcome.LOST, 0
        self._on_opened(peer, datetime.now(UTC))
        try:
            if self._other is not None:
                outcome = stock_path.serve_other(waiting.socket, data, peer, self._other, self._services)
            elif self._endpoint.fast:
                with self._negotiating:
                    answer, contexts = self._answer(request)
                wire.send(answer)
                if self._elsewhere is not None and self._only_stores(contexts):
                    outcome, instances = self._elsewhere(waiting.socket, peer, contexts)
                    return
                fast = FastAssociation(wire, peer, contexts, self._services)
                try:
                    outcome = fast.serve()
                finally:
                    instances = fast.instances
            else:
                outcome, instances = stock_path.serve(waiting.socket, data, peer, self._supported, self._services)
        finally:
            self._on_closed(peer.number, outcome.value, instances, datetime.now(UTC))
            log.info(
                "association ended calling_ae_title=%r peer=%s outcome=%s instances=%d",
                peer.calling_ae_title,
                peer.address,
                outcome.value,
                instances,
            )

    def _only_stores(self, contexts: Mapping[int, Context]) -> bool:
        """True for what another process can serve: plain, and nothing that speaks of our own storage commitments."""
        commitment = any(c.sop_class_uid == StorageCommitmentPushModel for c in contexts.values())
        return self._endpoint.tls is None and not commitment

    def _refusal(self, request: Request, address: str) -> tuple[int, int, int] | None:
        if self._endpoint.require_called_ae_title and request.called_ae_title != self._endpoint.ae_title:
            return Reject.CALLED_AE_TITLE
        if not is_allowed(self._senders, request.calling_ae_title, address):
            return Reject.CALLING_AE_TITLE
        return None

    def _forget(self, thread: threading.Thread, address: str) -> None:
        self._associations.leave(address)
        with self._threads_lock:
            self._threads.discard(thread)


def _missing(data: bytearray) -> int:
    """How many bytes of the request are still to come; negative when it is none."""
    if len(data) < 6:
        return 6 - len(data)
    length = int.from_bytes(data[2:6], "big")
    if data[0] != _ASSOCIATE_RQ or length > ASSOCIATE_PDU_BYTES:
        return -1
    return 6 + length - len(data)
