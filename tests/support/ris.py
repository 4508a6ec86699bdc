"""A RIS that takes HL7 v2 over MLLP, written on a bare socket: it shares no code with the node, and misbehaves on command."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from triage_node.config.worklist_peers import Hl7PeerSettings

Reply = Callable[["Ris", socket.socket, str, str], None]
"""Gets the RIS, the connection, the control ID and the message as text."""


def accepts(ris: Ris, connection: socket.socket, control_id: str, text: str, code: str = "AA", error: str = "") -> None:
    lines = [f"MSH|^~\\&|RIS||TRIAGE||20261121030000||ACK|{ris.next_id()}|P|2.5.1", f"MSA|{code}|{control_id}"]
    if error:
        lines.append(f"ERR||| {error}^no such key^HL70357|E".replace(" ", ""))
    connection.sendall(b"\x0b" + "\r".join(lines).encode() + b"\r\x1c\r")


def refuses(ris: Ris, connection: socket.socket, control_id: str, text: str) -> None:
    accepts(ris, connection, control_id, text, "AR")


def knows_no_such_study(ris: Ris, connection: socket.socket, control_id: str, text: str) -> None:
    accepts(ris, connection, control_id, text, "AE", "204")


def loses_the_answer(ris: Ris, connection: socket.socket, control_id: str, text: str) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def answers_garbage(ris: Ris, connection: socket.socket, control_id: str, text: str) -> None:
    connection.sendall(b"\x0b\xff\xfe\x00 nonsense \x1c\r")


def answers_for_another(ris: Ris, connection: socket.socket, control_id: str, text: str) -> None:
    accepts(ris, connection, "SOMEBODYELSE", text)
    loses_the_answer(ris, connection, control_id, text)


def answers_twice(ris: Ris, connection: socket.socket, control_id: str, text: str) -> None:
    accepts(ris, connection, control_id, text)
    accepts(ris, connection, control_id, text)


class Ris:
    """`replies` are used up one a message, then `reply` answers. `taken`: control IDs in order of arrival."""

    def __init__(self, port: int = 0) -> None:
        self.port, self.reply = port, accepts
        self.replies: list[Reply] = []
        self.taken: list[str] = []
        self.texts: dict[str, str] = {}
        self._ids = 0
        self._server: socket.socket | None = None
        self._open: list[socket.socket] = []

    def settings(self, **more: Any) -> Hl7PeerSettings:
        values = {"name": "ris", "host": "127.0.0.1", "port": self.port, "timeout_s": 30.0, "order_update": "ORM"}
        return Hl7PeerSettings(**(values | more))

    @property
    def effects(self) -> Counter[str]:
        """Type of message -> how many different ones were taken: what a receiver does that knows control IDs."""
        return Counter(self.texts[control_id].split("|")[8][:7] for control_id in self.texts)

    def start(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def stop(self) -> None:
        for s in (self._server, *self._open):
            if s is not None:
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
                s.close()
        self._open = []

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        held = b""
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                held += data
                while b"\x1c\r" in held:
                    one, held = held.split(b"\x1c\r", 1)
                    self._take(connection, one.lstrip(b"\r\n\x0b").decode("utf-8"))

    def _take(self, connection: socket.socket, text: str) -> None:
        control_id = text.split("\r")[0].split("|")[9]
        self.taken.append(control_id)
        self.texts[control_id] = text
        (self.replies.pop(0) if self.replies else self.reply)(self, connection, control_id, text)


@contextmanager
def ris(port: int = 0) -> Iterator[Ris]:
    peer = Ris(port)
    peer.start()
    try:
        yield peer
    finally:
        peer.stop()
