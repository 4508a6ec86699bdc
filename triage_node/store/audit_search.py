"""Entries of the audit trail for people: searched, a page at a time, newest first; or all of them in order, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row, Select, func, select

from triage_node.domain.audit import AuditEntry, AuditSearch
from triage_node.store.engine import Store
from triage_node.store.schema import audit

_AT_ONCE = 2000


def page(store: Store, search: AuditSearch, most: int, before: int | None = None) -> list[AuditEntry]:
    """The newest `most` entries that were made before entry `before`."""
    query = _matching(search).order_by(audit.c.id.desc()).limit(most)
    with store.read() as c:
        found = c.execute(query if before is None else query.where(audit.c.id < before))
        return [_entry(r) for r in found]


def entries(store: Store, search: AuditSearch, after: int = 0) -> Iterator[AuditEntry]:
    """All of them, oldest first, read in batches: a slow reader holds no transaction open."""
    while True:
        query = _matching(search).where(audit.c.id > after).order_by(audit.c.id).limit(_AT_ONCE)
        with store.read() as c:
            batch = [_entry(r) for r in c.execute(query)]
        yield from batch
        if len(batch) < _AT_ONCE:
            return
        after = batch[-1].id


def waiting(store: Store, after: int) -> int:
    """How many entries come after this one."""
    with store.read() as c:
        return c.execute(select(func.count()).select_from(audit).where(audit.c.id > after)).scalar() or 0


def _matching(search: AuditSearch) -> Select[Any]:
    query = select(audit)
    if search.who:
        query = query.where(func.lower(func.substr(audit.c.actor, 1, len(search.who))) == func.lower(search.who))
    if search.action:
        query = query.where(func.lower(func.substr(audit.c.action, 1, len(search.action))) == func.lower(search.action))
    if search.subject:
        query = query.where(audit.c.subject == search.subject)
    if search.since is not None:
        query = query.where(audit.c.at >= search.since)
    if search.until is not None:
        query = query.where(audit.c.at < search.until)
    return query


def _entry(r: Row[Any]) -> AuditEntry:
    return AuditEntry(int(r.id), r.at, r.actor, r.action, r.subject, r.old, r.new, r.previous_hash, r.hash)
