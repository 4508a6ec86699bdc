"""Volume and outcome by one network, for the node (Gong 2023); ONNX Runtime and numpy only.

The mask's volume is the one that is reported; the regressed volume is a second opinion that saw no mask, and a disagreement
beyond the bound that the bundle states is flagged. The outcome's chance puts the network's score together with age and GCS.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from triage_node.bundle.load import Bundle, load_bundle
from triage_node.domain.errors import ManifestInvalid
from triage_node.domain.finding import BundleIdentity, Detection, EvidenceLevel
from triage_node.domain.prognosis import ClinicalFacts, Estimate, Prediction
from triage_node.domain.volume import Volume
from triage_node.prognosis import chance_of_outcome, clinical, expansion
from triage_node.prognosis.chance_of_outcome import OutcomeModel
from triage_node.prognosis.expansion import network_input, picture_of
from triage_node.prognosis.gradcam import HEADS_FILE, Floats, enlarged, grad_cam, head_weights

NAME = "quantification"
BOUND_FILE = "configs/volume.json"
TASKS = ("volume", "outcome")
CHANNELS = 32
MOST_ML = 180.0
"""The largest bleed of the cohort; beyond it a regression only guesses."""


@dataclass(frozen=True)
class Agreement:
    """Bound of |regressed - mask| in mL: `ml` + `share` x the mask's volume. Chosen by evaluate.py, 95 % of "fit" within it."""

    ml: float
    share: float

    @classmethod
    def from_json(cls, text: bytes) -> Agreement:
        """Raises: ManifestInvalid for anything but two finite numbers that are not negative."""
        try:
            j = json.loads(text)
            found = cls(float(j["ml"]), float(j["share"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ManifestInvalid(f"{BOUND_FILE}: {type(error).__name__}: {error}") from error
        if not all(math.isfinite(v) and v >= 0 for v in (found.ml, found.share)) or found.share >= 1:
            raise ManifestInvalid(f"{BOUND_FILE}: ml and share must be finite and not negative, and share below 1")
        return found

    def bound_ml(self, ml: float) -> float:
        return self.ml + self.share * max(0.0, ml)

    def masks_ml(self, regressed_ml: float) -> tuple[float, float]:
        """Least and largest volume of a mask with which it agrees."""
        return max(0.0, (regressed_ml - self.ml) / (1 + self.share)), (max(0.0, regressed_ml) + self.ml) / (
            1 - self.share
        )

    def holds(self, regressed_ml: float, mask_ml: float) -> bool:
        return abs(regressed_ml - mask_ml) <= self.bound_ml(mask_ml)


class Quantification:
    """ImagePredictor. The caller has asked the envelope before; what is named here is beyond it."""

    name = NAME
    label = "Volume and outcome at 90 days, one network"

    def __init__(self, folder: Path, threads: int) -> None:
        """Raises: ManifestInvalid, HashMismatch."""
        bundle = load_bundle(folder)
        check(bundle, HEADS_FILE, BOUND_FILE, chance_of_outcome.MODEL_FILE)
        self._session = session_of(bundle, threads)
        self._weights = head_weights(bundle.read(HEADS_FILE), dict.fromkeys(TASKS, 1), CHANNELS)
        self._agreement = Agreement.from_json(bundle.read(BOUND_FILE))
        self._outcome = OutcomeModel.from_json(bundle.read(chance_of_outcome.MODEL_FILE))
        self.identity: BundleIdentity = bundle.identity(f"onnxruntime {onnxruntime.__version__}")

    def measure(self, volume: Volume, detection: Detection) -> dict[str, Any]:
        """`ml`: regressed volume of parenchymal blood; `outcome`: the network's logit; or `abstained`."""
        picture = picture_of(volume)
        if isinstance(picture, str):
            return {"abstained": picture}
        ml, outcome = self._session.run(["volume", "outcome"], {"picture": network_input(picture[None])})
        return {"ml": max(0.0, float(ml[0, 0])), "outcome": float(outcome[0, 0])}

    def saliency(self, volume: Volume) -> dict[str, Floats] | str:
        """Grad-CAM of both heads, 0..1 on the coarse picture (24, 96, 96) of expansion.picture_of, or why there is none."""
        picture = picture_of(volume)
        if isinstance(picture, str):
            return picture
        maps = self._session.run([f"{t}_maps" for t in TASKS], {"picture": network_input(picture[None])})
        return {
            t: enlarged(grad_cam(m[0], self._weights[t][0]), expansion.SHAPE) for t, m in zip(TASKS, maps, strict=True)
        }

    def predict(self, measured: Mapping[str, Any], detection: Detection, facts: ClinicalFacts) -> Prediction:
        bleed = clinical.hematoma_of(detection)
        reason = clinical.abstention(detection, facts) or _refusal(measured, bleed) or chance_of_outcome.refusal(facts)
        if reason:
            return Prediction(self.name, self.label, abstained=reason)
        ml, image, mask_ml = float(measured["ml"]), float(measured["outcome"]), bleed.volume_ml or 0.0
        low, high = self._agreement.masks_ml(ml)
        estimates = [
            Estimate(
                "Hematoma volume by regression, a second opinion (95 % of simulated patients)",
                round(ml, 1),
                round(low, 1),
                round(high, 1),
                "mL",
            )  # fmt: skip
        ]
        warnings = [expansion.SIMULATED] if self.identity.level("outcome") is EvidenceLevel.E0 else []
        agree = self._agreement.holds(ml, mask_ml)
        if not agree:
            warnings.append(
                f"Regressed {ml:.1f} mL, mask {mask_ml:.1f} mL: further apart than the bound of "
                f"{self._agreement.bound_ml(mask_ml):.1f} mL. Look at the mask; no outcome is given."
            )
        chance = self._outcome.chance(image, facts)
        if not agree:
            missing: tuple[str, ...] = ()
        elif open_ := chance_of_outcome.too_open(chance):
            missing = chance.missing
            warnings.append(f"Outcome {open_}.")
        else:
            missing = chance.missing
            estimates.append(chance_of_outcome.estimate(chance))
        prediction = Prediction(
            name=self.name,
            label=self.label,
            missing=missing,
            estimates=tuple(estimates),
            used=(
                ("hematoma volume", f"{mask_ml} mL ({bleed.measured_by})"),
                *chance_of_outcome.used(image, facts),
            ),
            model=f"{self.identity.name} {self.identity.version}",
            evidence=min(self.identity.level("volume"), self.identity.level("outcome")).value,
            source=f"{self.identity.name} {self.identity.version}, after Gong 2023",
            warnings=tuple(warnings),
            caution="Never a reason to limit care.",
        )
        return clinical.conditioned(prediction, facts)


def _refusal(measured: Mapping[str, Any], bleed: clinical.Hematoma) -> str:
    if said := measured.get("abstained"):
        return str(said)
    if not (finite(measured.get("ml")) and finite(measured.get("outcome"))):
        return "the images were not measured for it"
    if bleed.volume_ml is None:
        return "hematoma volume: not measured"
    if max(bleed.volume_ml, float(measured["ml"])) > MOST_ML:
        return f"hematoma volume: only up to {MOST_ML:g} mL"
    return ""


# ---- shared with outcome.py -------------------------------------------------------------------------------------------


def session_of(bundle: Bundle, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        bundle.read(bundle.manifest.network), options, providers=["CPUExecutionProvider"]
    )


def check(bundle: Bundle, *files: str) -> None:
    """Raises: ManifestInvalid when the bundle was made for other pictures, or when a file is not listed."""
    p = bundle.manifest.preprocessing
    found = (p.version, p.hu_clip, p.grid_pixels, p.pixel_mm, p.slice_mm)
    window = (expansion.LOWEST_HU, expansion.HIGHEST_HU)
    expected = (
        expansion.PREPROCESSING, window, expansion.SHAPE[1], expansion.SPACING_MM[1], expansion.SPACING_MM[0],
    )  # fmt: skip
    if found != expected:
        raise ManifestInvalid(f"{bundle.folder}: preprocessing is {found}, this node prepares {expected}")
    for name in files:
        if name not in bundle.manifest.files:
            raise ManifestInvalid(f"{bundle.folder}: {name} is not listed")


def finite(value: object) -> bool:
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool) and math.isfinite(value)
