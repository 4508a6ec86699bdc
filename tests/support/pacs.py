"""Real peers for tests, on loopback: Orthanc, DCMTK, PostgreSQL. Each ends with its test, by pid."""

from __future__ import annotations

import itertools
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until

# without it every instance stalls 40 ms at the peer (MEASUREMENTS.md section 5)
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1", "OMP_NUM_THREADS": "1"}


# below the range from which the kernel gives ports to callers (ip_local_port_range begins at 32768): a port from that range may be
# taken by somebody's outgoing connection between its choice and its use
_PORTS = itertools.cycle(random.sample(range(12_000, 32_000), 20_000))


def free_port() -> int:
    """A port that nobody uses now at any address, and that this run of the tests was not given lately."""
    for port in itertools.islice(_PORTS, 1000):
        with socket.socket() as s:
            try:
                s.bind(("", port))
            except OSError:
                continue
            return port
    raise AssertionError("a thousand ports in a row are taken")


def program(name: str) -> str:
    """Path of a Debian program, or skip with a reason."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed; `make test` as root installs it")
    return path


def isolated() -> bool:
    """True in a network namespace with nothing but loopback; /proc/net is the namespace's own, /sys may be the host's."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    return [line.split(":")[0].strip() for line in lines] == ["lo"]


@dataclass(frozen=True, slots=True)
class Archive:
    """A running Orthanc."""

    ae_title: str
    dicom_port: int
    http_port: int
    process: subprocess.Popen[bytes]

    def get(self, path: str, accept: str = "application/json") -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if accept.endswith("json") else body

    def count(self) -> int:
        return int(self.get("/statistics")["CountInstances"])

    def series(self, study_instance_uid: str) -> list[dict[str, Any]]:
        """DICOMweb QIDO-RS: the series of a study as {keyword-less tag: value}."""
        try:
            return list(self.get(f"/dicom-web/studies/{study_instance_uid}/series", "application/dicom+json"))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise

    def instances(self) -> dict[str, str]:
        """SOP Instance UID -> Orthanc's own id."""
        return {self.get(f"/instances/{i}")["MainDicomTags"]["SOPInstanceUID"]: i for i in self.get("/instances")}

    def file(self, orthanc_id: str) -> bytes:
        return bytes(self.get(f"/instances/{orthanc_id}/file", "application/dicom"))


@contextmanager
def orthanc(
    folder: Path,
    dicom_port: int | None = None,
    http_port: int | None = None,
    modalities: Mapping[str, tuple[str, str, int]] | None = None,
    ae_title: str = "ORTHANC",
    **settings: Any,
) -> Iterator[Archive]:
    """Debian's Orthanc with DICOMweb. `modalities`: name -> (AE title, host, port), needed for storage commitment."""
    path = program("Orthanc")
    if not isolated():
        pytest.skip("Orthanc binds every interface: run the tests through `make test`, in a network of their own")
    dicom_port, http_port = dicom_port or free_port(), http_port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    configuration = {
        "Name": "test archive",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "SyncStorageArea": True,
        "DicomAet": ae_title,
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": False,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "StableAge": 1,
        "OverwriteInstances": False,
        "DicomModalities": {k: list(v) for k, v in (modalities or {}).items()},
        "Plugins": [str(p) for p in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*")],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": "127.0.0.1"},
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    log = (folder / "orthanc.log").open("wb")
    process = subprocess.Popen([path, str(folder / "orthanc.json")], env=ENVIRONMENT, stdout=log, stderr=log)
    archive = Archive(ae_title, dicom_port, http_port, process)
    try:
        wait_until(lambda: _answers(archive, folder), 30, "Orthanc answers")
        yield archive
    finally:
        _end(process)
        log.close()


def _answers(archive: Archive, folder: Path) -> bool:
    if archive.process.poll() is not None:
        raise AssertionError("Orthanc ended:\n" + (folder / "orthanc.log").read_text()[-2000:])
    try:
        archive.get("/system")
    except OSError:
        return False
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", archive.dicom_port)) == 0


@contextmanager
def storescp(folder: Path, port: int | None = None, arguments: Sequence[str] = ("+B",)) -> Iterator[int]:
    """DCMTK's receiver; yields its port."""
    path = program("storescp")
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [path, *arguments, "-od", str(folder), "-pdu", "131072", str(port)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _listens(port), 30, "storescp listens")
        yield port
    finally:
        _end(process)


def storescu(
    files: Sequence[Path], host: str, port: int, called: str, calling: str = "MODALITY", associations: int = 1
) -> None:
    """Send files with DCMTK over parallel associations; fails unless all were taken."""
    path = program("storescu")
    processes = []
    for k in range(associations):
        part = [str(f) for f in files[k::associations]]
        if part:
            command = [path, "-R", "-aec", called, "-aet", calling, host, str(port), *part]
            processes.append(
                subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            )
    for process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output.decode(errors="replace")[-2000:]


class PostgresServer:
    """Debian's PostgreSQL on a port of its own. `start` and `stop` may be repeated on the same data."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", network: str = "127.0.0.0/8") -> None:
        """`network`: who may connect. It refuses to run as root, so it has a folder of another user's."""
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not binaries:
            pytest.skip("postgresql is not installed; `make test` as root installs it")
        self._binaries, self._log, self.host, self.port = binaries[-1], folder / "postgres.log", host, free_port()
        self._prefix: list[str] = []
        if os.getuid() == 0:
            try:
                pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("there is no user postgres to run PostgreSQL as")
            self._prefix = [program("runuser"), "-u", "postgres", "--"]
        # a short path below /tmp: the user postgres cannot enter pytest's folders
        made = subprocess.check_output([*self._prefix, "mktemp", "-d", "/tmp/triage-pg-XXXXXX"], text=True)
        self._home = Path(made.strip())
        words = ["-U", "triage", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        initdb = [*self._prefix, str(self._binaries / "initdb"), "-D", str(self._home / "data"), *words]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/")
        with (self._home / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {network} trust\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql+pg8000://triage@{self.host}:{self.port}/postgres"

    def start(self, max_connections: int = 100) -> None:
        """Returns when it answers."""
        server = [str(self._binaries / "postgres"), "-D", str(self._home / "data"), "-k", str(self._home)]
        server += ["-p", str(self.port), "-h", self.host, "-c", "fsync=off", "-N", str(max_connections)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*self._prefix, *server], stdout=log, stderr=log, cwd="/")
        ready = [str(self._binaries / "pg_isready"), "-h", self.host, "-p", str(self.port), "-q"]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, 30, "PostgreSQL is ready")

    def stop(self) -> None:
        """Connections are ended, and what was not committed is rolled back."""
        if self._process is not None:
            # not to runuser, which makes another signal of it
            os.kill(int((self._home / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
            _wait_for(self._process)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """PostgreSQL on loopback; yields an SQLAlchemy URL."""
    server = PostgresServer(folder)
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


def _listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    _wait_for(process)


def _wait_for(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
