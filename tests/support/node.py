"""A whole node for journeys: its own folder, free ports, `triage-node init` and `serve` as a user would run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.uid import JPEGLSLossless
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from tests.support.pacs import Archive, free_port
from tests.support.store_place import store_section
from tests.support.waiting import PATIENCE, wait_until
from triage_node.config.schema import Settings
from triage_node.domain.person import Role
from triage_node.processes.limits import bounds

AE_TITLE = "TRIAGE"
PROGRAM = Path(sys.executable).parent / "triage-node"
START_S, STOP_S, COMMAND_S = 90.0, 30.0, 60.0
BETWEEN_PAGES_S = 0.25
"""A test that asks as often as it can takes half a core from the node that it waits for."""
BOUND = bounds.arriving(Settings()) + bounds.analysed(Settings())
"""From the last slice to an end that can be seen, with the usual settings and no study before it, whatever fails: what `check` states."""
SETTLED = frozenset({"delivered", "declined", "out_of_scope", "quarantined", "failed"})


def destination(archive: Archive, **more: Any) -> dict[str, Any]:
    """The [[archives]] table that makes a running Orthanc a destination of everything a flagged study has."""
    kinds = ["findings_sr", "location_sr", "seg", "heatmap_sc", "summary_sc"]
    return {
        "name": archive.ae_title.lower(),
        "ae_title": archive.ae_title,
        "host": "127.0.0.1",
        "port": archive.dicom_port,
        "calling_ae_title": AE_TITLE,
        "storage_commitment": True,
        "kinds": kinds,
        **more,
    }


class Node:
    """A node on loopback. `start` and `stop` may be repeated on the same data folder."""

    def __init__(self, folder: Path, dicom_port: int, web_port: int, program: Sequence[str] = (str(PROGRAM),)) -> None:
        self._program = program
        self.folder, self.data = folder, folder / "data"
        self.config, self.log = folder / "triage-node.toml", folder / "node.log"
        self.dicom_port, self.web_port = dicom_port, web_port
        self.process: subprocess.Popen[bytes] | None = None
        self._token = ""
        self._asked_at = 0.0

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `triage-node ARGUMENTS --config ...` to its end."""
        line = [*self._program, *arguments, "--config", str(self.config)]
        return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE * COMMAND_S, env=_environment())

    def start(self) -> None:
        """Serve, and return when every role has given a sign of life and compressed images are taken too."""
        self.serve()
        wait_until(self._ready, START_S, "the node answers C-ECHO, takes JPEG-LS, and its page is healthy")

    def serve(self) -> None:
        """Begin to serve."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._program, "serve", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
            )

    def stop(self) -> None:
        """As a service manager does: SIGTERM, and SIGKILL only when that does not end it."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def restart(self) -> None:
        """Start again after the supervisor died."""
        assert self.process is not None
        self.process.wait(STOP_S)
        self.start()

    def pids(self) -> dict[str, int]:
        """Role -> process id, and `supervisor`, `receiver` (one of them) and `decoder`, as far as they are there."""
        process = self.process
        if process is None or process.poll() is not None:
            return {}
        found = {"supervisor": process.pid}
        for pid in _children(process.pid):
            words = _command_line(pid)
            roles = [w.removeprefix("triage_node.processes.") for w in words if w.startswith("triage_node.processes.")]
            if roles:
                found[roles[0]] = pid
        for pid in _children(found.get("ingest", 0))[:1]:
            found["receiver"] = pid
        for pid in _children(found.get("analysis", 0)):
            if "triage_node.volume.decoding_child" in _command_line(pid):
                found["decoder"] = pid
        return found

    def get(self, path: str) -> Any:
        return json.loads(self.page(path))

    def page(self, path: str, login: Mapping[str, str] | None = None) -> str:
        url = f"http://127.0.0.1:{self.web_port}{path}"
        request = urllib.request.Request(url, headers=dict(login or self.login()))
        time.sleep(max(0.0, self._asked_at + BETWEEN_PAGES_S - time.monotonic()))
        self._asked_at = time.monotonic()
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read(), "utf-8")

    def login(self) -> dict[str, str]:
        """The header of a program that may read what every role sees; its token is made once, on the command line."""
        if not self._token:
            roles = [word for role in Role for word in ("--role", role.value)]
            made = self.command(
                "token", "add", "journey", *roles, "--scope", "read", "--scope", "monitor", "--days", "1"
            )
            assert made.returncode == 0, made.stderr
            self._token = made.stdout.strip()
        return {"Authorization": f"Bearer {self._token}"}

    def worklist(self) -> dict[str, Any]:
        return dict(self.get("/api/worklist"))

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the list in its order; late flags and unconfirmed ones are not among them."""
        return list(self.worklist()["rows"])

    def study(self, study_instance_uid: str) -> dict[str, Any]:
        """What the API says of a study, empty when it does not know it (yet)."""
        try:
            return dict(self.get(f"/api/studies/{study_instance_uid}"))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return {}
            raise

    def timeline(self, study_instance_uid: str) -> list[dict[str, str]]:
        return list(self.get(f"/api/studies/{study_instance_uid}/timeline"))

    def wait_for_state(self, study_instance_uid: str, states: Sequence[str] | frozenset[str], seconds: float) -> str:
        """Return the first of `states` that the study reaches."""
        last = ""

        def reached() -> str:
            nonlocal last
            try:
                last = self.study(study_instance_uid).get("state", "unknown")
            except OSError:
                last = "the page does not answer"
            return last if last in states else ""

        try:
            return wait_until(reached, seconds, f"study {study_instance_uid} is {' or '.join(sorted(states))}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {last!r}\n{self.log_tail()}") from None

    def log_tail(self, lines: int = 60) -> str:
        text = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(["--- the node's log", *text[-lines:]])

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the node ended with {self.process.returncode}\n{self.log_tail()}")
        try:
            self.get("/health")
        except OSError:
            return False
        return _offers_compression(self.dicom_port)


@contextmanager
def node(
    folder: Path,
    archives: Sequence[Archive | Mapping[str, Any]] = (),
    simulation: bool = True,
    mode: str = "active",
    dicom_port: int | None = None,
    program: Sequence[str] = (str(PROGRAM),),
    log: Path | None = None,
    **sections: Any,
) -> Iterator[Node]:
    """A running node. `sections` are TOML sections, e.g. `completeness={"deadline_s": 12.0}` or `intake=[{...}]`.

    On failure its log is printed. `dicom_port` is given when the archive had to know it first; `program` is what runs
    `triage-node`; `log`: where its log goes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    served = Node(folder, dicom_port or free_port(), free_port(), program)
    served.log = log or served.log
    defaults: dict[str, Any] = {
        "store": store_section(served.data, warn_free_gb=0.5, stop_free_gb=0.2),
        "listener": {"port": served.dicom_port, "ae_title": AE_TITLE},
        "web": {"port": served.web_port},
        "worklist": {"mode": mode},
        "archives": [destination(a) if isinstance(a, Archive) else dict(a) for a in archives],
    }
    for name, section in sections.items():
        defaults[name] = {**defaults.get(name, {}), **section} if isinstance(section, Mapping) else section
    served.config.write_text("\n".join(f"{name} = {toml(section)}" for name, section in defaults.items()) + "\n")
    made = served.command("init", *(["--simulation"] if simulation else []))
    assert made.returncode == 0, made.stdout + made.stderr
    try:
        served.start()
        yield served
    except BaseException:
        print(served.log_tail())
        raise
    finally:
        served.stop()


def _offers_compression(port: int) -> bool:
    """Whether the listener answers C-ECHO and offers JPEG-LS, so has heard what analysis decodes."""
    ae = AE("PROBE")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
    ae.add_requested_context(Verification)
    ae.add_requested_context(CTImageStorage, JPEGLSLossless)
    association = ae.associate("127.0.0.1", port, ae_title=AE_TITLE)
    if not association.is_established:
        return False
    answered = association.send_c_echo().get("Status") == 0x0000
    offered = any(c.transfer_syntax == [JPEGLSLossless] for c in association.accepted_contexts)
    association.release()
    return answered and offered


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TCP_NODELAY": "1"}


def toml(value: Any) -> str:
    """A TOML value; JSON's strings, numbers and booleans are TOML's too."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(v)}" for key, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return json.dumps(value)


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for task in Path(f"/proc/{pid}/task").glob("*/children") for p in task.read_text().split()]
    except OSError:  # it ended since
        return []


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it ended since
        return []
