"""A second model beside the first: it reads what was decided and reported, while nothing else is to be done, and acts on nothing.

It reads the stored images anew, so that it costs a live study neither memory nor time and a kill loses none. Whatever it does
wrong is written down beside its other answers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from triage_node.bundle.load import load_bundle
from triage_node.detection.detector import FindingDetector
from triage_node.detection.ich import BloodNetDetector
from triage_node.domain.errors import TriageNodeError
from triage_node.domain.finding import OperatingPoint
from triage_node.domain.policy import MAIN, Policy
from triage_node.domain.trial import Reading, ShadowReading
from triage_node.processes.running import Running, now
from triage_node.processes.trials.replay import Replay, Steps
from triage_node.processes.wiring import bundle_folder
from triage_node.store import results, shadow
from triage_node.store.results import ResultRecord

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(days=1)
"""What the node was too busy for, or down, for so long is not read any more."""


@dataclass(frozen=True, slots=True)
class _AtHand:
    record: ResultRecord
    steps: Steps


class Shadow:
    """`said`: which model runs and from which probability on it would flag, or why it does not; empty where none is configured."""

    def __init__(self, running: Running) -> None:
        self._store = running.store
        self.detector: FindingDetector | None = None
        self.said: dict[str, Any] = {}
        self._at_hand: _AtHand | None = None
        settings = running.settings
        self._replay = Replay(running.store, settings, self._same)
        if not settings.model.shadow_bundle:
            return
        try:
            bundle = load_bundle(bundle_folder(settings.model.shadow_bundle))
            point = bundle.manifest.operating_points[MAIN]
            self.detector = BloodNetDetector(bundle, threads=settings.model.threads)
        except KeyError:
            self.said = {"why": f"{settings.model.shadow_bundle} has no operating point for {MAIN}"}
        except TriageNodeError as error:
            self.said = {"why": str(error)[:300]}
        else:
            raises = OperatingPoint(MAIN, point.raise_probability, point.notify_probability, 0, point.unsure_from)
            self._thresholds = Policy(0, now(), "bundle", "its own operating point", {MAIN: raises})
            model = self.detector.identity
            self.said = {
                "model": f"{model.name} {model.version}",
                "digest": model.digest,
                "raise": raises.raise_probability,
            }
        if why := self.said.get("why"):
            log.error("event=no_shadow %s", why)

    def step(self) -> bool:
        """Do the next step of the study at hand, or take one up. False when there is nothing to do."""
        if self.detector is None:
            return False
        if self._at_hand is None:
            found = shadow.waiting(self._store, now() - LOOK_BACK, self.detector.identity.digest)
            record = results.latest(self._store, found[0]) if found is not None else None
            if record is None:
                return False
            steps = self._replay.judged(record.study_instance_uid, lambda: self._same(""), self._thresholds)
            self._at_hand = _AtHand(record, steps)
        try:
            next(self._at_hand.steps)
        except StopIteration as done:
            self._keep(self._at_hand.record, done.value, done.value.why_not)
        except TriageNodeError as error:
            self._keep(self._at_hand.record, None, str(error))
        except Exception as error:  # whatever a model does that nobody trusts yet: live studies go on
            log.exception("event=shadow_failed study=%s", self._at_hand.record.study_instance_uid)
            self._keep(self._at_hand.record, None, f"{type(error).__name__}: {error}")
        return True

    def _same(self, _: str) -> FindingDetector:
        assert self.detector is not None
        return self.detector

    def _keep(self, record: ResultRecord, reading: Reading | None, why_not: str) -> None:
        self._at_hand = None
        model = self._same("").identity
        read = reading if reading is not None and not why_not else None
        shadow.save(
            self._store,
            ShadowReading(
                study_instance_uid=record.study_instance_uid,
                revision=record.revision,
                at=record.created_at,
                probability=record.probability,
                flagged=record.flagged,
                hematoma_volume_ml=record.hematoma_volume_ml,
                shadow_name=model.name,
                shadow_version=model.version,
                shadow_digest=model.digest,
                shadow_probability=read.probability if read else None,
                shadow_flagged=read.answer == "raised" if read else None,
                shadow_volume_ml=read.hematoma_volume_ml if read else None,
                shadow_raise_probability=self._thresholds.points[MAIN].raise_probability,
                why_not=why_not[:400],
            ),
        )
