"""What was received and a hub has not got yet: marks on instances and studies, so that reception writes nothing more.

A study whose `forwarded` counts fewer instances than it holds has something to send. An instance is settled when the hub
has it (`forwarded_at`), or refuses it for good (`hub_refusal` says why, and so does the study's timeline).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, case, exists, func, select, update

from triage_node.domain.priority import OrderClass, Urgency
from triage_node.domain.study import Moment, StudyState
from triage_node.store import studies
from triage_node.store.engine import Store
from triage_node.store.schema import instance, study, worklist_row

WHOLE = study.c.forwarded >= study.c.instances


@dataclass(frozen=True, slots=True)
class Unsent:
    """One received instance that a hub has not got."""

    sha256: str
    sop_instance_uid: str
    sop_class_uid: str


def next_study(store: Store, but: Collection[str] = ()) -> tuple[str, list[Unsent]] | None:
    """The most urgent study that is not whole at the hub, and what of it is still to go; None when nothing waits.

    Flagged ones first, by urgency, then order class, then arrival. One that is still arriving waits, so that the hub sees
    the study that was judged here. `but`: not one of these.
    """
    urgency = case({u.value: k for k, u in enumerate(Urgency)}, value=worklist_row.c.flag_urgency, else_=len(Urgency))
    order_class = case(
        {o.value: k for k, o in enumerate(OrderClass)}, value=worklist_row.c.order_class, else_=len(OrderClass)
    )
    is_flagged = worklist_row.c.flag_finding.is_not(None) & worklist_row.c.flag_ended_at.is_(None)
    query = (
        select(study.c.study_instance_uid)
        .outerjoin(worklist_row, worklist_row.c.study_instance_uid == study.c.study_instance_uid)
        .where(~WHOLE, study.c.state != StudyState.RECEIVING.value, study.c.study_instance_uid.not_in(but))
        .order_by(case((is_flagged, urgency), else_=len(Urgency)), order_class, study.c.arrived_at)
        .limit(1)
    )
    with store.read() as c:
        uid = c.execute(query).scalar()
        if uid is None:
            return None
        rows = c.execute(
            select(instance.c.sha256, instance.c.sop_instance_uid, instance.c.sop_class_uid)
            .where(*_unsent(uid))
            .order_by(instance.c.id)
        )
        return uid, [Unsent(*row) for row in rows]


def settle(store: Store, study_instance_uid: str, outcomes: Mapping[str, str], at: datetime) -> None:
    """Keep what the hub has now, or refuses for good: sha256 -> why it refuses, empty when it took it."""
    with store.write() as c:
        for sha256, refusal in outcomes.items():
            values = {"hub_refusal": refusal} if refusal else {"forwarded_at": at}
            c.execute(update(instance).where(instance.c.sha256 == sha256).values(**values))
        if refusals := [words for words in outcomes.values() if words]:
            studies.mark(c, study_instance_uid, Moment.PARKED, at, f"{len(refusals)} refused by the hub: {refusals[0]}")
        of_study = update(study).where(study.c.study_instance_uid == study_instance_uid)
        c.execute(of_study.where(~exists().where(*_unsent(study_instance_uid))).values(forwarded=study.c.instances))


def waiting(store: Store) -> tuple[int, datetime | None]:
    """How many studies are not whole at the hub, and since when the oldest of them is here."""
    with store.read() as c:
        count, oldest = c.execute(select(func.count(), func.min(study.c.arrived_at)).where(~WHOLE)).one()
    return int(count), oldest


def _unsent(uid: str) -> tuple[ColumnElement[bool], ...]:
    return (
        instance.c.study_instance_uid == uid,
        instance.c.forwarded_at.is_(None),
        instance.c.hub_refusal == "",
        instance.c.quarantine_reason == "",
        instance.c.source_removed_at.is_(None),
    )
