"""Rows and moves of the reading list. Where a row stands is computed (worklist.order), never stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from triage_node.domain.finding import FINDINGS
from triage_node.domain.priority import ON_THE_LIST, Flag, OrderClass, ReadingState, Urgency, WorklistRow
from triage_node.domain.study import Moment, StudyIdentity, StudyState
from triage_node.store import audit, messages, studies
from triage_node.store.engine import Store
from triage_node.store.meta import touch_list
from triage_node.store.operations_synthetic import is_of_patient
from triage_node.store.schema import study, worklist_move, worklist_row

_LONGEST_WORDS = 255
_INSTANTS = frozenset({"claimed_at", "pinned_at", "left_at"})
_BY_PERSONS = ("reading_state", "claimed_by", "claimed_at", "pinned_at", "left_at", "live", "live_words")
_MAY_STAND = [s.value for s in ReadingState if s not in (ReadingState.READ, ReadingState.STATUS_UNKNOWN)]
_ROWS = select(
    worklist_row, study.c.state, study.c.identity, study.c.description, study.c.revision, study.c.calling_ae_title
).join(study, study.c.study_instance_uid == worklist_row.c.study_instance_uid)


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """A row with what a page shows beside it."""

    row: WorklistRow
    state: StudyState
    identity: StudyIdentity
    description: str
    live_words: str
    revision: int
    calling_ae_title: str


@dataclass(frozen=True, slots=True)
class Move:
    """One row went from one place to another (0 is first; old None: it was not on the list)."""

    study_instance_uid: str
    at: datetime
    mode: str
    old_position: int | None
    new_position: int
    reason: str


def add_row(c: Connection, row: WorklistRow, live_words: str) -> None:
    """Put an arriving study on the list, unless it stands there."""
    held = select(worklist_row.c.study_instance_uid).where(worklist_row.c.study_instance_uid == row.study_instance_uid)
    if c.execute(held).scalar() is not None:
        return
    c.execute(
        insert(worklist_row).values(
            study_instance_uid=row.study_instance_uid,
            order_class=row.order_class.value,
            arrived_at=row.arrived_at,
            live=row.live,
            live_words=live_words,
            reading_state=row.reading_state.value,
            status_words=row.status_words,
        )
    )
    c.execute(update(study).where(study.c.study_instance_uid == row.study_instance_uid).values(listed=True))
    touch_list(c)


def studies_without_row(store: Store) -> list[str]:
    with store.read() as c:
        query = (
            select(study.c.study_instance_uid)
            .outerjoin(worklist_row, worklist_row.c.study_instance_uid == study.c.study_instance_uid)
            .where(
                ~study.c.listed,  # few, and found by an index: this is asked four times a second
                worklist_row.c.study_instance_uid.is_(None),
                is_of_patient(study.c.study_instance_uid),
            )
        )
        return list(c.execute(query.order_by(study.c.arrived_at)).scalars())


def is_live(store: Store, uid: str) -> bool:
    """Whether a study counts as acquired just now; one without a row yet does."""
    with store.read() as c:
        live = c.execute(select(worklist_row.c.live).where(worklist_row.c.study_instance_uid == uid)).scalar()
        return True if live is None else bool(live)


def judge_live(c: Connection, uid: str, live: bool, words: str, instead_of: str) -> None:
    """What an image tells of a row that was listed without one; what was judged before, or by a person, stands."""
    row = (worklist_row.c.study_instance_uid == uid) & (worklist_row.c.live_words == instead_of)
    if c.execute(update(worklist_row).where(row).values(live=live, live_words=words)).rowcount:
        touch_list(c)


def raise_flag(c: Connection, uid: str, flag: Flag) -> bool:
    """Set or strengthen a flag; never lowers one (invariant 4). True when something changed.

    What a person disagreed with comes back only as something more urgent, or on other images (processes/decision.py).
    """
    row = c.execute(select(worklist_row).where(worklist_row.c.study_instance_uid == uid).with_for_update()).one()
    rank = list(Urgency)
    if row.flag_urgency is not None and rank.index(Urgency(row.flag_urgency)) <= rank.index(flag.urgency):
        return False
    values: dict[str, Any] = {
        "flag_finding": flag.finding,
        "flag_urgency": flag.urgency.value,
        "flag_words": flag.words,
        "flagged_at": flag.raised_at if row.flag_ended_at else row.flagged_at or flag.raised_at,
        "flag_ended_at": None,
        "flag_ended_by": "",
    }
    if row.reading_state == ReadingState.STATUS_UNKNOWN.value:
        # it had expired unread before the node came to it: a flag must not end where nobody looks
        values["reading_state"] = ReadingState.NOT_CONFIRMED.value
    c.execute(update(worklist_row).where(worklist_row.c.study_instance_uid == uid).values(**values))
    audit.record(
        c, flag.raised_at, "node", "flag raised", uid, row.flag_words or "", f"{flag.words} ({flag.urgency.value})"
    )
    studies.mark(c, uid, Moment.FLAGGED, flag.raised_at, flag.words)
    touch_list(c)
    return True


def bring_back(c: Connection, uid: str, images_at: datetime, at: datetime) -> bool:
    """A row with a flag that left the list before these images came waits again, as if it had arrived with them.

    Whoever read the study, or let it expire, has not seen them. What came before then, a new model or a new threshold bring
    nothing back. True when the row is on the list again.
    """
    row = c.execute(select(worklist_row).where(worklist_row.c.study_instance_uid == uid).with_for_update()).one()
    stands = row.flag_urgency is not None and row.flag_ended_at is None
    if not stands or row.apart or row.left_at is None or images_at <= row.left_at:
        return False
    if ReadingState(row.reading_state) in ON_THE_LIST:
        return False
    values = {"reading_state": ReadingState.WAITING.value, "left_at": None, "arrived_at": images_at}
    c.execute(update(worklist_row).where(worklist_row.c.study_instance_uid == uid).values(**values))
    why = "flagged on images that came after it had left the list"
    audit.record(c, at, "node", "back on the list", uid, row.reading_state, why)
    touch_list(c)
    return True


def forget_hidden_flag(c: Connection, uid: str, at: datetime) -> None:
    """Of a study that was only observed: no reader saw its flag, and what is raised now stands by itself."""
    where = worklist_row.c.study_instance_uid == uid
    words = c.execute(select(worklist_row.c.flag_words).where(where)).scalar()
    nothing = {"flag_finding": None, "flag_urgency": None, "flag_words": None, "flagged_at": None}
    c.execute(update(worklist_row).where(where).values(**nothing))
    audit.record(c, at, "node", "flag of an observed scan", uid, words or "", "replaced by one that readers may see")


def end_flag(c: Connection, uid: str, by: str, at: datetime) -> bool:
    """A person disagrees: the flag counts no more. False when there was none."""
    row = c.execute(
        select(worklist_row).where(worklist_row.c.study_instance_uid == uid).with_for_update()
    ).one_or_none()
    if row is None or row.flag_urgency is None or row.flag_ended_at is not None:
        return False
    values: dict[str, Any] = {"flag_ended_at": at, "flag_ended_by": by}
    if row.reading_state == ReadingState.NOT_CONFIRMED.value:
        values["reading_state"] = ReadingState.STATUS_UNKNOWN.value
    c.execute(update(worklist_row).where(worklist_row.c.study_instance_uid == uid).values(**values))
    touch_list(c)
    audit.record(c, at, by, "flag ended", uid, f"{row.flag_words} ({row.flag_urgency})")
    return True


def disagreed_at(c: Connection, uid: str) -> datetime | None:
    """When a person ended the flag; None while it stands, or there was none."""
    at: datetime | None = c.execute(
        select(worklist_row.c.flag_ended_at).where(worklist_row.c.study_instance_uid == uid)
    ).scalar()
    return at


def restore_flag(c: Connection, uid: str, by: str, at: datetime) -> bool:
    """A person takes the disagreement back. False when there was none."""
    row = c.execute(
        select(worklist_row).where(worklist_row.c.study_instance_uid == uid).with_for_update()
    ).one_or_none()
    if row is None or row.flag_ended_at is None:
        return False
    values: dict[str, Any] = {"flag_ended_at": None, "flag_ended_by": ""}
    if row.reading_state == ReadingState.STATUS_UNKNOWN.value:
        values["reading_state"] = ReadingState.NOT_CONFIRMED.value
    c.execute(update(worklist_row).where(worklist_row.c.study_instance_uid == uid).values(**values))
    touch_list(c)
    audit.record(c, at, by, "flag restored", uid, new=f"{row.flag_words} ({row.flag_urgency})")
    return True


def pin(c: Connection, uid: str, by: str, at: datetime, pinned: bool) -> None:
    """A person sets a study before all others, or takes that back."""
    c.execute(
        update(worklist_row).where(worklist_row.c.study_instance_uid == uid).values(pinned_at=at if pinned else None)
    )
    audit.record(c, at, by, "pinned" if pinned else "unpinned", uid)
    touch_list(c)


def raise_late(c: Connection, uid: str, by: str, at: datetime) -> bool:
    """A person lets a late flag take part in the order: live from now on, and pinned. False when the row has no late flag."""
    listed = row_of(c, uid)
    if listed is None or listed.row.flag is None or listed.row.live:
        return False
    values = {
        "live": True,
        "live_words": f"raised by {by}, {listed.live_words}"[:_LONGEST_WORDS],
        "pinned_at": at,
        "reading_state": ReadingState.WAITING.value,
        "left_at": None,
    }
    c.execute(update(worklist_row).where(worklist_row.c.study_instance_uid == uid).values(**values))
    audit.record(c, at, by, "late flag raised", uid, listed.live_words)
    touch_list(c)
    return True


def as_it_is(c: Connection, uid: str) -> dict[str, Any] | None:
    """What persons change of a row, as JSON, locked until the transaction ends; None for a study without a row."""
    row = c.execute(
        select(worklist_row).where(worklist_row.c.study_instance_uid == uid).with_for_update()
    ).one_or_none()
    if row is None:
        return None
    held = {name: getattr(row, name) for name in _BY_PERSONS}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in held.items()}


def put_back(c: Connection, uid: str, before: Mapping[str, Any], by: str, at: datetime) -> None:
    """Let a row be as it was (`as_it_is`)."""
    values = {name: before[name] for name in _BY_PERSONS}
    instants = {name: datetime.fromisoformat(value) for name, value in values.items() if name in _INSTANTS and value}
    c.execute(update(worklist_row).where(worklist_row.c.study_instance_uid == uid).values(**values | instants))
    audit.record(c, at, by, "reading state", uid, new=f"{values['reading_state']}, as before")
    touch_list(c)


def set_apart(c: Connection, uid: str, apart: bool, at: datetime, why: str) -> None:
    """Whether the node only observes this study, with the reason."""
    where = worklist_row.c.study_instance_uid == uid
    if c.execute(select(worklist_row.c.apart).where(where)).scalar() in (apart, None):
        return
    c.execute(update(worklist_row).where(where).values(apart=apart))
    audit.record(c, at, "node", "gate", uid, new=why or "as the node")
    touch_list(c)


def set_unsure(c: Connection, uid: str, unsure: bool, at: datetime) -> None:
    """Whether the last answer was "not sure". It moves nothing and is no flag, but it is never counted as "no"."""
    where = worklist_row.c.study_instance_uid == uid
    if c.execute(select(worklist_row.c.unsure).where(where)).scalar() in (unsure, None):
        return
    c.execute(update(worklist_row).where(where).values(unsure=unsure))
    audit.record(c, at, "node", "answer", uid, new="not sure" if unsure else "no longer not sure")
    touch_list(c)


def record_moves(c: Connection, moves: list[Move]) -> None:
    if moves:
        c.execute(insert(worklist_move), [{name: getattr(m, name) for name in Move.__slots__} for m in moves])
        for m in moves:
            old = "" if m.old_position is None else str(m.old_position)
            audit.record(
                c, m.at, "node", f"move ({m.mode})", m.study_instance_uid, old, f"{m.new_position}: {m.reason}"
            )


def moves(store: Store, study_instance_uid: str | None = None) -> list[Move]:
    with store.read() as c:
        query = select(worklist_move).order_by(worklist_move.c.id)
        if study_instance_uid is not None:
            query = query.where(worklist_move.c.study_instance_uid == study_instance_uid)
        return [Move(**{name: getattr(r, name) for name in Move.__slots__}) for r in c.execute(query)]


def set_reading_state(
    c: Connection, uid: str, state: ReadingState, at: datetime, actor: str, claimed_by: str = ""
) -> None:
    """Change who reads what. Only `actor` other than the node may set `read` (DESIGN.md section 2, Leaving)."""
    old = c.execute(select(worklist_row.c.reading_state).where(worklist_row.c.study_instance_uid == uid)).scalar_one()
    claimed = state is ReadingState.BEING_READ
    c.execute(
        update(worklist_row)
        .where(worklist_row.c.study_instance_uid == uid)
        .values(
            reading_state=state.value,
            claimed_by=claimed_by if claimed else "",
            claimed_at=at if claimed else None,
            left_at=None if state in ON_THE_LIST else at,
        )
    )
    audit.record(c, at, actor, "reading state", uid, old, state.value)
    if state is ReadingState.READ:
        messages.cancel_raises(c, uid, at, messages.WAS_READ)
    touch_list(c)


def rows(source: Store | Connection) -> list[ListedStudy]:
    """Every study that is not read and, without a flag, not expired; pass a write's connection to see its own changes."""
    if isinstance(source, Store):
        with source.read() as c:
            return rows(c)
    stands = worklist_row.c.flag_urgency.is_not(None) & worklist_row.c.flag_ended_at.is_(None)
    expired = worklist_row.c.reading_state == ReadingState.STATUS_UNKNOWN.value
    # said so that an index finds them: what was read, or left unflagged, grows for years
    query = _ROWS.where(worklist_row.c.reading_state.in_(_MAY_STAND) | expired & stands)
    return [_listed(r) for r in source.execute(query.order_by(worklist_row.c.arrived_at))]


