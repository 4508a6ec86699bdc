"""The end of the audit chain, where its beginning was walked already."""

from __future__ import annotations

from sqlalchemy import Connection, select

from triage_node.domain.audit import AuditHead
from triage_node.store.audit_chain import START, digest
from triage_node.store.schema import audit


def wrong_after(c: Connection, head: AuditHead | None) -> int | None:
    """The first entry after `head` that does not follow from the one before; None when all do."""
    previous = head.hash if head is not None else START
    for r in c.execute(select(audit).where(audit.c.id > (head.id if head is not None else 0)).order_by(audit.c.id)):
        if r.previous_hash != previous or r.hash != digest(previous, r.at, r.actor, r.action, r.subject, r.old, r.new):
            return int(r.id)
        previous = r.hash
    return None
