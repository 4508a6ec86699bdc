"""Everything that a transaction changed, written by triggers beside it: what an end state does not show any more.

`tx` numbers transactions, so that "in one transaction" can be asked of what was stored. The triggers belong to the simulation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from triage_node.store.engine import Store

_NOTE = "INSERT INTO seen (tx, at, what, subject, old, new) VALUES (moment(), seconds(), '{what}', {subject}, {old}, {new});"
_CHANGES = {
    # what is noted: (table, column that names the subject, what was before, what is now)
    "state": ("study", "study_instance_uid", "state", "state"),
    "revision": ("study", "study_instance_uid", "revision", "revision"),
    "urgency": ("worklist_row", "study_instance_uid", "flag_urgency", "flag_urgency"),
    "ended by": ("worklist_row", "study_instance_uid", "flag_ended_by", "flag_ended_by"),
    "reading": ("worklist_row", "study_instance_uid", "reading_state", "reading_state"),
    "pin": ("worklist_row", "study_instance_uid", "pinned_at", "pinned_at"),
    "outbox": ("outbox", "study_instance_uid", "state", "state"),
    "message": ("message", "study_instance_uid", "state", "state"),
}
_ARRIVALS = {
    "audit": ("audit", "subject", "action", "new"),
    "result": ("result", "study_instance_uid", "revision", "flagged"),
    "move": ("worklist_move", "study_instance_uid", "mode", "new_position"),
    "told": ("message", "study_instance_uid", "kind", "peer"),
    "object": ("object", "study_instance_uid", "kind", "sop_instance_uid"),
    "due": ("outbox", "study_instance_uid", "peer", "sop_instance_uid"),
    "mode": ("mode_change", "action", "by", "reason"),
    "correction": ("identity_correction", "study_instance_uid", "by", "by"),
}
_FOR_EVER = ("result", "finding", "policy", "worklist_move", "identity_correction", "mode_change")
"""Rows that are written once: whatever changes one is noted."""
_NEVER_REMOVED = ("worklist_row", "study", "instance", "message", "object")


@dataclass(frozen=True, slots=True)
class Change:
    tx: int
    at: float
    what: str
    subject: str
    old: str
    new: str


def watch(store: Store) -> None:
    """Put the triggers in; `moment` and `seconds` are functions that every connection must have."""
    with store.write() as c:
        c.execute(
            text(
                "CREATE TABLE seen (id INTEGER PRIMARY KEY, tx INT, at REAL, what TEXT, subject TEXT, old TEXT, new TEXT)"
            )
        )
        for what, (table, subject, before, now) in _CHANGES.items():
            note = _NOTE.format(what=what, subject=f"new.{subject}", old=f"old.{before}", new=f"new.{now}")
            when = f"WHEN old.{before} IS NOT new.{now}"
            c.execute(text(f"CREATE TRIGGER seen_{table}_{before} AFTER UPDATE ON {table} {when} BEGIN {note} END"))
        for what, (table, subject, old, new) in _ARRIVALS.items():
            note = _NOTE.format(what=what, subject=f"new.{subject}", old=f"new.{old}", new=f"new.{new}")
            c.execute(text(f"CREATE TRIGGER seen_new_{table}_{what} AFTER INSERT ON {table} BEGIN {note} END"))
        for table in _FOR_EVER:
            note = _NOTE.format(what="changed for ever", subject=f"'{table}'", old="''", new="''")
            c.execute(text(f"CREATE TRIGGER seen_kept_{table} AFTER UPDATE ON {table} BEGIN {note} END"))
        for table in (*_FOR_EVER, *_NEVER_REMOVED):
            note = _NOTE.format(what="removed", subject=f"'{table}'", old="''", new="''")
            c.execute(text(f"CREATE TRIGGER seen_gone_{table} AFTER DELETE ON {table} BEGIN {note} END"))


class History:
    """What was seen, oldest first."""

    def __init__(self, store: Store) -> None:
        with store.read() as c:
            rows = c.execute(text("SELECT tx, at, what, subject, old, new FROM seen ORDER BY id")).all()
        self.changes = [Change(r.tx, r.at, r.what, _words(r.subject), _words(r.old), _words(r.new)) for r in rows]
        self._by_tx: dict[int, list[Change]] = defaultdict(list)
        for change in self.changes:
            self._by_tx[change.tx].append(change)

    def of(self, *what: str) -> Iterator[Change]:
        return (c for c in self.changes if c.what in what)

    def beside(self, change: Change, what: str) -> Iterable[Change]:
        """What else its transaction did to the same subject."""
        return [c for c in self._by_tx[change.tx] if c.what == what and c.subject == change.subject]


def _words(value: Any) -> str:
    return "" if value is None else str(value)
