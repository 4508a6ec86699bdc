"""The way of received studies to a hub: bytes as received, the most urgent study first, without end while the line is cut.

The node itself waits for none of this: its list, flags and reports are the same with and without a line. The hub receives
from it as from a modality; with the same model and policy it comes to the same objects under the same UIDs (DESIGN.md
section 3), and what it gets twice it stores once.
"""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from datetime import datetime, timedelta

from triage_node.blobs.opened import open_blobs
from triage_node.config.schema import ArchiveSettings
from triage_node.delivery import store_scu, stow_rs
from triage_node.delivery.retry import Verdict, pause_after, wait_after
from triage_node.processes.outgoing_files import files_of
from triage_node.processes.running import Running, now, until_stopped
from triage_node.store import forwarding, outbox

log = logging.getLogger(__name__)

POLL_S = 1.0
LONGEST_PAUSE = timedelta(seconds=30)
"""Of a line that is cut: one attempt costs nothing, and the region waits for what is here."""


class Forwarding:
    """One study at a time, so that one which is flagged meanwhile waits for one other at most."""

    def __init__(self, running: Running, hub: ArchiveSettings) -> None:
        self._running, self._hub = running, hub
        self._send_batch = stow_rs.send_batch if hub.stow_url else store_scu.send_batch
        self._received = open_blobs(running.settings.store).received
        self._turn = f"hub {hub.name}"  # its own: objects for the same archive do not wait for pixels
        self._failures = 0
        self._resume_at = now()
        self._held: dict[str, datetime] = {}

    def run(self) -> None:
        """Until the role is stopped."""
        until_stopped(self._running.stop, self.send_some, f"hub={self._hub.name}", POLL_S)

    def send_some(self) -> bool:
        """Send what is missing of one study. False when nothing waits or nobody was reached."""
        store, at = self._running.store, now()
        self._held = {uid: until for uid, until in self._held.items() if until > at}
        found = forwarding.next_study(store, self._held) if at >= self._resume_at else None
        if found is None or not self._running.turns.mine(self._turn):
            return False
        uid, unsent = found
        # other bytes under one UID go in an association of their own: what comes of a try is told by UID
        batch: dict[str, forwarding.Unsent] = {}
        for i in unsent:
            batch.setdefault(i.sop_instance_uid, i)
        self._received.fetch([i.sha256 for i in batch.values()])
        files, outcomes = files_of(self._received, batch.values())
        if files:
            outcomes |= self._send_batch(self._hub, files, self._must_stop)
        # no word of the hub about a sender is one about a study: it is mended there, and what waits goes then
        outcomes = {
            name: replace(o, verdict=Verdict.UNTRIED) if o.of_association else o for name, o in outcomes.items()
        }
        settled = {
            batch[name].sha256: outcome.words if outcome.verdict is Verdict.NEVER else ""
            for name, outcome in outcomes.items()
            if outcome.verdict in (Verdict.STORED, Verdict.NEVER)
        }
        forwarding.settle(store, uid, settled, now())
        if not batch:  # what was missing is in quarantine by now
            return True
        pause, self._failures = pause_after(outcomes.values(), self._failures, random.random)
        self._resume_at = now() + min(pause, LONGEST_PAUSE)
        troubles = [o for o in outcomes.values() if o.verdict is not Verdict.STORED]
        if any(o.verdict is Verdict.AGAIN for o in troubles):
            self._held[uid] = now() + wait_after(len(self._held), random.random)  # it must not keep others waiting
        outbox.record_peer(store, self._hub.name, now(), troubles[0].words if pause else "")
        log.info("hub=%s study=%s sent=%d not_sent=%d", self._hub.name, uid, len(settled), len(troubles))
        return not pause

    def _must_stop(self) -> bool:
        return self._running.stop.is_set() or not self._running.turns.still(self._turn)
