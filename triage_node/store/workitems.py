"""Reading workitems, subscriptions, and events that their subscribers have not taken yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from triage_node.domain.priority import OrderClass, ReadingState
from triage_node.domain.study import StudyIdentity
from triage_node.domain.workitem import (
    OPEN_STATES,
    Ended,
    ItemPriority,
    ItemState,
    Json,
    QueuedEvent,
    StudyFacts,
    Subscription,
    Workitem,
)
from triage_node.store.engine import Store
from triage_node.store.schema import (
    instance,
    study,
    workitem,
    workitem_event,
    workitem_subscription,
    worklist_row,
)

EVENTS_KEPT = 1000
"""Events that wait for one subscriber; of more the oldest go, since each later report says all that an earlier one said."""
MATCHED_AT_MOST = 5000


def newest(c: Connection) -> dict[str, Workitem]:
    """Study -> its newest workitem, of all that are open or whose study is still on the list."""
    listed = select(worklist_row.c.study_instance_uid).where(worklist_row.c.reading_state != ReadingState.READ.value)
    wanted = workitem.c.state.in_([s.value for s in OPEN_STATES]) | workitem.c.study_instance_uid.in_(listed)
    found: dict[str, Workitem] = {}
    for r in c.execute(select(workitem).where(wanted).order_by(workitem.c.attempt)):
        found[r.study_instance_uid] = _workitem(r)
    return found


def reading_states(c: Connection, studies: Sequence[str]) -> dict[str, ReadingState]:
    """Of studies that are on the list no more; asked for few at a time."""
    query = select(worklist_row.c.study_instance_uid, worklist_row.c.reading_state)
    found = c.execute(query.where(worklist_row.c.study_instance_uid.in_(studies)))
    return {r.study_instance_uid: ReadingState(r.reading_state) for r in found}


def closed_studies(c: Connection) -> set[str]:
    """Studies on the list of which nothing more is awaited."""
    query = (
        select(study.c.study_instance_uid)
        .join(worklist_row, worklist_row.c.study_instance_uid == study.c.study_instance_uid)
        .where(worklist_row.c.reading_state != ReadingState.READ.value, study.c.closed_at.is_not(None))
    )
    return set(c.execute(query).scalars())


def add(c: Connection, item: Workitem) -> None:
    c.execute(insert(workitem).values(**_values(item)))


def save(c: Connection, item: Workitem) -> None:
    c.execute(update(workitem).where(workitem.c.uid == item.uid).values(**_values(item)))


def get(c: Connection, uid: str) -> Workitem | None:
    """Locked until the transaction ends, so that of two claims one comes first."""
    r = c.execute(select(workitem).where(workitem.c.uid == uid).with_for_update()).one_or_none()
    return None if r is None else _workitem(r)


def described(
    c: Connection, uid: str = "", study_instance_uid: str = "", state: ItemState | None = None
) -> list[tuple[Workitem, StudyFacts]]:
    """Workitems with what they say about their study, oldest first; at most one more than MATCHED_AT_MOST."""
    query = _described()
    if uid:
        query = query.where(workitem.c.uid == uid)
    if study_instance_uid:
        query = query.where(workitem.c.study_instance_uid == study_instance_uid)
    if state is not None:
        query = query.where(workitem.c.state == state.value)
    query = query.order_by(worklist_row.c.arrived_at, workitem.c.attempt).limit(MATCHED_AT_MOST + 1)
    return [(_workitem(r), _facts(r)) for r in c.execute(query)]


def instances_of(c: Connection, study_instance_uid: str) -> dict[str, list[tuple[str, str]]]:
    """Series -> (SOP class UID, SOP Instance UID) of what was received under each UID first."""
    query = select(instance.c.series_instance_uid, instance.c.sop_class_uid, instance.c.sop_instance_uid).where(
        instance.c.study_instance_uid == study_instance_uid,
        instance.c.first,
        instance.c.quarantine_reason == "",
        instance.c.series_instance_uid.is_not(None),
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for r in c.execute(query.order_by(instance.c.id)):
        found.setdefault(r.series_instance_uid, []).append((r.sop_class_uid, r.sop_instance_uid))
    return found


# subscriptions


def subscriptions(c: Connection) -> list[Subscription]:
    return [
        Subscription(r.ae_title, r.scope, r.subscribed, r.deletion_lock, r.keys, r.suspended_at)
        for r in c.execute(select(workitem_subscription))
    ]


def subscribe(c: Connection, s: Subscription) -> None:
    """Set, or replace, what an AE wants of one scope."""
    unsubscribe(c, s.ae_title, s.scope)
    values = {name: getattr(s, name) for name in Subscription.__slots__}
    c.execute(insert(workitem_subscription).values(**values | {"keys": dict(s.keys)}))


def unsubscribe(c: Connection, ae_title: str, scope: str | None = None) -> None:
    """`scope` None: everything that the AE wants, and what waits for it."""
    held = delete(workitem_subscription).where(workitem_subscription.c.ae_title == ae_title)
    if scope is not None:
        held = held.where(workitem_subscription.c.scope == scope)
    else:
        c.execute(delete(workitem_event).where(workitem_event.c.ae_title == ae_title))
    c.execute(held)


# events


def queue_event(c: Connection, ae_title: str, workitem_uid: str, event_type: int, body: Json, at: datetime) -> None:
    c.execute(
        insert(workitem_event).values(
            ae_title=ae_title, workitem_uid=workitem_uid, event_type=event_type, body=dict(body), at=at
        )
    )
    waiting = select(func.count()).select_from(workitem_event).where(workitem_event.c.ae_title == ae_title)
    if c.execute(waiting).scalar_one() > EVENTS_KEPT:
        oldest = select(func.min(workitem_event.c.id)).where(workitem_event.c.ae_title == ae_title)
        c.execute(delete(workitem_event).where(workitem_event.c.id == oldest.scalar_subquery()))


def waiting_events(store: Store, ae_title: str, limit: int) -> list[QueuedEvent]:
    """Oldest first."""
    with store.read() as c:
        query = select(workitem_event).where(workitem_event.c.ae_title == ae_title)
        return [
            QueuedEvent(r.id, r.ae_title, r.workitem_uid, r.event_type, r.body)
            for r in c.execute(query.order_by(workitem_event.c.id).limit(limit))
        ]


def event_taken(store: Store, event_id: int) -> None:
    with store.write() as c:
        c.execute(delete(workitem_event).where(workitem_event.c.id == event_id))


def _described() -> Select[Any]:
    return (
        select(
            workitem,
            study.c.identity,
            study.c.description,
            study.c.calling_ae_title,
            worklist_row.c.order_class,
            worklist_row.c.arrived_at,
        )
        .join(study, study.c.study_instance_uid == workitem.c.study_instance_uid)
        .join(worklist_row, worklist_row.c.study_instance_uid == workitem.c.study_instance_uid)
    )


def _facts(r: Row[Any]) -> StudyFacts:
    return StudyFacts(
        r.study_instance_uid,
        StudyIdentity(**r.identity),
        r.description,
        OrderClass(r.order_class),
        r.arrived_at,
        r.calling_ae_title,
    )


def _values(item: Workitem) -> dict[str, Any]:
    return {name: getattr(item, name) for name in Workitem.__slots__} | {"performed": dict(item.performed)}


def _workitem(r: Row[Any]) -> Workitem:
    return Workitem(
        uid=r.uid,
        study_instance_uid=r.study_instance_uid,
        attempt=r.attempt,
        own_priority=ItemPriority(r.own_priority),
        created_at=r.created_at,
        changed_at=r.changed_at,
        state=ItemState(r.state),
        asked_priority=ItemPriority(r.asked_priority) if r.asked_priority else None,
        comment=r.comment,
        input_ready=r.input_ready,
        transaction_uid=r.transaction_uid,
        performer=r.performer,
        ended=Ended(r.ended) if r.ended else None,
        performed=r.performed,
    )
