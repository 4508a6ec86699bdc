"""A node's store after a day with everything that the operations page has to show: twenty studies, a peer that refuses, one that is
away, heartbeats of which one failed, and three scanners, one of them changed. All of it made up."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from tests.support.deciding import Site
from triage_node.config.schema import ArchiveSettings
from triage_node.config.worklist_peers import Hl7PeerSettings
from triage_node.domain.delivery import BuiltObject, ObjectKind, OutboxState
from triage_node.domain.message import MessageKind, NewMessage
from triage_node.domain.study import Moment, StudyEvent
from triage_node.processes.operations.control_chart import WARM_UP
from triage_node.processes.running import now as process_now
from triage_node.store import heartbeat, messages, operations_drift, operations_synthetic, outbox, results, studies

REFUSING, AWAY = "PACS", "RIS"
CHANGED = "Maker Old · CT2"
REFUSAL = "0x0122 SOP class <b>not</b> supported"
ROLES = ("ingest", "analysis", "delivery", "scheduler", "web")


def a_day(folder: Path, now: datetime) -> Site:
    """The store at `now`; the caller closes it. Study "1.2.20" has a parked object, and its message to the RIS waits for 40 min."""
    site = Site(
        folder,
        [
            ArchiveSettings(name=REFUSING, ae_title="PACS", host="127.0.0.1"),
            Hl7PeerSettings(name=AWAY, host="127.0.0.1"),
        ],
    )
    for role in ROLES:
        alive(site, role)
    _studies(site, now)
    _delivery(site, now)
    for k in range(1, 6):
        sent = now - timedelta(minutes=30 * k)
        uid = f"2.25.{k}"
        operations_synthetic.announce(site.store, uid, "BEAT", "127.0.0.1", sent)
        words = (
            "flagged with probability 0.98, SR and SEG arrived" if k != 3 else "nothing came into the folder in time"
        )
        operations_synthetic.conclude(site.store, uid, k != 3, words, sent + timedelta(seconds=24))
    _scanners(site, now)
    return site


def alive(site: Site, role: str) -> None:
    """A sign of life that stays fresh however slow the test's machine is."""
    heartbeat.beat(site.store, role, process_now() + timedelta(hours=6))


def _studies(site: Site, now: datetime) -> None:
    uids = [f"1.2.{k}" for k in range(1, 21)]
    site.arrive(*uids)
    with site.store.write() as c:
        for k, uid in enumerate(uids):
            at = now - timedelta(minutes=2 + 3 * (20 - k) + 40 * max(0, 12 - k))
            for moment, after in (
                (Moment.FIRST_BYTE, -40.0),
                (Moment.LAST_SLICE, 0.0),
                (Moment.COMPLETE, 3.0),
                (Moment.CLAIMED, 3.4 + k % 3),
                (Moment.DECIDED, 9.0 + k % 4),
                (Moment.REPORTED, 14.0 + k % 5),
            ):
                studies.mark(c, uid, moment, at + timedelta(seconds=after))


def _delivery(site: Site, now: datetime) -> None:
    uid = "1.2.20"
    seg = BuiltObject("2.25.900", "1.2.840.10008.5.1.4.1.1.66.4", "2.25.901", uid, ObjectKind.SEG, 0, "a" * 64, 10)
    ago = now - timedelta(minutes=40)
    raised = NewMessage(AWAY, MessageKind.RAISE, "2.25.902", uid, 1, {"urgency": "high"}, now + timedelta(hours=4))
    with site.store.write() as c:
        studies.close(c, uid, "released", False, ago, 1)
        studies.advance(c, uid, StudyEvent.CLAIMED, ago)
        studies.advance(c, uid, StudyEvent.REPORTED, ago)
        results.save_objects(c, [seg], ago)
        outbox.put(c, REFUSING, [seg], ago)
        messages.put(c, [raised], ago)
    (row,) = outbox.claim_batch(site.store, REFUSING, "d1", now, timedelta(seconds=1), 9)
    outbox.record_outcome(site.store, row.id, OutboxState.PARKED, now, reason=REFUSAL)
    outbox.record_peer(site.store, REFUSING, now - timedelta(minutes=1))
    outbox.record_peer(site.store, AWAY, now - timedelta(hours=3))
    outbox.record_peer(site.store, AWAY, now - timedelta(seconds=20), "connection refused")


def _scanners(site: Site, now: datetime) -> None:
    chance = Random(7)
    with site.store.write() as c:
        for scanner, count, changes_after in (
            ("Maker New · CT1", 300, 999),
            (CHANGED, 240, 170),
            ("Maker Tiny · CT3", 12, 99),
        ):
            for k in range(count):
                is_changed = k >= changes_after
                flagged = chance.random() < 0.12
                score = min(0.99, abs(chance.gauss(0.75 if flagged else 0.08, 0.1)))
                noise = chance.gauss(5.4 if is_changed else 3.6, 0.5)
                sample = operations_drift.Sample(
                    f"1.3.{scanner[-1]}.{k}",
                    1,
                    now - timedelta(minutes=count - k),
                    scanner,
                    score,
                    flagged,
                    5.0 if chance.random() < 0.7 else 1.25,
                    noise,
                )
                operations_drift.add(c, sample)
    assert WARM_UP < 170
