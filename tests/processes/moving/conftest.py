from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import Databases
from tests.support.filled import fill
from tests.support.pacs import postgres
from triage_node.cli.setup import initialise
from triage_node.config.load import load
from triage_node.store.engine import open_store


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture
def databases(tmp_path: Path, postgres_url: str) -> Databases:
    return Databases(tmp_path, postgres_url)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The configuration of a node on SQLite that was initialised, with rows in every table."""
    config = tmp_path / "node.toml"
    list(initialise(config, simulation=True))
    store = open_store(load(config)[0].database_url)
    fill(store)
    store.close()
    return config
