"""A signal to a monitor outside this machine, once a minute while all is well: what cannot call for help any more is missed there.

It is held back when a role is silent, the disk is full or heartbeats no longer come through: the monitor then calls somebody, by
whatever way it has, and deploy/DOWNTIME.md says who does what. Nothing but the request itself is sent.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from triage_node.config.operations import DeadManSettings
from triage_node.config.schema import Settings
from triage_node.processes.operations import heart, problems, standing
from triage_node.processes.operations.names import MONITOR
from triage_node.processes.running import Running, now
from triage_node.rest.calling import NoAnswer, calling
from triage_node.store import heartbeat, outbox
from triage_node.store.engine import Store

log = logging.getLogger(__name__)

_STEP_S, _WITHIN_S = 10.0, 20.0


def tell(running: Running) -> None:
    """One signal, or the reason why there is none, kept beside the other peers."""
    monitor = running.settings.operations.dead_man
    if monitor is None:
        return
    why_not = why_held_back(running.store, running.settings, now())
    failure = f"held back: {why_not}" if why_not else _ask(monitor)
    if failure:
        log.error("event=no_signal_to_monitor %s", failure)
    outbox.record_peer(running.store, MONITOR, now(), failure)


def why_held_back(store: Store, settings: Settings, at: datetime) -> str:
    """Why somebody should be called; empty while all is well."""
    roles = {role: seen for role, (seen, _) in heartbeat.heartbeats(store).items()}
    if why := problems.why_not_ready(roles, standing.machine_problems(store, settings), at):
        return why
    every = timedelta(minutes=settings.operations.heartbeat_min)
    return "no heartbeat came through" if heart.is_overdue(store, every or None, at) else ""


def _ask(monitor: DeadManSettings) -> str:
    """Why the monitor did not take it; empty when it did."""
    try:
        with calling(monitor, monitor.url, _STEP_S, "*/*") as caller:
            status = caller.ask(monitor.method, monitor.url, _WITHIN_S).status
    except NoAnswer as error:
        return str(error)
    return "" if 200 <= status < 300 else f"answered with HTTP status {status}"
