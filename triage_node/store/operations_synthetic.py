"""The heartbeat's studies: made up by the scheduler, of no patient, and gone again when they have been checked.

Invariants:
(1) a study counts as synthetic only if the scheduler wrote its UID here before it was sent, and every image of it came from the
calling AE title and the address that stand beside it. Images of anybody else make it an ordinary study for good: somebody from
outside can bring a study onto the list with this, and never take one off it;
(2) a synthetic study has no row on the list and no result, so that nothing which counts, tells or moves studies meets it;
(3) only a synthetic study is erased.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, func, insert, select, update

from triage_node.domain.instance import ReceivedInstance
from triage_node.store import audit
from triage_node.store.engine import Store
from triage_node.store.schema import (
    association,
    built_object,
    image_shown,
    instance,
    outbox,
    series,
    study,
    synthetic_study,
    timeline,
)

ACTOR = "heartbeat"
_HERE = synthetic_study.c


@dataclass(frozen=True, slots=True)
class Run:
    """One heartbeat. `probability` and `raise_probability`: what the model said and what would have been raised."""

    study_instance_uid: str
    written_at: datetime
    probability: float | None = None
    raise_probability: float | None = None
    decided_at: datetime | None = None
    checked_at: datetime | None = None
    passed: bool | None = None
    words: str = ""
    spoiled_at: datetime | None = None
    erased_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Files:
    """SHA-256 of everything that lies on the disk for one study."""

    received: tuple[str, ...]
    built: tuple[str, ...]


def announce(store: Store, study_instance_uid: str, calling_ae_title: str, address: str, at: datetime) -> None:
    """Say which study comes next, before its first image leaves."""
    row = {"calling_ae_title": calling_ae_title, "address": address, "written_at": at}
    with store.write() as c:
        c.execute(insert(synthetic_study).values(study_instance_uid=study_instance_uid, **row))
        audit.record(c, at, ACTOR, "heartbeat sent", study_instance_uid)


def is_synthetic(source: Store | Connection, study_instance_uid: str) -> bool:
    if isinstance(source, Store):
        with source.read() as c:
            return is_synthetic(c, study_instance_uid)
    held = select(_HERE.written_at).where(_HERE.study_instance_uid == study_instance_uid, _HERE.spoiled_at.is_(None))
    return source.execute(held).scalar() is not None


def is_of_patient(study_instance_uid: ColumnElement[str]) -> ColumnElement[bool]:
    """For queries over studies: without those of the heartbeat."""
    return ~exists().where(_HERE.study_instance_uid == study_instance_uid, _HERE.spoiled_at.is_(None))


def arrived(c: Connection, study_instance_uid: str, members: Iterable[ReceivedInstance]) -> None:
    """Images came: if they are not the scheduler's own, the study is an ordinary one from now on.

    After a crash nobody knows any more who sent what lies on the disk; that alone makes no study an ordinary one.
    """
    which = (_HERE.study_instance_uid == study_instance_uid) & _HERE.spoiled_at.is_(None)
    row = c.execute(select(synthetic_study).where(which)).one_or_none()
    if row is None:
        return
    ours, unknown = (row.calling_ae_title, row.address), ("", "")
    others = [i for i in members if (i.calling_ae_title, i.peer_address) not in (ours, unknown)]
    if others:
        at = others[0].received_at
        c.execute(
            update(synthetic_study).where(which).values(spoiled_at=at, passed=False, words="images of others came")
        )
        sender = f"{others[0].calling_ae_title} at {others[0].peer_address}"
        audit.record(c, at, ACTOR, "no heartbeat any more", study_instance_uid, new=f"images came from {sender}")


def decided(store: Store, study_instance_uid: str, probability: float, raise_probability: float, at: datetime) -> None:
    """What the model said, in the place of a result."""
    values = {"probability": probability, "raise_probability": raise_probability, "decided_at": at}
    with store.write() as c:
        c.execute(update(synthetic_study).where(_HERE.study_instance_uid == study_instance_uid).values(**values))


def conclude(store: Store, study_instance_uid: str, passed: bool, words: str, at: datetime) -> None:
    values = {"checked_at": at, "passed": passed, "words": words}
    with store.write() as c:
        c.execute(update(synthetic_study).where(_HERE.study_instance_uid == study_instance_uid).values(**values))
        what = "heartbeat passed" if passed else "heartbeat failed"
        audit.record(c, at, ACTOR, what, study_instance_uid, new=words)


def files_of(store: Store, study_instance_uid: str) -> Files:
    """What is on the disk, to be removed before the rows go: rows without files are tried again, files without rows come back."""
    with store.read() as c:
        received = select(instance.c.sha256).where(instance.c.study_instance_uid == study_instance_uid)
        built = select(built_object.c.sha256).where(built_object.c.study_instance_uid == study_instance_uid)
        return Files(tuple(c.execute(received).scalars()), tuple(c.execute(built).scalars()))


def erase(store: Store, study_instance_uid: str, at: datetime) -> bool:
    """Remove every row of a synthetic study but its own line here. False for an ordinary one, which stays."""
    with store.write() as c:
        if not is_synthetic(c, study_instance_uid):
            return False
        ids = select(instance.c.association_id).where(instance.c.study_instance_uid == study_instance_uid).distinct()
        associations = [i for i in c.execute(ids).scalars() if i is not None]
        for table in (outbox, built_object, timeline, image_shown, series, instance, study):
            c.execute(delete(table).where(table.c.study_instance_uid == study_instance_uid))
        c.execute(delete(association).where(association.c.id.in_(associations)))
        values = {"erased_at": at}
        c.execute(update(synthetic_study).where(_HERE.study_instance_uid == study_instance_uid).values(**values))
        return True


def forget(store: Store, before: datetime) -> None:
    """Drop lines of runs that are over for long; the audit trail keeps them."""
    with store.write() as c:
        c.execute(delete(synthetic_study).where(_HERE.erased_at < before))


def unfinished(store: Store) -> list[Run]:
    """Runs that are not erased yet, oldest first."""
    with store.read() as c:
        query = select(synthetic_study).where(_HERE.erased_at.is_(None), _HERE.spoiled_at.is_(None))
        return [_run(r) for r in c.execute(query.order_by(_HERE.written_at))]


def last(store: Store, most: int) -> list[Run]:
    """The newest runs, newest first."""
    with store.read() as c:
        return [_run(r) for r in c.execute(select(synthetic_study).order_by(_HERE.written_at.desc()).limit(most))]


def last_success(store: Store) -> datetime | None:
    """When the newest of the runs that passed was sent."""
    with store.read() as c:
        return c.execute(select(func.max(_HERE.written_at)).where(_HERE.passed.is_(True))).scalar()


def first_run(store: Store) -> datetime | None:
    """When the oldest run that is still known was sent."""
    with store.read() as c:
        return c.execute(select(func.min(_HERE.written_at))).scalar()


def _run(r: Row[Any]) -> Run:
    return Run(**{name: getattr(r, name) for name in Run.__slots__})
