"""The audit trail as it travels: entries, the head of their chain, and what a check of the chain found."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AuditEntry:
    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    old: str
    new: str
    previous_hash: str
    hash: str


YEARS = range(1970, 2200)
"""In which a search may ask for days."""


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """`who` and `action`: how the text begins; `subject`: the whole text. `since` counts, `until` does not. Empty: any."""

    who: str = ""
    action: str = ""
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        parts = [f"{name} {value}" for name in ("who", "action", "subject") if (value := getattr(self, name))]
        parts += [f"{name} {at:%Y-%m-%d %H:%M}" for name in ("since", "until") if (at := getattr(self, name))]
        return ", ".join(parts) or "everything"


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest entry. `entries`: how many there ever were, with those that retention took."""

    entries: int
    id: int
    hash: str


@dataclass(frozen=True, slots=True)
class ToldHead:
    """A head that was written elsewhere, where whoever changes the store cannot change it."""

    at: datetime
    head: AuditHead


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """`problem`: what is wrong and at which entry, empty when the chain holds. `compared`: heads told elsewhere that agree."""

    entries: int
    head: AuditHead | None
    problem: str = ""
    first_wrong: int | None = None
    compared: int = 0


_HEAD = re.compile(
    r"triage-node audit head node=(?P<node>\S+) at=(?P<at>\S+) entries=(?P<entries>\d{1,18}) id=(?P<id>\d{1,18}) "
    r"hash=(?P<hash>[0-9a-f]{64})\b"
)


def head_line(node: str, at: datetime, head: AuditHead) -> str:
    """One line of a head file, or the text of a syslog message."""
    return (
        f"triage-node audit head node={node} at={at.isoformat(timespec='seconds')} entries={head.entries} "
        f"id={head.id} hash={head.hash}"
    )


def heads_in(lines: Iterable[str], node: str) -> dict[int, ToldHead]:
    """Entry -> head that was told of it. Lines of other nodes and of anything else in the same log are passed over."""
    found: dict[int, ToldHead] = {}
    for line in lines:
        match = _HEAD.search(line)
        if match is None or match["node"] != node:
            continue
        head = AuditHead(int(match["entries"]), int(match["id"]), match["hash"])
        try:
            found.setdefault(head.id, ToldHead(datetime.fromisoformat(match["at"]), head))
        except ValueError:
            continue
    return found
