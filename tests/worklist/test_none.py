from __future__ import annotations

from tests.worklist.adapter_contract import message
from triage_node.worklist.adapter import Outcome
from triage_node.worklist.none import NoneAdapter


def test_none_says_that_nothing_was_sent():
    adapter = NoneAdapter()
    assert adapter.raise_study(message()).outcome is Outcome.NOTHING_SENT
    assert adapter.withdraw_raise(message(), adapter.raise_study(message())).outcome is Outcome.NOTHING_SENT
    adapter.close()
