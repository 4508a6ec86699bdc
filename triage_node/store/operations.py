"""What stands where: studies at each stage, how long the stages took, what waits for whom, what was refused for good."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Table, func, or_, select, update

from triage_node.domain.delivery import ObjectKind, OutboxState
from triage_node.domain.message import GONE_OUT, MessageKind, MessageState
from triage_node.domain.priority import ReadingState
from triage_node.domain.study import StudyState
from triage_node.store import audit, outbox
from triage_node.store.engine import Store
from triage_node.store.meta import touch_list
from triage_node.store.operations_synthetic import is_of_patient
from triage_node.store.schema import built_object, message, peer, study, timeline, worklist_row
from triage_node.store.schema import outbox as outbox_table

_NO_REVISION = (ObjectKind.NOT_ANALYSED_SC.value, ObjectKind.NOT_ANALYSED_SR.value, ObjectKind.REJECTION_NOTE.value)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many, and since when the oldest of them waits."""

    count: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class PeerRecord:
    name: str
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_failure: str


@dataclass(frozen=True, slots=True)
class Parked:
    """An object or a message that is not tried any more. `what`: its kind; `is_object`: else a message."""

    id: int
    is_object: bool
    peer: str
    what: str
    study_instance_uid: str
    at: datetime
    reason: str
    tries: int


def studies_in(store: Store) -> dict[StudyState, Waiting]:
    """State -> studies of patients that are in it; `since`: of what closed first, or arrived first where none has closed."""
    first = func.min(func.coalesce(study.c.closed_at, study.c.arrived_at)).label("first")
    query = select(study.c.state, func.count().label("n"), first).where(is_of_patient(study.c.study_instance_uid))
    with store.read() as c:
        return {StudyState(r.state): Waiting(r.n, r.first) for r in c.execute(query.group_by(study.c.state))}


def waiting_for(store: Store, without: Collection[str] = ()) -> dict[str, Waiting]:
    """Peer -> objects and messages that are still to go there."""
    found: dict[str, Waiting] = {}
    with store.read() as c:
        for table in (outbox_table, message):
            pending = table.c.state == OutboxState.PENDING.value  # the same word for a message
            query = select(table.c.peer, func.count().label("n"), func.min(table.c.created_at).label("first"))
            for r in c.execute(query.where(pending, table.c.peer.not_in(without)).group_by(table.c.peer)):
                before = found.get(r.peer, Waiting(0, None))
                instants = [at for at in (before.since, r.first) if at is not None]
                found[r.peer] = Waiting(before.count + r.n, min(instants, default=None))
    return found


def moments(store: Store, names: Iterable[str], since: datetime) -> list[tuple[str, str, datetime]]:
    """(study, moment, instant) of studies of patients, oldest first."""
    query = select(timeline.c.study_instance_uid, timeline.c.moment, timeline.c.at).where(
        timeline.c.at >= since, timeline.c.moment.in_(list(names)), is_of_patient(timeline.c.study_instance_uid)
    )
    with store.read() as c:
        return [(r.study_instance_uid, r.moment, r.at) for r in c.execute(query.order_by(timeline.c.at, timeline.c.id))]


def peers(store: Store) -> dict[str, PeerRecord]:
    """Whoever was ever spoken to. A peer of messages that keeps no record of its own counts by what it took."""
    with store.read() as c:
        found = {
            r.name: PeerRecord(r.name, r.last_success_at, r.last_failure_at, r.last_failure)
            for r in c.execute(select(peer))
        }
        taken = select(message.c.peer, func.max(message.c.sent_at).label("at"))
        for r in c.execute(taken.where(message.c.state.in_([s.value for s in GONE_OUT])).group_by(message.c.peer)):
            found.setdefault(r.peer, PeerRecord(r.peer, r.at, None, ""))
    return found


def parked(store: Store, most: int, on_purpose: Collection[str]) -> list[Parked]:
    """What peers refused for good, newest first. Left out: what was held back `on_purpose` (reasons), superseded or withdrawn."""
    objects = (
        select(outbox_table, study.c.state.label("study_state"))
        .join(built_object, built_object.c.sop_instance_uid == outbox_table.c.sop_instance_uid)
        .join(study, study.c.study_instance_uid == outbox_table.c.study_instance_uid)
        .where(
            outbox_table.c.state == OutboxState.PARKED.value,
            outbox_table.c.reason.not_in(on_purpose),
            ~outbox_table.c.reason.startswith(outbox.SUPERSEDED),
            built_object.c.withdrawn_at.is_(None),
            is_of_patient(outbox_table.c.study_instance_uid),
            study.c.state != StudyState.QUARANTINED.value,
            or_(built_object.c.revision == study.c.revision, built_object.c.kind.in_(_NO_REVISION)),
        )
        .order_by(outbox_table.c.id.desc())
        .limit(most)
    )
    messages = select(message).where(message.c.state == MessageState.PARKED.value).order_by(message.c.id.desc())
    with store.read() as c:
        found = [
            Parked(r.id, True, r.peer, r.kind, r.study_instance_uid, r.final_at or r.created_at, r.reason, r.tries)
            for r in c.execute(objects)
        ]
        found += [
            Parked(r.id, False, r.peer, r.kind, r.study_instance_uid, r.final_at or r.created_at, r.words, r.tries)
            for r in c.execute(messages.limit(most))
        ]
    return sorted(found, key=lambda p: p.at, reverse=True)[:most]


def retry(store: Store, what: Parked, by: str, at: datetime) -> str:
    """Let a parked object or message be tried anew, at once. Returns why it cannot be; empty when it is."""
    table = outbox_table if what.is_object else message
    with store.write() as c:
        row = c.execute(select(table).where(table.c.id == what.id).with_for_update()).one_or_none()
        if row is None or row.state != OutboxState.PARKED.value:
            return "It is not parked any more."
        if not what.is_object and (
            why := _why_message_is_over(c, row.study_instance_uid, row.kind, row.expires_at, at)
        ):
            return why
        _unpark(c, table, what.id, at)
        words = f"{what.what} to {what.peer}: tried again"
        audit.record(c, at, by, "retry", what.study_instance_uid, f"parked: {what.reason}", words)
        touch_list(c)
        return ""


def _unpark(c: Connection, table: Table, row_id: int, at: datetime) -> None:
    # the words of the last refusal stay until there are others: whoever looks meanwhile should know them
    values = {"state": OutboxState.PENDING.value, "tries": 0, "not_before": at, "final_at": None}
    values |= {"lease_owner": "", "lease_until": None}
    c.execute(update(table).where(table.c.id == row_id).values(**values))


def _why_message_is_over(
    c: Connection, study_instance_uid: str, kind: str, expires_at: datetime | None, at: datetime
) -> str:
    if expires_at is not None and expires_at <= at:
        return "Its time is over: nobody would act on it any more."
    state = select(worklist_row.c.reading_state).where(worklist_row.c.study_instance_uid == study_instance_uid)
    if kind != MessageKind.WITHDRAW.value and c.execute(state).scalar() == ReadingState.READ.value:
        return "The study was read meanwhile."
    return ""
