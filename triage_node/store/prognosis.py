"""Prognoses of a result: revised when facts arrive, never changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from triage_node.domain.prognosis import Estimate, Prediction, ScoreItem
from triage_node.domain.study import Moment, StudyState
from triage_node.store import audit, studies
from triage_node.store.engine import Store
from triage_node.store.meta import touch_list
from triage_node.store.schema import clinical_facts, prognosis, result, study

_AT_REST = (StudyState.REPORTED.value, StudyState.DELIVERED.value, StudyState.FAILED.value)
"""Of a flagged study that failed the objects are missing; its prognosis stands on its page."""


@dataclass(frozen=True, slots=True)
class PrognosisRecord:
    """`measured` is what the pixels said, by predictor, as JSON values.

    `clinical_revision` is the statement that it takes in, 0 for none.
    """

    study_instance_uid: str
    result_revision: int
    revision: int
    at: datetime
    clinical_revision: int
    clinical_inputs_digest: str
    measured: dict[str, Any] = field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()


def save(c: Connection, record: PrognosisRecord) -> bool:
    """Append in the caller's transaction. False when that revision is there already: another process was quicker."""
    uid = record.study_instance_uid
    c.execute(select(study.c.study_instance_uid).where(study.c.study_instance_uid == uid).with_for_update())
    last = select(func.max(prognosis.c.revision)).where(
        prognosis.c.study_instance_uid == uid, prognosis.c.result_revision == record.result_revision
    )
    if record.revision != (c.execute(last).scalar() or 0) + 1:
        return False
    values = {name: getattr(record, name) for name in PrognosisRecord.__slots__}
    c.execute(insert(prognosis).values(**values | {"predictions": [asdict(p) for p in record.predictions]}))
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
        if row is None:
            return None
        values = {name: getattr(row, name) for name in PrognosisRecord.__slots__}
        return PrognosisRecord(**values | {"predictions": predictions_of(row.predictions)})


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


def predictions_of(stored: Iterable[Mapping[str, Any]]) -> tuple[Prediction, ...]:
    """JSON has lists where the types have tuples."""
    return tuple(_prediction(p) for p in stored)


def _prediction(stored: Mapping[str, Any]) -> Prediction:
    values = dict(stored)
    values["items"] = tuple(
        ScoreItem(**{**item, "points_range": tuple(item["points_range"])}) for item in values.get("items") or ()
    )
    values["columns"] = tuple((c[0], c[1], c[2], c[3]) for c in values.get("columns") or ())
    values["estimates"] = tuple(Estimate(**e) for e in values.get("estimates") or ())
    values["used"] = tuple((u[0], u[1]) for u in values.get("used") or ())
    for name in ("missing", "warnings"):
        values[name] = tuple(values.get(name) or ())
    score_range = values.get("score_range")
    values["score_range"] = tuple(score_range) if score_range is not None else None
    return Prediction(**values)
