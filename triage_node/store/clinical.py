"""Clinical facts by study: statements are appended, never changed, each with who made it in the audit trail."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from triage_node.domain.clinical import ClinicalEntry, ClinicalRevision
from triage_node.domain.study import Moment
from triage_node.store import audit, studies
from triage_node.store.engine import Store
from triage_node.store.meta import touch_list
from triage_node.store.schema import clinical_facts, study


def add(c: Connection, statement: ClinicalRevision) -> bool:
    """Append one statement in the caller's transaction. False when somebody else has stated that revision meanwhile."""
    uid = statement.study_instance_uid
    c.execute(select(study.c.study_instance_uid).where(study.c.study_instance_uid == uid).with_for_update())
    last = history(c, uid)[-1:]
    if statement.revision != (last[0].revision if last else 0) + 1:
        return False
    body = _as_json(statement.entry)
    c.execute(
        insert(clinical_facts).values(
            study_instance_uid=uid,
            revision=statement.revision,
            at=statement.at,
            by=statement.by,
            via=statement.via,
            patient_digest=statement.patient_digest,
            entry=body,
        )
    )
    old = json.dumps(_as_json(last[0].entry), sort_keys=True) if last else ""
    audit.record(
        c,
        statement.at,
        f"{statement.by} by {statement.via}"[:128],
        "clinical facts stated",
        uid,
        old,
        json.dumps(body, sort_keys=True),
    )
    studies.mark(c, uid, Moment.FACTS, statement.at, f"revision {statement.revision}")
    touch_list(c)
    return True


def history(c: Connection, study_instance_uid: str) -> list[ClinicalRevision]:
    """Every statement about a study, oldest first."""
    query = select(clinical_facts).where(clinical_facts.c.study_instance_uid == study_instance_uid)
    return [_from_row(r) for r in c.execute(query.order_by(clinical_facts.c.revision))]


def history_of(store: Store, study_instance_uid: str) -> list[ClinicalRevision]:
    with store.read() as c:
        return history(c, study_instance_uid)


def last_revision(c: Connection, study_instance_uid: str) -> int:
    """0 when nobody has stated anything."""
    query = select(func.max(clinical_facts.c.revision)).where(clinical_facts.c.study_instance_uid == study_instance_uid)
    return c.execute(query).scalar() or 0


def _as_json(entry: ClinicalEntry) -> dict[str, Any]:
    body = {name: value for name, value in asdict(entry).items() if value is not None}
    if entry.onset_at is not None:
        body["onset_at"] = entry.onset_at.isoformat()
    return body


def _from_row(r: Row[Any]) -> ClinicalRevision:
    body = dict(r.entry)
    if "onset_at" in body:
        body["onset_at"] = datetime.fromisoformat(body["onset_at"])
    return ClinicalRevision(
        r.study_instance_uid, r.revision, r.at, r.by, r.via, r.patient_digest, ClinicalEntry(**body)
    )
