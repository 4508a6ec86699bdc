"""How the heartbeat stands: when it last succeeded, and whether that is too long ago."""

from __future__ import annotations

from datetime import datetime, timedelta

from triage_node.config.schema import Settings
from triage_node.console.operations_deps import Beat, Heart
from triage_node.store import operations_synthetic
from triage_node.store.engine import Store

SHOWN = 24


def standing(store: Store, settings: Settings, at: datetime) -> Heart:
    """The heartbeat at an instant."""
    minutes = settings.operations.heartbeat_min
    every = timedelta(minutes=minutes) if minutes else None
    runs = operations_synthetic.last(store, SHOWN)
    beats = tuple(
        Beat(r.written_at, r.passed, r.words, None if r.checked_at is None else r.checked_at - r.written_at)
        for r in runs
    )
    return Heart(every, operations_synthetic.last_success(store), is_overdue(store, every, at), beats)


def is_overdue(store: Store, every: timedelta | None, at: datetime) -> bool:
    """Two in a row did not succeed. Before the very first one nothing is due."""
    if every is None:
        return False
    since = operations_synthetic.last_success(store) or operations_synthetic.first_run(store)
    return since is not None and at - since > 2 * every
