"""Real faults of the machine and the archive, and the node that they befall."""

from __future__ import annotations

import contextlib
import html
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.disks import Disks, small_disks
from tests.support.node import PROGRAM, Node, node
from tests.support.pacs import free_port, storescp
from triage_node.domain.delivery import ObjectKind

MEGABYTES = 40
# where the disks are mounted: SQLite follows the links of a path, so it cannot be opened from outside
LOG_IN = """
import sys
from tests.support.people import cookie
from triage_node.store.engine import open_store
print("; ".join(f"{name}={value}" for name, value in cookie(open_store(sys.argv[1])).items()), end="")
"""
TAKEN, OUT_OF_RESOURCES = 0x0000, 0xA700
REFUSED, NOT_LET_IN = (OUT_OF_RESOURCES,), ()


class Here:
    """The running node, its disks, its archive."""

    def __init__(self, node: Node, disks: Disks, folder: Path, archive_port: int) -> None:
        self.node, self.disks, self._archive_port, self._folder = node, disks, archive_port, folder
        self._archive = contextlib.ExitStack()
        ask = [*disks.within, sys.executable, "-c", LOG_IN, f"sqlite:///{folder / 'db/triage.db'}"]
        self._login = {"Cookie": subprocess.run(ask, capture_output=True, text=True, check=True).stdout}

    def archive_comes(self) -> None:
        self._archive.enter_context(storescp(self._folder / "archive", self._archive_port))

    def archive_goes(self) -> None:
        self._archive.close()

    @contextmanager
    def instead_of_the_archive(self, answer: Callable[[socket.socket], None]) -> Iterator[None]:
        self.archive_goes()
        try:
            with answering(self._archive_port, answer):
                yield
        finally:
            self.archive_comes()

    def serve_again(self) -> None:
        """After the supervisor died. Does not wait until it serves."""
        process = self.node.process
        assert process is not None
        process.wait(60)
        self.node.serve()

    def blobs(self) -> Path:
        return self.disks.path(self._folder / "node/data/blobs")

    def told(self) -> str:
        """What the operations page says is wrong; nothing while the page starts."""
        try:
            found = self.node.get("/api/operations")["problems"]
        except OSError:
            return ""
        return "\n".join(f"{p['what']} {p['todo']}" for p in found)

    def list_page(self) -> str:
        return html.unescape(self.node.page("/", self._login))

    def check(self) -> tuple[int, str]:
        done = self.node.command("check")
        return done.returncode, done.stdout


@dataclass(frozen=True, slots=True)
class Fault:
    """`brings`: brings it about while the block lasts. `says`: what stands in the console, `checked`: in `check`, where that is other.

    `everywhere`: it stands on every page. `answers`: what senders are told of each instance. `ends`: what becomes of the study meanwhile; empty: it waits.
    """

    name: str
    brings: Callable[[Here], contextlib.AbstractContextManager[None]]
    says: str
    checked: str = ""
    everywhere: bool = True
    answers: tuple[int, ...] = (TAKEN,)
    ends: frozenset[str] = frozenset()
    words: str = ""


def full(name: str) -> Callable[[Here], contextlib.AbstractContextManager[None]]:
    @contextmanager
    def brings(here: Here) -> Iterator[None]:
        here.disks.fill(name)
        try:
            yield
        finally:
            here.disks.make_room(name)

    return brings


@contextmanager
def images_can_only_be_read(here: Here) -> Iterator[None]:
    here.disks.remount("blobs", "ro")
    try:
        yield
    finally:
        here.disks.remount("blobs", "rw")


@contextmanager
def database_can_only_be_read(here: Here) -> Iterator[None]:
    """As after a crash of the machine: every role starts on it. A kernel takes no disk from who has a file open for writing."""
    supervisor = here.node.process
    assert supervisor is not None
    supervisor.send_signal(signal.SIGSTOP)
    try:
        for pid in psutil.Process(supervisor.pid).children(recursive=True):
            pid.kill()
        here.disks.remount("db", "ro")
    finally:
        supervisor.send_signal(signal.SIGCONT)
    try:
        yield
    finally:
        here.disks.remount("db", "rw")


