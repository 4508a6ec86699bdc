"""Several hosts of one node inside the test's process: one database, a data folder each, and a place that they share."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.journeys import modality
from tests.support.analysed import settings_in, take_in
from tests.support.store_place import database_url
from tests.support.waiting import wait_until
from triage_node.blobs.opened import open_blobs
from triage_node.config.schema import Settings
from triage_node.domain.instance import ReceivedInstance
from triage_node.instances.archive import Archive
from triage_node.processes.running import Running
from triage_node.processes.storage.uploading import Uploader
from triage_node.store import uploads
from triage_node.store.engine import Store, open_store

ARCHIVE = """
[[archives]]
name = "present"
ae_title = "PRESENT"
host = "127.0.0.1"
"""


class Hosts:
    """`place`: "data folder" (one host, whatever its name), "shared folder" or "object store"."""

    def __init__(self, folder: Path, place: str, shared: Mapping[str, str]) -> None:
        self.folder, self.place = folder, place
        self.mount = folder / "mount"
        self._shared = {"database_url": database_url(folder), "warn_free_gb": 0.2, "stop_free_gb": 0.1, **shared}
        self.store: Store = open_store(self.settings("first").database_url)

    def settings(self, host: str) -> Settings:
        name = host if self.place != "data folder" else "only"
        folder = self.folder / name
        return settings_in(
            folder,
            text=f'[worklist]\nmode = "active"\n{ARCHIVE}',
            store={"data_folder": str(folder / "data"), **self._shared},
        )

    def running(self, host: str, role: str = "analysis") -> Running:
        return Running(role, self.settings(host), self.store, threading.Event())

    def receive(self, host: str, files: Sequence[Path]) -> list[ReceivedInstance]:
        """As the listener of a host leaves it: in its spool, with rows, not uploaded."""
        role = SimpleNamespace(settings=self.settings(host), store=self.store)
        return take_in(role, files, goes_up=False)  # type: ignore[arg-type]

    @contextmanager
    def uploading(self, host: str) -> Iterator[Uploader]:
        """The thread of a host's ingest role; nothing to do where nothing is shared."""
        settings = self.settings(host)
        uploader = Uploader(self.store, open_blobs(settings.store), Archive(settings.store.data_folder))
        if self.place != "data folder":
            uploader.start()
        try:
            yield uploader
        finally:
            if self.place != "data folder":
                uploader.stop(60)

    def upload(self, host: str) -> None:
        """Until everything of this host has gone up."""
        digests = list(Archive(self.settings(host).store.data_folder).digests())
        with self.uploading(host):
            if self.place != "data folder":
                wait_until(lambda: uploads.safe(self.store, digests) == set(digests), 60, "everything has gone up")


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[modality.Sent]:
    folder = tmp_path_factory.mktemp("sent")
    first = modality.phantom(folder, "first", modality.now(), seed=9073, slices=24, thickness_mm=6.0, size=128)
    return modality.copies(first, folder, 3)


def _hosts(folder: Path, place: str, request: pytest.FixtureRequest) -> Iterator[Hosts]:
    shared = {}
    if place == "shared folder":
        (folder / "mount").mkdir()
        shared = {"blob_url": f"file://{folder / 'mount'}"}
    if place == "object store":
        server = request.getfixturevalue("object_store")
        shared = {"blob_url": server.place(), "blob_credentials_file": str(server.credentials)}
    made = Hosts(folder, place, shared)
    yield made
    made.store.close()


@pytest.fixture(params=["data folder", "shared folder", "object store"])
def hosts(request, tmp_path) -> Iterator[Hosts]:
    yield from _hosts(tmp_path, request.param, request)


@pytest.fixture
def mounted(request, tmp_path) -> Iterator[Hosts]:
    """Hosts with a shared folder, whose mount a test may take away."""
    yield from _hosts(tmp_path, "shared folder", request)
