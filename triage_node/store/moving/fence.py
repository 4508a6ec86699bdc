"""Which database of a site is the living one: marks in `meta`, and a fence of triggers around one that was left.

Marks: `site` names the site for ever and travels; `copy_of` stands in a database that is being filled; `moved_to` in one that
was left; `came_from` in the one that took over. A database with one of the first two serves nobody. The fence holds on every
host and for processes that were started before the move: whatever writes gets an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, inspect, make_url, select, text

from triage_node.domain.errors import StoreError
from triage_node.store.engine import TENANT_KEY, WRITING, Store
from triage_node.store.schema import audit, meta

SITE = "site"
_COPY_OF, _MOVED_TO, _CAME_FROM = "copy_of", "moved_to", "came_from"
_WAIT_S = 30
"""For running transactions to end before writes stop (PostgreSQL; SQLite has its own, engine.BUSY_S)."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Addresses are without passwords. `tables`: how many there are; `holds`: whether a site is in them, ours or another."""

    tables: int
    holds: bool = False
    site: str = ""
    copy_of: str = ""
    moved_to: str = ""
    came_from: str = ""


def shown(url: str) -> str:
    """A database address without its password."""
    return make_url(url).render_as_string(hide_password=True)


def marks(store: Store) -> Marks:
    """Raises: StoreError when the database does not answer."""
    with store.read() as c:
        names = inspect(c).get_table_names()
        if meta.name not in names:
            return Marks(len(names))
        held = {r.key: r.value for r in c.execute(select(meta))}
        said = audit.name in names and c.execute(select(audit.c.id).limit(1)).scalar() is not None
    holds = said or bool(held.keys() - {TENANT_KEY})
    return Marks(len(names), holds, *(held.get(key, "") for key in (SITE, _COPY_OF, _MOVED_TO, _CAME_FROM)))


def refuse_unfit(store: Store) -> None:
    """Raises: StoreError for a database that nobody may serve from."""
    held = marks(store)
    if held.moved_to:
        raise StoreError(
            f"the store has moved to {held.moved_to}: name that in [store] database_url (`triage-node migrate --help`)"
        )
    if held.copy_of:
        raise StoreError(f"this database is an unfinished copy of {held.copy_of}; run `triage-node migrate` again")


def refuse_shared(store: Store) -> None:
    """Raises: StoreError when this login may not put a fence around the tables, since they are not one hospital's alone."""
    if store.is_sqlite:
        return
    with store.read() as c:
        owns = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'meta'::regclass"
        if not c.execute(text(owns)).scalar():
            raise StoreError(
                "this login does not own the tables, as where hospitals share them: use the owner's, or `backup` and `restore`"
            )


def has_moved(store: Store) -> str:
    """Where to; empty when it has not, or cannot be asked."""
    try:
        return marks(store).moved_to
    except StoreError:
        return ""


def site_of(store: Store) -> str:
    """The name of the site that this store holds, made when it has none."""
    with store.write() as c:
        held = c.execute(select(meta.c.value).where(meta.c.key == SITE)).scalar()
        if held is None:
            held = uuid4().hex
            c.execute(insert(meta).values(key=SITE, value=held))
    return str(held)


def begin_copy(target: Store, source: str, site: str) -> None:
    """Nobody may serve from the target until it took over; one that was left may be written again."""
    with target.write() as c:
        _take_fence_down(c)
        _mark(c, _COPY_OF, source, _MOVED_TO, _CAME_FROM, SITE)
        c.execute(insert(meta).values(key=SITE, value=site))


@contextmanager
def writes_stopped(store: Store) -> Iterator[Connection]:
    """One transaction in which nobody else writes to any table. Committed at the end. Raises: StoreError."""
    with store.write() as c:
        if not store.is_sqlite:
            c.execute(text(f"SET LOCAL lock_timeout = '{_WAIT_S}s'"))
            c.execute(text(f"SELECT pg_advisory_xact_lock({WRITING})"))
        yield c


def leave(c: Connection, target: str) -> None:
    """From the end of this transaction on, the store takes no writes and says where it went."""
    _mark(c, _MOVED_TO, target, _COPY_OF)
    names = sorted(inspect(c).get_table_names())
    quote = c.dialect.identifier_preparer.quote
    if c.dialect.name == "sqlite":
        for name in names:
            for deed in ("INSERT", "UPDATE", "DELETE"):
                c.execute(
                    text(
                        f"CREATE TRIGGER {quote(f'moved_{name}_{deed.lower()}')} BEFORE {deed} ON {quote(name)} "
                        "BEGIN SELECT RAISE(ABORT, 'this store has moved'); END"
                    )
                )
        return
    c.execute(
        text(
            "CREATE FUNCTION moved() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'this store has moved'; END $$"
        )
    )
    for name in names:
        c.execute(
            text(
                f"CREATE TRIGGER moved BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {quote(name)} "
                "FOR EACH STATEMENT EXECUTE FUNCTION moved()"
            )
        )


def take_over(c: Connection, source: str, at: datetime) -> None:
    """From the end of this transaction on, this database is the living one."""
    _mark(c, _CAME_FROM, json.dumps({"from": source, "at": at.isoformat()}), _COPY_OF)


def _mark(c: Connection, key: str, value: str, *instead_of: str) -> None:
    c.execute(delete(meta).where(meta.c.key.in_((key, *instead_of))))
    c.execute(insert(meta).values(key=key, value=value))


def _take_fence_down(c: Connection) -> None:
    if c.dialect.name == "sqlite":
        quote = c.dialect.identifier_preparer.quote
        query = text(r"SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'moved\_%' ESCAPE '\'")
        for name in c.execute(query).scalars().all():
            c.execute(text(f"DROP TRIGGER {quote(name)}"))
    else:
        c.execute(text("DROP FUNCTION IF EXISTS moved() CASCADE"))
