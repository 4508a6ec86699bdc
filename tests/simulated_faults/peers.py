"""What the node talks to: archives that answer late or twice, lists that fall silent, a pager."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.simulated_faults.ledger import Ledger
from tests.simulated_faults.senders import Network
from tests.simulated_faults.world import World
from triage_node.delivery.commitment import Answer as Commitment
from triage_node.delivery.outgoing import Outgoing, transfer_syntax
from triage_node.delivery.retry import Outcome as Fate
from triage_node.delivery.retry import Verdict, outcome_of_status
from triage_node.domain.errors import TransientDeliveryError
from triage_node.domain.priority import Urgency
from triage_node.worklist.adapter import Answer, Outcome, RaiseMessage

ROUTINE = 0
_PRIORITY = {Urgency.MODERATE: 1, Urgency.HIGH: 2, Urgency.CRITICAL: 3}


def priority_of(urgency: str) -> int:
    """In the words of the list of others."""
    return _PRIORITY[Urgency(urgency)]


@dataclass(slots=True)
class Line:
    """How bad a line is. `is_down`: nobody is reached; `bad`: how often an answer, or the object, gets lost."""

    is_down: bool = False
    bad: float = 0.0


class Pacs:
    """Archives, by name. The stand-in for the SCUs: the same callables without a socket."""

    def __init__(self, world: World, ledger: Ledger, network: Network) -> None:
        self.world, self.ledger, self.network = world, ledger, network
        self.line = Line()

    def send_batch(self, archive: Any, objects: Sequence[Outgoing], stopping: Callable[[], bool]) -> dict[str, Fate]:
        fates: dict[str, Fate] = {}
        self.world.point("associate with the archive")
        if self.line.is_down:
            return dict.fromkeys((o.sop_instance_uid for o in objects), Fate(Verdict.UNTRIED, "no connection"))
        is_lost = False
        for o in objects:
            if is_lost or stopping():
                fates[o.sop_instance_uid] = Fate(Verdict.UNTRIED, "the association was lost")
                continue
            syntax = transfer_syntax(o)
            if isinstance(syntax, Fate):
                fates[o.sop_instance_uid] = syntax
                continue
            self.world.point("C-STORE")
            chance = self.world.rng.random()
            if chance < self.line.bad / 3:
                is_lost = True
                fates[o.sop_instance_uid] = Fate(Verdict.AGAIN, "the line broke", perhaps_there=True)
                continue
            if chance < self.line.bad / 2:
                status = self.world.rng.choice((0xA700, 0x0110, 0xB000, 0xC001))
                fates[o.sop_instance_uid] = outcome_of_status(status)
                if fates[o.sop_instance_uid].verdict is not Verdict.STORED:
                    continue
            self._keep(archive.name, o.sop_instance_uid, o.path)
            self.world.point("C-STORE answered")
            is_lost = chance < self.line.bad
            lost = Fate(Verdict.AGAIN, "no answer", perhaps_there=True)
            fates[o.sop_instance_uid] = lost if is_lost else outcome_of_status(0)
        return fates

    def request_commitment(
        self,
        archive: Any,
        transaction: str,
        objects: Sequence[tuple[str, str]],
        on_answer: Callable[[Commitment], None],
    ) -> Fate:
        self.world.point("N-ACTION")
        if self.line.is_down or self.world.rng.random() < self.line.bad / 2:
            return Fate(Verdict.UNTRIED, "no connection")
        held = [uid for _, uid in objects if (archive.name, uid) in self.ledger.sent_there]
        failed = [(uid, 0x0112) for _, uid in objects if uid not in held]
        if held and self.world.rng.random() < self.line.bad:  # it lost one: it is sent again
            failed.append((held.pop(), 0x0110))
        if self.world.rng.random() < 0.5:
            on_answer(Commitment(transaction, tuple(held), tuple(failed)))
        elif self.world.rng.random() >= self.line.bad:
            self.world.spawn("archive/commitment", self._report_later, transaction, held, failed)
        return Fate(Verdict.STORED)

    def _report_later(self, transaction: str, held: list[str], failed: list[tuple[str, int]]) -> None:
        for _ in range(20):
            self.world.pause(3 * self.world.rng.random())
            if self.network.commitment(transaction, held, failed) and self.world.rng.random() >= self.line.bad:
                return  # else it is told twice

    def _keep(self, archive: str, uid: str, path: Path) -> None:
        data = path.read_bytes()
        self.world.note(f"{archive} holds {uid}")
        self.ledger.sent_there[archive, uid].append(data)
        self.ledger.sent_at[archive, uid].append(self.world.now())


@dataclass(slots=True)
class _Order:
    held: int = ROUTINE
    now: int = ROUTINE
    is_read: bool = False
    seen: set[str] = field(default_factory=set)


class Ris:
    """The list of somebody else. It keeps the contract of worklist/adapter.py, and falls silent before or after a change."""

    key, timeout_s = "simulated", 10.0

    def __init__(self, world: World, ledger: Ledger, name: str) -> None:
        self.world, self.ledger, self.name = world, ledger, name
        self.line = Line()
        self.orders: dict[str, _Order] = {}
        self.knows_from: dict[str, float] = {}

    def close(self) -> None: ...

    def raise_study(self, message: RaiseMessage) -> Answer:
        order = self._found(message)
        if order is None:
            return Answer(Outcome.UNKNOWN_STUDY)
        if order.is_read:
            return Answer(Outcome.TOO_LATE)
        before, wanted = order.now, max(order.now, _PRIORITY[message.urgency])
        self.world.note(f"{self.name} raises {message.study_instance_uid} from {before} to {wanted}")
        self.ledger.told.append((self.world.seconds, self.name, message.message_id, message.study_instance_uid))
        order.now = wanted
        self._perhaps_silent(before, wanted)
        return Answer(Outcome.ACKNOWLEDGED, str(before), str(wanted))

    def withdraw_raise(self, message: RaiseMessage, raised: Answer) -> Answer:
        order = self._found(message)
        if order is None:
            return Answer(Outcome.UNKNOWN_STUDY)
        if raised.written and str(order.now) != raised.written:
            if str(order.now) == raised.held:  # a try before this one did it, and its answer was lost
                return Answer(Outcome.ACKNOWLEDGED, raised.written, raised.held)
            return Answer(Outcome.TOO_LATE)
        if message.study_instance_uid not in self.ledger.disagreed:
            self.ledger.notes.append(f"{self.name}: a raise of {message.study_instance_uid} was taken back by nobody")
        before, order.now = order.now, int(raised.held or ROUTINE)
        self.world.note(f"{self.name} takes {message.study_instance_uid} back from {before} to {order.now}")
        self._perhaps_silent(before, order.now)
        return Answer(Outcome.ACKNOWLEDGED, str(before), str(order.now))

    def _found(self, message: RaiseMessage) -> _Order | None:
        self.world.point(f"talk to {self.name}")
        if self.line.is_down:
            raise TransientDeliveryError("no connection")
        if self.world.rng.random() < self.line.bad / 2:
            raise TransientDeliveryError("silent before anything was changed")
        if self.world.seconds < self.knows_from.get(message.study_instance_uid, 0.0):
            return None
        return self.orders.setdefault(message.study_instance_uid, _Order())

    def _perhaps_silent(self, before: int, after: int) -> None:
        self.world.point(f"{self.name} answers")
        if self.world.rng.random() < self.line.bad:
            raise TransientDeliveryError("silent after the change", str(before), str(after))


class Pager:
    """Takes notices to people."""

    world: World
    ledger: Ledger
    line: Line

    def __init__(self, *_: object) -> None: ...
    def close(self) -> None: ...

    def stays_here(self) -> bool:
        return True

    def send(self, message_id: str, notice: object) -> None:
        self.world.point("page a person")
        if self.line.is_down or self.world.rng.random() < self.line.bad / 2:
            raise TransientDeliveryError("the service does not answer")
        self.ledger.told.append((self.world.seconds, "pager", message_id, ""))
        if self.world.rng.random() < self.line.bad:
            raise TransientDeliveryError("no answer")
