"""Prognosis of a flagged study: which predictors there are, what the pixels say once, what they say when facts arrive.

A predictor that fails says so in its place; it never holds up a flag, a report or another predictor.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from triage_node.config.schema import Settings
from triage_node.domain import clinical as domain
from triage_node.domain.errors import ConfigError
from triage_node.domain.finding import (
    VOLUME_OUTPUT,
    BundleIdentity,
    Component,
    Detection,
    EvidenceLevel,
    Location,
)
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.prognosis import ClinicalFacts, ImageFacts, Prediction
from triage_node.domain.volume import Volume
from triage_node.processes.clinical import known_facts
from triage_node.processes.running import now
from triage_node.processes.wiring import bundle_folder
from triage_node.prognosis import envelope, scores
from triage_node.prognosis.expansion import Expansion
from triage_node.prognosis.outcome import Outcome
from triage_node.prognosis.predictor import ImagePredictor
from triage_node.prognosis.quantification import Quantification
from triage_node.store import instances, prognosis, results
from triage_node.store.engine import Store
from triage_node.store.evaluations import site_levels
from triage_node.store.prognosis import PrognosisRecord
from triage_node.study.vocabulary import says_agent

log = logging.getLogger(__name__)

Factory = Callable[[Path, int], ImagePredictor]
FACTORIES: dict[str, Factory] = {
    "expansion": Expansion,
    "quantification": Quantification,
    "multitask_prognosis": Outcome,
}
"""Folder name of a bundle -> what loads it: (folder, threads)."""

_IMAGE = "image"
_FAILED = "failed"


class Prognosis:
    """Everything that stays warm between studies."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._zone: tzinfo = ZoneInfo(settings.node.time_zone)
        self.networks = load_models(settings)
        self._models = (*scores.WITH_PIXELS, *self.networks)

    def first(
        self,
        record: results.ResultRecord,
        volume: Volume,
        detection: Detection,
        held: list[ReceivedInstance],
        chosen: list[ReceivedInstance],
    ) -> PrognosisRecord:
        """Measure the pixels and say what follows with the facts known now."""
        image = image_facts(volume, chosen)
        measured: dict[str, Any] = {_IMAGE: asdict(image)}
        known = known_facts(self._store, record.study_instance_uid, held, self._zone)
        if envelope.refusal(ClinicalFacts(), image) is None:
            for model in self._models:
                measured[model.name] = _guarded(
                    record.study_instance_uid, model.name, lambda m=model: m.measure(volume, detection)
                )
        return self._record(record, 1, known.revision, known.facts, measured, detection)

    def restated(self, record: results.ResultRecord) -> PrognosisRecord:
        """The same pixels with the facts known now."""
        uid = record.study_instance_uid
        last = prognosis.latest(self._store, uid, record.revision)
        known = known_facts(self._store, uid, instances.of_study(self._store, uid), self._zone)
        measured = last.measured if last is not None else {}
        detection = detection_of(record)
        return self._record(record, last.revision + 1 if last else 1, known.revision, known.facts, measured, detection)

    def digest_now(self, uid: str, held: list[ReceivedInstance]) -> str:
        """Digest of the facts known now, for the UIDs of objects that hold a prognosis."""
        return domain.digest(known_facts(self._store, uid, held, self._zone).facts)

    def _record(
        self,
        record: results.ResultRecord,
        revision: int,
        clinical_revision: int,
        facts: ClinicalFacts,
        measured: dict[str, Any],
        detection: Detection,
    ) -> PrognosisRecord:
        return PrognosisRecord(
            study_instance_uid=record.study_instance_uid,
            result_revision=record.revision,
            revision=revision,
            at=now(),
            clinical_revision=clinical_revision,
            clinical_inputs_digest=domain.digest(facts),
            measured=measured,
            predictions=tuple(self._predictions(record.study_instance_uid, measured, detection, facts)),
        )

    def _predictions(
        self, uid: str, measured: Mapping[str, Any], detection: Detection, facts: ClinicalFacts
    ) -> list[Prediction]:
        image = ImageFacts(**measured[_IMAGE]) if _IMAGE in measured else None
        reason = envelope.refusal(facts, image)
        if reason is not None:
            names = [(p.name, p.label) for p in (*scores.PREDICTORS, *self._models)]
            return [Prediction(name, label, abstained=reason) for name, label in names]
        found = [replace(p, evidence=_level(detection).value) for p in scores.predict(detection, facts)]
        return [
            *found,
            *(self._of_model(uid, model, measured.get(model.name), detection, facts) for model in self._models),
        ]

    def _of_model(
        self, uid: str, model: ImagePredictor, measured: Any, detection: Detection, facts: ClinicalFacts
    ) -> Prediction:
        if not isinstance(measured, Mapping) or _FAILED in measured:
            return Prediction(model.name, model.label, abstained="the images were not measured for it")
        said = _guarded(uid, model.name, lambda: model.predict(measured, detection, facts))
        if not isinstance(said, Prediction):
            return Prediction(model.name, model.label, abstained="it failed; the node's log says why")
        own = said.evidence or _level(detection).value
        site = site_levels(self._store, model.identity.digest).get(model.name, EvidenceLevel.E0)
        return replace(said, evidence=max(own, site.value))


