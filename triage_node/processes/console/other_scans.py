"""Other scans of the patient of a study, and what became of the volume between them."""

from __future__ import annotations

from datetime import datetime, tzinfo

from triage_node.console.other_scans import Comparison, OtherScan, OtherScans, OtherScansDeps, room
from triage_node.console.pages import Room
from triage_node.domain.durations import in_words
from triage_node.domain.finding import VOLUME_OUTPUT, EvidenceLevel
from triage_node.domain.study import StudyState
from triage_node.processes.repeats import scanned_at
from triage_node.store import instances, results, studies
from triage_node.store.engine import Store
from triage_node.worklist.repeat import GROWTH_ML, GROWTH_SHARE, has_grown, names_somebody, same_patient

MOST = 12
_LOOKED_AT = 60
"""Studies with one patient ID: the same number may stand for others at another issuer."""


def other_scans(store: Store, zone: tzinfo) -> Room:
    """This part of the console on a store."""
    return room(OtherScansDeps(lambda uid: found(store, zone, uid)))


def found(store: Store, zone: tzinfo, study_instance_uid: str) -> OtherScans | None:
    """Other scans of this study's patient, newest first; None where it is not clear whose study it is."""
    own = studies.get(store, study_instance_uid)
    if own is None or own.state is StudyState.QUARANTINED:
        return None
    if not names_somebody(own.identity):
        return OtherScans(is_named=False)
    at = _scanned_at(store, zone, own)
    record = results.latest(store, study_instance_uid)
    scans: list[OtherScan] = []
    for other in studies.of_patient(store, own.identity.patient_id, _LOOKED_AT):
        is_same = same_patient(own.identity, other.identity) and other.study_instance_uid != study_instance_uid
        if not is_same or other.state is StudyState.QUARANTINED or len(scans) == MOST:
            continue
        then = _scanned_at(store, zone, other)
        held = results.latest(store, other.study_instance_uid)
        scans.append(
            OtherScan(
                study_instance_uid=other.study_instance_uid,
                scanned_at=then,
                distance=f"{in_words(abs(at - then))} {'before' if then <= at else 'after'}",
                description=other.description,
                words=_words(other, held),
                apart=bool(held is not None and held.detail.get("apart")),
                comparison=_comparison(*((held, record) if then <= at else (record, held))),
            )
        )
    return OtherScans(is_named=True, scans=tuple(sorted(scans, key=lambda o: o.scanned_at, reverse=True)))


def _scanned_at(store: Store, zone: tzinfo, study: studies.StudyRecord) -> datetime:
    return scanned_at(instances.of_study(store, study.study_instance_uid), zone, study.arrived_at)


def _words(study: studies.StudyRecord, record: results.ResultRecord | None) -> str:
    """What the node made of the other scan, without a figure."""
    if record is None:
        return studies.status_words(study.state, study.reason) or "not analysed yet"
    if record.flagged:
        return "flagged"
    return "not sure" if record.detail.get("unsure") else "nothing was raised"


def _comparison(earlier: results.ResultRecord | None, later: results.ResultRecord | None) -> Comparison | None:
    """None where not both were analysed."""
    if earlier is None or later is None:
        return None
    levels = {(r.detail.get("levels") or {}).get(VOLUME_OUTPUT, EvidenceLevel.E0.value) for r in (earlier, later)}
    evidence = EvidenceLevel(min(levels))
    before, now = earlier.hematoma_volume_ml, later.hematoma_volume_ml
    if earlier.bundle_digest != later.bundle_digest:
        why = f"measured by two models, {_model(earlier)} and {_model(later)}"
        return Comparison(evidence, why_not=f"{why}: volumes are not compared")
    if not (earlier.flagged and before > 0 and later.flagged and now > 0):
        return Comparison(
            evidence, why_not="a volume is stated only where a bleed is raised, so there is no change to state"
        )
    margin = f"{GROWTH_ML:.0f} mL or {GROWTH_SHARE * 100:.0f} %"
    return Comparison(
        evidence,
        before_ml=before,
        now_ml=now,
        words=f"growth ({margin} or more)"
        if has_grown(before, now)
        else f"no growth beyond what measuring twice may differ by ({margin})",
        by=_model(later),
    )


def _model(record: results.ResultRecord) -> str:
    return f"{record.bundle_name} {record.bundle_version}"
