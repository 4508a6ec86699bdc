"""Folders on trial, among the other trials (jobs.py): asked for by the web role, answered by the analysis role, then forgotten.

Of a folder the store knows a random name of ours, how many files it held and, while somebody looks at it, the answer.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select

from triage_node.domain.selection import FolderAnswer, FolderTrial
from triage_node.domain.trial import FOLDER, TrialState
from triage_node.store import audit, jobs
from triage_node.store.engine import Store
from triage_node.store.schema import trial

BEGUN, ASKED, ERASED = "selection begun", "selection tried", "selection erased"
SUBJECT = "selection lab"


def begin(store: Store, by: str, at: datetime) -> None:
    """Somebody is about to send files."""
    with store.write() as c:
        audit.record(c, at, by, BEGUN, SUBJECT)


def ask(store: Store, name: str, by: str, at: datetime, bundle: str, policy_version: int, words: str) -> None:
    """Put the folder `name` into the queue; `words` tell the audit trail how much was sent. Raises: RefusedAction."""
    with store.write() as c:
        jobs.put(c, name, 0, by, at, bundle, policy_version)
        audit.record(c, at, by, ASKED, SUBJECT, new=f"{words}, model {bundle}, policy {policy_version}")


def get(store: Store, name: str) -> FolderTrial | None:
    with store.read() as c:
        r = c.execute(select(trial).where(trial.c.study_instance_uid == name)).one_or_none()
        if r is None:
            return None
        answer = FolderAnswer.from_json(r.answer) if r.answer is not None else None
        return FolderTrial(TrialState(r.state), r.asked_at, r.reason, answer)


def forget(store: Store, name: str, by: str, at: datetime) -> None:
    """What is known of the folder goes; nothing happens to another trial."""
    with store.write() as c:
        c.execute(
            delete(trial).where(trial.c.study_instance_uid == name, trial.c.study_instance_uid.startswith(FOLDER))
        )
        audit.record(c, at, by, ERASED, SUBJECT)


def forget_before(store: Store, at: datetime) -> None:
    """What was asked before `at` goes, done or not."""
    old = trial.c.study_instance_uid.startswith(FOLDER) & (trial.c.asked_at < at)
    with store.read() as c:  # nearly always there is nothing, and a write would keep others waiting
        if c.execute(select(trial.c.id).where(old).limit(1)).scalar() is None:
            return
    with store.write() as c:
        c.execute(delete(trial).where(old))