def load_models(settings: Settings) -> tuple[ImagePredictor, ...]:
    """The models that are there. One that is missing or broken is off, and the log says so."""
    models: list[ImagePredictor] = []
    for name in settings.prognosis.bundles:
        factory = FACTORIES.get(Path(name).name)
        try:
            folder = bundle_folder(name)
            if factory is None:
                raise ConfigError(f"prognosis.bundles: {name!r} is no prognosis that this node knows")
            models.append(factory(folder, settings.model.threads))
        except ConfigError as missing:
            log.info("prognosis=%s off: %s", name, missing)
        except Exception:
            log.exception("prognosis=%s off: it cannot be loaded", name)
    return tuple(models)


def image_facts(volume: Volume, chosen: list[ReceivedInstance]) -> ImageFacts:
    """What the envelope asks of the images. That they show a head was checked before anything was detected."""
    steps = np.diff(volume.positions_mm)
    told = (i.header.contrast_bolus_agent for i in chosen if i.header)
    agent = next((a for a in told if says_agent(a)), "")
    return ImageFacts(
        slices=len(volume.hu),
        thickness_mm=float(volume.slice_thickness_mm.max()),
        step_mm=float(steps.max()) if steps.size else 0.0,
        coverage_mm=float(volume.slice_extent_mm.sum()),
        contrast=agent.strip()[:32],
    )


def detection_of(record: results.ResultRecord) -> Detection:
    """The stored result as a detection, without pixels: mask and heat are empty."""
    detail = record.detail
    levels = {name: EvidenceLevel(level) for name, level in (detail.get("levels") or {}).items()}
    nothing = np.zeros((0, 0, 0), np.uint8)
    return Detection(
        study_probability=record.probability,
        slice_probabilities=np.array(detail.get("slice_probabilities") or [], np.float32),
        subtype_probabilities=dict(detail.get("subtype_probabilities") or {}),
        mask=nothing,
        heat=nothing,
        hematoma_volume_ml=record.hematoma_volume_ml,
        components=tuple(_component(i + 1, c) for i, c in enumerate(detail.get("components") or ())),
        key_slice_index=int(detail.get("key_slice_index") or 0),
        bundle=BundleIdentity(
            record.bundle_name,
            record.bundle_version,
            record.bundle_digest,
            record.runtime,
            levels,
        ),
    )


def _level(detection: Detection) -> EvidenceLevel:
    """A published score is as good as what it is fed with."""
    return min(detection.bundle.level("iph"), detection.bundle.level(VOLUME_OUTPUT))


def _component(label: int, stored: Mapping[str, Any]) -> Component:
    return Component(
        label=label,
        volume_ml=float(stored["volume_ml"]),
        subtype=str(stored["subtype"]),
        location=Location(stored["location"]),
        key_slice_index=int(stored["key_slice_index"]),
        centroid_mm=tuple(stored["centroid_mm"]),
        probability=float(stored["probability"]),
        chronic_looking=bool(stored.get("chronic_looking", False)),
    )


def _guarded(uid: str, name: str, call: Callable[[], Any]) -> Any:
    """The answer, or {"failed": ...}: a predictor is beside the flag, and must not cost one."""
    try:
        said = call()
        json.dumps(asdict(said) if isinstance(said, Prediction) else said, allow_nan=False)  # it must fit the store
        return said
    except Exception as error:
        log.exception("study=%s prognosis=%s", uid, name)
        return {_FAILED: type(error).__name__}
