"""Recent results with all that a change of thresholds would be judged by again; and how long reading takes here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from triage_node.domain.instance import InstanceHeader
from triage_node.domain.priority import OrderClass, ReadingState
from triage_node.domain.scan_source import ScanSource, source_of
from triage_node.domain.study import StudyIdentity
from triage_node.store.engine import Store
from triage_node.store.schema import audit, instance, result, study, worklist_row

_AT_ONCE = 400  # below SQLite's limit of bound variables


@dataclass(frozen=True, slots=True)
class ScoredStudy:
    """The newest result of a study. `detail` as store.results keeps it; `probability` of hemorrhage of any kind."""

    study_instance_uid: str
    revision: int
    decided_at: datetime
    arrived_at: datetime
    policy_version: int
    bundle_digest: str
    bundle_name: str
    bundle_version: str
    probability: float
    hematoma_volume_ml: float
    flagged: bool
    detail: dict[str, Any]
    order_class: OrderClass
    live: bool
    identity: StudyIdentity
    description: str
    calling_ae_title: str
    series_instance_uid: str


def recent(store: Store, since: datetime, most: int) -> list[ScoredStudy]:
    """Studies that arrived since then and have a result, oldest first; the newest `most` of them."""
    newest = select(result.c.study_instance_uid, func.max(result.c.revision).label("revision"))
    last = newest.group_by(result.c.study_instance_uid).subquery()
    query = (
        select(
            result,
            worklist_row.c.arrived_at,
            worklist_row.c.order_class,
            worklist_row.c.live,
            study.c.identity,
            study.c.description,
            study.c.calling_ae_title,
            study.c.selected_series_uid,
        )
        .join(
            last,
            (last.c.study_instance_uid == result.c.study_instance_uid) & (last.c.revision == result.c.revision),
        )
        .join(worklist_row, worklist_row.c.study_instance_uid == result.c.study_instance_uid)
        .join(study, study.c.study_instance_uid == result.c.study_instance_uid)
        .where(worklist_row.c.arrived_at >= since)
        .order_by(worklist_row.c.arrived_at.desc(), result.c.study_instance_uid)
        .limit(most)
    )
    with store.read() as c:
        found = [
            ScoredStudy(
                study_instance_uid=r.study_instance_uid,
                revision=r.revision,
                decided_at=r.created_at,
                arrived_at=r.arrived_at,
                policy_version=r.policy_version,
                bundle_digest=r.bundle_digest,
                bundle_name=r.bundle_name,
                bundle_version=r.bundle_version,
                probability=r.probability,
                hematoma_volume_ml=r.hematoma_volume_ml,
                flagged=r.flagged,
                detail=r.detail,
                order_class=OrderClass(r.order_class),
                live=r.live,
                identity=StudyIdentity(**r.identity),
                description=r.description,
                calling_ae_title=r.calling_ae_title,
                series_instance_uid=r.selected_series_uid or "",
            )
            for r in c.execute(query)
        ]
    return found[::-1]


def scan_sources(store: Store, series_instance_uids: Iterable[str]) -> dict[str, ScanSource]:
    """What made each series, by the first of its instances that came. The chosen series holds no localizer."""
    wanted = sorted(set(series_instance_uids) - {""})
    names = {f.name for f in fields(InstanceHeader)}
    made: dict[str, ScanSource] = {}
    with store.read() as c:
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            has_header = instance.c.header.is_not(None)
            first = select(func.min(instance.c.id)).where(instance.c.series_instance_uid.in_(some), has_header)
            ids = first.group_by(instance.c.series_instance_uid)
            rows = select(instance.c.series_instance_uid, instance.c.header).where(instance.c.id.in_(ids))
            for uid, held in c.execute(rows):
                values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in held.items()}
                header = InstanceHeader(**{k: v for k, v in values.items() if k in names})
                made[uid] = source_of([header])
    return made


def was_flagged(store: Store, study_instance_uid: str, revision: int) -> bool | None:
    """Whether the model flagged a study by itself in one revision; None where that is not known."""
    query = select(result.c.flagged, result.c.detail).where(
        result.c.study_instance_uid == study_instance_uid, result.c.revision == revision
    )
    with store.read() as c:
        row = c.execute(query).one_or_none()
    # a repeat is flagged on the list although the model did not: what a reader judged then is not clear
    return None if row is None or row.detail.get("repeat") and not row.flagged else bool(row.flagged)


def reading_minutes(store: Store, since: datetime) -> dict[str, float]:
    """Study -> minutes from "being read" to "read", where people told both."""
    began: dict[str, datetime] = {}
    minutes: dict[str, float] = {}
    query = select(audit.c.subject, audit.c.at, audit.c.new).where(
        audit.c.action == "reading state", audit.c.at >= since
    )
    with store.read() as c:
        for uid, at, new in c.execute(query.order_by(audit.c.id)):
            if new == ReadingState.BEING_READ.value:
                began[uid] = at
            elif uid in began:
                started = began.pop(uid)
                if new == ReadingState.READ.value:
                    minutes[uid] = (at - started).total_seconds() / 60
    return minutes