@contextmanager
def flood(here: Here) -> Iterator[None]:
    """Connections that say nothing, more than there are descriptors."""
    ingest = psutil.Process(here.node.pids()["ingest"])
    soft, hard = ingest.rlimit(psutil.RLIMIT_NOFILE)
    ingest.rlimit(psutil.RLIMIT_NOFILE, (ingest.num_fds() + 8, hard))
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(socket.create_connection(("127.0.0.1", here.node.dicom_port), 30))
            yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):  # it was killed meanwhile, and started anew without the limit
            ingest.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))


def hangs(_: socket.socket) -> None: ...


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def half(connection: socket.socket) -> None:
    connection.sendall(bytes((2, 0)) + (184).to_bytes(4, "big") + bytes(40))  # the beginning of an A-ASSOCIATE-AC


def wrong_archive(answer: Callable[[socket.socket], None]) -> Callable[[Here], contextlib.AbstractContextManager[None]]:
    return lambda here: here.instead_of_the_archive(answer)


@contextmanager
def answering(port: int, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """Somebody else on the archive's port, who holds every connection until the end."""
    with socket.create_server(("127.0.0.1", port), backlog=64) as server, contextlib.ExitStack() as held:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = held.enter_context(server.accept()[0])
                    with contextlib.suppress(OSError):
                        answer(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(30)


ARRIVES = frozenset({"delivered"})
FAILS = frozenset({"failed"})
FAULTS = (
    Fault("images full", full("blobs"), "disk of the received images is full", answers=REFUSED),
    Fault("images read-only", images_can_only_be_read, "disk of the received images can only be read", answers=REFUSED),
    Fault("database full", full("db"), "disk of the database is full"),
    Fault("database read-only", database_can_only_be_read, "disk of the database can only be read", answers=NOT_LET_IN),
    Fault("log full", full("log"), "disk of the log is full", ends=ARRIVES),
    Fault("objects full", full("built"), "disk of the objects is full", ends=FAILS, words="No space left on device"),
    Fault("flood of connections", flood, "descriptors that it may have", answers=NOT_LET_IN),
    *(
        Fault(f"archive {answer.__name__}", wrong_archive(answer), "archive does not take what it is sent", "archive ARCHIVE@", everywhere=False, ends=frozenset({"reported"}))
        for answer in (hangs, resets, garbage, half)
    ),
)  # fmt: skip


@contextmanager
def node_on_small_disks(folder: Path) -> Iterator[Here]:
    """Everything that it writes lies on a disk of its own, and its archive is there."""
    mounts = {
        "blobs": folder / "node/data/blobs",
        "built": folder / "node/data/built",
        "db": folder / "db",
        "log": folder / "log",
    }
    port = free_port()
    archive = {
        "name": "archive",
        "ae_title": "ARCHIVE",
        "host": "127.0.0.1",
        "port": port,
        "kinds": [ObjectKind.FINDINGS_SR, ObjectKind.SUMMARY_SC],
        "connect_timeout_s": 5.0,
        "response_timeout_s": 5.0,
    }
    with (
        small_disks(mounts, MEGABYTES) as disks,
        node(
            folder / "node",
            [archive],
            program=(*disks.within, str(PROGRAM)),
            store={
                "data_folder": str(folder / "node/data"),
                "database_url": f"sqlite:///{folder / 'db/triage.db'}",
                "warn_free_gb": 0,
                "stop_free_gb": 0,
            },
            listener={"acse_timeout_s": 600.0},
            log=disks.path(folder / "log/node.log"),
        ) as running,
    ):
        made = Here(running, disks, folder, port)
        made.archive_comes()
        try:
            yield made
        finally:
            made.archive_goes()
