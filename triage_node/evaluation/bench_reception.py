"""Reception against Orthanc and storescp, side by side: `python -m triage_node.evaluation.bench_reception`.

Each round starts every receiver anew on an empty folder of the same disk and lets DCMTK's `storescu` send it the same
300 synthetic CT instances (512 x 512, 16 bit), over one association or over four at once. Ratios are taken within a
round and their median is reported, since the machine is never quiet for all rounds alike. TCP_NODELAY=1 for every DCMTK
and Orthanc process: without it each instance stalls some 40 ms (MEASUREMENTS.md section 5), which would flatter us.

What is compared: ours is the whole ingest role (durable file, header, rows in SQLite), fsync of file and directory
before each answer; Orthanc with SyncStorageArea, its default (fsync of the file) and its index; storescp writes without
any fsync and keeps no index, an upper bound.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from triage_node.domain.identifiers import deterministic_uid
from triage_node.store.engine import open_store
from triage_node.store.upgrade import upgrade

INSTANCES = 300
ROUNDS = 5
LARGE_MB = 300
_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1", "OMP_NUM_THREADS": "1"}
_START_S, _SEND_S = 60.0, 300.0


@dataclass(frozen=True, slots=True)
class Run:
    """One receiver, one round."""

    instances_per_s: float
    cpu_ms: float  # per instance
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Receiver:
    name: str
    flush: str  # what is flushed before the answer
    command: Callable[[Path, int], list[str]]  # (folder, port) -> command line
    tls: bool = False


def run(rounds: int = ROUNDS, instances: int = INSTANCES, large_mb: int = LARGE_MB) -> dict[str, object]:
    """Run everything. Returns the keys `reception` and `peak_mb` of build/bench.json."""
    # /tmp may be memory; the comparison is about a disk
    with tempfile.TemporaryDirectory(prefix="reception-", dir=_disk_folder()) as name:
        work = Path(name)
        certificate, key = _certificate(work)
        write_instances(work / "ct", instances, associations=4)
        runs: dict[str, list[Run]] = {}
        for number in range(rounds):
            for receiver, associations in _plan(certificate, key):
                label = f"{receiver.name}, {associations}"
                run = _round(receiver, associations, work, instances, certificate)
                runs.setdefault(label, []).append(run)
                print(f"round {number + 1}/{rounds} {label}: {run.instances_per_s:.0f} instances/s", flush=True)
        peak = _large_instance(work, large_mb)
    return {"reception": _summary(runs), "peak_mb": {"ingest": round(peak, 1)}}


def _summary(runs: dict[str, list[Run]]) -> dict[str, object]:
    def ratio(ours: str, theirs: str) -> float:
        return round(
            median(a.instances_per_s / b.instances_per_s for a, b in zip(runs[ours], runs[theirs], strict=True)), 2
        )

    rows = [
        {
            "receiver": label,
            "flush": flush,
            "instances_per_s": round(median(r.instances_per_s for r in runs[label]), 1),
            "least": round(min(r.instances_per_s for r in runs[label]), 1),
            "most": round(max(r.instances_per_s for r in runs[label]), 1),
            "cpu_ms": round(median(r.cpu_ms for r in runs[label]), 2),
            "memory_mb": round(max(r.memory_mb for r in runs[label]), 1),
        }
        for label, flush in _labels()
        if label in runs
    ]
    return {
        "ratio_orthanc_1": ratio("node, 1", "Orthanc, 1"),
        "ratio_orthanc_4": ratio("node, 4", "Orthanc, 4"),
        "tls_ratio_orthanc_1": ratio("node TLS, 1", "Orthanc TLS, 1"),
        "ratio_storescp_1": ratio("node, 1", "storescp, 1"),
        "ratio_stock_path_1": ratio("node, 1", "node stock path, 1"),
        "rows": rows,
    }


def _plan(certificate: Path, key: Path) -> Iterator[tuple[Receiver, int]]:
    ours = Receiver("node", "file, directory", lambda d, p: _ingest(d, p, "fast"))
    stock = Receiver("node stock path", "file, directory", lambda d, p: _ingest(d, p, "stock"))
    orthanc = Receiver("Orthanc", "file", lambda d, p: _orthanc(d, p))
    storescp = Receiver("storescp", "none", _storescp)
    yield from [(ours, 1), (orthanc, 1), (storescp, 1), (stock, 1), (ours, 4), (orthanc, 4), (storescp, 4)]
    tls = (certificate, key)
    yield Receiver("node TLS", "file, directory", lambda d, p: _ingest(d, p, "fast", tls), tls=True), 1
    yield Receiver("Orthanc TLS", "file", lambda d, p: _orthanc(d, p, tls), tls=True), 1


def _labels() -> list[tuple[str, str]]:
    return [(f"{r.name}, {n}", r.flush) for r, n in _plan(Path(), Path())]


def _round(receiver: Receiver, associations: int, work: Path, instances: int, certificate: Path) -> Run:
    with _receiving(receiver, work) as (process, port):
        before = _cpu_s(process.pid)
        sources = [work / "ct" / str(k) for k in range(4)]
        groups = [sources] if associations == 1 else [[s] for s in sources]
        began = time.perf_counter()
        senders = [_send(group, port, receiver.tls, certificate) for group in groups]
        _wait(senders, receiver.name)
        seconds = time.perf_counter() - began
        return Run(instances / seconds, (_cpu_s(process.pid) - before) / instances * 1e3, _memory_mb(process.pid))


def _wait(senders: list[subprocess.Popen[bytes]], receiver: str) -> None:
    """Without a timeout for `wait`: with one Python looks only every 50 ms, a tenth of what is measured."""
    watchdog = threading.Timer(_SEND_S, lambda: [sender.kill() for sender in senders])
    watchdog.start()
    try:
        if any([sender.wait() for sender in senders]):
            raise RuntimeError(f"storescu failed against {receiver}")
    finally:
        watchdog.cancel()


def _send(sources: list[Path], port: int, tls: bool, certificate: Path) -> subprocess.Popen[bytes]:
    secure = ["+tla", "+cf", str(certificate)] if tls else []
    return subprocess.Popen(
        ["storescu", "-q", "-aec", "BENCH", "-xe", *secure, "+sd", "127.0.0.1", str(port), *map(str, sources)],
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
    )


@contextmanager
def _receiving(receiver: Receiver, work: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    folder = Path(tempfile.mkdtemp(dir=work))
    os.sync()  # what the run before left is not written during this one
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            receiver.command(folder, port), env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            _wait_for(process, port, folder / "log")
            yield process, port
        finally:
            process.terminate()
            process.wait(30)
            # The folder stays until the end: ext4 steps over each inode that was deleted in the last minute when it
            # looks for a free one, which made a create five times dearer for whoever came next.


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        echo = subprocess.run(
            ["echoscu", "-q", "127.0.0.1", str(port)], env=_ENVIRONMENT, check=False, capture_output=True
        )
        if echo.returncode == 0:
            return
        with socket.socket() as probe:  # a TLS port answers no plain echo, but it is there
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"receiver does not listen: {log.read_text(errors='replace')[-2000:]}")


def _ingest(folder: Path, port: int, path: str, tls: tuple[Path, Path] | None = None) -> list[str]:
    store = open_store(f"sqlite:///{folder / 'triage.db'}")
    upgrade(store)
    store.close()
    lines = [
        "[store]",
        f'data_folder = "{folder}"',
        "stop_free_gb = 0.5",
        "[listener]",
        f"port = {port}",
        f'receive_path = "{path}"',
    ]
    if tls is not None:
        lines += ["[listener.tls]", f'certificate = "{tls[0]}"', f'private_key = "{tls[1]}"']
    (folder / "node.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [sys.executable, "-m", "triage_node.processes.ingest", "--config", str(folder / "node.toml")]


def _orthanc(folder: Path, port: int, tls: tuple[Path, Path] | None = None) -> list[str]:
    settings: dict[str, object] = {
        "Name": "bench",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "SyncStorageArea": True,
        "DicomPort": port,
        "DicomAet": "BENCH",
        "DicomCheckCalledAet": False,
        "HttpServerEnabled": False,
        "RemoteAccessAllowed": False,
        "Plugins": [],
    }
    if tls is not None:
        settings |= {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(tls[0]),
            "DicomTlsPrivateKey": str(tls[1]),
            "DicomTlsTrustedCertificates": str(tls[0]),
            "DicomTlsRemoteCertificateRequired": False,
        }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    return ["Orthanc", str(folder / "orthanc.json")]


def _storescp(folder: Path, port: int) -> list[str]:
    return ["storescp", "+B", "-od", str(folder), "-pdu", "131072", "--fork", str(port)]


def _large_instance(work: Path, megabytes: int) -> float:
    """Peak RSS in MB of the ingest role while one instance of this size arrives."""
    folder = work / "large"
    folder.mkdir()
    _write_large(folder / "large.dcm", megabytes)
    receiver = Receiver("node", "file, directory", lambda d, p: _ingest(d, p, "fast"))
    with _receiving(receiver, work) as (process, port):
        with _Memory(process.pid) as memory:
            _wait([_send([folder], port, False, folder)], "node, 300 MB")
        return memory.peak_mb


def write_instances(folder: Path, count: int, associations: int) -> None:
    """Write `count` synthetic CT files into one subfolder per association: a noisy ellipse of soft tissue in bone."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:512, :512]
    radius = np.hypot((y - 256) / 210, (x - 256) / 170)
    head = np.where(radius < 0.9, 35, np.where(radius < 1, 1000, -1000))
    for k in range(count):
        target = folder / str(k % associations)
        target.mkdir(parents=True, exist_ok=True)
        ct = _dataset(CTImageStorage, f"bench {k % associations}", k)
        ct.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ct.SliceThickness, ct.PixelSpacing = "5", [0.45, 0.45]
        ct.ImageOrientationPatient, ct.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-115, -115, 5 * (k // associations)]
        ct.RescaleIntercept, ct.RescaleSlope = "-1024", "1"
        pixels = np.clip(head + rng.normal(0, 6, head.shape), -1024, 3000) + 1024
        ct.PixelData = pixels.astype("<u2").tobytes()
        ct.save_as(target / f"{k}.dcm", enforce_file_format=True)


def _write_large(path: Path, megabytes: int) -> None:
    """A multi-frame file; written in pieces, since this process shares the machine with what it measures."""
    ct = _dataset(EnhancedCTImageStorage, "bench large", 0)
    ct.NumberOfFrames = frames = megabytes * (1 << 20) // (512 * 512 * 2)
    ct.PixelData = b""
    ct.save_as(path, enforce_file_format=True)
    frame = np.random.default_rng(7).integers(0, 4096, (512, 512), dtype="<u2").tobytes()
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)  # the 32-bit length of PixelData, which stands last
        file.write((frames * len(frame)).to_bytes(4, "little"))
        for _ in range(frames):
            file.write(frame)


