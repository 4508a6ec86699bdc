"""What is known of a study from outside: labels that somebody imported. Appended; the newest word on a study counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, insert, select

from triage_node.domain.policy import Truth
from triage_node.store import audit
from triage_node.store.engine import Store
from triage_node.store.schema import imported_truth, study


def add(store: Store, labels: Sequence[Truth], by: str, at: datetime) -> None:
    """Store what a source says, in one transaction, with one entry in the audit trail."""
    if not labels:
        return
    first = labels[0]
    with store.write() as c:
        c.execute(insert(imported_truth), [{n: getattr(t, n) for n in Truth.__slots__} | {"by": by} for t in labels])
        positive = sum(t.positive for t in labels)
        covers = "every study" if first.covers_unflagged else "flagged studies"
        words = f"{len(labels)} studies, {positive} positive, covers {covers}"
        audit.record(c, at, by, "truth imported", first.source[:128], new=words)


def known(store: Store) -> dict[str, Truth]:
    """Study Instance UID -> the newest label."""
    newest = select(func.max(imported_truth.c.id)).group_by(imported_truth.c.study_instance_uid)
    with store.read() as c:
        rows = c.execute(select(imported_truth).where(imported_truth.c.id.in_(newest)))
        return {r.study_instance_uid: Truth(**{n: getattr(r, n) for n in Truth.__slots__}) for r in rows}


def uids_by_accession_number(store: Store) -> dict[str, list[str]]:
    """Accession number -> studies of this node that have it. A number may stand for several."""
    found: dict[str, list[str]] = {}
    with store.read() as c:
        for uid, identity in c.execute(select(study.c.study_instance_uid, study.c.identity)):
            if identity.get("accession_number"):
                found.setdefault(identity["accession_number"], []).append(uid)
    return found


def uids(store: Store) -> set[str]:
    with store.read() as c:
        return set(c.execute(select(study.c.study_instance_uid)).scalars())
