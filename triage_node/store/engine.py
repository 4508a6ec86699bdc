"""Engine, pragmas, transactions.

DESIGN. One `Store` per process. Every write begins IMMEDIATE on SQLite, so that no read is upgraded to a write while
another process writes ("database is locked" is then a wait of at most BUSY_S, not an error). SQLite runs in WAL with
synchronous=FULL: results, audit and moves survive power loss; received instances need no row to survive (their file
carries it), and their batches are few. PostgreSQL uses FOR UPDATE SKIP LOCKED for leases; how long one side of a
connection waits for another that fell silent is bounded in `line.py`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from triage_node.domain.errors import AnotherTenant, StoreError, StoreUnavailable
from triage_node.domain.identifiers import TENANT
from triage_node.store import line, texts

BUSY_S = 30.0
WRITING = 7460
"""Advisory lock on PostgreSQL: every write shares it from its first statement on, so that who takes it alone (a site that moves)
waits for the writes that run and holds back the others, in whatever order they lock their tables."""
TENANT_KEY = "tenant"
"""Where the table `meta` of an SQLite file says whose it is."""
FILES_KEY = "files"
"""Where `meta` says that the files of the site were moved, and where to (moving/whereabouts.py)."""
_FILES = f"SELECT value FROM meta WHERE key = '{FILES_KEY}'"
_IS_SETTLED_SQLITE = "SELECT 1 FROM sqlite_master WHERE name = 'meta'"
_WHOSE_SQLITE = f"SELECT value FROM meta WHERE key = '{TENANT_KEY}'"
_IS_SETTLED = "SELECT 1 FROM pg_proc WHERE proname = 'triage_tenant'"
ROLE_PREFIX = "tenant_"
GROUP = "triage_tenants"
"""What every login of a hospital may do, in a database that hospitals share."""
IS_SHARED = f"SELECT has_table_privilege(oid, 'alembic_version', 'SELECT') FROM pg_roles WHERE rolname = '{GROUP}'"
_WHOSE = (
    f"SELECT triage_tenant(), coalesce(({IS_SHARED}), false) AND (r.rolsuper OR r.rolbypassrls OR r.oid = t.relowner) "
    "FROM pg_roles r, pg_class t WHERE r.rolname = current_user AND t.oid = 'study'::regclass"
)


@dataclass(frozen=True, slots=True)
class Store:
    """`files`: what `meta` said of the files' move when this process began; it writes nothing once that changed. None: no matter."""

    engine: Engine
    tenant: str
    files: str | None = None

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Raises: StoreError when the database does not answer."""
        with self.in_our_words(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction; committed when the block ends, rolled back when it raises. Raises: StoreError."""
        with self.in_our_words(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.begin()
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock_shared({WRITING})")
            try:
                if self.files is not None and (connection.exec_driver_sql(_FILES).scalar() or "") != self.files:
                    raise StoreError("the files of this site have moved; this process ends and is started again")
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def close(self) -> None:
        self.engine.dispose()

    @staticmethod
    @contextmanager
    def in_our_words() -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            kind = StoreUnavailable if line.may_pass(error) else StoreError
            raise kind(f"the database does not answer or refuses: {type(error).__name__}: {error}"[:500]) from error


def open_store(database_url: str, tenant: str = "site", as_owner: bool = False) -> Store:
    """Connect to the store as `tenant`, whose rows are all that it then holds (tenancy.py).

    Raises: StoreError when the URL is no database URL or the folder of SQLite does not exist; reading and writing raise it
    when the database belongs to another tenant, or hospitals share it and this login may see all of them. Only what changes
    the schema or admits a hospital connects so (`as_owner`).
    """
    checked_tenant(tenant)
    try:
        url = make_url(database_url)
    except SQLAlchemyError as error:
        raise StoreError("database_url is not of the form sqlite:///path or postgresql+pg8000://...") from error
    if url.get_backend_name() == "sqlite":
        if not url.database or not Path(url.database).parent.is_dir():
            raise StoreError(f"the folder of {url.database!r} does not exist; run `triage-node init`")
        engine = create_engine(
            url, hide_parameters=True, poolclass=QueuePool, pool_size=4, connect_args={"timeout": BUSY_S}
        )
        event.listen(engine, "connect", _sqlite_pragmas)
        event.listen(engine, "handle_error", _know_a_connection_that_only_reads)
    elif url.get_backend_name() == "postgresql":
        stated = {"startup_params": {"triage.tenant": tenant}}  # holds for the whole connection, a rollback included
        engine = create_engine(url, hide_parameters=True, pool_size=4, pool_pre_ping=True, connect_args=stated)
        line.bound(engine)
    else:
        raise StoreError(f"{url.get_backend_name()} is not supported; use SQLite or PostgreSQL")
    texts.keep_every_text(engine)
    check = partial(_refuse_another_tenant, tenant, as_owner, url.get_backend_name() == "sqlite")
    event.listen(engine, "connect", check)
    return Store(engine, tenant)


def insert_new(c: Connection, table: Table) -> Any:
    """Insert what is not there yet; somebody on another host may be as fast."""
    dialect = sqlite if c.dialect.name == "sqlite" else postgresql
    return dialect.insert(table).on_conflict_do_nothing()


def checked_tenant(name: str) -> str:
    """The name itself, which goes into statements. Raises: StoreError when it is none."""
    if not re.fullmatch(TENANT, name):
        raise StoreError(f"{name[:64]!r} is no tenant: a-z, 0-9 and _, a letter first, at most 32")
    return name


def sqlite_file(database_url: str) -> Path | None:
    """The file of an SQLite store; None where a server keeps it."""
    url = make_url(database_url)
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def is_made(database_url: str) -> bool:
    """False while the file of an SQLite store is not there yet, which connecting would make."""
    file = sqlite_file(database_url)
    return file is None or file.is_file()


def _refuse_another_tenant(
    tenant: str, as_owner: bool, is_sqlite: bool, connection: DBAPIConnection, _: object
) -> None:
    """Raises: AnotherTenant when this database, or this login of it, belongs to another hospital or to all of them."""
    cursor = connection.cursor()
    try:
        cursor.execute(_IS_SETTLED_SQLITE if is_sqlite else _IS_SETTLED)
        if cursor.fetchone() is None:  # made before there were tenants, or not made yet: `db upgrade` settles it
            return
        cursor.execute(_WHOSE_SQLITE if is_sqlite else _WHOSE)
        held = cursor.fetchone()
    finally:
        cursor.close()
        connection.rollback()
    if held is not None and not is_sqlite and held[1] and not as_owner:
        raise AnotherTenant(
            "hospitals share this database, and this login may see all of them: use the one that "
            f"`triage-node db tenant` made for this hospital ({ROLE_PREFIX}{tenant})"
        )
    if held is not None and held[0] != tenant:
        raise AnotherTenant(f"this store belongs to the tenant {held[0]!r}, and store.tenant is {tenant!r}")


def _sqlite_pragmas(connection: object, _: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]  # we say BEGIN IMMEDIATE ourselves
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _know_a_connection_that_only_reads(context: ExceptionContext) -> None:
    """What was opened while its disk could only be read would read for ever: the pool opens anew, and may write when that is over."""
    original = context.original_exception
    if isinstance(original, sqlite3.Error) and original.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
        context.is_disconnect = True
        if context.execution_context is not None:
            # the error's traceback holds it, it holds the file, and who opens anew shares that
            context.execution_context.cursor.close()
