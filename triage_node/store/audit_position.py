"""Who follows the audit trail, and how far each has come: the head file, the check of the chain, the syslog receiver."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, insert, select, update

from triage_node.store.engine import Store
from triage_node.store.schema import audit_position


@dataclass(frozen=True, slots=True)
class Position:
    """`last_id`: the last entry that it has. `at`: of its last success. `problem`: of its last try, empty when that went well."""

    last_id: int = 0
    at: datetime | None = None
    problem: str = ""


def of(store: Store, name: str) -> Position:
    with store.read() as c:
        return _position(c.execute(select(audit_position).where(audit_position.c.name == name)).first())


def moved(store: Store, name: str, last_id: int, at: datetime) -> None:
    """It has everything up to `last_id`."""
    _put(store, name, {"last_id": last_id, "at": at, "problem": ""})


def failed(store: Store, name: str, problem: str) -> None:
    """Its last try did not succeed; where it stands stays."""
    _put(store, name, {"problem": problem[:500]})


def _put(store: Store, name: str, values: dict[str, object]) -> None:
    with store.write() as c:
        changed = c.execute(update(audit_position).where(audit_position.c.name == name).values(**values))
        if changed.rowcount == 0:
            c.execute(insert(audit_position).values(**{"name": name, "last_id": 0, "problem": "", **values}))


def _position(r: Row[tuple[object, ...]] | None) -> Position:
    return Position() if r is None else Position(r.last_id, r.at, r.problem)
