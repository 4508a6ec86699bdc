"""The life of a study in rows. `advance` is the only writer of a state (invariants: domain/study.py).

Leases: a study at work belongs to an owner until `lease_until`, which the owner puts off while it works (`renew`); an expired
lease is taken over; MAX_TRIES failures park the study as `failed`, visible. Whoever commits a result asks in the same
transaction whether the study is still theirs (`hold`): one that was stopped in its midst and comes back writes nothing.
Where a study failed for want of something that may come back (room on a disk, memory, a process that was killed), it is tried
once more from time to time, `try_at`, MOST_TRIES in all: by then a person has long seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select, true, update

from triage_node.domain.errors import LeaseLost, StoreError
from triage_node.domain.study import (
    TRANSITIONS,
    IdentityCorrection,
    Moment,
    SelectedSeries,
    StudyEvent,
    StudyIdentity,
    StudyState,
    TimelineEntry,
)
from triage_node.store import audit, succession, uploads
from triage_node.store.engine import Store
from triage_node.store.meta import touch_list
from triage_node.store.schema import identity_correction, series, study, timeline, worklist_row

MAX_TRIES, MOST_TRIES = 3, 30
FIRST_AGAIN, LONGEST_AGAIN = timedelta(seconds=15), timedelta(hours=1)
"""From a failure to the first further try, and between further ones at most; each wait is twice the one before."""
IDENTITY_CORRECTED = "identity corrected"
_NEED_REASON = {StudyEvent.DECLINED, StudyEvent.RULED_OUT, StudyEvent.QUARANTINED, StudyEvent.FAILED}


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """What the store knows of a study."""

    study_instance_uid: str
    state: StudyState
    reason: str
    tries: int
    arrived_at: datetime
    last_instance_at: datetime
    instances: int
    closed_at: datetime | None
    close_signal: str
    incomplete: bool
    revision: int
    calling_ae_title: str
    identity: StudyIdentity
    description: str
    selection: SelectedSeries | None


def advance(
    c: Connection, uid: str, event: StudyEvent, at: datetime, reason: str = "", actor: str = "node"
) -> StudyState:
    """Move a study along TRANSITIONS in the caller's transaction and append to the audit trail.

    Raises: StoreError when the table has no such arrow or a reason is due and missing.
    """
    if event in _NEED_REASON and not reason:
        raise StoreError(f"{event.value} needs a reason")
    row = c.execute(
        select(study.c.state, study.c.revision).where(study.c.study_instance_uid == uid).with_for_update()
    ).one_or_none()
    if row is None:
        raise StoreError(f"no study {uid}")
    old = StudyState(row.state)
    new = TRANSITIONS.get((old, event))
    if new is None:
        raise StoreError(f"a study that is {old.value} cannot be {event.value}")
    values: dict[str, Any] = {"state": new.value, "reason": reason if event in _NEED_REASON else "", "try_at": None}
    if event is not StudyEvent.CLAIMED:
        values |= {"lease_owner": "", "lease_until": None}
    if event is StudyEvent.REOPENED:
        values |= {"tries": 0, "closed_at": None, "close_signal": ""}
    c.execute(update(study).where(study.c.study_instance_uid == uid).values(**values))
    words = status_words(new, reason, decided=row.revision > 0)
    row_changed = c.execute(
        update(worklist_row).where(worklist_row.c.study_instance_uid == uid).values(status_words=words)
    ).rowcount
    audit.record(
        c, at, actor, f"study {event.value}", uid, old.value, new.value if not reason else f"{new.value}: {reason}"
    )
    if row_changed:
        touch_list(c)
    return new


def status_words(state: StudyState, reason: str, decided: bool = False) -> str:
    """What the list says beside the flag. "Not analysed" never looks like "no bleed" (invariant 5).

    A failure after a decision keeps flag and place; only the objects are missing then (DESIGN.md section 2).
    """
    if state is StudyState.FAILED and decided:
        return f"objects not sent: {reason}"
    return {
        StudyState.RECEIVING: "arriving",
        StudyState.COMPLETE: "waiting for analysis",
        StudyState.ANALYSING: "being analysed",
        StudyState.DECLINED: f"not analysed: {reason}",
        StudyState.OUT_OF_SCOPE: f"not analysed: {reason}",
        StudyState.QUARANTINED: f"not analysed, in quarantine: {reason}",
        StudyState.FAILED: f"not analysed, failed: {reason}",
    }.get(state, "")


def mark(c: Connection, uid: str, moment: Moment | str, at: datetime, detail: str = "") -> None:
    """Append to the timeline of a study."""
    c.execute(insert(timeline).values(study_instance_uid=uid, at=at, moment=str(moment), detail=detail))


def timeline_of(store: Store, uid: str) -> list[TimelineEntry]:
    with store.read() as c:
        query = select(timeline).where(timeline.c.study_instance_uid == uid).order_by(timeline.c.at, timeline.c.id)
        return [TimelineEntry(r.study_instance_uid, r.at, r.moment, r.detail) for r in c.execute(query)]


def get(store: Store, uid: str) -> StudyRecord | None:
    with store.read() as c:
        row = c.execute(select(study).where(study.c.study_instance_uid == uid)).one_or_none()
        return None if row is None else _from_row(row)


def in_states(store: Store, *states: StudyState) -> list[StudyRecord]:
    """All studies in these states, oldest first."""
    with store.read() as c:
        query = select(study).where(study.c.state.in_([s.value for s in states])).order_by(study.c.arrived_at)
        return [_from_row(r) for r in c.execute(query)]


def of_patient(store: Store, patient_id: str, most: int) -> list[StudyRecord]:
    """Studies whose identity bears this patient ID, newest first: whoever asks must compare the rest of the identity."""
    of_whom = study.c.patient_id == patient_id
    with store.read() as c:
        return [
            _from_row(r)
            for r in c.execute(select(study).where(of_whom).order_by(study.c.arrived_at.desc()).limit(most))
        ]


def close_series(c: Connection, series_instance_uid: str, signal: str, incomplete: bool, at: datetime) -> None:
    c.execute(
        update(series)
        .where(series.c.series_instance_uid == series_instance_uid)
        .values(closed_at=at, signal=signal, incomplete=incomplete)
    )


def close(c: Connection, uid: str, signal: str, incomplete: bool, at: datetime, expected_instances: int) -> bool:
    """Receiving -> complete, unless another instance came since the caller looked. Stores the signal that fired."""
    row = c.execute(
        select(study.c.instances, study.c.state, study.c.last_instance_at)
        .where(study.c.study_instance_uid == uid)
        .with_for_update()
    ).one()
    if row.instances != expected_instances or row.state != StudyState.RECEIVING.value:
        return False
    advance(c, uid, StudyEvent.CLOSED, at)
    c.execute(
        update(study)
        .where(study.c.study_instance_uid == uid)
        .values(closed_at=at, close_signal=signal, incomplete=incomplete)
    )
    mark(c, uid, Moment.LAST_SLICE, row.last_instance_at)
    mark(c, uid, Moment.COMPLETE, at, signal + (", incomplete" if incomplete else ""))
    return True


def claim(store: Store, owner: str, now: datetime, lease: timedelta, blobs_answer: bool = True) -> StudyRecord | None:
    """Take the study that waits longest, or one whose lease has expired; None when there is no work.

    Live ones first: nobody waits for an archive that is sent again by mistake, and it would hold them up for days.

    A study whose lease expired counts as a failed try: what killed its owner may kill the next one too. One that was given back
    because its bytes could not be had is taken again when all of them lie in the shared store and, `blobs_answer`, it answers.
    """
    can_be_read = ~study.c.awaits_blobs
    if blobs_answer:
        can_be_read = or_(can_be_read, ~uploads.study_has_due())
    free = select(study).where(
        can_be_read,
        or_(
            study.c.state == StudyState.COMPLETE.value,
            (study.c.state == StudyState.ANALYSING.value) & (study.c.lease_until < now),
        ),
    )
    with store.read() as c:  # looking takes no lock; an idle owner asks five times a second
        if c.execute(free.limit(1)).one_or_none() is None:
            return None
    with store.write() as c:
        live = select(worklist_row.c.live).where(worklist_row.c.study_instance_uid == study.c.study_instance_uid)
        due = free.order_by(func.coalesce(live.scalar_subquery(), true()).desc(), study.c.closed_at).limit(1)
        row = c.execute(due.with_for_update(skip_locked=True)).one_or_none()
        if row is None:
            return None
        uid = row.study_instance_uid
        if row.state == StudyState.ANALYSING.value:
            stopped = f"{row.lease_owner} stopped while working on it"
            if _count_try(c, uid, row.tries, now, "analysis", stopped, may_pass=True):
                return None
        advance(c, uid, StudyEvent.CLAIMED, now, actor=owner)
        held = {"lease_owner": owner, "lease_until": now + lease, "awaits_blobs": False}
        c.execute(update(study).where(study.c.study_instance_uid == uid).values(**held))
        mark(c, uid, Moment.CLAIMED, now, owner)
        return _from_row(c.execute(select(study).where(study.c.study_instance_uid == uid)).one())


def hold(c: Connection, uid: str, owner: str) -> None:
    """Keep a study for its owner until this transaction ends. Raises: LeaseLost when it is the owner's no more."""
    query = select(study.c.state, study.c.lease_owner).where(study.c.study_instance_uid == uid).with_for_update()
    row = c.execute(query).one()
    if row.state != StudyState.ANALYSING.value or row.lease_owner != owner:
        raise LeaseLost(f"study {uid} is {row.state}, at work for {row.lease_owner or 'nobody'}, not for {owner}")


