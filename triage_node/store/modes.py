"""Every change of the mode by a person, append-only."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from triage_node.domain.mode_switch import ModeAction, ModeChange, ModeSwitch, switch_after
from triage_node.store import audit
from triage_node.store.engine import Store
from triage_node.store.meta import touch_list
from triage_node.store.schema import mode_change

SUBJECT = "mode"


def add(c: Connection, change: ModeChange) -> None:
    row = {
        "at": change.at,
        "by": change.by,
        "action": change.action.value,
        "reason": change.reason,
        "bundle_digest": change.bundle_digest,
    }
    c.execute(insert(mode_change).values(row))
    audit.record(c, change.at, change.by, f"mode: {change.action.value}", SUBJECT, new=change.reason)
    touch_list(c)


def changes(source: Store | Connection) -> list[ModeChange]:
    """Oldest first."""
    if isinstance(source, Store):
        with source.read() as c:
            return changes(c)
    query = select(mode_change).order_by(mode_change.c.id)
    return [ModeChange(r.at, r.by, ModeAction(r.action), r.reason, r.bundle_digest) for r in source.execute(query)]


def switch(source: Store | Connection) -> ModeSwitch:
    """What people decided last."""
    return switch_after(changes(source))
