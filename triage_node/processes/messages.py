"""The way to the worklists of others: one thread and one outstanding message for each, inside the delivery role.

DESIGN. Nothing is kept in memory: a message is claimed, the gate is asked again, the adapter talks, the answer is recorded.
Tried again: silence, and for a while a study that the peer does not know yet, since orders come later than images. Parked at
once, with an alarm: what the peer will refuse for ever. While a peer is away its oldest message is tried; one on which it
fails again and again lets the others pass.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from triage_node.delivery.retry import Jitter, wait_after
from triage_node.domain.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.message import FAILED, GONE_OUT, MessageKind, MessageRow, MessageState, NewMessage
from triage_node.processes.peers import adapter_for
from triage_node.processes.running import Running, is_dead, now, owner, until_stopped
from triage_node.processes.telling import under
from triage_node.processes.wiring import WorklistPeer, listener, switched_mode
from triage_node.processes.withdrawal import next_about
from triage_node.store import evaluations, messages, meta, modes, outbox, results, worklist
from triage_node.worklist.adapter import Answer, Outcome, WorklistAdapter
from triage_node.worklist.gate import Listener, may_raise, may_reach
from triage_node.worklist.payload import as_json, from_json

log = logging.getLogger(__name__)

POLL_S = 0.25
LONGEST_WAIT = timedelta(seconds=30)
"""A raise is worth nothing after the reading: an absent peer is asked often, it costs one connection."""
IN_ORDER_TRIES = 3
"""So often a message is tried before it lets later ones pass."""
UNKNOWN_FOR = timedelta(minutes=30)
UNKNOWN_AGAIN = timedelta(seconds=20)
STEPS = 10
"""Network steps of one message at most, each with the peer's timeout: how long a try may last before it is taken for dead."""

RENAMED = "the identity was corrected, it is told under the new one"

_STATES = {
    Outcome.ACKNOWLEDGED: MessageState.ACKNOWLEDGED,
    Outcome.NOT_CONFIRMED: MessageState.NOT_CONFIRMED,
    Outcome.IN_PART: MessageState.IN_PART,
    Outcome.NOTHING_SENT: MessageState.NOT_SENT,
    Outcome.UNKNOWN_STUDY: MessageState.UNKNOWN_STUDY,
    Outcome.TOO_LATE: MessageState.TOO_LATE,
}


@dataclass(frozen=True, slots=True)
class NextStep:
    state: MessageState
    not_before: datetime
    words: str


def after_answer(answer: Answer, row: MessageRow, at: datetime) -> NextStep:
    """Where a message goes after an answer: final, unless the peer does not know the study yet."""
    if answer.outcome is Outcome.UNKNOWN_STUDY and at - row.created_at < UNKNOWN_FOR:
        again = at + min(UNKNOWN_AGAIN * row.tries, timedelta(minutes=5))
        return NextStep(MessageState.PENDING, again, answer.words or "the peer does not know the study yet")
    words = answer.words
    if answer.outcome is Outcome.UNKNOWN_STUDY:
        words = words or "the peer does not know the study"
    return NextStep(_STATES[answer.outcome], at, words)


def after_error(error: DeliveryError, row: MessageRow, at: datetime, resume_at: datetime, jitter: Jitter) -> NextStep:
    """Where a message goes when there was no answer; the queue goes on at `resume_at`, and then others come first."""
    if isinstance(error, PermanentDeliveryError):
        return NextStep(MessageState.PARKED, at, str(error))
    again = resume_at + _wait(row.tries, jitter) if row.tries >= IN_ORDER_TRIES else resume_at
    return NextStep(MessageState.PENDING, again, str(error))


def _wait(failures: int, jitter: Jitter) -> timedelta:
    return min(wait_after(failures, jitter), LONGEST_WAIT)


