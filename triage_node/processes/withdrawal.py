"""A person ends a flag, and takes that back: the only two ways down in anybody's list (DESIGN.md invariant 4).

What the worklists of others were told is withdrawn in the same transaction. SEAM (issue 10): the page's button, and who may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from triage_node.domain.message import GONE_OUT, MessageKind, MessageRow, MessageState, NewMessage, message_id
from triage_node.store import messages, worklist
from triage_node.store.engine import Store
from triage_node.worklist.payload import as_json, from_json

DISAGREED = "a person disagreed"


def withdraw(store: Store, study_instance_uid: str, by: str, at: datetime) -> bool:
    """End the flag, and withdraw it wherever it arrived or may have arrived. False when there was no flag to end."""
    with store.write() as c:
        if not worklist.end_flag(c, study_instance_uid, by, at):
            return False
        messages.cancel_raises(c, study_instance_uid, at, DISAGREED)
        held = messages.of_study(c, study_instance_uid)
        new = []
        for peer in _peers(held):
            last = _last(held, peer, MessageKind.RAISE)
            # one that is on its way now still arrives: its withdrawal waits behind it
            if last is not None and last.state in (*GONE_OUT, MessageState.PENDING):
                new.append(next_about(held, last, MessageKind.WITHDRAW))
        messages.put(c, new, at)
        return True


def undo(store: Store, study_instance_uid: str, by: str, at: datetime, expires_after: timedelta) -> bool:
    """The flag stands again, and is told again wherever it was taken back. False when nobody had disagreed."""
    with store.write() as c:
        if not worklist.restore_flag(c, study_instance_uid, by, at):
            return False
        held = messages.of_study(c, study_instance_uid)
        new = []
        for peer in _peers(held):
            back, told = _last(held, peer, MessageKind.WITHDRAW), _last(held, peer, MessageKind.RAISE)
            if back is not None and back.state is MessageState.PENDING and back.tries == 0:
                messages.withhold(c, [back.id], at, "the disagreement was taken back")
            elif told is not None and (back is not None or told.words.startswith(DISAGREED)):
                raised = next_about(held, told, MessageKind.RAISE)
                again = replace(from_json(told.payload), message_id=raised.message_id, issued_at=at)
                new.append(replace(raised, payload=as_json(again), expires_at=at + expires_after))
        messages.put(c, new, at)
        return True


def _peers(held: Sequence[MessageRow]) -> list[str]:
    return list(dict.fromkeys(m.peer for m in held))


def _last(held: Sequence[MessageRow], peer: str, kind: MessageKind) -> MessageRow | None:
    return next((m for m in reversed(held) if m.peer == peer and m.kind is kind), None)


def next_about(held: Sequence[MessageRow], of: MessageRow, kind: MessageKind) -> NewMessage:
    """The next message of a kind about what `of` said."""
    uid = of.study_instance_uid
    before = sum(m.peer == of.peer and m.kind is kind and m.revision == of.revision for m in held)
    return NewMessage(of.peer, kind, message_id(uid, of.revision, of.peer, kind, before), uid, of.revision, of.payload)
