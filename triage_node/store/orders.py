"""Facts from orders and patient messages of other systems; they wait here until the study that they are about is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update

from triage_node.domain.clinical import ClinicalEntry
from triage_node.domain.orders import OF_PATIENTS, OrderEvent, OrderFacts, PatientKey, ReceivedFacts
from triage_node.domain.priority import OrderClass, ReadingState
from triage_node.domain.study import StudyIdentity
from triage_node.store import audit
from triage_node.store.engine import Store
from triage_node.store.meta import touch_list
from triage_node.store.schema import order_message, outbox, study, worklist_row

SAME_MESSAGE_WITHIN = timedelta(days=1)
"""Some senders begin to count their control IDs anew; later than this the same ID is another message."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A study by what an order can name it."""

    study_instance_uid: str
    identity: StudyIdentity
    arrived_at: datetime


def take(store: Store, sender: str, control_id: str, facts: Sequence[OrderFacts], at: datetime) -> bool:
    """Keep what one message told, in one transaction. False when it had come before. Raises: StoreError."""
    with store.write() as c:
        seen = select(order_message.c.id).where(
            order_message.c.sender == sender,
            order_message.c.control_id == control_id,
            order_message.c.received_at > at - SAME_MESSAGE_WITHIN,
        )
        if c.execute(seen.limit(1)).scalar() is not None:
            return False
        for one in facts:
            first = one.merged_from or next(iter(one.patients), None)
            c.execute(
                insert(order_message).values(
                    sender=sender,
                    control_id=control_id,
                    received_at=at,
                    event=one.event.value,
                    study_instance_uid=one.study_instance_uid,
                    accession_number=one.accession_number,
                    patient_id="" if first is None else first.identifier,
                    body=_as_json(one),
                )
            )
        return True


def newest(store: Store) -> int:
    """The number of the newest message, 0 when there is none."""
    with store.read() as c:
        return c.execute(select(func.max(order_message.c.id))).scalar() or 0


def listed(store: Store, since: datetime) -> list[Listed]:
    """Studies that arrived since then and are not read: those whose row a fact can change."""
    with store.read() as c:
        query = _STUDIES.join(worklist_row, worklist_row.c.study_instance_uid == study.c.study_instance_uid)
        unread = worklist_row.c.reading_state != ReadingState.READ.value
        return [_listed(r) for r in c.execute(query.where(unread, study.c.arrived_at >= since))]


def of_patient(store: Store, patient_id: str) -> list[Listed]:
    """Every study of a patient ID, read ones too; issuers are the caller's to compare."""
    with store.read() as c:
        return [_listed(r) for r in c.execute(_STUDIES.where(study.c.patient_id == patient_id))]


def waiting_for(store: Store, studies: Iterable[Listed]) -> list[ReceivedFacts]:
    """What waits for any of these studies or their patients, oldest first; merges of patients also when they were applied."""
    uids, accessions, patients = set(), set(), set()
    for one in studies:
        uids.add(one.study_instance_uid)
        accessions.add(one.identity.accession_number)
        patients.add(one.identity.patient_id)
    waits = order_message.c.applied_at.is_(None)
    of_orders = waits & order_message.c.event.not_in([e.value for e in OF_PATIENTS])
    merges = order_message.c.event == OrderEvent.PATIENT_MERGED.value
    of_patients = order_message.c.event.in_([e.value for e in OF_PATIENTS]) & (waits | merges)
    return _select(
        store,
        or_(
            of_orders & order_message.c.study_instance_uid.in_(uids - {""}),
            of_orders & order_message.c.accession_number.in_(accessions - {""}),
            of_patients & order_message.c.patient_id.in_(patients - {""}),
        ),
    )


def patient_changes_after(store: Store, last_id: int) -> list[ReceivedFacts]:
    """Updates and merges of patients that came since and were not applied."""
    changes = [OrderEvent.PATIENT_UPDATED.value, OrderEvent.PATIENT_MERGED.value]
    new = (order_message.c.id > last_id) & order_message.c.applied_at.is_(None)
    return _select(store, new & order_message.c.event.in_(changes))


def settle(c: Connection, received: ReceivedFacts, outcome: str, at: datetime) -> None:
    """These facts have been applied, or never will be: `outcome` says what became of them."""
    where = order_message.c.id == received.id
    c.execute(update(order_message).where(where).values(applied_at=at, outcome=outcome[:500]))


