"""Studies that are to be judged again: asked for by the web role or the command line, done by the analysis role when it is idle.

A trial belongs to its owner until its lease ends, then it is taken over; after MAX_TRIES it has failed. What came of it is kept
for a day, beside results and never among them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from triage_node.domain.errors import RefusedAction
from triage_node.domain.selection import FolderAnswer
from triage_node.domain.trial import FOLDER, Reading, Trial, TrialState
from triage_node.store import audit
from triage_node.store.engine import Store
from triage_node.store.schema import trial

MAX_TRIES = 2
MOST_WAITING = 20
KEPT = timedelta(days=1)
ASKED = "replay asked"


def ask(
    store: Store, study_instance_uid: str, revision: int, by: str, at: datetime, bundle: str, policy_version: int
) -> int:
    """Put a trial last in the queue. Returns its number. Raises: RefusedAction when MOST_WAITING wait already."""
    with store.write() as c:
        words = f"model {bundle}, policy {policy_version}, against revision {revision}"
        audit.record(c, at, by, ASKED, study_instance_uid, new=words)
        return put(c, study_instance_uid, revision, by, at, bundle, policy_version)


def put(
    c: Connection, study_instance_uid: str, revision: int, by: str, at: datetime, bundle: str, policy_version: int
) -> int:
    """As `ask`, in the caller's transaction, who tells the audit trail."""
    c.execute(delete(trial).where(trial.c.finished_at < at - KEPT))
    open_ones = trial.c.state.in_((TrialState.WAITING.value, TrialState.RUNNING.value))
    if c.execute(select(func.count()).select_from(trial).where(open_ones)).scalar_one() >= MOST_WAITING:
        raise RefusedAction(f"{MOST_WAITING} replays wait already. Ask again when some are done.")
    made = c.execute(
        insert(trial).values(
            study_instance_uid=study_instance_uid,
            revision=revision,
            asked_by=by,
            asked_at=at,
            bundle=bundle,
            policy_version=policy_version,
            state=TrialState.WAITING.value,
        )
    )
    return int(made.inserted_primary_key[0])  # type: ignore[index]


def claim(store: Store, owner: str, at: datetime, lease: timedelta) -> Trial | None:
    """The trial that waits longest, or one whose owner ran out of time."""
    lapsed = (trial.c.state == TrialState.RUNNING.value) & (trial.c.lease_until < at)
    waits = or_(trial.c.state == TrialState.WAITING.value, lapsed)
    with store.read() as c:  # asked several times a second, and a write would keep others waiting
        if c.execute(select(trial.c.id).where(waits).limit(1)).scalar() is None:
            return None
    with store.write() as c:
        c.execute(
            update(trial)
            .where(lapsed, trial.c.tries >= MAX_TRIES)
            .values(state=TrialState.FAILED.value, reason="it ended the process that did it", finished_at=at)
        )
        query = select(trial).where(waits).order_by(trial.c.id).limit(1)
        row = c.execute(query.with_for_update(skip_locked=True)).one_or_none()
        if row is None:
            return None
        taken = {"state": TrialState.RUNNING.value, "lease_owner": owner, "lease_until": at + lease}
        c.execute(update(trial).where(trial.c.id == row.id).values(tries=row.tries + 1, **taken))
        return _trial(row)


def finish(
    store: Store, number: int, owner: str, at: datetime, answer: Reading | FolderAnswer | None, reason: str = ""
) -> None:
    """Keep what came of it, or `reason` why nothing did. Nothing happens when somebody else took it over."""
    done = TrialState.DONE if answer is not None else TrialState.FAILED
    values: dict[str, Any] = {"state": done.value, "reason": reason, "finished_at": at, "lease_until": None}
    with store.write() as c:
        mine = update(trial).where(trial.c.id == number, trial.c.lease_owner == owner)
        c.execute(mine.values(answer=answer.as_json() if answer is not None else None, **values))


def take_from_dead(store: Store, is_dead: Callable[[str], bool], at: datetime) -> None:
    """Trials of processes that are gone need not wait for the end of their lease."""
    running = trial.c.state == TrialState.RUNNING.value
    with store.read() as c:
        owners = c.execute(select(trial.c.lease_owner).where(running).distinct()).scalars().all()
    for owner in filter(is_dead, owners):
        with store.write() as c:
            lapses = update(trial).where(running, trial.c.lease_owner == owner)
            c.execute(lapses.values(lease_until=at - timedelta(seconds=1)))


def get(store: Store, number: int) -> Trial | None:
    with store.read() as c:
        row = c.execute(select(trial).where(trial.c.id == number)).one_or_none()
        return None if row is None else _trial(row)


def of_study(store: Store, study_instance_uid: str, most: int = 10) -> list[Trial]:
    """Newest first."""
    with store.read() as c:
        query = select(trial).where(trial.c.study_instance_uid == study_instance_uid)
        return [_trial(r) for r in c.execute(query.order_by(trial.c.id.desc()).limit(most))]


def _trial(r: Row[Any]) -> Trial:
    return Trial(
        id=r.id,
        study_instance_uid=r.study_instance_uid,
        revision=r.revision,
        asked_by=r.asked_by,
        asked_at=r.asked_at,
        bundle=r.bundle,
        policy_version=r.policy_version,
        state=TrialState(r.state),
        reason=r.reason,
        finished_at=r.finished_at,
        answer=Reading.from_json(r.answer)
        if r.answer is not None and not r.study_instance_uid.startswith(FOLDER)
        else None,
    )
