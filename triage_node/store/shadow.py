"""What a second model says of live studies, beside the result that counts. Nothing but the page that compares them reads it."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, exists, func, insert, select

from triage_node.domain.study import StudyState
from triage_node.domain.trial import ShadowReading
from triage_node.store.engine import Store
from triage_node.store.schema import result, shadow_result, study, worklist_row

_COLUMNS = tuple(f.name for f in fields(ShadowReading))
_DONE_WITH = (StudyState.REPORTED.value, StudyState.DELIVERED.value)


def save(store: Store, reading: ShadowReading) -> None:
    """Keep it; the same study, revision and model again (a second try) changes nothing."""
    mine = (
        (shadow_result.c.study_instance_uid == reading.study_instance_uid)
        & (shadow_result.c.revision == reading.revision)
        & (shadow_result.c.shadow_digest == reading.shadow_digest)
    )
    with store.write() as c:
        if c.execute(select(shadow_result.c.id).where(mine)).scalar() is None:
            c.execute(insert(shadow_result).values(**{name: getattr(reading, name) for name in _COLUMNS}))


def since(store: Store, at: datetime, shadow_digest: str, most: int) -> list[ShadowReading]:
    """The newest `most` readings by one model since then, oldest first; of each study the newest revision only.

    Only those beside the first model of the newest one: two first models would be mixed otherwise.
    """
    which = (shadow_result.c.at >= at) & (shadow_result.c.shadow_digest == shadow_digest)
    beside = (result.c.study_instance_uid == shadow_result.c.study_instance_uid) & (
        result.c.revision == shadow_result.c.revision
    )
    query = select(shadow_result, result.c.bundle_digest).join(result, beside).where(which)
    newest: dict[str, ShadowReading] = {}
    first_model = None
    with store.read() as c:
        for row in c.execute(query.order_by(shadow_result.c.at.desc(), shadow_result.c.id.desc()).limit(most)):
            first_model = first_model or row.bundle_digest
            if row.bundle_digest == first_model:
                newest.setdefault(row.study_instance_uid, _reading(row))
    return list(newest.values())[::-1]


def waiting(store: Store, decided_since: datetime, shadow_digest: str) -> tuple[str, int] | None:
    """(study, revision) of the oldest live result in force that this model has not read, once its study is done with."""
    newest = select(result.c.study_instance_uid, func.max(result.c.revision).label("revision"))
    last = newest.group_by(result.c.study_instance_uid).subquery()
    was_read = exists().where(
        shadow_result.c.study_instance_uid == result.c.study_instance_uid,
        shadow_result.c.revision == result.c.revision,
        shadow_result.c.shadow_digest == shadow_digest,
    )
    query = (
        select(result.c.study_instance_uid, result.c.revision)
        .join(last, (last.c.study_instance_uid == result.c.study_instance_uid) & (last.c.revision == result.c.revision))
        .join(study, study.c.study_instance_uid == result.c.study_instance_uid)
        .join(worklist_row, worklist_row.c.study_instance_uid == result.c.study_instance_uid)
        .where(
            result.c.created_at >= decided_since,
            worklist_row.c.live.is_(True),
            study.c.state.in_(_DONE_WITH),
            ~was_read,
        )
        .order_by(result.c.id)
        .limit(1)
    )
    with store.read() as c:
        row = c.execute(query).one_or_none()
        return None if row is None else (row.study_instance_uid, row.revision)


def newest_digest(store: Store) -> str:
    """Of the model that read last; empty when none ever did."""
    with store.read() as c:
        query = select(shadow_result.c.shadow_digest).order_by(shadow_result.c.id.desc()).limit(1)
        return str(c.execute(query).scalar() or "")


def _reading(r: Row[Any]) -> ShadowReading:
    return ShadowReading(**{name: getattr(r, name) for name in _COLUMNS})