def renew(store: Store, uid: str, owner: str, now: datetime, lease: timedelta) -> bool:
    """Put off the end of a lease. False when the study is the owner's no more."""
    mine = update(study).where(
        study.c.study_instance_uid == uid, study.c.lease_owner == owner, study.c.state == StudyState.ANALYSING.value
    )
    with store.write() as c:
        return bool(c.execute(mine.values(lease_until=now + lease)).rowcount)


def release(store: Store, uid: str, owner: str, now: datetime, reason: str) -> None:
    """Back to the queue for a reason that is not the study's, which costs it no try. Nothing when it is the owner's no more."""
    with store.write() as c:
        try:
            hold(c, uid, owner)
        except LeaseLost:
            return
        advance(c, uid, StudyEvent.RELEASED, now, reason)


def give_back(
    store: Store, uid: str, owner: str, now: datetime, stage: str, reason: str, may_pass: bool = False
) -> StudyState:
    """A try failed: back to the queue, or to `failed` after MAX_TRIES. `may_pass`: for want of something that may come back."""
    with store.write() as c:
        row = c.execute(select(study).where(study.c.study_instance_uid == uid).with_for_update()).one()
        if row.lease_owner != owner:
            return StudyState(row.state)
        failed = _count_try(c, uid, row.tries, now, stage, reason, may_pass)
        return StudyState.FAILED if failed else StudyState.COMPLETE


