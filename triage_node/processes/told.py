"""What the worklists of others were told, in words for people. "Re-ordered" is said on the peer's own answer and nothing less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from triage_node.console.deps import ToldAt, ToldPeer
from triage_node.console.texts import displayable
from triage_node.domain.message import FAILED, MessageKind, MessageRow, MessageState

SILENT_TRIES = 5
"""So many tries without an answer are news; the first ones are a restart somewhere."""
_RAISE = {
    MessageState.PENDING: "not told yet",
    MessageState.NOT_CONFIRMED: "told, not confirmed",
    MessageState.IN_PART: "told, but it refuses to re-order the study",
    MessageState.UNKNOWN_STUDY: "does not know this study",
    MessageState.TOO_LATE: "too late, it is being read there or was read",
    MessageState.NOT_SENT: "not told",
    MessageState.PARKED: "refused for good",
    MessageState.EXPIRED: "did not answer in time",
}
_WITHDRAW = {
    MessageState.ACKNOWLEDGED: "taken back",
    MessageState.PENDING: "not taken back yet",
    MessageState.NOT_CONFIRMED: "asked to take it back, not confirmed",
    MessageState.IN_PART: "told to take it back, but it refuses to order the study as before",
    MessageState.UNKNOWN_STUDY: "not taken back, does not know this study any more",
    MessageState.TOO_LATE: "not taken back: somebody changed it since, or it is being read",
    MessageState.NOT_SENT: "not asked to take it back",
    MessageState.PARKED: "refused for good to take it back",
    MessageState.EXPIRED: "did not answer in time when asked to take it back",
}


_NOTIFY = {
    MessageState.ACKNOWLEDGED: "notified",
    MessageState.PENDING: "not notified yet",
    MessageState.NOT_CONFIRMED: "perhaps notified",
    MessageState.NOT_SENT: "not notified",
    MessageState.PARKED: "cannot be notified",
    MessageState.EXPIRED: "was not reached in time",
}


def told_peers(rows: Sequence[MessageRow]) -> tuple[ToldPeer, ...]:
    """Every message of one study, oldest first."""
    return tuple(
        ToldPeer(
            m.peer,
            m.kind.value,
            m.state.value,
            _words(m),
            displayable(m.words, 300),
            m.held,
            m.written,
            m.tries,
            m.final_at or m.created_at,
            m.state in FAILED,
        )
        for m in rows
    )


def told_at(rows: Sequence[MessageRow]) -> ToldAt:
    """What the list says of one study: where it is re-ordered now, and who does not know what they should."""
    last = {m.peer: m for m in rows if m.state is not MessageState.NOT_SENT}
    return ToldAt(
        reordered=tuple(peer for peer, m in last.items() if _is_reordered(m)),
        failed=tuple(f"{peer}: {_words(m)}" for peer, m in last.items() if m.state in FAILED),
    )


def alarms(told: Mapping[str, Sequence[MessageRow]]) -> tuple[str, ...]:
    """One sentence a peer that did not take what it should know, or has not answered for a while."""
    open_at: Counter[str] = Counter()
    why: dict[str, str] = {}
    for rows in told.values():
        for m in {m.peer: m for m in rows if m.state is not MessageState.NOT_SENT}.values():
            if m.state in FAILED or (m.state is MessageState.PENDING and m.tries >= SILENT_TRIES):
                open_at[m.peer] += 1
                why[m.peer] = m.words or _words(m)
    return tuple(
        f"{peer} has not taken {count} {'message' if count == 1 else 'messages'}: {displayable(why[peer], 200)}"
        for peer, count in open_at.items()
    )


def _is_reordered(m: MessageRow) -> bool:
    is_acknowledged = m.kind is MessageKind.RAISE and m.state is MessageState.ACKNOWLEDGED
    return is_acknowledged and not (m.written and m.written == m.held)


def _words(m: MessageRow) -> str:
    if m.kind is MessageKind.WITHDRAW:
        return _WITHDRAW[m.state]
    if m.kind is MessageKind.NOTIFY:
        return _NOTIFY.get(m.state, m.state.value)
    if m.state is not MessageState.ACKNOWLEDGED:
        return _RAISE[m.state]
    return "re-ordered" if _is_reordered(m) else "confirmed, it stood there already"
