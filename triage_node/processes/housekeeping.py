"""Ticks of the scheduler that clean up. Each can run twice, or late, without harm."""

from __future__ import annotations

import logging

from triage_node.blobs.opened import open_blobs
from triage_node.processes.running import Running, now
from triage_node.processes.wiring import built_folder, list_policy
from triage_node.report import display
from triage_node.store import audit, messages, retention, studies, worklist
from triage_node.store.engine import Connection, Store
from triage_node.worklist.leaving import Departure, departures

log = logging.getLogger(__name__)


def expire_rows(running: Running) -> None:
    """Claims lapse; unread rows leave as "status unknown" or, flagged, become "flagged, reading not confirmed"."""
    policy, at = list_policy(running.settings, running.settings.worklist.mode), now()

    def due(source: Store | Connection) -> list[Departure]:
        return departures([listed.row for listed in worklist.rows(source)], at, policy)

    if not (seen := due(running.store)):
        return
    with running.store.write() as c:
        held = {d.study_instance_uid for d in seen if worklist.as_it_is(c, d.study_instance_uid) is not None}
        for d in due(c):  # asked again with the rows held: who read or claimed a study since has the last word
            if d.study_instance_uid in held:
                worklist.set_reading_state(c, d.study_instance_uid, d.new, at, audit.BY_TIME + d.reason)


def expire_messages(running: Running) -> None:
    """What the worklist of somebody else did not take in time is not told any more."""
    expired = messages.expire(running.store, now())
    if expired:
        log.error("event=messages_expired count=%d", expired)


def try_failed_again(running: Running) -> None:
    """What failed for want of something that may be there again gets another try."""
    for uid in studies.try_failed_again(running.store, now()):
        log.info("study=%s event=failed_tried_again", uid)


def remove_old_sources(running: Running) -> None:
    """Received pixels go `source_days` after the study is delivered; never what is still on the list.

    So do the slices that were made of them for the page, first: pixels must not stay in a copy that nothing points to.
    """
    blobs = open_blobs(running.settings.store)
    removable = retention.removable_sources(
        running.store, now(), running.settings.store.source_days, running.settings.hub is not None
    )
    for uid in dict.fromkeys(uid for _, uid in removable):
        for part in display.parts(display.path_of(built_folder(running.settings), uid)):
            blobs.withdraw(part)
    for sha256, _ in removable:
        blobs.received.remove(sha256)
        retention.source_removed(running.store, sha256, now())