def wait_for_blobs(store: Store, uid: str, owner: str, now: datetime, reason: str) -> None:
    """Back to the queue until its bytes can be had. No try is counted: nothing is wrong with the study."""
    with store.write() as c:
        row = c.execute(select(study).where(study.c.study_instance_uid == uid).with_for_update()).one()
        if row.lease_owner != owner:
            return
        advance(c, uid, StudyEvent.RELEASED, now, f"waits for the store of images: {reason}"[:500])
        c.execute(update(study).where(study.c.study_instance_uid == uid).values(awaits_blobs=True))
        words = "objects wait for the store of images" if row.revision else "waiting for the store of images"
        c.execute(update(worklist_row).where(worklist_row.c.study_instance_uid == uid).values(status_words=words))


def take_from_dead(store: Store, is_dead: Callable[[str], bool], now: datetime) -> int:
    """Give back leases whose owner is known to be gone, instead of waiting until they expire. Returns how many."""
    at_work = select(study).where(study.c.state == StudyState.ANALYSING.value)
    with store.read() as c:  # asked five times a second, and hardly ever is there anything to write
        if not any(is_dead(r.lease_owner) for r in c.execute(at_work)):
            return 0
    with store.write() as c:
        gone = [r for r in c.execute(at_work).all() if is_dead(r.lease_owner)]
        for r in gone:
            stopped = f"{r.lease_owner} stopped while working on it"
            _count_try(c, r.study_instance_uid, r.tries, now, "analysis", stopped, may_pass=True)
        return len(gone)


