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

from tests.support.newest import at, put_postgres, put_sqlite, say
from tests.support.object_store import ObjectServer
from tests.support.pacs import PostgresServer
from triage_node.blobs.opened import open_blobs
from triage_node.blobs.places import built_folder
from triage_node.config.schema import StoreSettings
from triage_node.instances.archive import Archive

SHARED = os.environ.get("TRIAGE_TEST_STORE") == "shared"


def store_section(data_folder: Path, is_upgraded: bool = False, **more: Any) -> dict[str, Any]:
    """`[store]` of the node with this data folder: the same each time for the same folder.

    `is_upgraded`: its database has the newest schema already.
    """
    if is_upgraded and not SHARED:
        put_sqlite(data_folder / "triage.db")
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
            if is_upgraded:
                put_postgres(self.database.url, name)
            else:
                say(self.database.url, f"CREATE DATABASE {name} TEMPLATE template0")
            self._lives[name] = next(p for p in (data_folder, *data_folder.parents) if p.is_dir())
            self._places[data_folder] = {
                "database_url": at(self.database.url, name),
                "blob_url": self.objects.place(),
                "blob_credentials_file": str(self.objects.credentials),
            }
        return self._places[data_folder]

    def _sweep(self) -> None:
        for name in [name for name, folder in self._lives.items() if not folder.is_dir()]:
            say(self.database.url, f"DROP DATABASE {name} WITH (FORCE)")
            del self._lives[name]


_servers: _Servers


@contextmanager
def shared_servers(folder: Path, objects: ObjectServer) -> Iterator[None]:
    """For the length of a run."""
    global _servers
    database = PostgresServer(folder)
    try:
        database.start(max_connections=1000)
        _servers = _Servers(database, objects)
        yield
    finally:
        database.remove()
