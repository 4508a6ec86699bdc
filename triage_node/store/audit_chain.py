"""The chain of the audit trail: how an entry is hashed, what its head is, whether it holds.

Entries can be neither changed nor removed (triggers, migration 0017) unless a row of audit_cut says up to which entry they
may go. The cut keeps number and hash of the last entry that went, and is an entry itself, so what is left is checked from
there. Who can change the database can take triggers away and write a false chain from the start; the heads that were told
elsewhere (processes/auditing) find that, and entries that were taken off the end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, func, select

from triage_node.domain.audit import AuditHead, AuditSearch, AuditVerdict, ToldHead
from triage_node.store import audit_search
from triage_node.store.engine import Store
from triage_node.store.schema import audit, audit_cut

START = "0" * 64
CUT = "audit cut"
REMOVED = select(func.coalesce(func.max(audit_cut.c.entries), 0)).scalar_subquery()


def head(store: Store) -> AuditHead | None:
    """The newest entry, None before the first."""
    count = select(func.count()).select_from(audit).scalar_subquery()
    query = select(audit.c.id, audit.c.hash, (count + REMOVED).label("entries"))
    with store.read() as c:
        r = c.execute(query.order_by(audit.c.id.desc()).limit(1)).first()
    return None if r is None else AuditHead(int(r.entries), int(r.id), r.hash)


def verify(store: Store, told: Mapping[int, ToldHead] | None = None) -> AuditVerdict:
    """Walk the whole chain, and compare it with heads that were told elsewhere (`told`: by entry)."""
    told = told or {}
    for _ in range(3):
        with store.read() as c:
            before = last_cut(c)
        verdict = _walk(store, before, told)
        with store.read() as c:
            if last_cut(c) == before:
                break  # else entries were cut while we walked
    return verdict


def digest(previous: str, at: datetime, *fields: str) -> str:
    """The hash of an entry: of the hash before it, when, who, what, of what, old, new."""
    return hashlib.sha256(json.dumps([previous, at.isoformat(), *fields]).encode()).hexdigest()


def last_cut(c: Connection) -> tuple[int, str, int] | None:
    """(number and hash of the last entry that went, how many are gone), in a store of whatever revision that has cuts."""
    query = select(audit_cut.c.last_id, audit_cut.c.hash, audit_cut.c.entries).order_by(audit_cut.c.id.desc()).limit(1)
    r = c.execute(query).first()
    return None if r is None else (int(r.last_id), r.hash, int(r.entries))


def _walk(store: Store, cut: tuple[int, str, int] | None, told: Mapping[int, ToldHead]) -> AuditVerdict:
    cut_at, previous, entries = cut or (0, START, 0)
    now = AuditHead(entries, cut_at, previous) if cut is not None else None
    # heads of what was cut can be compared no more, but for the one at the cut itself
    waiting = _Waiting({id: one for id, one in told.items() if id >= cut_at})
    is_cut_told = cut is None

    def wrong(words: str, id: int) -> AuditVerdict:
        return AuditVerdict(entries, now, words, id, waiting.compared)

    if now is not None and (words := waiting.differs(now)):
        return wrong(words, now.id)
    for r in audit_search.entries(store, AuditSearch()):
        if r.previous_hash != previous:
            return wrong(f"entry {r.id} does not follow from the one before it: one was changed or taken out", r.id)
        if r.hash != digest(previous, r.at, r.actor, r.action, r.subject, r.old, r.new):
            return wrong(f"entry {r.id} is not what it was when it was written", r.id)
        previous, entries = r.hash, entries + 1
        now = AuditHead(entries, r.id, r.hash)
        is_cut_told |= cut is not None and (r.action, r.subject, r.new) == (CUT, f"entry {cut[0]}", cut[1])
        if words := waiting.differs(now):
            return wrong(words, now.id)
    if missing := waiting.missing(now):
        return wrong(*missing)
    if not is_cut_told:
        return wrong(f"entries up to {cut_at} were taken out, and no entry says so", cut_at)
    return AuditVerdict(entries, now, compared=waiting.compared)


class _Waiting:
    """Heads that were told elsewhere and whose entry has not come by yet."""

    def __init__(self, heads: dict[int, ToldHead]) -> None:
        self._heads = heads
        self.compared = 0

    def differs(self, now: AuditHead) -> str:
        """How the chain here differs from what was told of this entry; empty when it does not, or nothing was told."""
        told = self._heads.pop(now.id, None)
        if told is None:
            return ""
        self.compared += 1
        if told.head == now:
            return ""
        return (
            f"entry {now.id} (number {now.entries}) is not the one (number {told.head.entries}) that was told of at "
            f"{told.at.isoformat()}: the chain was written anew"
        )

    def missing(self, now: AuditHead | None) -> tuple[str, int] | None:
        """What was told and never came by, and the first entry that is missing. `now`: where the chain ends."""
        if not self._heads:
            return None
        first, last = min(self._heads), self._heads[max(self._heads)]
        if now is not None and last.head.id < now.id:
            return f"entry {first} was told of at {self._heads[first].at.isoformat()} and is not there", first
        here = f"ends at entry {now.id} (number {now.entries})" if now is not None else "is empty"
        words = f"entry {last.head.id} (number {last.head.entries}) was told of at {last.at.isoformat()}"
        return f"the chain {here}; {words}: the end was taken off", now.id + 1 if now is not None else first