def try_failed_again(store: Store, now: datetime) -> list[str]:
    """Put failed studies whose time has come behind those that wait. Returns which."""
    due = select(study.c.study_instance_uid).where(study.c.state == StudyState.FAILED.value, study.c.try_at <= now)
    with store.read() as c:
        if c.execute(due.limit(1)).one_or_none() is None:
            return []
    with store.write() as c:
        uids = list(c.execute(due.with_for_update()).scalars())
        for uid in uids:
            advance(c, uid, StudyEvent.RELEASED, now, "what it failed for may be over")
            c.execute(update(study).where(study.c.study_instance_uid == uid).values(closed_at=now))
        return uids


def say_late(store: Store, late: Mapping[str, tuple[StudyState, str]], now: datetime) -> None:
    """Say on the list that a study (the key) has been in a state for longer than it may, until it goes on.

    `late`: the state and what to say of it. Saying it again does nothing.
    """
    lines = {uid: (state, f"{status_words(state, '')}: {words}") for uid, (state, words) in late.items()}
    shown = select(worklist_row.c.study_instance_uid, worklist_row.c.status_words).join(
        study, study.c.study_instance_uid == worklist_row.c.study_instance_uid
    )
    with store.read() as c:  # at once: thousands may be late
        rows = c.execute(shown.where(study.c.state.in_({state.value for state, _ in lines.values()})))
        said = {r.study_instance_uid: r.status_words for r in rows}
    for uid, (state, line) in lines.items():
        if said.get(uid, line) == line:
            continue
        with store.write() as c:
            is_there = select(study.c.study_instance_uid).where(
                study.c.study_instance_uid == uid, study.c.state == state.value
            )
            row = worklist_row.c.study_instance_uid == uid
            changed = update(worklist_row).where(row, worklist_row.c.status_words != line, is_there.exists())
            if c.execute(changed.values(status_words=line)).rowcount:
                audit.record(c, now, "node", "study is late", uid, state.value, line)
                touch_list(c)


def set_selection(c: Connection, uid: str, selection: SelectedSeries) -> None:
    c.execute(
        update(study)
        .where(study.c.study_instance_uid == uid)
        .values(
            selected_series_uid=selection.series_instance_uid,
            selection={
                "series_instance_uid": selection.series_instance_uid,
                "reason": selection.reason,
                "rejected": [list(r) for r in selection.rejected],
            },
        )
    )


def correct_identity(c: Connection, uid: str, identity: StudyIdentity, at: datetime, actor: str) -> datetime:
    """Take over an identity from somebody who may correct it. The audit trail holds which fields changed, no values.

    Returns when: what has an earlier time was made under the identity before.
    """
    held = identity_of(c, uid)
    if held == identity:
        return at
    corrected_at = succession.time_of_change(c, uid, at)
    values = {"identity": asdict(identity), "patient_id": identity.patient_id}
    c.execute(update(study).where(study.c.study_instance_uid == uid).values(**values))
    correction = IdentityCorrection(corrected_at, actor, held, identity)
    c.execute(
        insert(identity_correction).values(
            study_instance_uid=uid, at=corrected_at, by=actor, old=asdict(held), new=asdict(identity)
        )
    )
    audit.record(c, at, actor, IDENTITY_CORRECTED, uid, new=", ".join(correction.changed))
    touch_list(c)
    return corrected_at


def state_of(c: Connection, uid: str) -> StudyState:
    """The state, held until the caller's transaction ends."""
    return StudyState(
        c.execute(select(study.c.state).where(study.c.study_instance_uid == uid).with_for_update()).scalar_one()
    )


