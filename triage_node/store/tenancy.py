"""Whose rows these are: every table has a column `tenant`, and no login of one hospital sees or meets rows of another.

DESIGN. Code above the database knows nothing of tenants: a forgotten WHERE cannot leak, because there is none to forget.
`settle` runs at the end of every upgrade and makes the following true of every table there is, also of those that a later
revision adds:

- PostgreSQL, where hospitals share tables: the tenant of a row is what `triage_tenant()` says when it is written; row
  security is enabled and FORCEd with one policy, tenant = triage_tenant(), for reading and writing; every key that comes
  from outside (UIDs, names, hashes) is extended by the tenant, so that two hospitals with the same UID neither collide nor
  learn of each other; so is every foreign key, whose check row security does not reach (PostgreSQL 15, 5.8). A login of
  ROLE_PREFIX is nailed to the hospital in its name, whatever it sets; any other one (the owner of a database of one
  hospital) belongs to the tenant that its connection states.
- SQLite: one file belongs to one tenant, from its creation on. The column's default and check say so; keys stay as they are,
  since nobody else is in the file, and making thirty tables anew would risk triggers and references for nothing.

What is left: numbers that the database gives (`id`) come from sequences that all share, so a hospital sees gaps where
others were busy, and a statement's cost may tell how many rows there are in all.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, MetaData, Table, insert, inspect, select, text
from sqlalchemy.schema import AddConstraint, ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint

from triage_node.domain.errors import StoreError
from triage_node.store.engine import GROUP, IS_SHARED, ROLE_PREFIX, TENANT_KEY, Store, checked_tenant
from triage_node.store.schema import meta, metadata

Key = PrimaryKeyConstraint | UniqueConstraint | ForeignKeyConstraint
_COLUMN = "tenant"
_POLICY = "of_tenant"
_NUMBERED_TOO = ("audit",)
"""Tables read by their newest `id`: without this key a search for the newest entry would pass those of all others."""
_FUNCTION = (
    # nothing here reads a row, so it stays inside the statement and an index can be used for it
    "CREATE OR REPLACE FUNCTION triage_tenant() RETURNS text LANGUAGE sql STABLE AS $$ "
    f"SELECT CASE WHEN starts_with(current_user::text, '{ROLE_PREFIX}') "
    f"THEN substr(current_user::text, {len(ROLE_PREFIX) + 1}) ELSE current_setting('triage.tenant') END $$"
)
_GRANTS = [
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {GROUP}",
    f"REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {GROUP}",
    f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {GROUP}",
]


@cache
def scoped(narrow: MetaData) -> MetaData:
    """The tables as hospitals share them: the tenant stands last in every key, so that a search without it is served too."""
    wide = MetaData(naming_convention=narrow.naming_convention)
    for table in narrow.sorted_tables:
        table.to_metadata(wide)
    referenced = {f.column.table.name for t in wide.tables.values() for f in t.foreign_keys if f.column.name == "id"}
    for table in wide.tables.values():
        keys: list[Key] = []
        for old in _narrow_keys(table):
            table.constraints.discard(old)
            columns = [*old.columns.keys(), _COLUMN]
            if isinstance(old, ForeignKeyConstraint):
                there = [e.target_fullname for e in old.elements]
                there.append(f"{there[0].partition('.')[0]}.{_COLUMN}")
                keys.append(ForeignKeyConstraint(columns, there, name=old.name))
            elif isinstance(old, PrimaryKeyConstraint):
                table.c[_COLUMN].primary_key = True  # the two must agree
                keys.append(PrimaryKeyConstraint(*columns, name=str(old.name)))
            else:
                keys.append(UniqueConstraint(*columns, name=str(old.name)))
        if table.name in {*referenced, *_NUMBERED_TOO}:
            keys.append(UniqueConstraint(_COLUMN, "id", name=f"uq_{table.name}_{_COLUMN}_id"))
        for key in keys:
            table.append_constraint(key)
    return wide


def _narrow_keys(table: Table) -> list[Key]:
    """What would let hospitals collide or refer to each other; a number that the database gave is no such key."""
    found = [k for k in table.constraints if isinstance(k, Key)]
    return [k for k in found if k.columns.keys() != ["id"]]


def loosen(c: Connection) -> None:
    """Let the owner's revisions reach the rows of every hospital, until `settle` in the same transaction."""
    _run(c, [f'ALTER TABLE "{name}" NO FORCE ROW LEVEL SECURITY' for name in _forced(c)])


