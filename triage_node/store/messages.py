"""Messages to the worklists of others: one row a message and peer (DESIGN.md section 3, Outbox).

DESIGN. Rows are written in the transaction of the decision, or of the disagreement, that they carry. A row is claimed with a
lease, sent, and the answer recorded; a try is counted when it begins, so that what a killed process may have sent is never
taken for unsent. One peer gets its messages in the order in which they were written; what waits for another try lets other
studies pass, but never a later message of its own study.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, insert, or_, select, update

from triage_node.domain.message import GONE_OUT, MessageKind, MessageRow, MessageState, NewMessage
from triage_node.domain.priority import ReadingState
from triage_node.domain.study import Moment
from triage_node.store import audit, leases, studies
from triage_node.store.engine import Store
from triage_node.store.meta import touch_list
from triage_node.store.schema import message, worklist_row

WAS_READ = "the study was read"
"""Why a raise was not sent."""
_PENDING = message.c.state == MessageState.PENDING.value
_EARLIER = message.alias("earlier")


def put(c: Connection, messages: Sequence[NewMessage], at: datetime, not_before: datetime | None = None) -> int:
    """Queue messages, each once for ever, to go out now or at `not_before`. Returns how many are new."""
    new = 0
    for m in messages:
        same = select(message.c.id).where(message.c.peer == m.peer, message.c.message_id == m.message_id)
        if c.execute(same).scalar() is not None:
            continue
        c.execute(
            insert(message).values(
                peer=m.peer,
                kind=m.kind.value,
                message_id=m.message_id,
                study_instance_uid=m.study_instance_uid,
                revision=m.revision,
                payload=dict(m.payload),
                state=MessageState.PENDING.value,
                not_before=not_before or at,
                created_at=at,
                expires_at=m.expires_at,
            )
        )
        audit.record(c, at, "node", f"{m.kind.value} queued", m.study_instance_uid, new=f"{m.message_id} to {m.peer}")
        new += 1
    return new


def is_work_due(store: Store, peer: str, now: datetime) -> bool:
    with store.read() as c:
        return c.execute(select(message.c.id).where(*_due(peer, now)).limit(1)).scalar() is not None


def claim(store: Store, peer: str, owner: str, now: datetime, lease: timedelta) -> MessageRow | None:
    """Begin a try of the peer's oldest message that may go out now."""
    query = select(message).where(*_due(peer, now)).order_by(message.c.id).limit(1).with_for_update(skip_locked=True)
    with store.write() as c:
        row = c.execute(query).one_or_none()
        if row is None:
            return None
        values = {"lease_owner": owner, "lease_until": now + lease, "tries": row.tries + 1}
        c.execute(update(message).where(message.c.id == row.id).values(**values))
        return _row(c.execute(select(message).where(message.c.id == row.id)).one())


def take_from_dead(store: Store, peer: str, is_dead: Callable[[str], bool]) -> None:
    leases.take_from_dead(store, message, peer, is_dead)


def record(
    store: Store,
    row_id: int,
    state: MessageState,
    at: datetime,
    words: str = "",
    held: str = "",
    written: str = "",
    not_before: datetime | None = None,
) -> None:
    """Write what became of one try; `pending` with `not_before` is another one later. A final row stays as it is.

    `held` and `written` may come with a try that had no answer: what was being changed when the peer fell silent.
    """
    with store.write() as c:
        row = c.execute(select(message).where(message.c.id == row_id).with_for_update()).one()
        if row.state == MessageState.PENDING.value:
            _set(c, row, state, at, words, held, written, not_before)


def withhold(c: Connection, row_ids: Sequence[int], at: datetime, why: str, tries_before: int = 0) -> None:
    """End messages that shall not go out (any more). One that was tried before may have arrived, and says so."""
    for row in c.execute(select(message).where(message.c.id.in_(row_ids), _PENDING).with_for_update()).all():
        untried = row.tries <= tries_before
        state = MessageState.NOT_SENT if untried else MessageState.NOT_CONFIRMED
        _set(c, row, state, at, why if untried else f"{why}, before an answer came")


def cancel_raises(c: Connection, study_instance_uid: str, at: datetime, why: str) -> None:
    """Raises of a study that wait are not sent any more. One that is on its way now is left to whoever sends it."""
    free = or_(message.c.lease_until.is_(None), message.c.lease_until < at)
    waiting = select(message.c.id).where(
        message.c.study_instance_uid == study_instance_uid, message.c.kind == MessageKind.RAISE.value, _PENDING, free
    )
    withhold(c, c.execute(waiting).scalars().all(), at, why)


