"""What lies at others and does not hold any more: under an identity that was corrected, or made from images that were rejected.

The node withdraws its objects by a rejection note where it can. Not every archive acts on one, and no list of others takes a message
back that named another patient, so people see here what to look after (DESIGN.md section 3 "Identity moves").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from triage_node.console.deps import ToCorrect
from triage_node.console.texts import displayable, person_name
from triage_node.domain.delivery import ObjectKind, OutboxRow, OutboxState
from triage_node.domain.message import GONE_OUT
from triage_node.domain.study import IdentityCorrection
from triage_node.processes import rejections as iocm
from triage_node.store import messages, outbox, rejections, results, studies
from triage_node.store.engine import Store

_OF_A_PERSON = frozenset({"patient_name", "patient_birth_date", "patient_sex"})
_DONE = {
    OutboxState.PENDING: "A rejection note waits to be sent.",
    OutboxState.PARKED: "Its rejection note was not taken.",
}


def to_correct(store: Store, uid: str, shows_names: bool) -> tuple[ToCorrect, ...]:
    """Objects and messages that left, oldest first. `shows_names` False: no name, birth date or sex of the old identity."""
    corrections, rejected = studies.identity_corrections(store, uid), rejections.of_study(store, uid)
    if not corrections and not rejected:
        return ()
    rows = outbox.of_study(store, uid)
    sent = [r for r in rows if r.sent_at is not None and r.kind is not ObjectKind.REJECTION_NOTE]
    notes = {name: n.sop_instance_uid for n in results.rejection_notes(store, uid) for name in n.refers_to}
    found = []
    for row in sent:
        assert row.created_at is not None
        assert row.sent_at is not None
        stale = _stale(row.created_at, corrections)
        if stale:
            why = "under an identity that was corrected"
        elif row.created_at < max((r.at for r in rejected), default=row.created_at):
            why = f"from images that were {iocm.in_words(rejected)}"
        else:
            continue
        done = _done(row, notes, rows)
        found.append(
            ToCorrect(
                row.peer, row.kind.value, row.sop_instance_uid, row.sent_at, why, _shown(stale, shows_names), done
            )
        )
    for m in messages.of_study(store, uid):
        stale = _told_stale(m.payload, corrections)
        if stale and m.state in GONE_OUT and m.sent_at is not None:
            shown = _shown(stale, shows_names)
            why = "named an identity that was corrected"
            found.append(
                ToCorrect(m.peer, m.kind.value, m.message_id, m.sent_at, why, shown, "A message is not taken back.")
            )
    return tuple(sorted(found, key=lambda t: t.at))


def _stale(made_at: datetime, corrections: Iterable[IdentityCorrection]) -> dict[str, str]:
    """Field -> value that something made then carries, and that is another one today."""
    old: dict[str, str] = {}
    new: dict[str, str] = {}
    for c in corrections:
        if c.at > made_at:
            for name in c.changed:
                old.setdefault(name, getattr(c.old, name))
                new[name] = getattr(c.new, name)
    return {name: value for name, value in old.items() if value != new[name]}


def _told_stale(payload: Mapping[str, Any], corrections: list[IdentityCorrection]) -> dict[str, str]:
    """Field -> value that a message told, and that was corrected since. Of a notice only its lines are known."""
    if not corrections:
        return {}
    current, found = asdict(corrections[-1].new), {}
    lines = [str(line).partition(": ")[2] for line in payload.get("who", ())]
    for c in corrections:
        for name in c.changed:
            value = str(getattr(c.old, name))
            if value and value != current[name] and (payload.get(name) == value or value in lines):
                found[name] = value
    return found


def _shown(stale: Mapping[str, str], shows_names: bool) -> str:
    words = []
    for name, value in stale.items():
        label = name.replace("_", " ")
        if name in _OF_A_PERSON and not shows_names:
            words.append(f"another {label}")
        elif name == "patient_name":
            words.append(f"{label} {person_name(value)}")
        else:
            words.append(f"{label} {displayable(value)}" if value else f"no {label}")
    return ", ".join(words)


def _done(row: OutboxRow, notes: Mapping[str, str], rows: Iterable[OutboxRow]) -> str:
    if row.state is OutboxState.PARKED:
        return "Whether it lies there is not known."
    note = notes.get(row.sop_instance_uid)
    sent = next((r for r in rows if r.peer == row.peer and r.sop_instance_uid == note), None)
    if sent is None:
        return "No rejection note withdraws it."
    return _DONE.get(sent.state, "Withdrawn there by a rejection note.")
