"""A syslog receiver over TLS that knows RFC 5425: it reads frames by their octet count and keeps the messages."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field
from enum import StrEnum


class Ends(StrEnum):
    """How the receiver ends a connection."""

    IN_ORDER = "reads to the end and says close_notify"
    WITHOUT_A_WORD = "reads to the end and closes"
    UNREAD = "closes before it has read"
    RESET = "reads to the end and resets"


@dataclass
class SyslogReceiver:
    """`messages` are those of connections that were read to their end. Used as a context manager; `ends` may be changed."""

    tls: ssl.SSLContext
    port: int
    ends: Ends = Ends.IN_ORDER
    messages: list[bytes] = field(default_factory=list)
    broken: list[bytes] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> SyslogReceiver:
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            plain.settimeout(60)
            with contextlib.suppress(OSError), plain:
                self._take(self.tls.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False))

    def _take(self, connection: ssl.SSLSocket) -> None:
        ends = self.ends
        if ends is Ends.UNREAD:
            connection.close()
            return
        data = bytearray()
        with connection:
            while part := connection.recv(65536):
                data += part
            if ends is Ends.RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            self._keep(bytes(data))
            if ends is Ends.IN_ORDER:
                connection.unwrap()

    def _keep(self, data: bytes) -> None:
        while data:
            count, blank, rest = data.partition(b" ")
            if not blank or not count.isdigit() or count.startswith(b"0") or len(rest) < int(count):
                self.broken.append(data)
                return
            self.messages.append(rest[: int(count)])
            data = rest[int(count) :]
