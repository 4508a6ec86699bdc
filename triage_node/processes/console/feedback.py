"""What a person says on a study's page, and what follows from it: one transaction for both (DESIGN.md section 2, Leaving).

Invariants:
(1) only a radiologist ends a flag, of the revision of which an image was shown to them;
(2) for a minute nobody outside the node is told of it, and whoever said it may take it back;
(3) a study whose flag ended stays on the list until it is read, where its order class and deadline put it: as if it had never
been flagged, never below (an unread row keeps its place).
"""

from __future__ import annotations

from datetime import datetime

from triage_node.console.feedback import FeedbackDeps, Saying
from triage_node.domain.errors import RefusedAction
from triage_node.domain.feedback import UNDO_FOR, VERDICTS, Feedback, Said
from triage_node.domain.person import Person, Role
from triage_node.domain.priority import ListPolicy, ReadingState
from triage_node.processes import withdrawal
from triage_node.processes.running import now
from triage_node.store import feedback, worklist
from triage_node.store.engine import Connection, Store

CHANGED_SINCE = "Somebody changed this study since. Look at it again."


def feedback_deps(store: Store, policy: ListPolicy) -> FeedbackDeps:
    """The room's callables on this store."""

    def say(uid: str, person: Person, saying: Saying) -> None:
        record(store, uid, person, saying, now())

    def take_back(uid: str, person: Person) -> None:
        undo(store, policy, uid, person.name, now())

    def shown(uid: str, revision: int, person: Person) -> None:
        feedback.image_was_shown(store, uid, revision, person.name, now())

    return FeedbackDeps(
        of_study=lambda uid: feedback.of_study(store, uid),
        say=say,
        undo=take_back,
        image_was_shown=shown,
        was_image_shown=lambda uid, revision, person: feedback.was_image_shown(store, uid, revision, person.name),
    )


def record(store: Store, uid: str, person: Person, saying: Saying, at: datetime) -> None:
    """Store what was said and do what follows. Raises: RefusedAction."""
    with store.write() as c:
        before = worklist.as_it_is(c, uid)
        listed = worklist.row_of(c, uid)
        if before is None or listed is None:
            raise RefusedAction("This study has no row on the list.")
        if saying.revision != listed.revision:
            raise RefusedAction("There is a newer result of this study. Look at it first.")
        if saying.said in VERDICTS:
            _judge(c, person, uid, saying, at)
        else:
            _change(c, uid, listed.row.reading_state, person.name, saying.said, at)
        after = worklist.as_it_is(c, uid)
        change = {"before": before, "after": after} if after != before else None
        text, subtype = (saying.text, saying.subtype) if saying.said in VERDICTS else ("", "")
        feedback.add(c, Feedback(0, uid, saying.revision, person.name, at, saying.said, subtype, text, change))


def undo(store: Store, policy: ListPolicy, uid: str, by: str, at: datetime) -> None:
    """Take back what this person said last. Raises: RefusedAction."""
    with store.write() as c:
        now_is = worklist.as_it_is(c, uid)
        said = next((s for s in reversed(feedback.of_study(c, uid)) if s.by == by and s.undone_at is None), None)
        if said is None or not said.may_be_undone(by, at):
            raise RefusedAction(f"There is nothing of yours to take back from the last {UNDO_FOR.seconds} seconds.")
        if said.said is Said.DISAGREE:
            # nothing to restore where there was no flag: it was a bleed that the node had missed
            withdrawal.undo(c, uid, by, at, policy.expires_after)
        elif said.change is not None:
            if now_is != said.change["after"]:
                raise RefusedAction(CHANGED_SINCE)
            worklist.put_back(c, uid, said.change["before"], by, at)
            if said.said is Said.READ:
                withdrawal.tell_again(c, uid, at, policy.expires_after)
        feedback.take_back(c, said, at)


def _judge(c: Connection, person: Person, uid: str, saying: Saying, at: datetime) -> None:
    if saying.revision == 0:
        raise RefusedAction("This study was not analysed: there is nothing to agree or disagree with.")
    if saying.said is Said.DISAGREE:
        if not person.has(Role.RADIOLOGIST):
            raise RefusedAction("Only a radiologist may disagree.")
        if not feedback.was_image_shown(c, uid, saying.revision, person.name):
            raise RefusedAction("Look at an image of this study first.")
        withdrawal.withdraw(c, uid, person.name, at, hold_for=UNDO_FOR)


def _change(c: Connection, uid: str, state: ReadingState, by: str, said: Said, at: datetime) -> None:
    if state is ReadingState.READ:
        raise RefusedAction("This study was read already.")
    if said is Said.BEING_READ:
        worklist.set_reading_state(c, uid, ReadingState.BEING_READ, at, by, claimed_by=by)
    elif said is Said.READ:
        worklist.set_reading_state(c, uid, ReadingState.READ, at, by)
    elif said is Said.RELEASED:
        if state is not ReadingState.BEING_READ:
            raise RefusedAction("Nobody reads this study now.")
        worklist.set_reading_state(c, uid, ReadingState.WAITING, at, by)
    elif said is Said.RAISED:
        if not worklist.raise_late(c, uid, by, at):
            raise RefusedAction("There is no late flag to raise.")
    else:
        worklist.pin(c, uid, by, at, said is Said.PINNED)
