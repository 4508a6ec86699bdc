"""Schema migrations (`triage-node db upgrade`): Alembic, one revision a change, never edited after release."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from triage_node.store import tenancy
from triage_node.store.engine import Store
from triage_node.store.schema import metadata


def upgrade(store: Store) -> tuple[str | None, str]:
    """Bring the schema to the newest revision; SQLite is copied beside itself first. Returns (old, new) revision."""
    with store.read() as c:
        old, new = revision(c), str(ScriptDirectory.from_config(_config()).get_current_head())
        if old == new:
            return old, new
        if store.is_sqlite and old is not None:
            _copy(Path(str(store.engine.url.database)), old)
        config = _config()
        config.attributes["connection"] = c
        if store.is_sqlite:
            c.exec_driver_sql("BEGIN IMMEDIATE")  # DDL is transactional on SQLite, but nobody else would begin it
        tenancy.loosen(c)
        command.upgrade(config, "head")
        tenancy.settle(c, store.tenant)
        c.commit()
    return old, new


def revision(c: Connection) -> str | None:
    """The revision of this database, None when it is empty."""
    return MigrationContext.configure(c).get_current_revision()


def is_current(store: Store) -> bool:
    """Raises: StoreError when the database does not answer."""
    with store.read() as c:
        return revision(c) == ScriptDirectory.from_config(_config()).get_current_head()


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


def _copy(database: Path, old: str) -> None:
    target = database.with_name(f"{database.name}.before-{old}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    with sqlite3.connect(database) as source, sqlite3.connect(target) as copy:
        source.backup(copy)
    shutil.copymode(database, target)
