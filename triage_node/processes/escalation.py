"""The scheduler's tick that passes a flagged study on to the next contacts while nobody opens it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from triage_node.config.schema import Settings
from triage_node.domain.durations import in_words
from triage_node.domain.message import MessageRow
from triage_node.processes import running as process
from triage_node.processes.messages import why_shut
from triage_node.processes.notices import Notices
from triage_node.processes.running import Running
from triage_node.store import audit, messages, meta, worklist
from triage_node.store.engine import Connection, Store
from triage_node.worklist.escalation import Escalation, Told, next_order, standing
from triage_node.worklist.gate import Listener

log = logging.getLogger(__name__)


def in_force(settings: Settings, store: Store, at: datetime) -> Escalation:
    """Whether studies are passed on at this site, and why not."""
    within = timedelta(days=settings.escalation.feed_within_days)
    readings = worklist.readings_told(store, at - within)
    return standing([c.order for c in settings.contacts], settings.escalation.read_here, readings, within, at)


def for_the_page(settings: Settings, store: Store, at: datetime) -> str:
    """Whether studies are passed on, and why not; empty where nobody is notified at all."""
    return in_force(settings, store, at).words if settings.contacts else ""


def pass_on(running: Running, now: Callable[[], datetime] = process.now) -> None:
    """Write the notices that are due. What has expired as a notice is passed on no more."""
    settings, store, at = running.settings, running.store, now()
    simulation = meta.is_simulation(store)
    notices = Notices(settings, simulation)
    after = timedelta(minutes=settings.escalation.after_min)
    if len(notices.orders) < 2:
        return
    rounds = _rounds(messages.notices_since(store, at - timedelta(hours=settings.worklist.expires_after_h)))
    force = in_force(settings, store, at) if rounds else None
    if force is None or not force.is_on:
        return
    for uid, rows in rounds.items():
        if force.since is not None and rows[0].created_at < force.since:
            continue
        with store.read() as c:
            due = _due(c, uid, rows, notices.orders, after, at)
        if due is None or why_shut(running, Listener("", loopback=True), uid, simulation):
            continue
        with store.write() as c:  # asked again: somebody may have opened it just now
            listed = worklist.row_of(c, uid)
            if listed is None or _due(c, uid, rows, notices.orders, after, at) is None:
                continue
            why = f"Nobody has opened the study for {in_words(at - rows[0].created_at)} since {rows[0].peer} was told."
            if messages.put(c, notices.passed_on(listed, rows[0].revision, due, why, at), at):
                log.warning("event=passed_on study=%s order=%d", uid, due)


def _due(
    c: Connection, uid: str, rows: Sequence[MessageRow], orders: frozenset[int], after: timedelta, at: datetime
) -> int | None:
    listed = worklist.row_of(c, uid)
    if listed is None:
        return None
    told = [Told(int(m.payload["order"]), m.created_at) for m in rows]
    return next_order(listed.row, told, orders, audit.looked_at(c, uid, rows[0].created_at), after, at)


def _rounds(rows: Sequence[MessageRow]) -> dict[str, list[MessageRow]]:
    """Study -> the notices of the last revision that led to any, oldest first."""
    found: dict[str, list[MessageRow]] = {}
    for m in rows:
        held = found.setdefault(m.study_instance_uid, [])
        if held and held[0].revision != m.revision:
            if m.revision < held[0].revision:
                continue
            held.clear()
        held.append(m)
    return found
