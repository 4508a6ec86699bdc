"""Whether a scan repeats a flagged one of its patient: what the store holds, brought before the rule (worklist/repeat.py)."""

from __future__ import annotations

from datetime import datetime, tzinfo

from triage_node.domain.finding import FindingDecision
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.message import MessageKind, MessageState
from triage_node.store import instances, messages, results, worklist
from triage_node.store.engine import Store
from triage_node.study.liveness import CLOCK_TOLERANCE, acquired_at, zone_of
from triage_node.worklist.repeat import WITHIN, Repeat, Scan, names_somebody, repeat_of, same_patient


def find(
    store: Store,
    zone: tzinfo,
    study_instance_uid: str,
    held: list[ReceivedInstance],
    decision: FindingDecision,
    notifies: bool = False,
) -> Repeat | None:
    """The flagged scan that this study repeats. A flag that a person ended makes no repeat; one that was read still does.

    `notifies`: this node notifies people. Of what was imported, or found while it observed, they were not.
    """
    own = worklist.row_of(store, study_instance_uid)
    if own is None or not names_somebody(own.identity):
        return None
    arrived_at = own.row.arrived_at
    scan = Scan(
        study_instance_uid,
        scanned_at(held, zone, arrived_at),
        arrived_at,
        decision.hematoma_volume_ml,
        decision.subtypes,
        decision.bundle.digest,
    )
    flagged = []
    # what was scanned since then cannot have arrived before
    for earlier in worklist.standing_flags(store, scan.scanned_at - WITHIN - CLOCK_TOLERANCE):
        uid = earlier.row.study_instance_uid
        if uid == study_instance_uid or not same_patient(own.identity, earlier.identity):
            continue
        if earlier.row.apart:
            continue  # to call this one a repeat would tell readers of a flag that they must not see
        record = results.latest_flagged(store, uid)
        if record is None:
            continue  # raised only as a repeat of another one
        is_news = bool((record.detail.get("repeat") or {}).get("is_news", True))
        taken = scanned_at(instances.of_study(store, uid), zone, earlier.row.arrived_at)
        flagged.append(
            Scan(
                uid,
                taken,
                earlier.row.arrived_at,
                record.hematoma_volume_ml,
                tuple(record.detail.get("subtypes") or ()),
                record.bundle_digest,
                is_news and (not notifies or _is_notified(store, uid)),
            )
        )
    return repeat_of(scan, flagged)


def _is_notified(store: Store, uid: str) -> bool:
    told = messages.of_study(store, uid)
    return any(m.kind is MessageKind.NOTIFY and m.state is not MessageState.NOT_SENT for m in told)


def scanned_at(held: list[ReceivedInstance], zone: tzinfo, arrived_at: datetime) -> datetime:
    """When the first image was taken; where the headers do not tell, or tell of the future, when the study arrived."""
    told = [
        acquired_at(h.acquisition_date, h.acquisition_time, zone_of(h, zone))
        for h in (i.header for i in held if i.header is not None)
        if h.acquisition_date.strip() and h.acquisition_time.strip()
    ]
    first = min((at for at in told if at is not None), default=arrived_at)
    return arrived_at if first > arrived_at + CLOCK_TOLERANCE else first
