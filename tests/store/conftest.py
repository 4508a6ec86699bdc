"""Every test of the store runs on SQLite and on PostgreSQL, on a copy of what went through all revisions, or from the first on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from tests.support.newest import put_postgres, put_sqlite
from tests.support.pacs import postgres
from triage_node.store import meta
from triage_node.store.engine import Store, open_store

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_store(request: pytest.FixtureRequest, tmp_path) -> Iterator[Store]:
    if request.param == "sqlite":
        store = open_store(f"sqlite:///{tmp_path / 'triage.db'}")
    else:
        store = open_store(request.getfixturevalue("postgres_url"))
        with store.engine.begin() as c:
            c.execute(text("DROP SCHEMA public CASCADE"))
            c.execute(text("CREATE SCHEMA public"))
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path) -> Iterator[Store]:
    if request.param == "sqlite":
        store = open_store(put_sqlite(tmp_path / "triage.db"))
    else:
        store = open_store(put_postgres(request.getfixturevalue("postgres_url"), "newest_schema"))
    meta.set_simulation(store, True)
    yield store
    store.close()
