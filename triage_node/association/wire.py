"""Reads and writes one socket with deadlines that hold against a peer who sends a byte a second.

A deadline is for a whole read, not for each `recv`. While waiting, the thread wakes every TICK_S, so that a stop of the
node or a passed deadline is seen within that time.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable

TICK_S = 1.0
SEND_S = 5.0


class ConnectionLost(Exception):
    """The peer closed or reset the connection."""


class TooSlow(Exception):
    """The peer did not send, or read, in time."""


class Wire:
    """A connected socket, plain or TLS. `ahead`: bytes that were read from it before."""

    def __init__(self, sock: socket.socket, ahead: bytes = b"") -> None:
        self._socket = sock
        self._ahead = ahead
        self._tls = isinstance(sock, ssl.SSLSocket)
        if self._tls:
            sock.settimeout(TICK_S)
        else:
            # Blocking with the kernel's own timeout: one system call for a read, where Python's timeout takes two
            sock.settimeout(None)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(TICK_S))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(SEND_S))

    @property
    def has_ahead(self) -> bool:
        """True when bytes wait that a selector knows nothing of."""
        return bool(self._ahead)

    def wait_for(self, view: memoryview, seconds: float, stopping: Callable[[], bool], deadline_s: float) -> bool:
        """Fill `view` with what comes next; False when `stopping` says so before the first byte.

        `seconds` is the time to the first byte, `deadline_s` from there to the last. Raises: ConnectionLost, TooSlow.
        """
        until = time.monotonic() + seconds
        while True:
            if stopping():
                return False
            count = self._receive(view)
            if count == len(view):
                return True
            if count:
                self.read(view[count:], time.monotonic() + deadline_s)
                return True
            if time.monotonic() > until:
                raise TooSlow

    def read(self, view: memoryview, deadline: float) -> None:
        """Fill `view`. Raises: ConnectionLost, TooSlow."""
        while True:
            count = self._receive(view)
            if count == len(view):
                return
            view = view[count:]
            if time.monotonic() > deadline:
                raise TooSlow

    def read_two(self, first: memoryview, second: memoryview, deadline: float) -> None:
        """Fill both, in order; one system call when everything is there. Raises: ConnectionLost, TooSlow."""
        if self._tls or self._ahead:
            self.read(first, deadline)
            self.read(second, deadline)
            return
        try:
            count = self._socket.recvmsg_into([first, second], 0, socket.MSG_WAITALL)[0]
        except BlockingIOError:
            self.read(first, deadline)
            self.read(second, deadline)
            return
        except OSError as error:
            raise ConnectionLost from error
        if not count:
            raise ConnectionLost
        if count < len(first):
            self.read(first[count:], deadline)
            count = len(first)
        if count < len(first) + len(second):
            self.read(second[count - len(first) :], deadline)

    def send(self, data: bytes) -> None:
        """Raises: ConnectionLost, TooSlow."""
        try:
            if self._tls:
                self._socket.settimeout(SEND_S)
            self._socket.sendall(data)
            if self._tls:
                self._socket.settimeout(TICK_S)
        except (BlockingIOError, TimeoutError) as error:
            raise TooSlow from error
        except (OSError, ValueError) as error:
            raise ConnectionLost from error

    def close(self) -> None:
        close(self._socket)

    def _receive(self, view: memoryview) -> int:
        """Bytes read, 0 when nothing came for TICK_S. Raises: ConnectionLost at the end."""
        if self._ahead:
            count = min(len(view), len(self._ahead))
            view[:count] = self._ahead[:count]
            self._ahead = self._ahead[count:]
            return count
        try:
            if self._tls:
                count = self._socket.recv_into(view)
            else:
                count = self._socket.recv_into(view, len(view), socket.MSG_WAITALL)
        except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
            return 0
        except OSError as error:
            raise ConnectionLost from error
        if not count:
            raise ConnectionLost
        return count


def close(sock: socket.socket) -> None:
    """End a connection so that what was sent last still arrives; a peer that is gone already is no error."""
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # not connected any more: what follows is all there is to do
    sock.close()


def _timeval(seconds: float) -> bytes:
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
