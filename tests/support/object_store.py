"""A real object store for tests, on loopback: SeaweedFS, one process, from PyPI. It is stopped, killed and started again by pid."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.pacs import free_port
from tests.support.waiting import wait_until

PROGRAM = Path(sys.executable).with_name("weed")
KEY, SECRET, BUCKET = "node", "a-secret", "triage"
_PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")


class ObjectServer:
    """`start`, `kill` and `start` again: the same folder, the same ports."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self._host = host
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.credentials = folder / "credentials"
        self.credentials.write_text(f"access_key_id = {KEY}\nsecret_access_key = {SECRET}\n")
        identity = {"name": "node", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self._ports = {name: free_port() for name in (*_PORTS, "s3.port", "s3.port.grpc")}
        self._process: subprocess.Popen[bytes] | None = None
        self._places = 0

    @property
    def endpoint(self) -> str:
        return f"http://{self._host}:{self._ports['s3.port']}"

    def url(self, bucket: str = BUCKET, prefix: str = "node") -> str:
        """What `blob_url` says of a place in this server."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}&region=us-east-1"

    def place(self) -> str:
        """The `blob_url` of a place that nobody used yet."""
        self._places += 1
        return self.url(prefix=f"node{self._places}")

    def start(self) -> None:
        for name in (
            "log",
            "conf",
            "snapshot",
        ):  # with these the master waits 10 s for the votes of others; there are none
            for left in self.folder.glob(f"m{self._ports['master.port']}/**/{name}"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(PROGRAM),
                    "server",
                    f"-dir={self.folder}",
                    f"-ip={self._host}",
                    f"-ip.bind={self._host}",
                    "-filer",
                    "-s3",
                    "-s3.iam=false",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    f"-s3.config={self.folder / 's3.json'}",
                    "-s3.autoCreateBucket=false",
                    "-volume.max=16",
                    "-master.volumeSizeLimitMB=64",
                    "-master.telemetry=false",
                    *(f"-{name}={port}" for name, port in self._ports.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, 60, "the object store answers and takes an object")

    def kill(self) -> None:
        """SIGKILL, as a machine that is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for port in self._ports.values():  # SeaweedFS leaves its sockets there, whatever TMPDIR says
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        probe = f"http://{self._host}:{self._ports['filer.port']}/buckets/{BUCKET}/started"
        try:
            self._ask(self.endpoint + "/healthz", "GET")
            self._ask(probe, "PUT", b"x")
            self._ask(probe, "GET")
        except OSError:
            return False
        return True

    def _ask(self, url: str, method: str, body: bytes | None = None) -> None:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, method=method), timeout=10) as answer:
            answer.read()


@contextmanager
def object_server(folder: Path) -> Iterator[ObjectServer]:
    server = ObjectServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
