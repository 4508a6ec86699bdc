"""Slices that come in, as the ingest role records them, and the scheduler's look at them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta

from tests.support.deciding import Site
from triage_node.config.schema import CompletenessSettings, ListenerSettings
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.processes.arrival import Arrivals
from triage_node.processes.running import now
from triage_node.store import instances, studies

STUDY, SERIES = "1.2.3", "1.2.3.2"
"""What tests/study/headers.py makes."""


def come(site: Site, headers: Sequence[InstanceHeader], seconds_ago: float = 0.0, is_open: bool = False) -> int:
    """Over an association of their own, which ends unless it `is_open`. Returns its number."""
    at = now() - timedelta(seconds=seconds_ago)
    association = instances.record_association(site.store, "CT1", "TRIAGE", "127.0.0.1", False, at)
    batch = [
        ReceivedInstance(
            hashlib.sha256(h.sop_instance_uid.encode()).hexdigest(), 1, h.sop_instance_uid, h.sop_class_uid,
            "1.2.840.10008.1.2.1", at, h, association_id=association, calling_ae_title="CT1",
        )
        for h in headers
    ]  # fmt: skip
    instances.record_batch(site.store, batch)
    if not is_open:
        instances.close_association(site.store, association, "released", len(batch), now())
    return association


def looking(site: Site, quiet_s: float = 3.0, deadline_s: float = 60.0) -> Arrivals:
    """The scheduler's tick."""
    more = {
        "listener": ListenerSettings(senders=[{"ae_title": "*", "quiet_s": quiet_s}]),
        "completeness": CompletenessSettings(deadline_s=deadline_s),
    }
    return Arrivals(site.store, site.settings.model_copy(update=more))


def closed_by(site: Site, arrivals: Arrivals) -> str:
    """Which signal has closed the study after a look, as its timeline tells; empty: none."""
    arrivals.tick()
    record = studies.get(site.store, STUDY)
    assert record is not None
    if record.closed_at is None:
        return ""
    told = [e.detail for e in studies.timeline_of(site.store, STUDY) if e.moment == "complete"]
    assert told[-1].removesuffix(", incomplete") == record.close_signal
    return told[-1]
