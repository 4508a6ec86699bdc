"""The suite that every worklist adapter passes: subclass it as `Test...` and give `make`.

`make` returns the adapter and the peer that it talks to: a fake or a real server behind the few verbs of `Peer`.
"""

from __future__ import annotations

import time
from typing import Protocol

import pytest

from triage_node.domain.errors import TransientDeliveryError
from triage_node.domain.priority import Urgency
from triage_node.worklist.adapter import Outcome, RaiseMessage, WorklistAdapter

KNOWN, READ_ALREADY, UNKNOWN = "1.2.1", "1.2.2", "1.2.3"
SENT = frozenset({Outcome.ACKNOWLEDGED, Outcome.NOT_CONFIRMED})


class Peer(Protocol):
    """Knows the study KNOWN (waiting) and READ_ALREADY (read). `priority`: 0 is what it had before, higher is sooner.

    `set_priority` is somebody else's change at the peer; 2 is its highest.
    """

    def priority(self, study_instance_uid: str) -> int: ...
    def set_priority(self, study_instance_uid: str, priority: int) -> None: ...
    def stop(self) -> None: ...
    def become_slow(self) -> None: ...


def message(study_instance_uid: str = KNOWN, message_id: str = "m1", urgency: Urgency = Urgency.HIGH) -> RaiseMessage:
    return RaiseMessage(message_id, study_instance_uid, "A1", urgency, "Suspected IPH. Not for diagnostic use.")


class AdapterContract:
    def make(self) -> tuple[WorklistAdapter, Peer]:
        raise NotImplementedError

    def test_a_raised_study_stands_higher_and_only_an_answer_makes_it_acknowledged(self):
        adapter, peer = self.make()
        assert adapter.raise_study(message()).outcome in SENT
        assert peer.priority(KNOWN) > 0
        adapter.close()

    def test_withdrawing_gives_back_the_priority_from_before_and_never_less(self):
        adapter, peer = self.make()
        raised = adapter.raise_study(message())
        assert adapter.withdraw_raise(message(), raised).outcome in SENT
        assert peer.priority(KNOWN) == 0
        adapter.withdraw_raise(message(), raised)
        assert peer.priority(KNOWN) == 0

    def test_what_somebody_else_has_changed_since_is_not_taken_back(self):
        adapter, peer = self.make()
        raised = adapter.raise_study(message(urgency=Urgency.MODERATE))
        if not raised.written:  # a peer that does not tell what it holds: there is nothing to compare
            return
        peer.set_priority(KNOWN, 2)
        assert adapter.withdraw_raise(message(urgency=Urgency.MODERATE), raised).outcome is Outcome.TOO_LATE
        assert peer.priority(KNOWN) == 2

    def test_a_weaker_message_never_lowers(self):
        adapter, peer = self.make()
        adapter.raise_study(message(urgency=Urgency.CRITICAL))
        raised = peer.priority(KNOWN)
        adapter.raise_study(message(message_id="m2", urgency=Urgency.MODERATE))
        assert peer.priority(KNOWN) == raised

    def test_the_same_message_twice_has_the_effect_of_once(self):
        adapter, peer = self.make()
        first = adapter.raise_study(message())
        raised = peer.priority(KNOWN)
        assert adapter.raise_study(message()).outcome is first.outcome
        assert peer.priority(KNOWN) == raised

    def test_an_unknown_study_is_named_as_such(self):
        adapter, peer = self.make()
        assert adapter.raise_study(message(UNKNOWN)).outcome is Outcome.UNKNOWN_STUDY

    def test_a_study_that_was_read_is_too_late_and_left_alone(self):
        adapter, peer = self.make()
        assert adapter.raise_study(message(READ_ALREADY)).outcome is Outcome.TOO_LATE
        assert peer.priority(READ_ALREADY) == 0

    def test_a_peer_that_is_down_is_a_transient_error(self):
        adapter, peer = self.make()
        peer.stop()
        with pytest.raises(TransientDeliveryError):
            adapter.raise_study(message())

    def test_a_slow_peer_is_a_transient_error_within_the_timeout(self):
        adapter, peer = self.make()
        peer.become_slow()
        start = time.monotonic()
        with pytest.raises(TransientDeliveryError):
            adapter.raise_study(message())
        assert time.monotonic() - start < adapter.timeout_s + 15
