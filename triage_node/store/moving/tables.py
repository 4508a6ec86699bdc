"""Rows of any table of a store as plain values that are the same on every engine.

Tables are reflected, not taken from schema.py, so that stores of earlier revisions can be read too. JSON travels as the text
that was written: read as values and written again, SQL NULL and JSON null would become one.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Row,
    Table,
    Text,
    and_,
    cast,
    event,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import UserDefinedType

from triage_node.domain.errors import StoreError
from triage_node.store.engine import TENANT_KEY

VERSION = "alembic_version"
MARKS = ("copy_of", "moved_to", "came_from", TENANT_KEY)
"""Keys of `meta` that belong to one database and not to the site that it holds."""
_WHOSE = "tenant"
"""A column that each database fills by itself (tenancy.py); on PostgreSQL it is the last of most keys."""

Values = tuple[Any, ...]


class _JsonText(UserDefinedType[str]):
    """A JSON column as its text."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSON"

    def column_expression(self, colexpr: ColumnElement[Any]) -> ColumnElement[Any]:
        return cast(colexpr, Text)


@dataclass(frozen=True, slots=True)
class Whole:
    """One table: every column, and the key that its rows are ordered and found by."""

    table: Table

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def key(self) -> list[Column[Any]]:
        return [c for c in self.table.primary_key.columns if c.name != _WHOSE]

    @property
    def columns(self) -> list[str]:
        """By name: a migration may leave another order on another engine."""
        return sorted(c.name for c in self.table.columns if c.name != _WHOSE)

    @property
    def key_at(self) -> list[int]:
        """Where the key stands in the values of a row."""
        return [self.columns.index(c.name) for c in self.key]

    def key_of(self, row: Sequence[Any]) -> Values:
        return tuple(row[k] for k in self.key_at)

    def own(self) -> ColumnElement[bool]:
        """Which rows are the site's; the marks of this one database are not."""
        return self.table.c.key.not_in(MARKS) if self.name == "meta" else and_(True)


def tables_of(c: Connection) -> list[Whole]:
    """Every table of a store, referenced ones before those that refer to them."""
    found = MetaData()
    event.listen(found, "column_reflect", _as_text)
    found.reflect(c)
    return [Whole(t) for t in found.sorted_tables if t.name != VERSION]


def _as_text(_: object, __: object, column: dict[str, Any]) -> None:
    if isinstance(column["type"], JSON):
        column["type"] = _JsonText()


def digest(rows: Sequence[Values]) -> str:
    """SHA-256 of rows in their order. The same rows give the same on every engine."""
    return hashlib.sha256(repr(rows).encode("utf-8", "surrogatepass")).hexdigest()


def rows_after(
    c: Connection, whole: Whole, after: Values | None, limit: int, columns: Sequence[str] | None = None
) -> list[Values]:
    """The next rows in the order of their keys. `columns`: only these; the key must be among them."""
    query = _select(whole, columns).order_by(*whole.key).limit(limit)
    return _plain(c, query if after is None else query.where(_beyond(whole, after)))


def rows_between(
    c: Connection, whole: Whole, after: Values | None, last: Values, columns: Sequence[str] | None = None
) -> list[Values]:
    """Rows whose key is beyond `after` and at most `last`."""
    query = _select(whole, columns).where(_upto(whole, last)).order_by(*whole.key)
    return _plain(c, query if after is None else query.where(_beyond(whole, after)))


def rows_of(c: Connection, whole: Whole, keys: Sequence[Values]) -> dict[Values, Values]:
    """Key -> row, of those keys that are there."""
    found: dict[Values, Values] = {}
    for k in range(0, len(keys), 200):  # SQLite takes a bounded number of values in one statement
        part = keys[k : k + 200]
        one = len(whole.key) == 1
        which = whole.key[0].in_([v[0] for v in part]) if one else tuple_(*whole.key).in_(part)
        found |= {whole.key_of(r): r for r in _plain(c, _select(whole, None).where(which))}
    return found


def chunks(c: Connection, whole: Whole, size: int) -> Iterator[list[Values]]:
    """All rows in the order of their keys."""
    after: Values | None = None
    while rows := rows_after(c, whole, after, size):
        yield rows
        after = whole.key_of(rows[-1])


def count(c: Connection, whole: Whole, upto: Values | None = None) -> int:
    query = select(func.count()).select_from(whole.table).where(whole.own())
    return int(c.execute(query if upto is None else query.where(_upto(whole, upto))).scalar_one())


