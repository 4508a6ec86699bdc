"""The audit chain in one transaction: from its beginning, or from where it was walked already."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, select

from triage_node.domain.audit import AuditHead
from triage_node.store.audit_chain import START, digest, last_cut
from triage_node.store.schema import audit, audit_cut

_ENTRY = ("id", "at", "actor", "action", "subject", "old", "new", "previous_hash", "hash")
"""What an entry always was; columns that came later are not hashed."""


def wrong_after(c: Connection, head: AuditHead | None) -> int | None:
    """The first entry after `head`, or None for all, that does not follow from the one before; None when all do."""
    last, previous = (head.id, head.hash) if head is not None else _beginning(c)
    entries = select(*(audit.c[name] for name in _ENTRY)).where(audit.c.id > last).order_by(audit.c.id)
    for r in c.execute(entries.execution_options(yield_per=1000)):
        if r.previous_hash != previous or r.hash != digest(previous, r.at, r.actor, r.action, r.subject, r.old, r.new):
            return int(r.id)
        previous = r.hash
    return None


def _beginning(c: Connection) -> tuple[int, str]:
    """Where the chain begins, or where it was cut; stores of early revisions know no cuts."""
    cut = last_cut(c) if inspect(c).has_table(audit_cut.name) else None
    return cut[:2] if cut is not None else (0, START)
