"""Databases of the newest schema as copies of one that went through all revisions, once in a process: they take half a second,
and thousands of tests begin with them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import create_engine, make_url, text

from triage_node.store.engine import open_store
from triage_node.store.upgrade import upgrade


def put_sqlite(database: Path) -> str:
    """Its URL. A database that is there stays."""
    if not database.exists():
        database.parent.mkdir(parents=True, exist_ok=True)
        database.write_bytes(_sqlite())
    return f"sqlite:///{database}"


def put_postgres(server: str, name: str) -> str:
    """Its URL. `server`: the URL of any database there; a database of this name is dropped."""
    _make_template(server)
    say(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    say(server, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    return at(server, name)


def at(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def say(server: str, statement: str) -> None:
    """One statement, outside any transaction."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as c:
        c.execute(text(statement))
    engine.dispose()


_TEMPLATE = "newest"


@cache
def _make_template(server: str) -> None:
    say(server, f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
    _through_all(at(server, _TEMPLATE))


@cache
def _sqlite() -> bytes:
    with TemporaryDirectory() as folder:
        database = Path(folder) / "newest.db"
        _through_all(f"sqlite:///{database}")
        return database.read_bytes()


def _through_all(url: str) -> None:
    store = open_store(url)
    upgrade(store)
    store.close()