def outcomes(store: Store) -> list[tuple[str, str, str]]:
    """(control ID, event, outcome) of every message, oldest first; an empty outcome still waits."""
    with store.read() as c:
        query = select(order_message).order_by(order_message.c.id)
        return [(r.control_id, r.event, r.outcome) for r in c.execute(query)]


def last_report_at(store: Store) -> datetime | None:
    """When a final report of a study of ours was last told: proof that such a feed arrives."""
    with store.read() as c:
        reports = (order_message.c.event == OrderEvent.REPORT.value) & order_message.c.applied_at.is_not(None)
        at: datetime | None = c.execute(select(func.max(order_message.c.applied_at)).where(reports)).scalar()
        return at


def set_order_class(c: Connection, uid: str, order_class: OrderClass, at: datetime, actor: str) -> None:
    """What the order says goes before what an intake rule assumed."""
    where = worklist_row.c.study_instance_uid == uid
    old = c.execute(select(worklist_row.c.order_class).where(where)).scalar()
    if old is None or old == order_class.value:
        return
    c.execute(update(worklist_row).where(where).values(order_class=order_class.value))
    audit.record(c, at, actor, "order class", uid, old, order_class.value)
    touch_list(c)


def told_class(c: Connection, uid: str, accession_number: str) -> OrderClass | None:
    """The class that an order message told last of this study and that was taken; None when none did, whatever a rule assumed."""
    named = order_message.c.study_instance_uid == uid
    if accession_number:
        named |= (order_message.c.accession_number == accession_number) & (order_message.c.study_instance_uid == "")
    taken = order_message.c.applied_at.is_not(None) & order_message.c.outcome.like("order class %")
    rows = c.execute(select(order_message).where(named, taken).order_by(order_message.c.id.desc()))
    return next((told for r in rows if (told := _from_row(r).facts.order_class) is not None), None)


def delivered_before(store: Store, uid: str, at: datetime) -> list[tuple[str, str, str]]:
    """(peer, kind, SOP Instance UID) of what was made before an identity was corrected at `at` and left: to be corrected there."""
    with store.read() as c:
        # one that was on its way at that instant arrived later
        left = outbox.c.sent_at.is_not(None) & (outbox.c.created_at <= at)
        query = select(outbox).where(outbox.c.study_instance_uid == uid, left)
        return [(r.peer, r.kind, r.sop_instance_uid) for r in c.execute(query.order_by(outbox.c.id))]


def forget_before(store: Store, at: datetime) -> int:
    """Remove messages that came before `at`: who sent them holds them, and they name patients. Returns how many."""
    with store.write() as c:
        return c.execute(delete(order_message).where(order_message.c.received_at < at)).rowcount


_STUDIES = select(study.c.study_instance_uid, study.c.identity, study.c.arrived_at)


def _select(store: Store, which: ColumnElement[bool]) -> list[ReceivedFacts]:
    with store.read() as c:
        return [_from_row(r) for r in c.execute(select(order_message).where(which).order_by(order_message.c.id))]


def _listed(r: Row[Any, Any, Any]) -> Listed:
    return Listed(r.study_instance_uid, StudyIdentity(**r.identity), r.arrived_at)


def _as_json(facts: OrderFacts) -> dict[str, Any]:
    body = asdict(facts)
    onset = facts.entry.onset_at
    body["entry"] = {k: v for k, v in body["entry"].items() if v is not None and k != "onset_at"}
    if onset is not None:
        body["entry"]["onset_at"] = onset.isoformat()
    return body


def _from_row(r: Row[Any]) -> ReceivedFacts:
    body = dict(r.body)
    entry = dict(body["entry"])
    if "onset_at" in entry:
        entry["onset_at"] = datetime.fromisoformat(entry["onset_at"])
    merged, order_class = body["merged_from"], body["order_class"]
    facts = OrderFacts(
        **body
        | {
            "event": OrderEvent(body["event"]),
            "patients": tuple(PatientKey(**p) for p in body["patients"]),
            "merged_from": None if merged is None else PatientKey(**merged),
            "order_class": None if order_class is None else OrderClass(order_class),
            "entry": ClinicalEntry(**entry),
            "notes": tuple(body["notes"]),
        }
    )
    return ReceivedFacts(r.id, r.sender, r.control_id, r.received_at, facts)
