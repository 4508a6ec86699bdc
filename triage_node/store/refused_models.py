"""A change of the model that did not take place, by host: told until one does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from triage_node.store import audit
from triage_node.store.engine import Store
from triage_node.store.schema import meta

_KEY = "refused_models"


@dataclass(frozen=True, slots=True)
class Refused:
    host: str
    at: datetime
    why: str


def put(store: Store, host: str, why: str, at: datetime) -> None:
    """In the place of an earlier one of this host."""
    with store.write() as c:
        _save(c, {**_held(c, lock=True), host: {"at": at.isoformat(), "why": why}})
        audit.record(c, at, "node", "model refused", host, new=why)


def forget(store: Store, host: str) -> None:
    """The host runs the model that its configuration names."""
    with store.read() as c:
        if host not in _held(c):
            return
    with store.write() as c:
        _save(c, {of: said for of, said in _held(c, lock=True).items() if of != host})


def refused(store: Store) -> tuple[Refused, ...]:
    with store.read() as c:
        held = _held(c)
    return tuple(Refused(host, datetime.fromisoformat(said["at"]), said["why"]) for host, said in sorted(held.items()))


def _held(c: Connection, lock: bool = False) -> dict[str, dict[str, str]]:
    query = select(meta.c.value).where(meta.c.key == _KEY)
    text = c.execute(query.with_for_update() if lock else query).scalar()
    return dict(json.loads(text)) if text else {}


def _save(c: Connection, held: dict[str, dict[str, str]]) -> None:
    if not held:
        c.execute(delete(meta).where(meta.c.key == _KEY))
    elif not c.execute(update(meta).where(meta.c.key == _KEY).values(value=json.dumps(held))).rowcount:
        c.execute(insert(meta).values(key=_KEY, value=json.dumps(held)))