def keys(c: Connection, whole: Whole) -> set[Values]:
    return {tuple(r) for r in c.execute(select(*whole.key).where(whole.own()))}


def add(c: Connection, whole: Whole, rows: Sequence[Values]) -> None:
    """Insert whole rows. Raises: StoreError that names the table and what the database said, no value."""
    if not rows:
        return
    try:
        if c.dialect.name == "postgresql":
            _copy_in(c, whole, rows)
        else:
            c.execute(insert(whole.table), [dict(zip(whole.columns, r, strict=True)) for r in rows])
    except (SQLAlchemyError, c.dialect.loaded_dbapi.Error, ValueError) as error:
        raise StoreError(f"table {whole.name}: {_said(error)}") from error


def change(c: Connection, whole: Whole, rows: Sequence[Values]) -> None:
    """Write these rows over those with the same keys. Raises: StoreError."""
    names = [c.name for c in whole.key]
    try:
        for row in rows:
            values = dict(zip(whole.columns, row, strict=True))
            which = and_(*(whole.table.c[n] == values.pop(n) for n in names))
            if values:
                c.execute(whole.table.update().where(which).values(values))
    except SQLAlchemyError as error:
        raise StoreError(f"table {whole.name}: {_said(error)}") from error


def remove(c: Connection, whole: Whole, gone: set[Values]) -> None:
    """Raises: StoreError."""
    try:
        for key in gone:
            which = (column == value for column, value in zip(whole.key, key, strict=True))
            c.execute(whole.table.delete().where(*which))
    except SQLAlchemyError as error:
        raise StoreError(f"table {whole.name}: {_said(error)}") from error


def set_sequences(c: Connection, wholes: Sequence[Whole]) -> None:
    """After rows came with their ids: the next id is beyond them. SQLite sees to that itself."""
    if c.dialect.name != "postgresql":
        return
    for whole in wholes:
        for column in whole.key:
            quoted = c.dialect.identifier_preparer.quote(whole.name)
            sequence = c.execute(
                text("SELECT pg_get_serial_sequence(:t, :c)"), {"t": quoted, "c": column.name}
            ).scalar()
            if sequence is not None:
                top = select(func.max(column)).scalar_subquery()
                c.execute(select(func.setval(sequence, func.coalesce(top, 1), top.is_not(None))))


def _select(whole: Whole, columns: Sequence[str] | None) -> Any:
    return select(*(whole.table.c[n] for n in columns or whole.columns)).where(whole.own())


def _plain(c: Connection, query: Any) -> list[Values]:
    found: Sequence[Row[Any]] = c.execute(query).all()
    return [tuple(r) for r in found]


def _beyond(whole: Whole, key: Values) -> ColumnElement[bool]:
    """Rows after this key in this engine's own order."""
    alternatives = []
    for k, column in enumerate(whole.key):
        same = (whole.key[j] == key[j] for j in range(k))
        alternatives.append(and_(*same, column > key[k]))
    return or_(*alternatives)


def _upto(whole: Whole, key: Values) -> ColumnElement[bool]:
    return whole.key[0] <= key[0] if len(whole.key) == 1 else ~_beyond(whole, key)


def _copy_in(c: Connection, whole: Whole, rows: Sequence[Values]) -> None:
    """COPY FROM STDIN: one statement for any number of rows. Source: PostgreSQL manual, COPY, text format."""
    prepare = c.dialect.identifier_preparer
    columns = ", ".join(prepare.quote(n) for n in whole.columns)
    lines = "".join("\t".join(_copied(v) for v in row) + "\n" for row in rows)
    cursor = c.connection.cursor()
    try:
        cursor.execute(  # type: ignore[call-arg]  # `stream` is pg8000's own
            f"COPY {prepare.quote(whole.name)} ({columns}) FROM STDIN", stream=io.BytesIO(lines.encode("utf-8"))
        )
    finally:
        cursor.close()


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copied(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return repr(value) if isinstance(value, float) else str(value)


def _said(error: Exception) -> str:
    """What went wrong, without the values that came along: they may be a patient's."""
    inner = getattr(error, "orig", None) or error
    details = inner.args[0] if inner.args else ""
    if isinstance(details, dict):  # pg8000: M message, W where, c column
        column = re.search(r"column (\w+)", str(details.get("W", ""))) or re.search(r"(\w+)", details.get("c", ""))
        named = f" (column {column[1]})" if column else ""
        return str(details.get("M", "")).split(":")[0][:160] + named
    return f"{type(inner).__name__}: {str(details).splitlines()[0] if details else ''}"[:200]