def _dataset(sop_class_uid: str, study: str, number: int) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, deterministic_uid(study, str(number))
    ds.StudyInstanceUID, ds.SeriesInstanceUID = deterministic_uid(study), deterministic_uid(study, "series")
    ds.Modality, ds.PatientID, ds.PatientName = "CT", study, "Bench^Reception"
    ds.Manufacturer, ds.StudyDescription, ds.SeriesDescription = "TRIAGE NODE", "HEAD", "5 mm"
    ds.StudyDate = ds.AcquisitionDate = "20260101"
    ds.StudyTime = ds.AcquisitionTime = "120000"
    ds.AccessionNumber, ds.SeriesNumber, ds.InstanceNumber = "B1", "2", str(number + 1)
    ds.Rows = ds.Columns = 512
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this run only."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
        + ["-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key


def _disk_folder() -> Path:
    folder = Path("build")
    folder.mkdir(exist_ok=True)
    return folder.resolve()


def _processes(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _cpu_s(pid: int) -> float:
    """Seconds of CPU of a process and its children, those that ended included."""
    return _total(pid, lambda p: sum(p.cpu_times()[:4]))


def _memory_mb(pid: int) -> float:
    """Of a process and its children; what they share counts once."""
    return _total(pid, lambda p: p.memory_full_info().pss) / (1 << 20)


def _total(pid: int, of: Callable[[psutil.Process], float]) -> float:
    found = 0.0
    for process in _processes(pid):
        with suppress(psutil.NoSuchProcess):  # storescp has a child an association, which ends with it
            found += of(process)
    return found


class _Memory:
    """The most memory that a process and its children had, looked at 20 times a second."""

    def __init__(self, pid: int) -> None:
        self._pid, self.peak_mb = pid, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_mb = max(self.peak_mb, _memory_mb(self._pid))
            if self._stop.wait(0.05):
                return


def write(result: dict[str, object], path: Path = Path("build/bench.json")) -> None:
    """Merge into the file that all benchmarks share."""
    path.parent.mkdir(exist_ok=True)
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for key, value in result.items():
        found[key] = {**found.get(key, {}), **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    outcome = run(rounds=int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    write(outcome)
    print(json.dumps(outcome, indent=1))
