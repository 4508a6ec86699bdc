"""Results: versioned, never updated."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update

from triage_node.domain.delivery import BuiltObject, ObjectKind
from triage_node.domain.finding import FindingDecision
from triage_node.store import audit
from triage_node.store.engine import Store
from triage_node.store.schema import built_object, finding, outbox, result, study


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """One result of one study. `detail` is JSON: slice probabilities, subtypes, components, predictions, key slice."""

    study_instance_uid: str
    revision: int
    created_at: datetime
    input_digest: str
    bundle_name: str
    bundle_version: str
    bundle_digest: str
    runtime: str
    policy_version: int
    config_digest: str
    probability: float
    hematoma_volume_ml: float
    flagged: bool
    detail: dict[str, Any] = field(default_factory=dict)


def save(c: Connection, record: ResultRecord, decision: FindingDecision) -> None:
    """Store one result with its decision in the caller's transaction; the revision becomes the study's."""
    values = {name: getattr(record, name) for name in ResultRecord.__slots__}
    done = c.execute(insert(result).values(**values))
    point = decision.operating_point
    c.execute(
        insert(finding).values(
            result_id=done.inserted_primary_key[0],  # type: ignore[index]
            finding=decision.finding,
            probability=decision.probability,
            raise_probability=point.raise_probability,
            notify_probability=point.notify_probability,
            decision=decision.answer,
            evidence=decision.evidence.value,
        )
    )
    c.execute(
        update(study).where(study.c.study_instance_uid == record.study_instance_uid).values(revision=record.revision)
    )
    audit.record(
        c,
        record.created_at,
        f"{record.bundle_name} {record.bundle_version}",
        "decision",
        record.study_instance_uid,
        new=f"revision {record.revision}, p {record.probability:.4f}, policy {record.policy_version}, "
        f"{decision.answer}",
    )


def latest(store: Store, study_instance_uid: str) -> ResultRecord | None:
    return _latest(store, result.c.study_instance_uid == study_instance_uid)


def latest_flagged(store: Store, study_instance_uid: str) -> ResultRecord | None:
    """The last result that the model itself flagged."""
    return _latest(store, (result.c.study_instance_uid == study_instance_uid) & result.c.flagged.is_(True))


def of_revision(store: Store, study_instance_uid: str, revision: int) -> ResultRecord | None:
    return _latest(store, (result.c.study_instance_uid == study_instance_uid) & (result.c.revision == revision))


def revisions(store: Store, study_instance_uid: str) -> list[ResultRecord]:
    """All of one study, newest first."""
    with store.read() as c:
        query = select(result).where(result.c.study_instance_uid == study_instance_uid)
        rows = c.execute(query.order_by(result.c.revision.desc())).all()
    return [ResultRecord(**{name: getattr(row, name) for name in ResultRecord.__slots__}) for row in rows]


def _latest(store: Store, which: ColumnElement[bool]) -> ResultRecord | None:
    with store.read() as c:
        query = select(result).where(which)
        row = c.execute(query.order_by(result.c.revision.desc()).limit(1)).one_or_none()
        return None if row is None else ResultRecord(**{name: getattr(row, name) for name in ResultRecord.__slots__})


def save_objects(c: Connection, objects: list[BuiltObject], at: datetime) -> None:
    """Store what was built; the same object again (a second try) changes nothing."""
    for o in objects:
        if c.execute(
            select(built_object.c.sha256).where(built_object.c.sop_instance_uid == o.sop_instance_uid)
        ).scalar():
            continue
        c.execute(
            insert(built_object).values(
                sop_instance_uid=o.sop_instance_uid,
                sop_class_uid=o.sop_class_uid,
                series_instance_uid=o.series_instance_uid,
                study_instance_uid=o.study_instance_uid,
                kind=o.kind.value,
                revision=o.revision,
                sha256=o.sha256,
                size_bytes=o.size_bytes,
                refers_to=list(o.refers_to),
                built_at=at,
            )
        )


def objects_of(store: Store, study_instance_uid: str) -> list[BuiltObject]:
    """What was built for a study and is not withdrawn, oldest revision first."""
    with store.read() as c:
        query = select(built_object).where(
            built_object.c.study_instance_uid == study_instance_uid, built_object.c.withdrawn_at.is_(None)
        )
        return [_object(r) for r in c.execute(query.order_by(built_object.c.revision, built_object.c.kind))]


def rejection_notes(store: Store, study_instance_uid: str) -> list[BuiltObject]:
    """Every note by which we withdrew objects of a study, oldest first."""
    which = (built_object.c.study_instance_uid == study_instance_uid) & (
        built_object.c.kind == ObjectKind.REJECTION_NOTE.value
    )
    with store.read() as c:
        return [_object(r) for r in c.execute(select(built_object).where(which).order_by(built_object.c.revision))]


def object_by_uid(store: Store, sop_instance_uid: str) -> BuiltObject | None:
    with store.read() as c:
        row = c.execute(select(built_object).where(built_object.c.sop_instance_uid == sop_instance_uid)).one_or_none()
        return None if row is None else _object(row)


def withdraw(c: Connection, uids: Collection[str], at: datetime, outlasting: frozenset[str] = frozenset()) -> None:
    """Mark objects as withdrawn, unless one of the `outlasting` peers keeps them.

    The rejection notes that tell the peers are queued by the caller.
    """
    kept = select(outbox.c.sop_instance_uid).where(outbox.c.sop_instance_uid.in_(uids), outbox.c.peer.in_(outlasting))
    gone = built_object.c.sop_instance_uid.in_(uids) & built_object.c.sop_instance_uid.not_in(kept)
    c.execute(update(built_object).where(gone, built_object.c.withdrawn_at.is_(None)).values(withdrawn_at=at))


def _object(r: Row[Any]) -> BuiltObject:
    return BuiltObject(
        sop_instance_uid=r.sop_instance_uid,
        sop_class_uid=r.sop_class_uid,
        series_instance_uid=r.series_instance_uid,
        study_instance_uid=r.study_instance_uid,
        kind=ObjectKind(r.kind),
        revision=r.revision,
        sha256=r.sha256,
        size_bytes=r.size_bytes,
        refers_to=tuple(r.refers_to),
    )
