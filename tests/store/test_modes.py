"""Who switched the mode: what holds after any order of changes, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.store.conftest import NOW
from triage_node.domain.mode_switch import REQUEST_FOR, ModeAction, ModeChange, ModeSwitch, switch_after
from triage_node.store import audit, modes

PAUSE, REQUEST, APPROVE, REFUSE, RESUME, REASON = (
    ModeChange(NOW, by, ModeAction(action), "why", "d1")
    for by, action in (
        ("lee", "pause"),
        ("ada", "request"),
        ("bob", "approve"),
        ("bob", "refuse"),
        ("lee", "resume"),
        ("lee", "reason"),
    )
)


@pytest.mark.parametrize(
    ("changes", "switch"),
    [
        ([], ModeSwitch()),
        ([REQUEST], ModeSwitch(request=REQUEST)),
        ([REQUEST, APPROVE], ModeSwitch(approval=APPROVE)),
        ([REQUEST, APPROVE, PAUSE], ModeSwitch(paused=PAUSE)),
        ([replace(PAUSE, reason=""), REASON], ModeSwitch(paused=PAUSE)),
        ([REASON], ModeSwitch()),
        ([REQUEST, PAUSE], ModeSwitch(paused=PAUSE)),
        ([PAUSE, REQUEST], ModeSwitch(paused=PAUSE, request=REQUEST)),
        ([PAUSE, REQUEST, REFUSE], ModeSwitch(paused=PAUSE)),
        ([PAUSE, REQUEST, APPROVE], ModeSwitch(approval=APPROVE)),
        ([REQUEST, APPROVE, PAUSE, RESUME], ModeSwitch(approval=APPROVE)),
        ([REQUEST, APPROVE, REQUEST], ModeSwitch(approval=APPROVE, request=REQUEST)),
    ],
)
def test_what_holds_after_changes(changes, switch):
    assert switch_after(changes) == switch


def test_changes_are_appended_and_audited(store):
    with store.write() as c:
        for change in (REQUEST, APPROVE):
            modes.add(c, change)
    assert modes.changes(store) == [REQUEST, APPROVE]
    assert modes.switch(store).is_on_for("d1")
    assert not modes.switch(store).is_on_for("d2"), "another model is not switched on by it"
    assert [action for _, _, action in audit.entries(store, modes.SUBJECT)] == ["mode: request", "mode: approve"]


def test_a_request_lapses():
    switch = ModeSwitch(request=REQUEST)
    assert switch.open_request(NOW + REQUEST_FOR - timedelta(seconds=1)) == REQUEST
    assert switch.open_request(NOW + REQUEST_FOR) is None
