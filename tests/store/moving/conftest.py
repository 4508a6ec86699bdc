from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import Databases
from tests.support.filled import fill
from triage_node.store import meta
from triage_node.store.engine import Store, open_store


@pytest.fixture
def databases(tmp_path: Path, postgres_url: str) -> Databases:
    return Databases(tmp_path, postgres_url)


@pytest.fixture
def pair(request: pytest.FixtureRequest, databases: Databases) -> Iterator[tuple[Store, Store]]:
    """A store with rows in every table, and a made but empty one. Parameter: their engines, or nothing for SQLite."""
    first, second = getattr(request, "param", ("sqlite", "sqlite"))
    source, target = open_store(databases.newest(first)), open_store(databases.newest(second))
    meta.set_simulation(source, True)
    fill(source)
    yield source, target
    source.close()
    target.close()
