"""The adapter of a site whose reading list is the node's own page: nothing leaves, and it says so."""

from __future__ import annotations

from triage_node.worklist.adapter import Answer, Outcome, RaiseMessage


class NoneAdapter:
    key = "none"
    timeout_s = 0.0

    def raise_study(self, message: RaiseMessage) -> Answer:
        return Answer(Outcome.NOTHING_SENT)

    def withdraw_raise(self, message: RaiseMessage, raised: Answer) -> Answer:
        return Answer(Outcome.NOTHING_SENT)

    def close(self) -> None:
        return None
