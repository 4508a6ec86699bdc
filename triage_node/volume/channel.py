"""Messages between the node and its decoding child: length, JSON, and at most one file descriptor with it.

No pickles: the child may have been taken over by a picture, so the node reads from it nothing but JSON of a bounded size.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from typing import Any

MAXIMUM_MESSAGE_BYTES = 64 << 20
_LENGTH = struct.Struct(">Q")


class ChannelClosed(Exception):
    """The other side has gone."""


class Channel:
    """One end of a local socket pair."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, message: dict[str, Any], fd: int | None = None) -> None:
        """Raises ChannelClosed when the other side has gone."""
        body = json.dumps(message).encode()
        head = _LENGTH.pack(len(body))
        try:
            if fd is None:
                self._end.sendall(head)
            else:
                socket.send_fds(self._end, [head], [fd])
            self._end.sendall(body)
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self, deadline: float | None = None) -> tuple[dict[str, Any], int | None]:
        """Return the next message and the descriptor that came with it, which then belongs to the caller.

        `deadline` in `time.monotonic` seconds. Raises TimeoutError, ChannelClosed.
        """
        head, fd = self._receive_head(deadline)
        try:
            (length,) = _LENGTH.unpack(head)
            if length > MAXIMUM_MESSAGE_BYTES:
                raise ChannelClosed(f"a message of {length} bytes")
            return json.loads(self._exactly(length, deadline)), fd
        except BaseException:
            if fd is not None:
                os.close(fd)
            raise

    def close(self) -> None:
        self._end.close()

    def _receive_head(self, deadline: float | None) -> tuple[bytes, int | None]:
        self._set_timeout(deadline)
        try:
            head, fds, _, _ = socket.recv_fds(self._end, _LENGTH.size, 1)
        except TimeoutError:
            raise
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        if not head:
            raise ChannelClosed("end of stream")
        if len(head) < _LENGTH.size:
            head += self._exactly(_LENGTH.size - len(head), deadline)
        return head, fds[0] if fds else None

    def _exactly(self, count: int, deadline: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            self._set_timeout(deadline)
            try:
                part = self._end.recv(min(count - len(parts), 1 << 20))
            except TimeoutError:
                raise
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if not part:
                raise ChannelClosed("end of stream")
            parts += part
        return bytes(parts)

    def _set_timeout(self, deadline: float | None) -> None:
        if deadline is None:
            self._end.settimeout(None)
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._end.settimeout(left)
