"""Is what the page shows still true? A list that stands still must say so, or it reads as "nothing new"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

SILENT_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Staleness:
    """`since` is None when a role was never seen."""

    since: datetime | None
    why: str


def staleness(heartbeats: Mapping[str, datetime], required: Sequence[str], now: datetime) -> Staleness | None:
    """None while every required role was heard of within SILENT_AFTER; else since when the list cannot be trusted."""
    never = [role for role in required if role not in heartbeats]
    silent = [role for role in required if role in heartbeats and now - heartbeats[role] > SILENT_AFTER]
    if not never and not silent:
        return None
    why = [f"{role} never started" for role in never] + [f"{role} does not answer" for role in silent]
    since = None if never else min(heartbeats[role] for role in silent)
    return Staleness(since, ", ".join(why))
