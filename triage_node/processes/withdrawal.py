"""A person ends a flag, and takes that back: the only two ways down in anybody's list (DESIGN.md invariant 4).

What the worklists of others were told is withdrawn in the same transaction; who may is asked in `processes.console.feedback`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from triage_node.domain.message import GONE_OUT, MessageKind, MessageRow, MessageState, NewMessage, message_id
from triage_node.store import messages, worklist
from triage_node.store.engine import Connection, Store
from triage_node.worklist.payload import as_json, from_json

DISAGREED = "a person disagreed"


def withdraw(
    source: Store | Connection, study_instance_uid: str, by: str, at: datetime, hold_for: timedelta = timedelta()
) -> bool:
    """End the flag, and withdraw it wherever it arrived or may have arrived, `hold_for` from now. False when there was none."""
    if isinstance(source, Store):
        with source.write() as c:
            return withdraw(c, study_instance_uid, by, at, hold_for)
    if not worklist.end_flag(source, study_instance_uid, by, at):
        return False
    messages.cancel_raises(source, study_instance_uid, at, DISAGREED)
    held = messages.of_study(source, study_instance_uid)
    new = []
    for peer in _peers(held):
        last = _last(held, peer, MessageKind.RAISE)
        # one that is on its way now still arrives: its withdrawal waits behind it
        if last is not None and last.state in (*GONE_OUT, MessageState.PENDING):
            new.append(next_about(held, last, MessageKind.WITHDRAW))
    messages.put(source, new, at, not_before=at + hold_for)
    return True


def undo(source: Store | Connection, study_instance_uid: str, by: str, at: datetime, expires_after: timedelta) -> bool:
    """The flag stands again, and is told again wherever it was taken back. False when nobody had disagreed."""
    if isinstance(source, Store):
        with source.write() as c:
            return undo(c, study_instance_uid, by, at, expires_after)
    if not worklist.restore_flag(source, study_instance_uid, by, at):
        return False
    held = messages.of_study(source, study_instance_uid)
    new = []
    for peer in _peers(held):
        back, told = _last(held, peer, MessageKind.WITHDRAW), _last(held, peer, MessageKind.RAISE)
        if back is not None and back.state is MessageState.PENDING and back.tries == 0:
            messages.withhold(source, [back.id], at, "the disagreement was taken back")
        elif told is not None and (back is not None or told.words.startswith(DISAGREED)):
            new.append(_told_anew(held, told, at, expires_after))
    messages.put(source, new, at)
    return True


def tell_again(c: Connection, study_instance_uid: str, at: datetime, expires_after: timedelta) -> None:
    """Raises that were held back because the study counted as read, which a person took back."""
    held = messages.of_study(c, study_instance_uid)
    last = [told for peer in _peers(held) if (told := _last(held, peer, MessageKind.RAISE)) is not None]
    unsent = [told for told in last if told.state is MessageState.NOT_SENT and told.words == messages.WAS_READ]
    messages.put(c, [_told_anew(held, told, at, expires_after) for told in unsent], at)


def _told_anew(held: Sequence[MessageRow], told: MessageRow, at: datetime, expires_after: timedelta) -> NewMessage:
    raised = next_about(held, told, MessageKind.RAISE)
    again = replace(from_json(told.payload), message_id=raised.message_id, issued_at=at)
    return replace(raised, payload=as_json(again), expires_at=at + expires_after)


def _peers(held: Sequence[MessageRow]) -> list[str]:
    return list(dict.fromkeys(m.peer for m in held))


def _last(held: Sequence[MessageRow], peer: str, kind: MessageKind) -> MessageRow | None:
    return next((m for m in reversed(held) if m.peer == peer and m.kind is kind), None)


def next_about(held: Sequence[MessageRow], of: MessageRow, kind: MessageKind) -> NewMessage:
    """The next message of a kind about what `of` said."""
    uid = of.study_instance_uid
    before = sum(m.peer == of.peer and m.kind is kind and m.revision == of.revision for m in held)
    return NewMessage(of.peer, kind, message_id(uid, of.revision, of.peer, kind, before), uid, of.revision, of.payload)
