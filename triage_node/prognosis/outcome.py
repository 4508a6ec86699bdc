"""Outcome with GCS and age from the picture, for the node (Cobo 2024); ONNX Runtime and numpy only.

What the network reads of GCS and age only shaped its training: the chance uses the facts that were stated, and where they
are missing it says so and widens. The two readings stay in `measured`, for `saliency` and for checks, and on no page.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from triage_node.bundle.load import load_bundle
from triage_node.domain.finding import BundleIdentity, Detection, EvidenceLevel
from triage_node.domain.prognosis import ClinicalFacts, Prediction
from triage_node.domain.volume import Volume
from triage_node.prognosis import chance_of_outcome, clinical, expansion
from triage_node.prognosis.chance_of_outcome import OutcomeModel
from triage_node.prognosis.expansion import network_input, picture_of
from triage_node.prognosis.gradcam import HEADS_FILE, Floats, enlarged, grad_cam, head_weights
from triage_node.prognosis.quantification import CHANNELS, MOST_ML, check, finite, session_of

NAME = "outcome"
LOGITS = {"prognosis": 1, "gcs": 2, "age": 1}


class Outcome:
    """ImagePredictor. The caller has asked the envelope before; what is named here is beyond it."""

    name = NAME
    label = "Outcome at 90 days, trained with GCS and age"

    def __init__(self, folder: Path, threads: int) -> None:
        """Raises: ManifestInvalid, HashMismatch."""
        bundle = load_bundle(folder)
        check(bundle, HEADS_FILE, chance_of_outcome.MODEL_FILE)
        self._session = session_of(bundle, threads)
        self._weights = head_weights(bundle.read(HEADS_FILE), LOGITS, CHANNELS)
        self._model = OutcomeModel.from_json(bundle.read(chance_of_outcome.MODEL_FILE))
        self.identity: BundleIdentity = bundle.identity(f"onnxruntime {onnxruntime.__version__}")

    def measure(self, volume: Volume, detection: Detection) -> dict[str, Any]:
        """`outcome`: the network's logit; `gcs` (two cumulative logits) and `age` (80 or more) read off; or `abstained`."""
        picture = picture_of(volume)
        if isinstance(picture, str):
            return {"abstained": picture}
        outcome, gcs, age = self._session.run(["prognosis", "gcs", "age"], {"picture": network_input(picture[None])})
        return {"outcome": float(outcome[0, 0]), "gcs": [float(g) for g in gcs[0]], "age": float(age[0, 0])}

    def saliency(self, volume: Volume) -> dict[str, Floats] | str:
        """Grad-CAM per task, 0..1 on the coarse picture (24, 96, 96) of expansion.picture_of, or why there is none.

        GCS: of the sum of its two logits, how far down the scale.
        """
        picture = picture_of(volume)
        if isinstance(picture, str):
            return picture
        (maps,) = self._session.run(["maps"], {"picture": network_input(picture[None])})
        return {
            task: enlarged(grad_cam(np.asarray(maps[0]), self._weights[task].sum(axis=0)), expansion.SHAPE)
            for task in LOGITS
        }

    def predict(self, measured: Mapping[str, Any], detection: Detection, facts: ClinicalFacts) -> Prediction:
        bleed = clinical.hematoma_of(detection)
        reason = clinical.abstention(detection, facts) or _refusal(measured, bleed) or chance_of_outcome.refusal(facts)
        if reason:
            return Prediction(self.name, self.label, abstained=reason)
        image = float(measured["outcome"])
        chance = self._model.chance(image, facts)
        if open_ := chance_of_outcome.too_open(chance):
            return Prediction(self.name, self.label, abstained=open_, missing=chance.missing)
        prediction = Prediction(
            name=self.name,
            label=self.label,
            missing=chance.missing,
            estimates=(chance_of_outcome.estimate(chance),),
            used=chance_of_outcome.used(image, facts),
            model=f"{self.identity.name} {self.identity.version}",
            evidence=self.identity.level(NAME).value,
            source=f"{self.identity.name} {self.identity.version}, after Cobo 2024",
            warnings=(expansion.SIMULATED,) if self.identity.level(NAME) is EvidenceLevel.E0 else (),
            caution="Never a reason to limit care.",
        )
        return clinical.conditioned(prediction, facts)


def _refusal(measured: Mapping[str, Any], bleed: clinical.Hematoma) -> str:
    if said := measured.get("abstained"):
        return str(said)
    if not finite(measured.get("outcome")):
        return "the images were not measured for it"
    if bleed.volume_ml is None or bleed.volume_ml > MOST_ML:
        return f"hematoma volume: only measured ones up to {MOST_ML:g} mL"
    return ""
