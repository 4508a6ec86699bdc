"""Which received bytes lie in the store that hosts share (`store.blob_url`), and which are still on their way.

DESIGN. Without a shared store the column stays empty and nothing here is called but by the claim of a study. With one, a row is
born `due` and becomes `done` when the host whose spool holds the bytes saw them confirmed. Only `done` lets a spool copy be removed
and a study end. `lost`: the spool copy was gone or changed before; the instance is in quarantine then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select, update

from triage_node.store.engine import Store
from triage_node.store.schema import instance, study

_AT_ONCE = 500


class Upload(StrEnum):
    """NEVER: there was no shared store when it came. MOVED: a move of the files brought it there; the copy here is kept."""

    NEVER = ""
    DUE = "due"
    DONE = "done"
    LOST = "lost"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class OnTheWay:
    """`since`: when the oldest of them was received."""

    count: int
    since: datetime | None


_IS_DUE = and_(instance.c.upload == Upload.DUE.value, instance.c.source_removed_at.is_(None))


def study_has_due() -> ColumnElement[bool]:
    """Of the study of the surrounding query: something that it needs is still on its way."""
    return exists().where(instance.c.study_instance_uid == study.c.study_instance_uid, _IS_DUE)


def make_due(store: Store, digests: Iterable[str]) -> None:
    """What lies in a spool and was never uploaded is to be uploaded."""
    never = and_(instance.c.upload == Upload.NEVER.value, instance.c.source_removed_at.is_(None))
    for part in _parts(_which(store, digests, never)):  # hardly ever is there anything to write
        with store.write() as c:
            c.execute(update(instance).where(instance.c.sha256.in_(part), never).values(upload=Upload.DUE.value))


def due(store: Store, digests: Iterable[str]) -> set[str]:
    """Which of these are to be uploaded."""
    return _which(store, digests, _IS_DUE)


def safe(store: Store, digests: Iterable[str]) -> set[str]:
    """Which of these need no copy in a spool any more: confirmed in the shared store, or not to be kept."""
    is_safe = (instance.c.upload == Upload.DONE.value) | instance.c.source_removed_at.is_not(None)
    return _which(store, digests, is_safe)


def record(store: Store, digests: Iterable[str], became: Upload) -> set[str]:
    """What became of them. Returns those that have no row: they were erased meanwhile."""
    wanted = set(digests)
    with store.write() as c:
        for part in _parts(wanted):
            c.execute(update(instance).where(instance.c.sha256.in_(part)).values(upload=became.value))
    return wanted - _which(store, wanted, instance.c.id.is_not(None))


def live(c: Connection) -> dict[str, Upload]:
    """SHA-256 -> how it stands, of every received file that is to be kept."""
    kept = select(instance.c.sha256, instance.c.upload).where(instance.c.source_removed_at.is_(None))
    return {r.sha256: Upload(r.upload) for r in c.execute(kept)}


def brought_to_shared_store(c: Connection, missing: Iterable[str]) -> None:
    """Everything that lay in a data folder lies in a shared store too, but for these."""
    never = and_(instance.c.upload == Upload.NEVER.value, instance.c.source_removed_at.is_(None))
    c.execute(update(instance).where(never).values(upload=Upload.MOVED.value))
    for part in _parts(missing):
        is_moved = instance.c.upload == Upload.MOVED.value
        c.execute(update(instance).where(instance.c.sha256.in_(part), is_moved).values(upload=Upload.NEVER.value))


def brought_to_data_folder(c: Connection) -> None:
    """There is no shared store any more, and nothing on its way to one."""
    shared = instance.c.upload.in_([Upload.DUE.value, Upload.DONE.value, Upload.MOVED.value])
    c.execute(update(instance).where(shared).values(upload=Upload.NEVER.value))


def of_study(store: Store, study_instance_uid: str) -> int:
    """How many instances of a study are on their way."""
    with store.read() as c:
        query = select(func.count()).where(instance.c.study_instance_uid == study_instance_uid, _IS_DUE)
        return int(c.execute(query).scalar_one())


def on_the_way(store: Store) -> OnTheWay:
    """Everything that any host has still to upload."""
    with store.read() as c:
        row = c.execute(
            select(func.count().label("n"), func.min(instance.c.received_at).label("at")).where(_IS_DUE)
        ).one()
        return OnTheWay(int(row.n), row.at)


def _which(store: Store, digests: Iterable[str], condition: ColumnElement[bool]) -> set[str]:
    with store.read() as c:
        return {
            sha256
            for part in _parts(digests)
            for sha256 in c.execute(select(instance.c.sha256).where(instance.c.sha256.in_(part), condition)).scalars()
        }


def _parts(digests: Iterable[str]) -> Iterable[list[str]]:
    ordered = sorted(set(digests))
    return (ordered[k : k + _AT_ONCE] for k in range(0, len(ordered), _AT_ONCE))
