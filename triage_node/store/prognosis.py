"""Prognoses of a result: revised when facts arrive, never changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from triage_node.domain.study import Moment, StudyState
from triage_node.store import audit, studies
from triage_node.store.engine import Store
from triage_node.store.meta import touch_list
from triage_node.store.schema import clinical_facts, prognosis, result, study

_AT_REST = (StudyState.REPORTED.value, StudyState.DELIVERED.value)


@dataclass(frozen=True, slots=True)
class PrognosisRecord:
    """`measured` is what the pixels said, by predictor; `predictions` are domain Predictions as JSON.

    `clinical_revision` is the statement that it takes in, 0 for none.
    """

    study_instance_uid: str
    result_revision: int
    revision: int
    at: datetime
    clinical_revision: int
    clinical_inputs_digest: str
    measured: dict[str, Any] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)


def save(c: Connection, record: PrognosisRecord) -> bool:
    """Append in the caller's transaction. False when that revision is there already: another process was quicker."""
    uid = record.study_instance_uid
    c.execute(select(study.c.study_instance_uid).where(study.c.study_instance_uid == uid).with_for_update())
    last = select(func.max(prognosis.c.revision)).where(
        prognosis.c.study_instance_uid == uid, prognosis.c.result_revision == record.result_revision
    )
    if record.revision != (c.execute(last).scalar() or 0) + 1:
        return False
    c.execute(insert(prognosis).values(**{name: getattr(record, name) for name in PrognosisRecord.__slots__}))
    words = f"revision {record.result_revision}.{record.revision}, clinical facts revision {record.clinical_revision}"
    audit.record(c, record.at, "node", "prognosis", uid, new=words)
    studies.mark(c, uid, Moment.PROGNOSIS, record.at, words)
    touch_list(c)
    return True


def latest(store: Store, study_instance_uid: str, result_revision: int) -> PrognosisRecord | None:
    """The newest prognosis of one result."""
    query = select(prognosis).where(
        prognosis.c.study_instance_uid == study_instance_uid, prognosis.c.result_revision == result_revision
    )
    with store.read() as c:
        row = c.execute(query.order_by(prognosis.c.revision.desc()).limit(1)).one_or_none()
        return None if row is None else PrognosisRecord(**{n: getattr(row, n) for n in PrognosisRecord.__slots__})


def behind(store: Store) -> str | None:
    """A flagged study at rest whose prognosis does not take in the last statement about the patient, None when none is."""
    stated = (
        select(clinical_facts.c.study_instance_uid.label("uid"), func.max(clinical_facts.c.revision).label("revision"))
        .group_by(clinical_facts.c.study_instance_uid)
        .subquery()
    )
    taken_in = (
        select(func.coalesce(func.max(prognosis.c.clinical_revision), 0))
        .where(
            prognosis.c.study_instance_uid == study.c.study_instance_uid,
            prognosis.c.result_revision == study.c.revision,
        )
        .correlate(study)
        .scalar_subquery()
    )
    query = (
        select(study.c.study_instance_uid)
        .join(stated, stated.c.uid == study.c.study_instance_uid)
        .join(
            result,
            (result.c.study_instance_uid == study.c.study_instance_uid) & (result.c.revision == study.c.revision),
        )
        .where(study.c.state.in_(_AT_REST), result.c.flagged, taken_in < stated.c.revision)
        .limit(1)
    )
    with store.read() as c:
        return c.execute(query).scalar()
