"""What stands on every page of what is wrong with the node itself: what keeps studies from arriving, being analysed or shown."""

from __future__ import annotations

from triage_node.config.schema import Settings
from triage_node.domain.errors import StoreError
from triage_node.processes.limits import machine
from triage_node.processes.limits.bounds import late
from triage_node.processes.operations import problems
from triage_node.processes.running import now
from triage_node.store import heartbeat
from triage_node.store.engine import Store


def node_alarms(store: Store, settings: Settings) -> tuple[str, ...]:
    """A sentence each, urgent things only. The machine is asked also where the database tells nothing."""
    at = now()
    try:
        pids = heartbeat.pids(store)
        of_studies = problems.of_late(tuple(late(store, settings, at)), at)
    except StoreError:
        pids, of_studies = {}, None
    found = [p for p in machine.problems(settings, pids) if p.is_urgent]
    return tuple(p.what for p in (*found, *((of_studies,) if of_studies else ())))
