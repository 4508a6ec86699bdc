"""Where the store of a test lies: SQLite and a folder, or with TRIAGE_TEST_STORE=shared PostgreSQL and an object store.

Everything in the tests that writes `[store]` of a configuration or opens the store of a node asks here. Tests that are about one of
the two say so themselves.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text

from tests.support.object_store import ObjectServer
from tests.support.pacs import PostgresServer
from triage_node.blobs.opened import open_blobs
from triage_node.blobs.places import built_folder
from triage_node.config.schema import StoreSettings
from triage_node.instances.archive import Archive
from triage_node.store.engine import open_store
from triage_node.store.upgrade import upgrade

SHARED = os.environ.get("TRIAGE_TEST_STORE") == "shared"
_NEWEST = "newest"
"""A database of the newest schema, of which others are copies: a fifth of the time that all revisions take."""


def store_section(data_folder: Path, is_upgraded: bool = False, **more: Any) -> dict[str, Any]:
    """`[store]` of the node with this data folder: the same each time for the same folder.

    `is_upgraded`: its database has the newest schema already, where that saves time.
    """
    return {"data_folder": str(data_folder)} | (_servers.place(data_folder, is_upgraded) if SHARED else {}) | more


def store_line(data_folder: Path, is_upgraded: bool = False, **more: Any) -> str:
    """The same as one line of TOML."""
    section = store_section(data_folder, is_upgraded, **more)
    return f"store = {{ {', '.join(f'{key} = {json.dumps(value)}' for key, value in section.items())} }}"


def database_url(data_folder: Path, is_upgraded: bool = False) -> str:
    """Of the node with this data folder."""
    section = store_section(data_folder, is_upgraded)
    return str(section.get("database_url", f"sqlite:///{data_folder / 'triage.db'}"))


def before_init(config: Path) -> Path:
    """A configuration that `triage-node init` is about to write; with a shared store its first lines are there already."""
    if SHARED:
        section = store_section(config.resolve().parent / "data")
        config.write_text(
            "\n".join(["[store]", *(f"{key} = {json.dumps(value)}" for key, value in section.items()), ""])
        )
    return config


def keep_built(settings: StoreSettings, data: bytes) -> None:
    """An object as the analysis role keeps it."""
    blobs = open_blobs(settings)
    if not blobs.is_shared:
        Archive(built_folder(settings.data_folder)).prepare()
    blobs.built.keep(data)


@dataclass
class _Servers:
    """One server of each kind for a run. A database lives as long as the folder of its test."""

    database: PostgresServer
    objects: ObjectServer
    _places: dict[Path, dict[str, str]] = field(default_factory=dict)
    _lives: dict[str, Path] = field(default_factory=dict)
    _serial: Iterator[int] = field(default_factory=itertools.count)

    def place(self, data_folder: Path, is_upgraded: bool) -> dict[str, str]:
        if data_folder not in self._places:
            self._sweep()
            name = f"test{next(self._serial)}"
            self._say(f"CREATE DATABASE {name} TEMPLATE {_NEWEST if is_upgraded else 'template0'}")
            self._lives[name] = next(p for p in (data_folder, *data_folder.parents) if p.is_dir())
            self._places[data_folder] = {
                "database_url": self._url(name),
                "blob_url": self.objects.place(),
                "blob_credentials_file": str(self.objects.credentials),
            }
        return self._places[data_folder]

    def make_newest(self) -> None:
        self._say(f"CREATE DATABASE {_NEWEST} TEMPLATE template0")
        store = open_store(self._url(_NEWEST))
        upgrade(store)
        store.close()

    def _sweep(self) -> None:
        for name in [name for name, folder in self._lives.items() if not folder.is_dir()]:
            self._say(f"DROP DATABASE {name} WITH (FORCE)")
            del self._lives[name]

    def _url(self, name: str) -> str:
        return make_url(self.database.url).set(database=name).render_as_string(hide_password=False)

    def _say(self, statement: str) -> None:
        server = create_engine(self.database.url, isolation_level="AUTOCOMMIT")
        with server.connect() as c:
            c.execute(text(statement))
        server.dispose()


_servers: _Servers


@contextmanager
def shared_servers(folder: Path, objects: ObjectServer) -> Iterator[None]:
    """For the length of a run."""
    global _servers
    database = PostgresServer(folder)
    try:
        database.start(max_connections=1000)
        _servers = _Servers(database, objects)
        _servers.make_newest()
        yield
    finally:
        database.remove()
