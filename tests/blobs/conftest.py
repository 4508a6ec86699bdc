"""Where blobs may lie: in the data folder, on a shared file system, in an object store. Two hosts look at each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.object_store import ObjectServer, object_server
from triage_node.blobs.object_store import ObjectStore, open_object_store
from triage_node.blobs.opened import open_blobs
from triage_node.blobs.places import Blobs
from triage_node.config.schema import StoreSettings

Host = Callable[[str], Blobs]


def settings(folder: Path, url: str, credentials: Path | None = None, cache_gb: float = 1.0) -> StoreSettings:
    return StoreSettings(
        data_folder=folder, blob_url=url, blob_credentials_file=credentials, blob_cache_gb=cache_gb, warn_free_gb=0
    )


SHARED = ["shared folder", "object store"]


def _place(request: pytest.FixtureRequest, folder: Path) -> tuple[str, Path | None]:
    """`blob_url` and the file of credentials of a place of this kind."""
    if request.param == "data folder":
        return "", None
    if request.param == "shared folder":
        (folder / "mount").mkdir()
        return f"file://{folder / 'mount'}", None
    server = request.getfixturevalue("object_store")
    return server.place(), server.credentials


@pytest.fixture(params=["data folder", *SHARED])
def host(request, tmp_path) -> Host:
    """`host(name)` opens the blobs of that host."""
    url, credentials = _place(request, tmp_path)
    return lambda name: open_blobs(settings(tmp_path / name, url, credentials))


@pytest.fixture(params=SHARED)
def shared_host(request, tmp_path) -> Host:
    url, credentials = _place(request, tmp_path)
    return lambda name: open_blobs(settings(tmp_path / name, url, credentials))


@pytest.fixture(params=SHARED)
def shared_store(request, tmp_path) -> ObjectStore:
    return open_object_store(*_place(request, tmp_path))


@pytest.fixture
def own_object_store(tmp_path) -> Iterator[ObjectServer]:
    """One that the test may kill."""
    with object_server(tmp_path / "store") as server:
        yield server