class MessageQueue:
    """The way to one peer."""

    def __init__(self, running: Running, peer: WorklistPeer, make: Callable[[WorklistPeer], WorklistAdapter]) -> None:
        self._running, self._peer, self._make = running, peer, make
        self._made: WorklistAdapter | None = None
        self._store, self._simulation = running.store, meta.is_simulation(running.store)
        self._owner = owner("delivery")
        self._turn = f"peer {peer.name}"
        self._lease = timedelta(seconds=STEPS * peer.timeout_s)
        self._failures = 0
        self._resume_at = now()
        self._is_new = True

    def run(self) -> None:
        """Until the role is stopped."""
        until_stopped(self._running.stop, self._step, f"peer={self._peer.name}", POLL_S)
        if self._made is not None:
            self._made.close()

    def _step(self) -> bool:
        if not self._running.turns.mine(self._turn):
            self._is_new = True
            return False
        if self._is_new:
            messages.take_from_dead(self._store, self._peer.name, is_dead)
            self._is_new = False
        return self.send_one()

    @property
    def _adapter(self) -> WorklistAdapter:
        # made here and not at the start of the role: a peer whose certificate is missing must not hold up an archive
        if self._made is None:
            self._made = self._make(self._peer)
        return self._made

    def send_one(self) -> bool:
        """Try one message. False when none is due or nobody was reached."""
        name = self._peer.name
        if now() < self._resume_at or not messages.is_work_due(self._store, name, now()):
            return False
        row = messages.claim(self._store, name, self._owner, now(), self._lease)
        if row is None:
            return False
        if why := self._shut(row):
            with self._store.write() as c:
                messages.withhold(c, [row.id], now(), why, tries_before=1)
            log.info("peer=%s message=%s not sent: %s", name, row.message_id, why)
            return True
        if (anew := self._under_new_identity(row)) is not None:
            with self._store.write() as c:
                messages.withhold(c, [row.id], now(), RENAMED, tries_before=1)
                messages.put(c, [anew], now())
            log.info("peer=%s message=%s %s", name, row.message_id, RENAMED)
            return True
        try:
            answer = self._talk(row)
        except DeliveryError as error:
            reached = isinstance(error, PermanentDeliveryError)
            self._failures = 0 if reached else self._failures + 1
            self._resume_at = now() if reached else now() + _wait(self._failures - 1, random.random)
            silent = error if isinstance(error, TransientDeliveryError) else TransientDeliveryError()
            changing = Answer(Outcome.NOT_CONFIRMED, silent.held, silent.written)
            self._record(row, after_error(error, row, now(), self._resume_at, random.random), changing)
            outbox.record_peer(self._store, name, now(), str(error)[:500])
            return reached
        self._failures = 0
        self._record(row, after_answer(answer, row, now()), answer)
        outbox.record_peer(self._store, name, now())
        return True

    def _talk(self, row: MessageRow) -> Answer:
        """Raises: DeliveryError, whatever the adapter stumbles over."""
        try:
            message = from_json(row.payload)
        except (KeyError, TypeError, ValueError) as error:
            raise PermanentDeliveryError(f"the stored message cannot be read: {error!r}") from error
        try:
            if row.kind is MessageKind.RAISE:
                return self._adapter.raise_study(message)
            return self._adapter.withdraw_raise(message, raised_answer(self._before(row)))
        except DeliveryError:
            raise
        except Exception as error:
            log.exception("peer=%s message=%s", self._peer.name, row.message_id)
            raise TransientDeliveryError(f"{type(error).__name__}: {error}"[:300]) from error

    def _under_new_identity(self, row: MessageRow) -> NewMessage | None:
        """The message that goes instead, when the identity of its study was corrected while it waited; else None."""
        listed = worklist.row_of(self._store, row.study_instance_uid)
        anew = self._said_anew(row, listed) if listed is not None else None
        if anew is None:
            return None
        numbered = next_about(messages.of_study(self._store, row.study_instance_uid), row, row.kind)
        payload = dict(anew)
        if row.kind is MessageKind.RAISE:
            payload["message_id"] = numbered.message_id
        return replace(numbered, payload=payload, expires_at=row.expires_at)

    def _said_anew(self, row: MessageRow, listed: worklist.ListedStudy) -> Mapping[str, Any] | None:
        """The payload under the identity that holds now; None where it says that already, or cannot be read."""
        try:
            told = from_json(row.payload)
        except (KeyError, TypeError, ValueError):
            return None
        renamed = under(told, listed.identity, self._peer)
        return None if renamed == told else as_json(renamed)

    def _before(self, row: MessageRow) -> list[MessageRow]:
        held = messages.of_study(self._store, row.study_instance_uid)
        return [m for m in held if m.peer == row.peer and m.id < row.id]

    def _shut(self, row: MessageRow) -> str:
        """Why the message may not go out now; empty when it may. Modes, evidence and the list change after it was queued."""
        who = listener(self._peer)
        if row.kind is MessageKind.WITHDRAW:
            if not any(m.kind is MessageKind.RAISE and m.state in GONE_OUT for m in self._before(row)):
                return "there is nothing to take back"
            return may_reach(who, self._simulation)[1]
        return why_shut(self._running, who, row.study_instance_uid, self._simulation)

    def _record(self, row: MessageRow, step: NextStep, answer: Answer | None = None) -> None:
        held, written = (answer.held, answer.written) if answer is not None else ("", "")
        messages.record(self._store, row.id, step.state, now(), step.words, held, written, step.not_before)
        log.log(
            logging.ERROR if step.state in FAILED else logging.INFO,
            "peer=%s kind=%s message=%s state=%s try=%d %s",
            row.peer,
            row.kind,
            row.message_id,
            step.state,
            row.tries,
            step.words,
        )


def why_shut(running: Running, who: Listener, study_instance_uid: str, simulation: bool) -> str:
    """Why nobody may be told of this study now; empty when `who` may."""
    listed = worklist.row_of(running.store, study_instance_uid)
    if listed is None:
        return "the study has no row on the list"
    record = results.latest(running.store, study_instance_uid)
    site = evaluations.site_levels(running.store, record.bundle_digest) if record is not None else {}
    level = site.get("ich", EvidenceLevel.E0)
    digest = record.bundle_digest if record is not None else ""
    mode, _ = switched_mode(running.settings, simulation, level, modes.switch(running.store), digest)
    return may_raise(who, listed.row, level, mode, simulation)[1]


def raised_answer(before: list[MessageRow]) -> Answer:
    """What the peer held before our first raise and what we wrote last, from its messages, oldest first.

    Where somebody else wrote in between, what they wrote is what was held. A withdrawal that arrived starts anew.
    """
    held = written = ""
    outcome = Outcome.NOT_CONFIRMED
    for m in before:
        if m.state not in GONE_OUT:
            continue
        if m.kind is MessageKind.WITHDRAW:
            held, written, outcome = "", "", Outcome.NOT_CONFIRMED
            continue
        if m.state is MessageState.ACKNOWLEDGED:
            outcome = Outcome.ACKNOWLEDGED
        held = held if written and m.held == written else m.held
        written = m.written
    return Answer(outcome, held, written)


def threads(running: Running) -> list[threading.Thread]:
    """One for each worklist peer that may be reached."""
    simulation = meta.is_simulation(running.store)
    found = []
    for peer in running.settings.worklist_peers:
        allowed, why = may_reach(listener(peer), simulation)
        if not allowed:
            log.error("peer=%s is told nothing: %s", peer.name, why)
            continue
        found.append(threading.Thread(target=MessageQueue(running, peer, adapter_for).run, name=peer.name))
    return found
