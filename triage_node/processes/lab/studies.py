"""The node's recent studies with what judges them again: probabilities, scanner, truth. No pixel is read, nothing is inferred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from triage_node.detection.operating_point import decide
from triage_node.domain.feedback import Feedback, Said
from triage_node.domain.finding import (
    Answer,
    BundleIdentity,
    Component,
    Detection,
    EvidenceLevel,
    FindingDecision,
    Location,
)
from triage_node.domain.policy import Policy, Scope
from triage_node.domain.priority import Urgency
from triage_node.domain.scan_source import ScanSource
from triage_node.store import feedback, scored, truth
from triage_node.store.engine import Store
from triage_node.store.scored import ScoredStudy
from triage_node.worklist.urgency import urgency_of

MOST = 2000
"""Studies that are judged again, the newest."""
_NO_PIXELS = np.zeros((0, 0, 0), np.uint8)
_NO_SLICES = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class Case:
    """One study. `covers`: its truth comes from a source that looked at unflagged studies too."""

    study: ScoredStudy
    scan: ScanSource
    positive: bool | None = None
    covers: bool = False

    def belongs_to(self, scope: Scope) -> bool:
        return scope.holds(self.scan, self.study.calling_ae_title)

    @property
    def patient(self) -> tuple[str, str]:
        """Who it is about; a study without a patient is one by itself."""
        identity = self.study.identity
        return (identity.patient_id or self.study.study_instance_uid, identity.issuer_of_patient_id)


@dataclass(frozen=True, slots=True)
class Judged:
    decision: FindingDecision
    answer: Answer
    urgency: Urgency | None


@dataclass(frozen=True, slots=True)
class Recent:
    """`left_out`: results of another model, which no threshold of this one judges."""

    cases: tuple[Case, ...]
    left_out: int
    is_cut: bool


class Studies:
    """Reads them; what was read of a series' headers is kept, since it does not change."""

    def __init__(self, store: Store, least: EvidenceLevel) -> None:
        self._store = store
        self._least = least
        self._scans: dict[str, ScanSource] = {}

    def recent(self, at: datetime, days: int, bundle_digest: str = "") -> Recent:
        """Studies of the last days whose newest result comes from one model: `bundle_digest`, or that of the newest."""
        since = at - timedelta(days=days)
        found = scored.recent(self._store, since, MOST)
        digest = bundle_digest or (found[-1].bundle_digest if found else "")
        ours = [s for s in found if s.bundle_digest == digest]
        wanted = {s.series_instance_uid for s in ours}
        read = scored.scan_sources(self._store, wanted - self._scans.keys())
        # what is not asked for any more is let go of: this lives as long as the page's process
        scans = {uid: read.get(uid) or self._scans.get(uid, ScanSource("")) for uid in wanted}
        self._scans = scans
        imported, said = truth.known(self._store), feedback.verdicts(self._store, since)
        cases = []
        for study in ours:
            uid = study.study_instance_uid
            case = Case(study, scans[study.series_instance_uid])
            known = imported.get(uid)
            if known is not None:
                case = replace(case, positive=known.positive, covers=known.covers_unflagged)
            elif uid in said:
                case = replace(case, positive=self._as_truth(study, said[uid]))
            cases.append(case)
        return Recent(tuple(cases), len(found) - len(ours), len(found) == MOST)

    def judge(self, case: Case, policy: Policy) -> Judged:
        """As the analysis role judges it, from what it stored."""
        detection = _as_detected(case.study)
        main, others = policy.points_for(case.scan, case.study.calling_ae_title)
        decision = decide(detection, main, self._least, others)
        urgency = urgency_of(decision, detection.components, self._least) if decision.flagged else None
        return Judged(decision, decision.operating_point.answer(decision.probability), urgency)

    def _as_truth(self, study: ScoredStudy, said: Feedback) -> bool | None:
        """What a verdict says of the patient: agreeing with a flag means a bleed, with none that there was none."""
        if said.said is Said.UNCERTAIN:
            return None
        flagged = scored.was_flagged(self._store, study.study_instance_uid, said.revision)
        return None if flagged is None else flagged == (said.said is Said.AGREE)


def _as_detected(study: ScoredStudy) -> Detection:
    detail = study.detail
    levels = {name: EvidenceLevel(level) for name, level in detail.get("levels", {}).items()}
    return Detection(
        study_probability=study.probability,
        slice_probabilities=_NO_SLICES,
        subtype_probabilities=detail.get("subtype_probabilities", {}),
        mask=_NO_PIXELS,
        heat=_NO_PIXELS,
        hematoma_volume_ml=study.hematoma_volume_ml,
        components=_components(detail.get("components", ())),
        key_slice_index=0,
        bundle=BundleIdentity(study.bundle_name, study.bundle_version, study.bundle_digest, "", levels),
    )


def _components(told: Sequence[dict[str, object]]) -> tuple[Component, ...]:
    return tuple(
        Component(
            label=label,
            volume_ml=float(c["volume_ml"]),  # type: ignore[arg-type]
            subtype=str(c["subtype"]),
            location=Location(str(c["location"])),
            key_slice_index=0,
            centroid_mm=(0.0, 0.0, 0.0),
            probability=float(c["probability"]),  # type: ignore[arg-type]
            chronic_looking=bool(c["chronic_looking"]),
        )
        for label, c in enumerate(told, start=1)
    )
