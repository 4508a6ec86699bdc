"""The scheduler's question to an archive while a study arrives: how many instances of each series does it hold?

The archive may be behind, so what it says is believed where it says so twice and nothing came meanwhile (study/completeness.py).
One that is down or slow changes nothing: the questions have a thread of their own, and studies close as if nobody were asked.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from triage_node.domain.archived import SearchFailed
from triage_node.domain.study import StudyState
from triage_node.processes import running as process
from triage_node.processes.reconciliation import open_archive
from triage_node.processes.running import Running
from triage_node.store import expected, studies

log = logging.getLogger(__name__)

QUIET = timedelta(seconds=1)
"""A study is asked for when nothing of it came for so long."""
EVERY = timedelta(seconds=2)
AFTER_FAILURE = timedelta(seconds=30)
MOST_STUDIES = 20
"""Asked for in one association."""
KEPT = timedelta(days=7)


class ArchiveCounts:
    """Only while `completeness.ask_archive` names an archive."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._not_before: datetime | None = None
        self._asked: dict[str, datetime] = {}

    def tick(self) -> None:
        """Ask for the studies that went quiet, those first that were asked for longest ago."""
        at = process.now()
        if self._not_before is not None and at < self._not_before:
            return
        store, settings = self._running.store, self._running.settings.completeness
        quiet = [
            s.study_instance_uid
            for s in studies.in_states(store, StudyState.RECEIVING)
            if at - s.last_instance_at >= QUIET
        ]
        self._asked = {uid: when for uid, when in self._asked.items() if uid in quiet}
        if not quiet:
            return
        quiet.sort(key=lambda uid: self._asked.get(uid, datetime.min.replace(tzinfo=at.tzinfo)))
        wait = EVERY
        try:
            with open_archive(self._running.settings, settings.ask_archive, settings.ask_timeout_s) as archive:
                for uid in quiet[:MOST_STUDIES]:
                    if self._running.stop.is_set():
                        return
                    self._asked[uid] = process.now()
                    # before the question: an instance that comes between it and the answer is not in the answer
                    asked_at, counts = self._asked[uid], archive.counts(uid)
                    expected.answered(store, uid, settings.ask_archive, counts, asked_at)
        except SearchFailed as error:
            log.warning("event=count_not_told archive=%s why=%s", settings.ask_archive, error)
            wait = AFTER_FAILURE
        self._not_before = process.now() + wait


def forget_old(running: Running) -> None:
    """What was announced goes after KEPT, from whomever it came."""
    expected.forget_before(running.store, process.now() - KEPT)
