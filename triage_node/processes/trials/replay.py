"""Replay: a past study is judged again, by any configured model at any version of the thresholds.

By the code of the live way from series selection to decision. Nothing leaves, nothing is stored of the study, and no result.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from triage_node.blobs.opened import open_blobs
from triage_node.bundle.load import load_bundle
from triage_node.config.schema import Settings
from triage_node.detection.detector import FindingDetector
from triage_node.detection.ich import BloodNetDetector
from triage_node.detection.operating_point import decide
from triage_node.domain.errors import RefusedAction, StudyRejected
from triage_node.domain.finding import Detection, FindingDecision
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.policy import Policy
from triage_node.domain.scan_source import source_of
from triage_node.domain.trial import Reading
from triage_node.processes import gate
from triage_node.processes.intake import too_young
from triage_node.processes.judged import Judged
from triage_node.processes.scans import Scan, Scans, Told, digest_of_all
from triage_node.processes.trials.stored import why_not
from triage_node.processes.wiring import bundle_folder, least_level
from triage_node.store import instances, meta, policy, studies
from triage_node.store.engine import Store
from triage_node.volume.decode import Decoder

Steps = Generator[None, None, Reading]
DetectorOf = Callable[[str], FindingDetector]


def loaded(settings: Settings, bundle: str) -> FindingDetector:
    """Raises: ConfigError, BundleError."""
    return BloodNetDetector(load_bundle(bundle_folder(bundle)), threads=settings.model.threads)


@dataclass(frozen=True, slots=True)
class Found:
    """`scans` that were read, the `best` of which decides."""

    scans: tuple[Scan, ...]
    best: Scan
    detection: Detection
    decision: FindingDecision


class Replay:
    """`detector_of` a bundle by its name; the analysis role has one in its hands already."""

    def __init__(self, store: Store, settings: Settings, detector_of: DetectorOf) -> None:
        self._store, self._settings, self._detector_of = store, settings, detector_of
        self._received = open_blobs(settings.store).received
        self._simulation = meta.is_simulation(store)

    def steps(self, study_instance_uid: str, bundle: str, policy_version: int) -> Steps:
        """Judge it in steps, between which something more urgent may be done. Raises: RefusedAction, ConfigError, BundleError."""
        thresholds = next((p for p in policy.versions(self._store) if p.version == policy_version), None)
        if thresholds is None:
            raise RefusedAction(f"There is no version {policy_version} of the thresholds.")
        return (yield from self.judged(study_instance_uid, lambda: self._detector_of(bundle), thresholds))

    def judged(self, study_instance_uid: str, detector_of: Callable[[], FindingDetector], thresholds: Policy) -> Steps:
        """As `steps`, at any thresholds. Raises: RefusedAction, and what `detector_of` raises."""
        study = studies.get(self._store, study_instance_uid)
        if study is None:
            raise RefusedAction("There is no such study.")
        held = instances.of_study(self._store, study_instance_uid)
        if why := why_not(self._settings, study.state, held):
            raise RefusedAction(why)
        detector = detector_of()
        model = detector.identity
        nothing = Reading(model.name, model.version, model.digest, thresholds.version)
        if why := too_young(self._settings, held, studies.identity_corrections(self._store, study_instance_uid)):
            return replace(nothing, why_not=why)
        yield
        try:
            found = yield from self.found(
                held, self._received.path, detector, thresholds, study.calling_ae_title, Told()
            )
        except StudyRejected as rejected:
            return replace(nothing, why_not=rejected.reason)
        return reading_of(nothing, found)

    def found(
        self,
        held: Sequence[ReceivedInstance],
        path: Callable[[str], Path],
        detector: FindingDetector,
        thresholds: Policy,
        calling_ae_title: str,
        told: Told,
    ) -> Generator[None, None, Found]:
        """What of these images is read, and what is found in it; `path` of a file by its SHA-256. Raises: StudyRejected."""
        limits = self._settings.model
        with closing(Decoder(limits.decode_memory_mb << 20, limits.decode_timeout_s)) as decoder:
            scans = Scans(decoder, path, told).read(held)
        judged = []
        for scan in scans:
            yield
            judged.append(self._judged(scan, detector.detect(scan.volume), thresholds, calling_ae_title))
        best = max(judged, key=Judged.strength)
        return Found(tuple(scans), best.scan, best.detection, best.decision)

    def _judged(self, scan: Scan, detection: Detection, thresholds: Policy, calling_ae_title: str) -> Judged:
        made_by = source_of(i.header for i in scan.instances)
        point, others = thresholds.points_for(made_by, calling_ae_title)
        stands = gate.standing(self._store, self._settings, self._simulation, detection.bundle, made_by, point)
        detection = replace(detection, bundle=stands.bundle)
        decision = decide(detection, point, least_level(self._simulation), others)
        return Judged(scan, made_by, point, detection, decision, stands.apart)


def whole(steps: Steps) -> Reading:
    """All steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            answer: Reading = done.value
            return answer


def reading_of(start: Reading, found: Found) -> Reading:
    """`start` with what was found."""
    detection, decision = found.detection, found.decision
    return replace(
        start,
        series_instance_uid=found.best.series_instance_uid,
        input_digest=digest_of_all(found.scans),
        answer=decision.answer,
        finding=decision.finding,
        probability=float(decision.probability),
        raise_probability=decision.operating_point.raise_probability,
        notify_probability=decision.operating_point.notify_probability,
        hematoma_volume_ml=float(detection.hematoma_volume_ml),
        key_slice_index=int(detection.key_slice_index),
        subtypes=decision.subtypes,
        locations=tuple(str(place) for place in decision.locations),
        evidence=decision.evidence.value,
    )
