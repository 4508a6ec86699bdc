"""The real ingest process, on a folder and a port of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.pacs import free_port
from tests.support.store_place import database_url, store_line
from tests.support.waiting import wait_until
from triage_node.domain.instance import ReceivedInstance
from triage_node.instances.archive import Archive
from triage_node.store import instances
from triage_node.store.engine import Store, open_store
from triage_node.store.upgrade import upgrade

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Node:
    """A running ingest role. `folder` holds its data and its log."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    store: Store

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def archive(self) -> Archive:
        return Archive(self.folder)

    def rss_mb(self) -> float:
        return self._status_kb("VmRSS") / 1024

    def peak_mb(self) -> float:
        return self._status_kb("VmHWM") / 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def threads(self) -> int:
        return self._status_kb("Threads")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def blobs(self) -> dict[str, bytes]:
        return {sha256: self.archive.read(sha256) for sha256 in self.archive.digests()}

    def leftovers(self) -> list[Path]:
        return [*(self.folder / "blobs").rglob("*.tmp"), *(p for p in (self.folder / "blobs").iterdir() if p.is_file())]

    def study(self, study_instance_uid: str) -> list[ReceivedInstance]:
        return instances.of_study(self.store, study_instance_uid)

    def rows(self) -> int:
        return instances.count(self.store)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def _status_kb(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(status.split(name + ":")[1].split()[0])


def prepare(
    folder: Path, *, path: str = "fast", listener: str = "", senders: str = "", store: Mapping[str, Any] | None = None
) -> int:
    """Write the configuration and the schema. `listener`, `senders`: more TOML lines; `store`: more of that section. Returns the port."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (folder / "node.toml").write_text(
        f"{store_line(folder, is_upgraded=True, **({'stop_free_gb': 0.2} | (store or {})))}\n"
        f'[listener]\nport = {port}\nreceive_path = "{path}"\n{listener}\n{senders}\n',
        encoding="utf-8",
    )
    opened = open_store(database_url(folder))
    upgrade(opened)
    opened.close()
    return port


def start(folder: Path, port: int, *before: str) -> Node:
    """Start the role on a prepared folder. `before`: words before the command, such as strace and its options."""
    log = (folder / "log").open("ab")
    command = [*before, sys.executable, "-m", "triage_node.processes.ingest", "--config", str(folder / "node.toml")]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()

    def listens() -> bool:
        if process.poll() is not None:
            raise AssertionError((folder / "log").read_text(errors="replace")[-3000:])
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, 60, "the ingest process to listen")
    except AssertionError:
        process.kill()
        raise
    return Node(folder, port, process, open_store(database_url(folder)))


@contextmanager
def running(folder: Path, *before: str, **more: Any) -> Iterator[Node]:
    """A node for the length of the block."""
    port = prepare(folder, **more)
    node = start(folder, port, *before)
    try:
        yield node
    finally:
        node.store.close()
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait(60)