def settle(c: Connection, tenant: str) -> None:
    """Make every table what this module says, whichever revision made it. Rows that are there already become `tenant`'s."""
    is_sqlite = c.dialect.name == "sqlite"
    check = f" CHECK ({_COLUMN} = '{tenant}')" if is_sqlite else ""
    columns = inspect(c).get_multi_columns()
    _run(
        c,
        [
            f"ALTER TABLE \"{name}\" ADD COLUMN {_COLUMN} VARCHAR(32) DEFAULT '{tenant}' NOT NULL{check}"
            for name in metadata.tables
            if _COLUMN not in {column["name"] for column in columns[None, name]}
        ],
    )
    if is_sqlite:
        if c.execute(select(meta.c.value).where(meta.c.key == TENANT_KEY)).scalar() is None:
            c.execute(insert(meta).values(key=TENANT_KEY, value=tenant))
        return
    statements = [_FUNCTION, *_wider_keys(c)]
    for name in metadata.tables:
        of_table = f'ALTER TABLE "{name}"'
        statements += [
            f"{of_table} ALTER COLUMN {_COLUMN} SET DEFAULT triage_tenant()",
            f"{of_table} ENABLE ROW LEVEL SECURITY",
            f"{of_table} FORCE ROW LEVEL SECURITY",
            f'DROP POLICY IF EXISTS {_POLICY} ON "{name}"',
            f'CREATE POLICY {_POLICY} ON "{name}" USING ({_COLUMN} = triage_tenant())',
        ]
    _run(c, statements)
    if c.execute(text(IS_SHARED)).scalar():
        _run(c, _GRANTS)


def _wider_keys(c: Connection) -> list[str]:
    """Statements that replace the keys that lack the tenant; references go first and come back last."""
    there = inspect(c)
    kinds: dict[type[Key], Mapping[Any, list[Any]]] = {
        PrimaryKeyConstraint: {t: [k] if k else [] for t, k in there.get_multi_pk_constraint().items()},
        UniqueConstraint: there.get_multi_unique_constraints(),
        ForeignKeyConstraint: there.get_multi_foreign_keys(),
    }
    dropped, made = [], []
    for key in (k for table in scoped(metadata).sorted_tables for k in table.constraints if isinstance(k, Key)):
        columns = key.columns.keys()
        held = {
            tuple(h.get("column_names") or h["constrained_columns"]): h["name"]
            for h in kinds[type(key)].get((None, key.table.name), [])
        }
        if _COLUMN in columns and tuple(columns) not in held:
            made.append(key)
            narrow = held.get(tuple(name for name in columns if name != _COLUMN))
            if narrow is not None:
                dropped.append((key, f'ALTER TABLE "{key.table.name}" DROP CONSTRAINT "{narrow}"'))
    return [
        *(words for key, words in dropped if isinstance(key, ForeignKeyConstraint)),
        *(words for key, words in dropped if not isinstance(key, ForeignKeyConstraint)),
        *(
            str(AddConstraint(key).compile(dialect=c.dialect))
            for key in sorted(made, key=lambda k: isinstance(k, ForeignKeyConstraint))
        ),
    ]


def _run(c: Connection, statements: list[str]) -> None:
    """On PostgreSQL in one message: three hundred answers would be waited for otherwise."""
    if c.dialect.name == "sqlite":
        for statement in statements:
            c.exec_driver_sql(statement)
    elif statements:
        c.exec_driver_sql(";\n".join(statements))


def _forced(c: Connection) -> list[str]:
    if c.dialect.name == "sqlite":
        return []
    forced = "SELECT relname FROM pg_class WHERE relforcerowsecurity AND relnamespace = current_schema()::regnamespace"
    return list(c.execute(text(forced)).scalars())


def admit(store: Store, tenant: str) -> str:
    """Make, or give a new password to, the login of a hospital in a shared database. Run by the owner. Returns its URL.

    It may read and write rows, and nothing else: what row security does not bind (TRUNCATE, the owner's rights) it has not.
    Raises: StoreError for a name that is none, and on SQLite, whose file is one hospital's.
    """
    if store.is_sqlite:
        raise StoreError("an SQLite file belongs to one tenant; hospitals share a PostgreSQL database")
    role, password = f"{ROLE_PREFIX}{checked_tenant(tenant)}", secrets.token_urlsafe(24)
    with store.write() as c:
        there = set(c.execute(text("SELECT rolname FROM pg_roles")).scalars())
        made = [f"ALTER ROLE {role} PASSWORD '{password}'"]
        if role not in there:
            made = [f"CREATE ROLE {role} LOGIN PASSWORD '{password}' IN ROLE {GROUP}"]
        if GROUP not in there:
            made.insert(0, f"CREATE ROLE {GROUP} NOLOGIN")
        _run(c, [*made, *_GRANTS])
    return store.engine.url.set(username=role, password=password).render_as_string(hide_password=False)
