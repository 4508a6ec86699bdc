"""Who did what, with old and new, as a hash chain: a row that was changed or taken out breaks it (invariant 6)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, insert, or_, select, text

from triage_node.store import audit_chain
from triage_node.store.engine import Store
from triage_node.store.schema import audit
from triage_node.store.texts import kept

VIEWED = "study viewed"
TOLD = "study read"
"""Over the API; `looked_at` does not count it."""
BY_TIME = "node: "
"""How the actor of a change that time brings begins."""
_CHAIN_LOCK = 7461  # advisory lock on PostgreSQL: one writer appends to the chain at a time


def record(c: Connection, at: datetime, actor: str, action: str, subject: str, old: str = "", new: str = "") -> None:
    """Append one entry in the caller's transaction."""
    lock(c)
    actor, action, subject, old, new = map(kept, (actor, action, subject, old, new))  # the hash is of what is kept
    previous = c.execute(select(audit.c.hash).order_by(audit.c.id.desc()).limit(1)).scalar() or audit_chain.START
    hashed = audit_chain.digest(previous, at, actor, action, subject, old, new)
    c.execute(
        insert(audit).values(
            at=at, actor=actor, action=action, subject=subject, old=old, new=new, previous_hash=previous, hash=hashed
        )
    )


def lock(c: Connection) -> None:
    """Keep others from appending until this transaction ends; SQLite has one writer anyway."""
    if c.dialect.name == "postgresql":
        c.execute(text(f"SELECT pg_advisory_xact_lock({_CHAIN_LOCK})"))


def entries(store: Store, subject: str) -> list[tuple[datetime, str, str]]:
    """(at, actor, action) of everything that happened to one subject, oldest first."""
    with store.read() as c:
        query = select(audit.c.at, audit.c.actor, audit.c.action).where(audit.c.subject == subject)
        return [(r.at, r.actor, r.action) for r in c.execute(query.order_by(audit.c.id))]


def looked_at(c: Connection, study_instance_uid: str, since: datetime) -> bool:
    """Whether somebody opened a study or changed its reading state since then; what the node itself does by time is neither."""
    by_somebody = (audit.c.action == "reading state") & (func.substr(audit.c.actor, 1, len(BY_TIME)) != BY_TIME)
    query = select(audit.c.id).where(
        audit.c.subject == study_instance_uid, audit.c.at >= since, or_(audit.c.action == VIEWED, by_somebody)
    )
    return c.execute(query.limit(1)).scalar() is not None


def first_broken(store: Store) -> int | None:
    """The id of the first entry that does not follow from the one before it, or None when the chain holds."""
    return audit_chain.verify(store).first_wrong
