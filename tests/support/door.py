"""A TCP proxy in front of a counterpart that stands between the two once, whatever they speak."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from enum import StrEnum

from tests.support.pacs import free_port

GARBAGE = b"\x0b\x00\xff nonsense \x1c\r\nHTTP/9 none\r\n\r\n"
_AT_ONCE = struct.pack("ii", 1, 0)


class Trouble(StrEnum):
    """What happens to the first that fits: a request, or the answer that follows the effect at the counterpart. SILENCE stays."""

    NONE = "none"
    SWALLOWED = "the request never arrives"
    GARBAGE = "the request is answered with garbage"
    LATE = "the answer comes late"
    LOST = "the answer is lost"
    TWICE = "the answer comes twice"
    SILENCE = "no request ever arrives"


class Door:
    """Nobody listens before `open`. `met`: the trouble has come; to wait for an answer ends with `go_on`."""

    def __init__(self, target: int, took: Callable[[], int], trouble: Trouble = Trouble.NONE) -> None:
        self.port, self._target, self._took, self._trouble = free_port(), target, took, trouble
        self.met, self.go_on = threading.Event(), threading.Event()
        self._lock, self._links = threading.Lock(), list[socket.socket]()
        self._server: socket.socket | None = None

    def open(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def close(self) -> None:
        self.go_on.set()
        for s in (self._server, *self._links):
            if s is not None:
                _cut(s)

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                counterpart = socket.create_connection(("127.0.0.1", self._target))
                self._links += [client, counterpart]
                for way in (self._ask, self._answer):
                    threading.Thread(target=way, args=(client, counterpart), daemon=True).start()

    def _meets(self, *troubles: Trouble) -> bool:
        with self._lock:
            is_over = self.met.is_set() and self._trouble is not Trouble.SILENCE
            if self._trouble not in troubles or is_over:
                return False
            self.met.set()
            return True

    def _ask(self, client: socket.socket, counterpart: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self._meets(Trouble.SWALLOWED, Trouble.GARBAGE, Trouble.SILENCE):
                    if self._trouble is Trouble.GARBAGE:
                        client.sendall(GARBAGE)
                        client.shutdown(socket.SHUT_WR)
                    else:
                        self.go_on.wait()
                    break
                counterpart.sendall(data)
        _cut(counterpart)

    def _answer(self, client: socket.socket, counterpart: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := counterpart.recv(65536):
                if self._took() and self._meets(Trouble.LATE, Trouble.LOST, Trouble.TWICE):
                    if self._trouble is Trouble.LOST:
                        break
                    if self._trouble is Trouble.LATE:
                        self.go_on.wait()
                    else:
                        data += data
                client.sendall(data)
        if self._trouble is Trouble.SILENCE:
            self.go_on.wait()  # the counterpart hears nothing either, and hangs up in its own time
        _cut(client)


def _cut(s: socket.socket) -> None:
    with contextlib.suppress(OSError):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        s.shutdown(socket.SHUT_RDWR)
    s.close()
