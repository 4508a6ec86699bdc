"""The scheduler's question to an archive, once a day: which head CTs never reached this node?

An auto-forwarding rule that vanished for one scanner, protocol or user makes no silence as long as the others send.
"""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from triage_node.config.reconciliation import ReconciliationSettings
from triage_node.config.schema import ArchiveSettings, Settings
from triage_node.delivery.find_scu import FindScu
from triage_node.delivery.qido_rs import QidoRs
from triage_node.dimse.calling import Callee
from triage_node.domain.archived import SearchFailed
from triage_node.processes import running as process
from triage_node.processes.running import Running
from triage_node.store import audit, feeds
from triage_node.study.head_ct import head_series

log = logging.getLogger(__name__)

AGAIN_AFTER = timedelta(hours=1)
LONGEST = timedelta(minutes=10)
"""For all questions of one night; each has its own bound too."""


def ask_when_due(running: Running, at: datetime | None = None) -> None:
    """Ask once the hour has come and the days that are due were not asked for yet; after a failure an hour later."""
    asked = running.settings.reconciliation
    if asked is None:
        return
    at = at or process.now()
    local = at.astimezone(ZoneInfo(running.settings.node.time_zone))
    last = local.date() - timedelta(days=1)
    said = feeds.said(running.store, feeds.RECONCILIATION)
    if local.hour < asked.hour or said.get("last") == last.isoformat():
        return
    if said.get("tried_at") and timedelta(0) <= at - datetime.fromisoformat(said["tried_at"]) < AGAIN_AFTER:
        return
    reconcile(running, last - timedelta(days=asked.days_back - 1), last, at)


def reconcile(running: Running, first: date, last: date, at: datetime) -> None:
    """Ask for these days and keep what was found. Where that fails, what was found before stays, with why it is old."""
    settings, store = running.settings, running.store
    assert settings.reconciliation is not None
    try:
        found = _compare(running, settings.reconciliation, first, last, at)
    except SearchFailed as error:
        name = archive_name(settings.reconciliation)
        log.error("event=reconciliation_failed archive=%s why=%s", name, error)
        kept = feeds.said(store, feeds.RECONCILIATION)
        found = kept | {"archive": name, "tried_at": at.isoformat(), "problem": str(error)[:300]}
    words = found["problem"] or f"{len(found['missing'])} head CTs of {found['studies']} CT studies never arrived"
    with store.write() as c:
        feeds.say(c, feeds.RECONCILIATION, found)
        audit.record(c, at, "node", "feed reconciliation", f"{found['archive']} {first} to {last}", new=words)


def archive_name(asked: ReconciliationSettings) -> str:
    return asked.archive or "the archive"


def _compare(running: Running, asked: ReconciliationSettings, first: date, last: date, at: datetime) -> dict[str, Any]:
    missing: list[dict[str, str]] = []
    began = time.monotonic()
    with _open(running.settings, asked) as archive:
        there = [s for s in archive.studies(first, last) if "CT" in s.modalities or not s.modalities]
        known = feeds.known(running.store, (s.study_instance_uid for s in there))
        for study in there:
            if study.study_instance_uid in known:
                continue
            if running.stop.is_set():
                raise SearchFailed("the node was stopped")
            if time.monotonic() - began > LONGEST.total_seconds():
                raise SearchFailed(f"not done within {LONGEST // timedelta(minutes=1)} min")
            head = head_series(study, archive.series(study.study_instance_uid), asked.body_parts, asked.descriptions)
            if head is not None:
                missing.append({"study_instance_uid": study.study_instance_uid, "station": head.station})
    return {
        "archive": archive_name(asked),
        "first": first.isoformat(),
        "last": last.isoformat(),
        "tried_at": at.isoformat(),
        "problem": "",
        "studies": len(there),
        "missing": missing,
    }


def _open(settings: Settings, asked: ReconciliationSettings) -> AbstractContextManager[FindScu | QidoRs]:
    if asked.qido_url:
        return QidoRs(asked, asked.qido_url, asked.timeout_s)
    return open_archive(settings, asked.archive, asked.timeout_s)


def open_archive(settings: Settings, name: str, timeout_s: float) -> AbstractContextManager[FindScu | QidoRs]:
    """Ask one of `archives` the way objects go there. Raises: SearchFailed on entering."""
    archive = next(a for a in settings.archives if a.name == name)
    if archive.stow_url:
        return QidoRs(archive, archive.stow_url, timeout_s)
    return FindScu(_callee(archive, timeout_s))


def _callee(archive: ArchiveSettings, timeout_s: float) -> Callee:
    return Callee(
        archive.host,
        archive.port,
        archive.ae_title,
        archive.calling_ae_title,
        archive.connect_timeout_s,
        timeout_s,
        archive.tls,
        archive.tls_ca,
    )
