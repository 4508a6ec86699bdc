"""The TCP connection under an association or an HTTP request, which can be cut.

A peer that stops in the middle of a PDU, or stops reading, blocks the thread that serves the connection, and pynetdicom
waits for that thread without end, whatever its timeouts say. A peer that sends a byte now and then keeps httpx waiting as
long as it likes.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom import evt

from triage_node.dimse.checkpoint import steady

log = logging.getLogger(__name__)


class Line:
    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    @property
    def was_open(self) -> bool:
        return self._socket is not None

    def hold(self, connection: socket.socket) -> None:
        self._socket = connection

    def opened(self, event: evt.Event) -> None:
        """Handler of EVT_CONN_OPEN. Without TCP_NODELAY each object would wait 40 ms for an acknowledgement."""
        connection: socket.socket = event.assoc.dul.socket.socket  # type: ignore[union-attr, assignment]
        self.hold(connection)
        steady(event.assoc)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @contextmanager
    def cut_after(self, seconds: float) -> Iterator[None]:
        """Cut the connection when the block takes longer."""
        timer = threading.Timer(seconds, self.cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def cut(self) -> None:
        if self._socket is None:
            return
        log.warning("the peer hangs: connection cut")
        try:
            # not SSLSocket.shutdown, which takes the TLS state away under the thread that reads
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError as error:
            log.debug("the connection was gone already: %s", error)
