"""The contract suite itself, run over a small adapter with a peer in memory; what it demands is checked to bite."""

from __future__ import annotations

import pytest

from tests.worklist.adapter_contract import KNOWN, READ_ALREADY, AdapterContract
from triage_node.domain.errors import TransientDeliveryError
from triage_node.domain.priority import Urgency
from triage_node.worklist.adapter import Answer, Outcome, RaiseMessage

_PRIORITY = {Urgency.MODERATE: 1, Urgency.HIGH: 2, Urgency.CRITICAL: 2}


class MemoryPeer:
    def __init__(self) -> None:
        self.priorities = {KNOWN: 0, READ_ALREADY: 0}
        self.read = {READ_ALREADY}
        self.answers = True

    def priority(self, study_instance_uid: str) -> int:
        return self.priorities[study_instance_uid]

    def set_priority(self, study_instance_uid: str, priority: int) -> None:
        self.priorities[study_instance_uid] = priority

    def stop(self) -> None:
        self.answers = False

    def become_slow(self) -> None:
        self.answers = False


class MemoryAdapter:
    key = "memory"
    timeout_s = 1.0

    def __init__(self, peer: MemoryPeer) -> None:
        self._peer = peer

    def raise_study(self, message: RaiseMessage) -> Answer:
        held = self._priority(message)
        if held is None:
            return Answer(Outcome.UNKNOWN_STUDY)
        if message.study_instance_uid in self._peer.read:
            return Answer(Outcome.TOO_LATE)
        written = max(held, _PRIORITY[message.urgency])
        self._peer.priorities[message.study_instance_uid] = written
        return Answer(Outcome.ACKNOWLEDGED, str(held), str(written))

    def withdraw_raise(self, message: RaiseMessage, raised: Answer) -> Answer:
        held = self._priority(message)
        if held is None:
            return Answer(Outcome.UNKNOWN_STUDY)
        if str(held) not in (raised.written, raised.held):
            return Answer(Outcome.TOO_LATE, str(held))
        self._peer.priorities[message.study_instance_uid] = int(raised.held)
        return Answer(Outcome.ACKNOWLEDGED, str(held), raised.held)

    def _priority(self, message: RaiseMessage) -> int | None:
        if not self._peer.answers:
            raise TransientDeliveryError("the peer does not answer")
        return self._peer.priorities.get(message.study_instance_uid)

    def close(self) -> None:
        return None


class TestMemoryAdapter(AdapterContract):
    def make(self):
        peer = MemoryPeer()
        return MemoryAdapter(peer), peer


class LoweringAdapter(MemoryAdapter):
    def raise_study(self, message: RaiseMessage) -> Answer:
        self._peer.priorities[message.study_instance_uid] = _PRIORITY[message.urgency]
        return Answer(Outcome.ACKNOWLEDGED)


class Lowering(AdapterContract):
    def make(self):
        peer = MemoryPeer()
        return LoweringAdapter(peer), peer


@pytest.mark.parametrize(
    "broken",
    [
        "test_a_weaker_message_never_lowers",
        "test_an_unknown_study_is_named_as_such",
        "test_a_study_that_was_read_is_too_late_and_left_alone",
    ],
)
def test_the_suite_catches_an_adapter_that_breaks_the_contract(broken):
    with pytest.raises(AssertionError):
        getattr(Lowering(), broken)()
