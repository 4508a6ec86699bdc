"""A node of its own for the demo: folder, configuration, archive, processes, and a way to ask its page."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triage_node.cli.send import Peer
from triage_node.config.load import load
from triage_node.dimse.calling import Callee
from triage_node.domain.account import Scope
from triage_node.domain.errors import TriageNodeError
from triage_node.domain.person import Role
from triage_node.domain.priority import Mode, OrderClass
from triage_node.processes.connecting_echo import echo_problem
from triage_node.processes.running import now
from triage_node.store import accounts, api_tokens, sessions
from triage_node.store.engine import Store, open_store

LOOPBACK = "127.0.0.1"
START_S = 90.0
STOP_S = 20.0
_LOCK = ".lock"
_ADMINISTRATOR = "demo"
ARCHIVE_AE, NODE_AE = "DEMOPACS", "TRIAGE"
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Workspace:
    """One folder for everything that the demo writes; what an earlier demo left there is removed."""

    root: Path

    @classmethod
    def fresh(cls, root: Path) -> Workspace:
        try:
            root.mkdir(parents=True, exist_ok=True)
            if any(root.iterdir()) and not (root / _LOCK).exists():
                raise TriageNodeError(f"{root} holds other files, and the demo empties its folder; name a new one")
            if not _claimed(root):
                raise TriageNodeError(f"another demo runs in {root}; end it, or use --folder")
            for old in root.iterdir():
                if old.name != _LOCK:
                    shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        except OSError as error:
            raise TriageNodeError(
                f"cannot write to {root} ({error.strerror}); run the demo where you may write"
            ) from None
        return cls(root.resolve())

    @property
    def config(self) -> Path:
        return self.root / "triage-node.toml"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def archive(self) -> Path:
        return self.root / "archive"

    @property
    def scanner(self) -> Path:
        return self.root / "scanner"

    @property
    def pictures(self) -> Path:
        return self.root / "pictures"

    def log(self, name: str) -> Path:
        return self.root / f"{name}.log"


def _claimed(root: Path) -> bool:
    """Lock the folder until this process ends, however it ends. The descriptor is meant to stay open."""
    descriptor = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


@dataclass(frozen=True, slots=True)
class Ports:
    dicom: int
    web: int
    archive: int


def free_ports() -> Ports:
    """Three ports that nobody listens on now. They are asked for together, so that they differ."""
    sockets = [socket.socket() for _ in range(3)]
    try:
        for s in sockets:
            s.bind((LOOPBACK, 0))
        return Ports(*(s.getsockname()[1] for s in sockets))
    finally:
        for s in sockets:
            s.close()


def configuration(
    workspace: Workspace, ports: Ports, mode: Mode, order_class_of_station: Mapping[str, OrderClass]
) -> str:
    """The demo's TOML. JSON strings are TOML strings, so paths may hold any character.

    Studies of any age count as live, else a reader's own old CTs would stand aside under "late flags".
    """
    rules = "".join(
        f'\n[[intake]]\nname = "station {station}"\nstation_name = "{station}"\norder_class = "{order_class}"\n'
        for station, order_class in order_class_of_station.items()
    )
    return f"""\
# Written by the demo; every key is explained in deploy/CONFIGURATION.md.
[node]
name = "DEMO"

[store]
data_folder = {json.dumps(str(workspace.data))}
warn_free_gb = 1.0
stop_free_gb = 0.3

[listener]
ae_title = "{NODE_AE}"
port = {ports.dicom}

[completeness]
# a study with a localizer alone would keep the demo waiting for a minute
deadline_s = 12.0

[web]
port = {ports.web}

[worklist]
mode = "{mode}"

