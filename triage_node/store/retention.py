"""What may be removed, and that it was (DESIGN.md section 3, Retention)."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select, true, update

from triage_node.domain.priority import ON_THE_LIST, ReadingState
from triage_node.domain.study import StudyState
from triage_node.store.engine import Store
from triage_node.store.forwarding import WHOLE
from triage_node.store.schema import instance, study, worklist_row

_DONE = (StudyState.DELIVERED.value, StudyState.DECLINED.value, StudyState.OUT_OF_SCOPE.value)
_KEPT = [s.value for s in (*ON_THE_LIST, ReadingState.NOT_CONFIRMED)]
_AT_ONCE = 1000


def removable_sources(store: Store, now: datetime, days: float, hub: bool = False) -> list[tuple[str, str]]:
    """(SHA-256, study) of received instances whose study ended more than `days` ago and is on no list any more.

    `hub`: and all of it is at the hub, however long the line is cut.
    """
    query = (
        select(instance.c.sha256, instance.c.study_instance_uid)
        .join(study, study.c.study_instance_uid == instance.c.study_instance_uid)
        .outerjoin(worklist_row, worklist_row.c.study_instance_uid == study.c.study_instance_uid)
        .where(
            study.c.state.in_(_DONE),
            study.c.last_instance_at < now - timedelta(days=days),
            instance.c.source_removed_at.is_(None),
            instance.c.quarantine_reason == "",
            worklist_row.c.reading_state.is_(None) | worklist_row.c.reading_state.not_in(_KEPT),
            WHOLE if hub else true(),
        )
        .limit(_AT_ONCE)
    )
    with store.read() as c:
        return [(sha256, uid) for sha256, uid in c.execute(query)]


def source_removed(store: Store, sha256: str, at: datetime) -> None:
    with store.write() as c:
        c.execute(update(instance).where(instance.c.sha256 == sha256).values(source_removed_at=at))
