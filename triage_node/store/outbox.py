"""One row per object and peer (DESIGN.md section 3, Outbox).

DESIGN. Rows are written in the transaction of the report that they carry. A row is claimed with a lease, sent, and its
outcome recorded; a lost lease means that it is sent again, harmless because the same bytes carry the same UID. A row
waits until everything in `refers_to` has been sent to, or parked for, the same peer; if something was parked, the row
goes out as its fallback object, built without the reference. A study is `delivered` when all of its rows are final.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, insert, or_, select, true, update

from triage_node.domain.delivery import OUTBOX_FINAL, BuiltObject, ObjectKind, OutboxRow, OutboxState
from triage_node.domain.study import Moment, StudyEvent, StudyState
from triage_node.store import audit, leases, studies, succession
from triage_node.store.engine import Store, insert_new
from triage_node.store.schema import built_object, outbox, peer, study

SUPERSEDED = "superseded by revision"
"""How the reason of what a later revision replaced begins."""
WITHDRAWN = "withdrawn by a rejection note"
_FINAL = [s.value for s in OUTBOX_FINAL]
# an archive that never commits must not be sent to without a pause
LONGEST_COMMITMENT = timedelta(hours=6)
"""Between two questions for the same objects."""
_COMMIT_AGAIN, _LONGEST = timedelta(seconds=1), timedelta(minutes=15)
_ARRIVED = (OutboxState.SENT, OutboxState.DELIVERED, OutboxState.COMMITTED)
_GONE_OUT = [OutboxState.SENT.value, *_FINAL]
_MOMENTS = {
    OutboxState.SENT: Moment.SENT,
    OutboxState.DELIVERED: Moment.SENT,
    OutboxState.COMMITTED: Moment.COMMITTED,
    OutboxState.PARKED: Moment.PARKED,
}


def put(
    c: Connection, peer_name: str, objects: Sequence[BuiltObject], at: datetime, fallbacks: dict[str, str] | None = None
) -> None:
    """Queue objects for one peer. `fallbacks` maps a SOP Instance UID to the object sent when a reference was parked."""
    held = set(
        c.execute(
            select(outbox.c.sop_instance_uid).where(
                outbox.c.peer == peer_name, outbox.c.sop_instance_uid.in_([o.sop_instance_uid for o in objects])
            )
        ).scalars()
    )
    rows = [
        {
            "peer": peer_name,
            "kind": o.kind.value,
            "study_instance_uid": o.study_instance_uid,
            "sop_instance_uid": o.sop_instance_uid,
            "sop_class_uid": o.sop_class_uid,
            "sha256": o.sha256,
            "refers_to": list(o.refers_to),
            "fallback_sop_instance_uid": (fallbacks or {}).get(o.sop_instance_uid),
            "state": OutboxState.PENDING.value,
            "not_before": at,
            "created_at": succession.time_of_making(c, o.study_instance_uid, at),
        }
        for o in objects
        if o.sop_instance_uid not in held
    ]
    if rows:
        c.execute(insert(outbox), rows)


def peers_with_work(store: Store, now: datetime) -> list[str]:
    with store.read() as c:
        query = select(outbox.c.peer).where(outbox.c.state == OutboxState.PENDING.value, outbox.c.not_before <= now)
        return sorted(c.execute(query.distinct()).scalars())


def claim_batch(
    store: Store,
    peer_name: str,
    owner: str,
    now: datetime,
    lease: timedelta,
    limit: int,
    only: ObjectKind | None = None,
) -> list[OutboxRow]:
    """Take rows that may go out now, oldest first, referenced objects before those that refer to them. `only`: of this kind."""
    query = (
        select(outbox)
        .where(
            outbox.c.peer == peer_name,
            outbox.c.state == OutboxState.PENDING.value,
            outbox.c.not_before <= now,
            or_(outbox.c.lease_until.is_(None), outbox.c.lease_until < now),
            outbox.c.kind == only.value if only is not None else true(),
        )
        .order_by(outbox.c.id)
        .limit(4 * limit)
        .with_for_update(skip_locked=True)
    )
    with store.write() as c:
        taken: list[OutboxRow] = []
        last = 0
        # however many wait for what they refer to, those behind them go out
        while len(taken) < limit and (rows := c.execute(query.where(outbox.c.id > last)).all()):
            for row in rows:
                last = row.id
                if (ready := _ready(c, row)) is not None:
                    taken.append(ready)
                if len(taken) == limit:
                    break
        if taken:
            c.execute(
                update(outbox)
                .where(outbox.c.id.in_([r.id for r in taken]))
                .values(
                    lease_owner=owner,
                    lease_until=now + lease,
                    # whoever had it before and told nothing may have sent it
                    sent_at=case((outbox.c.lease_owner != "", now), else_=outbox.c.sent_at),
                )
            )
        return taken


def renew(store: Store, peer_name: str, owner: str, now: datetime, lease: timedelta) -> None:
    """Put off the end of the leases of what an owner still has on its way to a peer."""
    mine = update(outbox).where(outbox.c.peer == peer_name, outbox.c.lease_owner == owner)
    with store.write() as c:
        c.execute(mine.values(lease_until=now + lease))


def take_from_dead(store: Store, peer_name: str, is_dead: Callable[[str], bool], now: datetime) -> None:
    """What a process had on its way when it ended may have arrived."""
    leases.take_from_dead(store, outbox, peer_name, is_dead, {"sent_at": now})


def record_outcome(
    store: Store,
    row_id: int,
    state: OutboxState,
    now: datetime,
    not_before: datetime | None = None,
    reason: str = "",
    transaction_uid: str = "",
    perhaps_there: bool = False,
) -> None:
    """Write what became of one try; `pending` with a new `not_before` is a retry. `perhaps_there`: it went out, unanswered."""
    with store.write() as c:
        row = c.execute(select(outbox).where(outbox.c.id == row_id).with_for_update()).one()
        # what was held back while it was on its way may have arrived all the same, and then has to be corrected there
        arrived_late = row.state == OutboxState.PARKED.value and row.lease_owner and state in _ARRIVED
        if perhaps_there:
            c.execute(update(outbox).where(outbox.c.id == row_id).values(sent_at=now))
        if row.state in _FINAL and not arrived_late:
            return
        _set(c, row, state, now, not_before, reason, transaction_uid)


def pending_commitments(
    store: Store, peer_name: str, now: datetime, patience: timedelta | None = None
) -> list[OutboxRow]:
    """Rows that are not committed; with `patience`, those whose last question is so old, and as old as the row was then.

    A new question makes the answer to the last one a stranger's: an archive that takes an hour gets its hour.
    """
    mine = outbox.c.peer == peer_name, outbox.c.state == OutboxState.SENT.value
    with store.read() as c:
        rows = c.execute(select(outbox).where(*mine, outbox.c.sent_at < now).order_by(outbox.c.id)).all()
    if patience is not None:
        rows = [r for r in rows if now - r.sent_at >= max(patience, min(r.sent_at - r.created_at, LONGEST_COMMITMENT))]
    return [_from_row(r) for r in rows]


def renew_commitment(store: Store, row_ids: Sequence[int], transaction_uid: str, now: datetime) -> None:
    """A new question for rows whose commitment was not answered."""
    with store.write() as c:
        c.execute(
            update(outbox)
            .where(outbox.c.id.in_(row_ids), outbox.c.state == OutboxState.SENT.value)
            .values(transaction_uid=transaction_uid, sent_at=now)
        )


def commitment_result(
    store: Store,
    transaction_uid: str,
    committed: Iterable[str],
    failed: Iterable[tuple[str, int]],
    now: datetime,
) -> int:
    """Apply an N-EVENT-REPORT. Failed instances go back to pending. Returns how many rows it named; 0 for a stranger's.

    `committed`: SOP Instance UIDs; `failed`: (SOP Instance UID, FailureReason). Source: PS3.4 Annex J.
    """
    done, lost = set(committed), dict(failed)
    with store.write() as c:
        rows = c.execute(
            select(outbox)
            .where(outbox.c.transaction_uid == transaction_uid, outbox.c.state == OutboxState.SENT.value)
            .with_for_update()
        ).all()
        named = 0
        for row in rows:
            if row.sop_instance_uid in done:
                _set(c, row, OutboxState.COMMITTED, now)
            elif row.sop_instance_uid in lost:
                why = f"not committed, reason 0x{lost[row.sop_instance_uid]:04X}"
                _set(
                    c, row, OutboxState.PENDING, now, now + min(_COMMIT_AGAIN * 2 ** min(row.tries, 10), _LONGEST), why
                )
            else:
                continue
            named += 1
        return named


def of_study(store: Store, study_instance_uid: str) -> list[OutboxRow]:
    with store.read() as c:
        query = select(outbox).where(outbox.c.study_instance_uid == study_instance_uid).order_by(outbox.c.id)
        return [_from_row(r) for r in c.execute(query)]


def parked(store: Store) -> list[OutboxRow]:
    with store.read() as c:
        query = select(outbox).where(outbox.c.state == OutboxState.PARKED.value).order_by(outbox.c.id)
        return [_from_row(r) for r in c.execute(query)]


def counts(store: Store) -> dict[tuple[str, str], int]:
    """(peer, state) -> rows."""
    with store.read() as c:
        query = select(outbox.c.peer, outbox.c.state, func.count()).group_by(outbox.c.peer, outbox.c.state)
        return {(p, s): int(n) for p, s, n in c.execute(query)}


def record_peer(store: Store, name: str, now: datetime, failure: str = "") -> None:
    """Remember when a peer last answered, or why it did not."""
    values: dict[str, Any] = (
        {"last_failure_at": now, "last_failure": failure} if failure else {"last_success_at": now, "last_failure": ""}
    )
    with store.write() as c:
        if not c.execute(update(peer).where(peer.c.name == name).values(**values)).rowcount:
            c.execute(insert_new(c, peer), {"name": name, **values})  # another host may have been first


def supersede(
    c: Connection, uids: Collection[str], revision: int, now: datetime, outlasting: frozenset[str] = frozenset()
) -> None:
    """Park what of these objects has still to be sent, but to the `outlasting` peers: a later revision took their place."""
    replaced = outbox.c.sop_instance_uid.in_(uids) & outbox.c.peer.not_in(outlasting)
    _park(c, replaced, f"{SUPERSEDED} {revision}", now)


def mark_withdrawn(c: Connection, uids: Collection[str], outlasting: frozenset[str] = frozenset()) -> None:
    """Say of what arrived that a rejection note takes it back, but at the `outlasting` peers."""
    arrived = outbox.c.state.in_([s.value for s in _ARRIVED])
    told = outbox.c.sop_instance_uid.in_(uids) & outbox.c.peer.not_in(outlasting) & arrived
    c.execute(update(outbox).where(told).values(reason=WITHDRAWN))


def hold_back(c: Connection, study_instance_uid: str, why: str, now: datetime) -> int:
    """Park whatever a study still has to send; rejection notes go on. Returns how many rows."""
    objects = outbox.c.kind != ObjectKind.REJECTION_NOTE.value
    return _park(c, (outbox.c.study_instance_uid == study_instance_uid) & objects, why, now)


def _park(c: Connection, which: ColumnElement[bool], why: str, now: datetime) -> int:
    pending = outbox.c.state == OutboxState.PENDING.value
    rows = c.execute(select(outbox).where(which, pending).order_by(outbox.c.id).with_for_update()).all()
    for row in rows:
        values = {"state": OutboxState.PARKED.value, "reason": why, "final_at": now}
        if row.lease_owner:  # it is on its way, and who sends it may not live to tell
            values["sent_at"] = now
        c.execute(update(outbox).where(outbox.c.id == row.id).values(**values))
        _audit(c, row, OutboxState.PARKED, now, why)
    return len(rows)


def settle(c: Connection, study_instance_uid: str, now: datetime) -> None:
    """Reported -> delivered when nothing of the study is left to do (nothing to send: at once)."""
    state = c.execute(select(study.c.state).where(study.c.study_instance_uid == study_instance_uid)).scalar()
    open_rows = select(func.count()).where(
        and_(outbox.c.study_instance_uid == study_instance_uid, outbox.c.state.not_in(_FINAL))
    )
    if state == StudyState.REPORTED.value and c.execute(open_rows).scalar_one() == 0:
        studies.advance(c, study_instance_uid, StudyEvent.DELIVERED, now)


def _set(
    c: Connection,
    row: Row[Any],
    state: OutboxState,
    now: datetime,
    not_before: datetime | None = None,
    reason: str = "",
    transaction_uid: str = "",
) -> None:
    values: dict[str, Any] = {"state": state.value, "reason": reason, "lease_owner": "", "lease_until": None}
    if state is OutboxState.PENDING:
        values |= {"tries": row.tries + 1, "not_before": not_before or now, "transaction_uid": ""}
    if state in (OutboxState.SENT, OutboxState.DELIVERED):
        values |= {"sent_at": now, "tries": row.tries + 1}
    if transaction_uid:
        values["transaction_uid"] = transaction_uid
    if state in OUTBOX_FINAL:
        values["final_at"] = now
    c.execute(update(outbox).where(outbox.c.id == row.id).values(**values))
    if row.state != state.value:
        if state is not OutboxState.PENDING:
            studies.mark(c, row.study_instance_uid, _MOMENTS[state], now, _words(row, reason))
        _audit(c, row, state, now, reason)
    settle(c, row.study_instance_uid, now)


def _audit(c: Connection, row: Row[Any], state: OutboxState, now: datetime, reason: str) -> None:
    what = f"{row.sop_instance_uid} {_words(row, reason)}"
    audit.record(c, now, "delivery", f"object {state.value}", row.study_instance_uid, row.state, what)


def _words(row: Row[Any], reason: str) -> str:
    return f"{row.kind} to {row.peer}" + (f": {reason}" if reason else "")


def _ready(c: Connection, row: Row[Any]) -> OutboxRow | None:
    """The row when everything it refers to has gone out; as its fallback when some of that was parked; else None."""
    if not row.refers_to:
        return _from_row(row)
    states = dict(
        c.execute(
            select(outbox.c.sop_instance_uid, outbox.c.state).where(
                outbox.c.peer == row.peer, outbox.c.sop_instance_uid.in_(row.refers_to)
            )
        )
        .tuples()
        .all()
    )
    if any(s not in _GONE_OUT for s in states.values()):
        return None
    missing = [uid for uid in row.refers_to if states.get(uid, OutboxState.PARKED.value) == OutboxState.PARKED.value]
    if missing and row.fallback_sop_instance_uid:
        other = c.execute(
            select(built_object).where(built_object.c.sop_instance_uid == row.fallback_sop_instance_uid)
        ).one()
        values = {
            "sop_instance_uid": other.sop_instance_uid,
            "sha256": other.sha256,
            "refers_to": [],
            "fallback_sop_instance_uid": None,
        }
        c.execute(update(outbox).where(outbox.c.id == row.id).values(**values))
        row = c.execute(select(outbox).where(outbox.c.id == row.id)).one()
    return _from_row(row)


def _from_row(r: Row[Any]) -> OutboxRow:
    return OutboxRow(
        id=r.id,
        peer=r.peer,
        kind=ObjectKind(r.kind),
        study_instance_uid=r.study_instance_uid,
        sop_instance_uid=r.sop_instance_uid,
        sop_class_uid=r.sop_class_uid,
        sha256=r.sha256,
        state=OutboxState(r.state),
        tries=r.tries,
        not_before=r.not_before,
        reason=r.reason,
        transaction_uid=r.transaction_uid,
        refers_to=tuple(r.refers_to),
        created_at=r.created_at,
        sent_at=r.sent_at,
    )
