"""Schema migrations (`triage-node db upgrade`): Alembic, one revision a change, never edited after release."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from triage_node.domain.errors import StoreError
from triage_node.store import tenancy
from triage_node.store.engine import Store, open_store
from triage_node.store.schema import metadata


def upgrade(store: Store) -> tuple[str | None, str]:
    """Bring the schema to the newest revision, in one transaction that is taken back when a row would be missing.

    SQLite is copied beside itself first, and a copy of that goes the way before the store does. Returns (old, new) revision.
    Raises: StoreError; the store is as it was then.
    """
    with store.read() as c:
        old, new = revision(c), _head()
    if old == new:
        return old, new
    if store.is_sqlite and old is not None:
        kept = _copy(Path(str(store.engine.url.database)), old)
        trial(store, kept)
    _through(store, commit=True)
    return old, new


def trial(store: Store, copy: Path | None = None) -> tuple[str | None, str]:
    """The way to the newest revision without taking it: on a copy of an SQLite file (of `copy`, where there is one), else in
    a transaction that is taken back, for whose time nobody writes. Returns (old, new) revision. Raises: StoreError."""
    with store.read() as c:
        old = revision(c)
    if not store.is_sqlite:
        return _through(store, commit=False)
    if old is None:
        return old, _head()
    database = Path(str(store.engine.url.database))
    target = database.with_name(f"{database.name}.trial")
    _remove(target)
    try:
        _copy_to(copy or database, target)
        tried = open_store(f"sqlite:///{target}", store.tenant)
        try:
            return _through(tried, commit=True)
        finally:
            tried.close()
    except OSError as error:
        raise StoreError(f"no copy of the store could be made: {error.strerror}") from error
    finally:
        _remove(target)


def go_back(store: Store, copy: Path) -> Path:
    """Put a copy that `upgrade` made in the place of an SQLite store. Returns where the store is now. Nobody may use it meanwhile.

    Raises: StoreError when this is no copy of this store.
    """
    if not store.is_sqlite:
        raise StoreError(
            "the copy of a PostgreSQL store is a backup: `triage-node restore` makes an empty database of it"
        )
    database = Path(str(store.engine.url.database))
    try:
        held = open_store(f"sqlite:///{copy}", store.tenant)
        with held.read() as c:
            old = revision(c) if copy.is_file() else None
        held.close()
        if old is None:
            raise StoreError(f"{copy} is no copy of a store")
        aside = database.with_name(f"{database.name}.left-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        _copy_to(database, aside)  # with what still lies in its log
        new = database.with_name(f"{database.name}.back")
        _copy_to(copy, new)
        store.close()
        _remove(database)
        new.replace(database)
    except OSError as error:
        raise StoreError(f"{error.filename}: {error.strerror}") from error
    return aside


def _through(store: Store, commit: bool) -> tuple[str | None, str]:
    """All revisions in one transaction, checked before its end. Raises: StoreError."""
    with store.read() as c:
        config = _config()
        config.attributes["connection"] = c
        if store.is_sqlite:
            c.exec_driver_sql("BEGIN IMMEDIATE")  # DDL is transactional on SQLite, but nobody else would begin it
        old, before = revision(c), _rows(c)
        tenancy.loosen(c)
        command.upgrade(config, "head")
        tenancy.settle(c, store.tenant)
        after = _rows(c)
        lost = sorted(n for n, rows in before.items() if after.get(n, rows) < rows and n not in EMPTIED)
        if lost:
            raise StoreError(f"rows of {', '.join(lost)} would be lost; nothing was changed")
        if commit:
            c.commit()
        else:
            c.rollback()
    return old, _head()


EMPTIED = ("user", "heartbeat")
"""Tables that a revision made anew: 0012, before which no version wrote a row; 0021, whose rows live for seconds."""


def _rows(c: Connection) -> dict[str, int]:
    quote = c.dialect.identifier_preparer.quote
    names = inspect(c).get_table_names()
    return {name: int(c.execute(text(f"SELECT count(*) FROM {quote(name)}")).scalar_one()) for name in names}


@cache
def _head() -> str:
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def knows(wanted: str) -> bool:
    """Whether this version has this revision."""
    return wanted in {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def make_at(c: Connection, wanted: str, tenant: str) -> None:
    """The tables of one revision, in the caller's transaction. Tenants come with the newest (tenancy.py)."""
    config = _config()
    config.attributes["connection"] = c
    command.upgrade(config, wanted)
    if wanted == _head():
        tenancy.settle(c, tenant)


def revision(c: Connection) -> str | None:
    """The revision of this database, None when it is empty."""
    return MigrationContext.configure(c).get_current_revision()


def is_made(store: Store) -> bool:
    """Raises: StoreError when the database does not answer."""
    with store.read() as c:
        return revision(c) is not None


def is_current(store: Store) -> bool:
    """Raises: StoreError when the database does not answer."""
    with store.read() as c:
        return revision(c) == _head()


def differences(store: Store) -> list[object]:
    """What autogenerate would still change; empty when the revisions equal schema.py."""
    with store.engine.connect() as c:
        wanted = metadata if store.is_sqlite else tenancy.scoped(metadata)
        return list(compare_metadata(MigrationContext.configure(c, opts={"compare_type": True}), wanted))


def new_revision(store: Store, message: str, revision_id: str) -> None:
    """For developers: write a revision from the difference between this database and schema.py."""
    with store.engine.connect() as c:
        config = _config()
        config.attributes["connection"] = c
        command.revision(config, message=message, autogenerate=True, rev_id=revision_id)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _copy(database: Path, old: str) -> Path:
    target = database.with_name(f"{database.name}.before-{old}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    _copy_to(database, target)
    return target


def _copy_to(database: Path, target: Path) -> None:
    """One instant of a database, while others write. Raises: StoreError."""
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
        shutil.copymode(database, target)
    except sqlite3.Error as error:
        raise StoreError(f"{target}: no copy of the store could be made: {error}") from error


def _remove(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(f"{database.name}{suffix}").unlink(missing_ok=True)