[[archives]]
name = "demo archive"
ae_title = "{ARCHIVE_AE}"
host = "{LOOPBACK}"
port = {ports.archive}
calling_ae_title = "{NODE_AE}"
clinical = false
storage_commitment = true
{rules}
[[intake]]
name = "everything else"
live_within_h = 8760000.0
"""


class Node:
    """The running node as the demo sees it: its DICOM port and its page."""

    def __init__(self, workspace: Workspace, ports: Ports) -> None:
        self._workspace, self._ports = workspace, ports
        self._headers = {"Authorization": f"Bearer {_make_people(workspace)}"}
        self.url = f"http://{LOOPBACK}:{ports.web}/"
        self.peer = Peer(NODE_AE, LOOPBACK, ports.dicom)

    def get(self, path: str) -> Any:
        """What the node's API answers. Raises TriageNodeError when it does not."""
        try:
            request = urllib.request.Request(self.url.rstrip("/") + path, headers=self._headers)
            with _NO_PROXY.open(request, timeout=10) as answer:
                return json.load(answer)
        except (OSError, ValueError) as error:
            raise TriageNodeError(
                f"the node's page does not answer {path} ({error}); see {self._workspace.log('node')}"
            ) from None

    def link(self) -> str:
        """An address that opens the page as the demo's administrator, once, within minutes."""
        with _store(self._workspace) as store:
            return f"{self.url}login/link?key={sessions.link(store, now(), _ADMINISTRATOR)}"

    def is_ready(self) -> bool:
        """The listener answers a C-ECHO and every role has given a sign of life."""
        try:
            with _NO_PROXY.open(self.url + "health", timeout=5):
                pass
        except (urllib.error.URLError, OSError):
            return False
        return not echo_problem(Callee(LOOPBACK, self._ports.dicom, NODE_AE, "DEMO", 5.0, 5.0))


def _make_people(workspace: Workspace) -> str:
    """Make an account that is entered by links only, and the token with which the demo itself asks. Returns the token."""
    with _store(workspace) as store:
        roles = frozenset(Role) - {Role.AUDITOR}
        accounts.add_without_password(store, now(), "demo", _ADMINISTRATOR, roles)
        return api_tokens.add(store, now(), "demo", "demo", roles, frozenset({Scope.READ}), 1)


@contextmanager
def _store(workspace: Workspace) -> Iterator[Store]:
    store = open_store(load(workspace.config)[0].database_url)
    try:
        yield store
    finally:
        store.close()


def initialise(workspace: Workspace, simulation: bool) -> None:
    arguments = ["init", "--config", str(workspace.config), *(["--simulation"] if simulation else [])]
    done = subprocess.run(_triage_node(arguments), capture_output=True, text=True, timeout=120)
    workspace.log("init").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise TriageNodeError(f"`triage-node init` failed: {(done.stderr or done.stdout).strip()[-500:]}")


@contextmanager
def running(workspace: Workspace, ports: Ports) -> Iterator[Node]:
    """Archive and node as processes; both are stopped at the end, the node first."""
    node_address = f"{NODE_AE}@{LOOPBACK}:{ports.dicom}"
    archive = [
        *(sys.executable, "-m", "triage_node.simulation.archive", "--folder", str(workspace.archive)),
        *("--port", str(ports.archive), "--ae-title", ARCHIVE_AE, "--node", node_address),
    ]
    with (
        _process(archive, workspace.log("archive")) as pacs,
        _process(_triage_node(["serve", "--config", str(workspace.config)]), workspace.log("node")) as served,
    ):
        node = Node(workspace, ports)
        deadline = time.monotonic() + START_S
        while not node.is_ready():
            for name, process in (("archive", pacs), ("node", served)):
                if process.poll() is not None:
                    raise TriageNodeError(f"the {name} ended by itself:\n{tail(workspace.log(name))}")
            if time.monotonic() > deadline:
                raise TriageNodeError(f"the node was not ready in {START_S:.0f} s:\n{tail(workspace.log('node'))}")
            time.sleep(0.2)
        yield node


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _triage_node(arguments: list[str]) -> list[str]:
    return [sys.executable, "-c", "from triage_node.cli.main import run; run()", *arguments]


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for a person who has to find out what went wrong."""
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join([*text, f"(all of it: {log})"])
