"""Rows in every table of a store at any revision, made from its reflected columns; the audit trail by the code that writes it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Connection, DateTime, Float, Integer, MetaData, Table, insert, select

from triage_node.domain.study import StudyIdentity
from triage_node.store import audit
from triage_node.store.engine import Store

AT = datetime(2026, 3, 29, 1, 59, 59, 123456, tzinfo=UTC)
_TEXTS = ("plain", "Größe\tund\\nä 中\r\n'quoted\"", "")
_JSON: tuple[Any, ...] = ({"a": [1, 0.1, None], "Ж": "\\N"}, [], None)
_OWN = ("audit", "audit_cut", "meta", "alembic_version")
"""Filled by the code that they belong to, or of one row each."""


def fill(store: Store, rows: int = 3) -> None:
    """Rows of tables that refer to others refer to theirs; what is there under a key stays."""
    found = MetaData()
    with store.write() as c:
        found.reflect(c)
        for table in found.sorted_tables:
            if table.name not in _OWN:
                keys = [column.name for column in table.primary_key.columns if column.name != "tenant"]
                held = {tuple(r) for r in c.execute(select(*(table.c[name] for name in keys)))}
                made = (row_of(table, k) for k in range(rows))
                c.execute(insert(table), [row for row in made if tuple(row[n] for n in keys) not in held])
        for k in range(rows):
            audit.record(c, AT + timedelta(minutes=k), "somebody", "study viewed", f"1.2.{k}", new=_TEXTS[k % 3])
        _follow(c, found)


def row_of(table: Table, k: int) -> dict[str, Any]:
    """The k-th row that is made up for a table."""
    return {c.name: _value(c, k) for c in table.columns if c.name != "tenant"}


def _value(column: Column[Any], k: int) -> Any:
    if (column.table.name, column.name) == ("study", "identity"):
        return asdict(StudyIdentity(f"P{k}", "", _TEXTS[k % 3], "19650417", "F", f"A{k}"))
    if isinstance(column.type, JSON):
        return _JSON[k % 3] if column.nullable else _JSON[k % 2]
    if column.nullable and k % 3 == 2 and not column.foreign_keys:
        return None
    if isinstance(column.type, Boolean):
        return bool(k % 2)
    if isinstance(column.type, DateTime):
        return (AT + timedelta(seconds=k)).replace(tzinfo=None)
    if isinstance(column.type, Float):
        return 0.1 + k / 3
    if isinstance(column.type, Integer):
        return k + 1
    length = getattr(column.type, "length", None)
    alone = column.primary_key or column.foreign_keys or column.unique or length in (64, 16)
    text = f"1.2.{k + 1}" if alone else _TEXTS[k % 3]
    return text[:length]


def _follow(c: Connection, found: MetaData) -> None:
    """PostgreSQL's sequences know nothing of ids that came with their rows."""
    if c.dialect.name != "postgresql":
        return
    for table in found.sorted_tables:
        if "id" in table.columns and table.name not in _OWN:
            c.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('\"{table.name}\"', 'id'), (SELECT max(id) FROM \"{table.name}\"))"
            )