def expire(store: Store, now: datetime) -> int:
    """End what nobody took in time, whatever the peer. Returns how many.

    Where a try had written something before the peer fell silent, it may hold that: such a message can still be taken back.
    """
    late = and_(_PENDING, message.c.expires_at <= now, _free(now))
    with store.read() as c:
        if c.execute(select(message.c.id).where(late).limit(1)).scalar() is None:
            return 0
    with store.write() as c:
        rows = c.execute(select(message).where(late).with_for_update(skip_locked=True)).all()
        for row in rows:
            state = MessageState.NOT_CONFIRMED if row.written else MessageState.EXPIRED
            _set(c, row, state, now, f"no answer in time{f': {row.words}' if row.words else ''}")
        return len(rows)


def of_study(source: Store | Connection, study_instance_uid: str) -> list[MessageRow]:
    """Oldest first; pass a write's connection to see its own changes."""
    if isinstance(source, Store):
        with source.read() as c:
            return of_study(c, study_instance_uid)
    query = select(message).where(message.c.study_instance_uid == study_instance_uid).order_by(message.c.id)
    return [_row(r) for r in source.execute(query)]


def of_open_studies(store: Store) -> dict[str, list[MessageRow]]:
    """Study -> its messages, oldest first, for every study that nobody has read yet."""
    query = (
        select(message)
        .join(worklist_row, worklist_row.c.study_instance_uid == message.c.study_instance_uid)
        .where(worklist_row.c.reading_state != ReadingState.READ.value)
        .order_by(message.c.id)
    )
    found: dict[str, list[MessageRow]] = {}
    with store.read() as c:
        for r in c.execute(query):
            found.setdefault(r.study_instance_uid, []).append(_row(r))
    return found


def notices_since(store: Store, since: datetime) -> list[MessageRow]:
    """Notices to people about studies that nobody has read yet, oldest first."""
    query = (
        select(message)
        .join(worklist_row, worklist_row.c.study_instance_uid == message.c.study_instance_uid)
        .where(
            message.c.kind == MessageKind.NOTIFY.value,
            message.c.created_at >= since,
            worklist_row.c.reading_state != ReadingState.READ.value,
        )
        .order_by(message.c.id)
    )
    with store.read() as c:
        return [_row(r) for r in c.execute(query)]


def _due(peer: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    own_turn = ~exists().where(
        _EARLIER.c.peer == message.c.peer,
        _EARLIER.c.study_instance_uid == message.c.study_instance_uid,
        _EARLIER.c.id < message.c.id,
        _EARLIER.c.state == MessageState.PENDING.value,
    )
    in_time = or_(message.c.expires_at.is_(None), message.c.expires_at > now)
    return message.c.peer == peer, _PENDING, message.c.not_before <= now, _free(now), in_time, own_turn


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(message.c.lease_until.is_(None), message.c.lease_until < now)


def _set(
    c: Connection,
    row: Row[Any],
    state: MessageState,
    at: datetime,
    words: str,
    held: str = "",
    written: str = "",
    not_before: datetime | None = None,
) -> None:
    values: dict[str, Any] = {"state": state.value, "words": words, "lease_owner": "", "lease_until": None}
    if held or written:
        # a try without an answer had written this: what stands there now is ours, and not what the peer had by itself
        is_ours = bool(row.written) and held == written == row.written
        values |= {"held": row.held if is_ours else held, "written": written}
    if state is MessageState.PENDING:
        values["not_before"] = not_before or at
    else:
        values["final_at"] = at
    if state in GONE_OUT:
        values["sent_at"] = at
    c.execute(update(message).where(message.c.id == row.id).values(**values))
    if state is MessageState.PENDING and words == row.words:
        return  # the same silence again: an absent peer must not fill the audit trail
    said = ": ".join(part for part in (state.value, words) if part)
    audit.record(
        c,
        at,
        "delivery",
        f"{row.kind} at {row.peer}"[:64],
        row.study_instance_uid,
        held or row.held,
        f"{f'{written}, ' if written else ''}{said} ({row.message_id}, try {row.tries})",
    )
    if state is MessageState.PENDING:
        return
    studies.mark(c, row.study_instance_uid, Moment.TOLD, at, f"{row.kind} at {row.peer}: {said}")
    touch_list(c)


def _row(r: Row[Any]) -> MessageRow:
    return MessageRow(
        id=r.id,
        peer=r.peer,
        kind=MessageKind(r.kind),
        message_id=r.message_id,
        study_instance_uid=r.study_instance_uid,
        revision=r.revision,
        payload=r.payload,
        state=MessageState(r.state),
        tries=r.tries,
        not_before=r.not_before,
        created_at=r.created_at,
        expires_at=r.expires_at,
        held=r.held,
        written=r.written,
        words=r.words,
        sent_at=r.sent_at,
        final_at=r.final_at,
    )