def row_of(source: Store | Connection, uid: str) -> ListedStudy | None:
    """The row of one study, whatever became of it; None for a study that never had one."""
    if isinstance(source, Store):
        with source.read() as c:
            return row_of(c, uid)
    row = source.execute(_ROWS.where(worklist_row.c.study_instance_uid == uid)).one_or_none()
    return None if row is None else _listed(row)


def readings_told(store: Store, since: datetime) -> tuple[datetime, datetime] | None:
    """First and last time since then that somebody told that a study was read; None when nobody did."""
    is_read = worklist_row.c.reading_state == ReadingState.READ.value
    query = select(func.min(worklist_row.c.left_at), func.max(worklist_row.c.left_at))
    with store.read() as c:
        first, last = c.execute(query.where(is_read, worklist_row.c.left_at >= since)).one()
        return None if first is None else (first, last)


def standing_flags(store: Store, since: datetime) -> list[ListedStudy]:
    """Studies that arrived since then and whose flag nobody ended, read ones too."""
    stands = worklist_row.c.flag_urgency.is_not(None) & worklist_row.c.flag_ended_at.is_(None)
    with store.read() as c:
        query = _ROWS.where(stands, worklist_row.c.arrived_at >= since)
        return [_listed(r) for r in c.execute(query.order_by(worklist_row.c.arrived_at))]


def _listed(r: Row[Any]) -> ListedStudy:
    flag = None
    if r.flag_urgency is not None and r.flag_ended_at is None:
        flag = Flag(
            r.flag_finding if r.flag_finding in FINDINGS else "ich", Urgency(r.flag_urgency), r.flag_words, r.flagged_at
        )
    return ListedStudy(
        row=WorklistRow(
            study_instance_uid=r.study_instance_uid,
            order_class=OrderClass(r.order_class),
            arrived_at=r.arrived_at,
            flag=flag,
            live=r.live,
            pinned_at=r.pinned_at,
            reading_state=ReadingState(r.reading_state),
            claimed_by=r.claimed_by,
            claimed_at=r.claimed_at,
            unsure=r.unsure,
            apart=r.apart,
            status_words=" · ".join(w for w in (r.status_words, r.notice) if w),
        ),
        state=StudyState(r.state),
        identity=StudyIdentity(**r.identity),
        description=r.description,
        live_words=r.live_words,
        revision=r.revision,
        calling_ae_title=r.calling_ae_title,
    )
