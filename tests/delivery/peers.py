"""Archives that behave and archives that do not, on loopback."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import AE, evt

from triage_node.config.schema import ArchiveSettings

SLOW_S = 0.6


def settings_for(port: int, **more: Any) -> ArchiveSettings:
    return ArchiveSettings(
        **{
            "name": "pacs",
            "ae_title": "PACS",
            "host": "127.0.0.1",
            "port": port,
            "connect_timeout_s": SLOW_S,
            "response_timeout_s": SLOW_S,
            "clinical": False,
        }
        | more
    )


@dataclass
class Receiver:
    """What a pynetdicom archive got: SOP Instance UID -> data sets as received, in order of arrival."""

    port: int = 0
    associations: int = 0
    received: dict[str, list[bytes]] = field(default_factory=dict)

    def settings(self, **more: Any) -> ArchiveSettings:
        """An archive that behaves gets the time that a loaded machine needs; only one that does not is waited for briefly."""
        return settings_for(self.port, **({"connect_timeout_s": 30, "response_timeout_s": 30} | more))


@contextmanager
def receiver(
    contexts: Sequence[tuple[str, str | list[str]]] = ((SecondaryCaptureImageStorage, "1.2.840.10008.1.2.1"),),
    status: Callable[[evt.Event], int] | Mapping[str, int] | None = None,
    tls: ssl.SSLContext | None = None,
    handlers: Sequence[Any] = (),
    **ae: Any,
) -> Iterator[Receiver]:
    """A pynetdicom archive. `status`: what it answers, by UID or by a function of the event."""
    found = Receiver()

    def store(event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        found.received.setdefault(uid, []).append(event.request.DataSet.getvalue())
        if callable(status):
            return status(event)
        return (status or {}).get(uid, 0x0000)

    def opened(event: evt.Event) -> None:
        found.associations += 1

    entity = AE(ae_title="PACS")
    for key, value in ae.items():
        setattr(entity, key, value)
    for sop_class, syntax in contexts:
        entity.add_supported_context(sop_class, syntax)
    server = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_ESTABLISHED, opened), *handlers],
        ssl_context=tls,
    )
    found.port = server.socket.getsockname()[1]
    try:
        yield found
    finally:
        server.shutdown()


@contextmanager
def raw_peer(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that is no archive; `answer` gets each connection. Yields its port."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # a peer that stops reading is felt soon
    server.bind(("127.0.0.1", 0))
    server.listen(16)
    connections: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                connections.append(connection)
                threading.Thread(target=_guarded, args=(answer, connection), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        for s in (server, *connections):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)  # else a thread that reads it would not wake
            s.close()


def _guarded(answer: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        answer(connection)


@contextmanager
def no_answer_to_syn() -> Iterator[int]:
    """A port whose backlog is full: a SYN is not answered, as from an address where nobody lives."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    waiting = []
    for _ in range(4):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(server.getsockname())
        waiting.append(s)
    try:
        yield server.getsockname()[1]
    finally:
        for s in (*waiting, server):
            s.close()


@contextmanager
def stops_reading(real_port: int, after_bytes: int) -> Iterator[int]:
    """A proxy to an archive that reads no further after some bytes, with a small window."""

    ended = threading.Event()

    def answer(client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", real_port)) as archive:

            def back() -> None:
                while data := archive.recv(65536):
                    client.sendall(data)

            threading.Thread(target=_guarded, args=(lambda _: back(), client), daemon=True).start()
            passed = 0
            while passed < after_bytes and (data := client.recv(4096)):
                passed += len(data)
                archive.sendall(data)
            if passed >= after_bytes:
                ended.wait()
                archive.shutdown(socket.SHUT_RDWR)

    with raw_peer(answer) as port:
        try:
            yield port
        finally:
            ended.set()


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"took {took:.1f} s"
