"""From the last slice to the flag, and what that takes: `python -m triage_node.evaluation.bench_flag [STUDIES]`.

A whole node with a simulated archive receives simulated head CTs with a bleed from DCMTK's `storescu`, one after the other,
each only when the one before is delivered. Seconds come from the stored timeline, completeness wait included. Memory is the
sum of the peaks of the analysis process and its decoding child, so an upper bound; CPU counts both.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from triage_node.domain.study import Moment, StudyState
from triage_node.domain.volume import Volume
from triage_node.simulation import scanners
from triage_node.simulation.phantom import FIRST_DEMO_SEED, head
from triage_node.simulation.phantom_bleeds import Bleed
from triage_node.store import studies
from triage_node.store.engine import Store, open_store
from triage_node.store.heartbeat import decodable_syntaxes

STUDIES = 5
_LOOPBACK, _NODE, _ARCHIVE = "127.0.0.1", "TRIAGE", "BENCHPACS"
_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1", "OMP_NUM_THREADS": "1"}
_START_S, _STUDY_S, _STOP_S, _LOOK_S = 120.0, 180.0, 30.0, 0.05
_BLEED = Bleed("iph", 38.0, (26.0, 4.0, 6.0), 66.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """One study. Units: seconds from the last slice to the stored flag; CPU seconds of analysis and its child."""

    seconds: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Served:
    """The node under measurement, with the process ids of its supervisor and its analysis role."""

    port: int
    store: Store
    supervisor: int
    analysis: int


def run(count: int = STUDIES) -> dict[str, object]:
    """Measure. Returns the keys `flag_seconds`, `peak_mb` and `analysis` of build/bench.json."""
    build = Path("build")
    build.mkdir(exist_ok=True)
    # /tmp may be memory; a node writes to a disk
    with tempfile.TemporaryDirectory(prefix="flag-", dir=build.resolve()) as name:
        work = Path(name)
        thick = [write_study(work, f"thick {i}", 32, 5.0) for i in range(count)]
        thin = write_study(work, "thin", 140, 1.0)
        with serving(work) as node:
            of_32 = [_measure(node, *study) for study in thick]
            of_140 = _measure(node, *thin)
            peak = sum(_peak_mb(pid) for pid in with_children(node.analysis))
    return {
        "flag_seconds": {
            "slices_32": round(median(m.seconds for m in of_32), 2),
            "slices_32_most": round(max(m.seconds for m in of_32), 2),
            "slices_140": round(of_140.seconds, 2),
        },
        "peak_mb": {"analysis": round(peak, 1)},
        "analysis": {
            "process_cpu_seconds_32": round(median(m.cpu_s for m in of_32), 2),
            "process_cpu_seconds_140": round(of_140.cpu_s, 2),
        },
    }


def bleeding(slices: int, thickness_mm: float) -> Volume:
    """A simulated head with one parenchymal bleed, the same in every benchmark."""
    phantom = head(FIRST_DEMO_SEED + 60, 1, slices=slices, slice_thickness_mm=thickness_mm, bleeds=(_BLEED,))
    return phantom.volume


def write_study(work: Path, key: str, slices: int, thickness_mm: float) -> tuple[str, list[Path]]:
    """Study Instance UID and files of a simulated patient."""
    volume = bleeding(slices, thickness_mm)
    exam = scanners.Exam(f"bench flag|{key}", datetime.now(UTC) - timedelta(minutes=5), "SIM-BENCH")
    patient = scanners.Patient("SIMULATED^BENCH", "SIM-BENCH")
    return exam.study_uid, scanners.write_files(scanners.axial_series(volume, patient, exam), work / key)


def send(node: Served, uid: str, files: list[Path]) -> None:
    """Until it is delivered."""
    command = ["storescu", "-R", "-aec", _NODE, "-aet", "BENCH", _LOOPBACK, str(node.port), *map(str, files)]
    subprocess.run(command, env=_ENVIRONMENT, stdin=subprocess.DEVNULL, check=True, timeout=_STUDY_S)
    _wait_until(lambda: _is_done(node.store, uid), _STUDY_S, f"study {uid} is delivered")


def _measure(node: Served, uid: str, files: list[Path]) -> Measured:
    before = cpu_s(node.analysis)
    send(node, uid, files)
    at = {e.moment: e.at for e in studies.timeline_of(node.store, uid)}
    if Moment.FLAGGED not in at:
        raise RuntimeError(f"the bleed of study {uid} was not flagged")
    seconds = (at[Moment.FLAGGED] - at[Moment.LAST_SLICE]).total_seconds()
    measured = Measured(seconds, cpu_s(node.analysis) - before)
    print(f"{len(files)} slices: flag after {seconds:.2f} s, {measured.cpu_s:.2f} s of CPU", flush=True)
    return measured


def _is_done(store: Store, uid: str) -> bool:
    study = studies.get(store, uid)
    if study is not None and study.state in (StudyState.DECLINED, StudyState.FAILED, StudyState.QUARANTINED):
        raise RuntimeError(f"study {uid} is {study.state}: {study.reason}")
    return study is not None and study.state is StudyState.DELIVERED


@contextmanager
def serving(work: Path, database_url: str = "") -> Iterator[Served]:
    """A node that may act (simulation, active) and an archive that takes its objects, both as processes.

    Its data lie in `work / "data"`; so does its database, unless another is named.
    """
    port, web, archive = _free_ports(3)
    config, data = work / "node.toml", work / "data"
    config.write_text(
        f"store = {{ data_folder = {json.dumps(str(data))}, warn_free_gb = 0.5, stop_free_gb = 0.2, "
        f"database_url = {json.dumps(database_url)} }}\n"
        f'listener = {{ port = {port}, ae_title = "{_NODE}" }}\n'
        f'web = {{ port = {web} }}\nworklist = {{ mode = "active" }}\n'
        f'[[archives]]\nname = "bench"\nae_title = "{_ARCHIVE}"\nhost = "{_LOOPBACK}"\nport = {archive}\n',
        encoding="utf-8",
    )
    program = str(Path(sys.executable).parent / "triage-node")
    with (work / "log").open("wb") as log:
        init = [program, "init", "--simulation", "--config", str(config)]
        subprocess.run(init, env=_ENVIRONMENT, check=True, stdout=log, stderr=log, timeout=_START_S)
        pacs = [sys.executable, "-m", "triage_node.simulation.archive", "--folder", str(work / "pacs")]
        commands = [
            [*pacs, "--port", str(archive), "--ae-title", _ARCHIVE],
            [program, "serve", "--config", str(config)],
        ]
        processes = [
            subprocess.Popen(c, env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log) for c in commands
        ]
        store = open_store(database_url or f"sqlite:///{data / 'triage.db'}")
        try:
            supervisor = processes[1]
            _wait_until(lambda: _listens(port) and _listens(archive), _START_S, "node and archive listen")
            _wait_until(
                lambda: _role(supervisor.pid, "analysis") and decodable_syntaxes(store), _START_S, "the model is loaded"
            )
            yield Served(port, store, supervisor.pid, _role(supervisor.pid, "analysis"))
        except BaseException:
            print((work / "log").read_text(errors="replace")[-3000:], file=sys.stderr)
            raise
        finally:
            store.close()
            for process in reversed(processes):
                process.terminate()
                process.wait(_STOP_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_LOOPBACK, port)) == 0


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((_LOOPBACK, 0)) for _ in range(count)]
    try:
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


def _wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(_LOOK_S)


def _children(pid: int) -> list[int]:
    by_thread = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for children in by_thread for child in children.read_text(encoding="ascii").split()]


def with_children(pid: int) -> list[int]:
    return [pid, *(c for child in _children(pid) for c in with_children(child))]


def _role(supervisor: int, role: str) -> int:
    """Process id of a role, 0 while it is not there."""
    module = f"triage_node.processes.{role}"
    return next((p for p in _children(supervisor) if module in Path(f"/proc/{p}/cmdline").read_text().split("\0")), 0)


def roles(supervisor: int) -> dict[str, int]:
    """Process ids by role, the supervisor's among them."""
    found = {"supervisor": supervisor}
    for pid in _children(supervisor):
        for word in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
            if word.startswith("triage_node.processes."):
                found[word.removeprefix("triage_node.processes.")] = pid
    return found


def cpu_s(pid: int) -> float:
    """Seconds of CPU of a process, its children, and those of them that ended."""
    ticks = 0
    for p in with_children(pid):
        fields = Path(f"/proc/{p}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else STUDIES), indent=1))