def identity_of(c: Connection, uid: str) -> StudyIdentity:
    """The identity that holds now; nobody else changes it before the caller's transaction ends."""
    query = select(study.c.identity).where(study.c.study_instance_uid == uid)
    return StudyIdentity(**c.execute(query.with_for_update()).scalar_one())


def identity_corrections(store: Store, uid: str) -> list[IdentityCorrection]:
    """Every correction of this study's identity, oldest first."""
    of_study = identity_correction.c.study_instance_uid == uid
    with store.read() as c:
        return [
            IdentityCorrection(r.at, r.by, StudyIdentity(**r.old), StudyIdentity(**r.new))
            for r in c.execute(select(identity_correction).where(of_study).order_by(identity_correction.c.id))
        ]


def identity_was_corrected(store: Store, uid: str) -> bool:
    """Whether somebody corrected the identity of this study since it came."""
    return any(action == IDENTITY_CORRECTED for _, _, action in audit.entries(store, uid))


def notice(store: Store, uid: str, words: str, at: datetime, gives_way: bool = False) -> None:
    """Show on the list what a person has to settle; it stays whatever state the study goes to.

    `gives_way`: not in the place of a notice that stands.
    """
    with store.write() as c:
        row = worklist_row.c.study_instance_uid == uid
        if gives_way and c.execute(select(worklist_row.c.notice).where(row)).scalar():
            return
        c.execute(update(worklist_row).where(row).values(notice=words))
        audit.record(c, at, "node", "notice", uid, new=words)
        touch_list(c)


def finish(
    c: Connection, uid: str, event: StudyEvent, at: datetime, reason: str, expected_instances: int
) -> StudyState:
    """End of analysis. A slice that came meanwhile re-opens the study in the same transaction."""
    new = advance(c, uid, event, at, reason)
    if event is StudyEvent.DECLINED or event is StudyEvent.RULED_OUT or event is StudyEvent.QUARANTINED:
        mark(c, uid, Moment.DECLINED, at, reason)
    now_there = c.execute(select(study.c.instances).where(study.c.study_instance_uid == uid)).scalar_one()
    if now_there != expected_instances and (new, StudyEvent.REOPENED) in TRANSITIONS:
        new = advance(c, uid, StudyEvent.REOPENED, at, "another instance arrived during analysis")
    return new


def _count_try(c: Connection, uid: str, tries: int, now: datetime, stage: str, reason: str, may_pass: bool) -> bool:
    """True when that was the last try, or the last for now."""
    c.execute(update(study).where(study.c.study_instance_uid == uid).values(tries=tries + 1))
    words = f"{stage}: {reason}"
    if tries + 1 >= MAX_TRIES:
        again = may_pass and tries + 1 < MOST_TRIES
        later = ", and again later by itself" if again else ""
        advance(c, uid, StudyEvent.FAILED, now, f"{words} ({tries + 1} tries{later})")
        if again:
            wait = min(FIRST_AGAIN * 2 ** (tries + 1 - MAX_TRIES), LONGEST_AGAIN)
            c.execute(update(study).where(study.c.study_instance_uid == uid).values(try_at=now + wait))
        mark(c, uid, Moment.FAILED, now, words)
        return True
    advance(c, uid, StudyEvent.RELEASED, now, words)
    return False


def _from_row(r: Row[Any]) -> StudyRecord:
    selection = None
    if r.selection:
        rejected = tuple((s, n, why) for s, n, why in r.selection["rejected"])
        selection = SelectedSeries(r.selection["series_instance_uid"], r.selection["reason"], rejected)
    return StudyRecord(
        study_instance_uid=r.study_instance_uid,
        state=StudyState(r.state),
        reason=r.reason,
        tries=r.tries,
        arrived_at=r.arrived_at,
        last_instance_at=r.last_instance_at,
        instances=r.instances,
        closed_at=r.closed_at,
        close_signal=r.close_signal,
        incomplete=r.incomplete,
        revision=r.revision,
        calling_ae_title=r.calling_ae_title,
        identity=StudyIdentity(**r.identity),
        description=r.description,
        selection=selection,
    )
