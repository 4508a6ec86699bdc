"""What the UPS managers of these tests hold at first, and the messages that are sent to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.worklist.adapter_contract import KNOWN, READ_ALREADY
from triage_node.domain.priority import Urgency
from triage_node.worklist.adapter import RaiseMessage

LEVELS = ("LOW", "MEDIUM", "HIGH")
PATIENCE_S = 30.0
"""For a peer that behaves: a bound against hanging on a loaded machine, never a measurement."""
SHORT_S = 1.0
"""For a peer that hangs."""
INTERPRETATION, QUALITY_CONTROL = "110005", "110002"


@dataclass
class Item:
    uid: str
    study: str = ""
    accession: str = ""
    state: str = "SCHEDULED"
    priority: str = "LOW"
    code: str = INTERPRETATION
    created: dict[str, str] = field(default_factory=dict)
    """What an N-CREATE brought, as the manager understood it."""


class HeldItems:
    """What a manager holds, in the verbs of the contract suite."""

    items: dict[str, Item]
    stopped: Callable[[], None]
    runs: bool

    def held(self) -> dict[str, Item]:
        return self.items

    def of_study(self, study: str) -> Item:
        return next(i for i in self.items.values() if i.study == study)

    def priority(self, study_instance_uid: str) -> int:
        return LEVELS.index(self.of_study(study_instance_uid).priority)

    def set_priority(self, study_instance_uid: str, priority: int) -> None:
        self.of_study(study_instance_uid).priority = LEVELS[priority]

    def stop(self) -> None:
        self.runs = False
        self.stopped()


def first_items() -> list[Item]:
    return [Item("1.3.1", KNOWN, "A1"), Item("1.3.2", READ_ALREADY, "A1", state="COMPLETED")]


def raise_of(study: str = KNOWN, urgency: Urgency = Urgency.HIGH, **more: object) -> RaiseMessage:
    values = {"accession_number": "A1", "words": "Suspected IPH. Not for diagnostic use."} | more
    return RaiseMessage("m1", study, urgency=urgency, **values)  # type: ignore[arg-type]
