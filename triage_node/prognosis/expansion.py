"""Hematoma expansion, for the node: Integrated-to-HE and, beside it, Clinical-to-HE; ONNX Runtime and numpy, no torch.

`measure` turns the scan into the coarse picture that the network was trained on and keeps the network's score; `predict` puts
it together with the facts known now. The image alone is never shown: its published and its measured figures are below those
of the two others (PAPERS.md 4.1). A fact that is missing is averaged over, and the interval spans what it could be; when that
leaves too much open nothing is shown, and the missing facts are named.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy import ndimage

from triage_node.bundle.load import Bundle, load_bundle
from triage_node.domain.errors import ManifestInvalid
from triage_node.domain.finding import BundleIdentity, Detection, EvidenceLevel, Location
from triage_node.domain.prognosis import ClinicalFacts, Estimate, Prediction
from triage_node.domain.volume import Volume
from triage_node.prognosis import clinical

NAME = "expansion"
MODEL_FILE = "configs/expansion.json"
PREPROCESSING = 1
LOWEST_HU, HIGHEST_HU = -10.0, 100.0
SHAPE = (24, 96, 96)
SPACING_MM = (6.0, 2.2, 2.2)
VOXEL_ML = SPACING_MM[0] * SPACING_MM[1] * SPACING_MM[2] / 1000
BONE_HU = 95.0
"""Bone, in windowed pictures too, which end at 100 HU."""
TOP_OF_BONE, MIDDLE_ROW, MIDDLE_COLUMN = 23.2, 49.3, 47.5
"""Where the pictures of training have the top of the skull and the middle of its inside, in voxels."""
LEAST_BONE_MM2 = 300.0
LARGEST_DISAGREEMENT = 0.5
"""Between the volume of detection and that of this network, as a share of the larger; beyond it this network did not see it."""
LEAST_ML = 1.0
WIDEST = 0.6
"""An interval wider than this says nothing."""
SIMULATED = "Trained and measured on simulated patients: no clinical evidence."
MOST_POINTS = 500
"""The average over what is missing is taken over so many points."""


# ---- pictures ---------------------------------------------------------------------------------------------------------


def stored(hu: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.uint8]:
    """HU, clipped to the window of blood and brain, in 256 steps. Shape: as hu."""
    clipped = np.clip(hu.astype(np.float32), LOWEST_HU, HIGHEST_HU) - LOWEST_HU
    return np.round(clipped * (255 / (HIGHEST_HU - LOWEST_HU))).astype(np.uint8)


def network_input(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `stored` gave, as the network reads it: (n, 1, slice, row, column), -1 to 1."""
    return (picture.astype(np.float32) * np.float32(2 / 255) - 1)[:, None]


@dataclass(frozen=True)
class Layout:
    """How a scan's voxels are shared out over the coarse ones of training. Shape: share (24, slices used), rows and columns
    (96, pixels); `used`: the slices. Each is averaged; what nothing was scanned for is `outside`.
    """

    used: NDArray[np.intp]
    share: NDArray[np.float32]
    rows: NDArray[np.float32]
    columns: NDArray[np.float32]

    def of(self, slice_at: Callable[[int], NDArray[np.float32]], outside: float) -> NDArray[np.float32]:
        """Values on the scan's own grid laid out; `outside`: of what nothing was scanned for. Shape: (24, 96, 96).

        `slice_at`: one slice, (row, column), by its number: a thin series of floats would be 150 MB.
        """
        flat = np.stack([self.rows @ slice_at(int(z)) @ self.columns.T for z in self.used])
        inside = np.einsum("sz,zrc->src", self.share, flat)
        missing = (1 - self.share.sum(axis=1)).clip(0, 1)[:, None, None]
        beside = (1 - np.outer(self.rows.sum(axis=1), self.columns.sum(axis=1)).clip(0, 1))[None]
        return (inside + (missing + beside).clip(0, 1) * outside).astype(np.float32)


def picture_of(volume: Volume) -> NDArray[np.uint8] | str:
    """The scan in the layout of training, (24, 96, 96) as `stored`, or why it cannot be had; outside the scan is air."""
    layout = layout_of(volume)
    if isinstance(layout, str):
        return layout

    def windowed(z: int) -> NDArray[np.float32]:
        return np.clip(volume.hu[z], LOWEST_HU, HIGHEST_HU).astype(np.float32)

    return stored(layout.of(windowed, LOWEST_HU))


def layout_of(volume: Volume) -> Layout | str:
    """Averages over each coarse voxel, the skull's top and middle where training has them; or why there is none."""
    if volume.row_cosine[0] < 0.7 or volume.column_cosine[1] < 0.7:
        return "the slices are not axial"
    height = volume.positions_mm
    bone = volume.hu >= BONE_HU
    covered = bone.sum(axis=(1, 2)) * volume.pixel_area_mm2 >= LEAST_BONE_MM2
    if not covered.any():
        return "no skull was found"
    last = int(np.flatnonzero(covered)[-1])
    top = height[last] + volume.slice_extent_mm[last] / 2
    vault = bone[(height > top - 90) & (height < top - 25)]
    if vault.size == 0 or vault.sum() < 100:
        return "no vault of a skull was found"
    middle = [_middle(vault.sum(axis=axes)) for axes in ((0, 2), (0, 1))]
    row_mm, column_mm = volume.pixel_spacing_mm
    rows = _overlaps((np.arange(volume.hu.shape[1]) - middle[0]) * row_mm, row_mm, MIDDLE_ROW, SHAPE[1], SPACING_MM[1])
    columns = _overlaps(
        (np.arange(volume.hu.shape[2]) - middle[1]) * column_mm, column_mm, MIDDLE_COLUMN, SHAPE[2], SPACING_MM[2]
    )
    # slices: the share of each coarse slice that a scanned one stands for, air where none does
    wanted_low = (np.arange(SHAPE[0]) - TOP_OF_BONE - 0.5) * SPACING_MM[0]
    low, high = height - top - volume.slice_extent_mm / 2, height - top + volume.slice_extent_mm / 2
    share = np.minimum(high, wanted_low[:, None] + SPACING_MM[0]) - np.maximum(low, wanted_low[:, None])
    share = np.clip(share, 0, None).astype(np.float32) / SPACING_MM[0]
    used = np.flatnonzero(share.any(axis=0))
    return Layout(used, share[:, used], rows, columns)


def _middle(profile: NDArray[np.intp]) -> float:
    """Between the ends of what holds 98 % of the bone."""
    sums = np.cumsum(profile) / max(1, profile.sum())
    return float(np.searchsorted(sums, 0.01) + np.searchsorted(sums, 0.99)) / 2


def _overlaps(
    at_mm: NDArray[np.float64], step_mm: float, middle: float, size: int, wanted_mm: float
) -> NDArray[np.float32]:
    """Weights (size, n) that average what lies within each coarse pixel."""
    centre = (np.arange(size) - middle) * wanted_mm
    half = (wanted_mm + step_mm) / 2
    return np.clip(half - np.abs(centre[:, None] - at_mm), 0, min(step_mm, wanted_mm)).astype(np.float32) / wanted_mm


SIGNS = ("swirl", "hypodensity", "blend", "black_hole", "island", "fluid_level")
DARK_HU, VERY_DARK_HU = 12.0, 25.0
LEAST_CORE = 12
"""Voxels: of a smaller clot the edge is read as well."""


def image_features(
    picture: NDArray[np.uint8], mask: NDArray[np.float32], score: float, signs: NDArray[np.float32]
) -> dict[str, float]:
    """What Image-to-HE is made of: the network's answers, and the densities inside its own mask, in JSON values.

    Shape: picture (24, 96, 96) as `stored`; mask logits (2, 24, 96, 96); signs logits (6,). hu_variation: standard deviation
    over mean (PAPERS.md 5.10); dark_share, very_dark_share: what lies so far under the clot's median.
    """
    blood = mask[0] > 0
    ml, ivh_ml = float(blood.sum() * VOXEL_ML), float((mask[1] > 0).sum() * VOXEL_ML)
    core = ndimage.binary_erosion(blood, np.ones((1, 3, 3), bool))
    if core.sum() < LEAST_CORE:
        core = blood
    hu = picture[core].astype(np.float32) * ((HIGHEST_HU - LOWEST_HU) / 255) + LOWEST_HU
    if hu.size == 0:
        hu = np.full(1, 60.0, np.float32)
    middle = float(np.median(hu))
    return {
        "net_score": float(score),
        **{f"net_{name}": float(s) for name, s in zip(SIGNS, signs, strict=True)},
        "hu_variation": float(hu.std() / max(float(hu.mean()), 1.0)),
        "dark_share": float((hu < middle - DARK_HU).mean()),
        "very_dark_share": float((hu < middle - VERY_DARK_HU).mean()),
        "own_log_ml": math.log(max(0.3, ml)),
        "own_log_ivh_ml": math.log(max(0.3, ivh_ml)),
    }


# ---- the logistic models ----------------------------------------------------------------------------------------------

NUMBERS = (
    "age_years", "gcs", "nihss", "log_hours", "hours_late", "pressure_mmhg", "log_glucose", "log_volume", "dl_score",
)  # fmt: skip
YES_NO = (
    "male", "on_anticoagulant", "on_warfarin", "on_antiplatelet", "previous_ich", "ivh", "lobar", "infratentorial",
)  # fmt: skip
INTEGRATED = (*NUMBERS, *YES_NO)
CLINICAL = tuple(n for n in INTEGRATED if n != "dl_score")
IMAGE = (
    "net_score", *(f"net_{name}" for name in SIGNS), "hu_variation", "dark_share", "very_dark_share", "own_log_ml",
    "own_log_ivh_ml",
)  # fmt: skip
"""What `image_features` gives."""
SHOWN = {
    "age_years": "age", "gcs": "GCS", "nihss": "NIHSS", "log_hours": "hours from onset to CT",
    "hours_late": "hours from onset to CT", "pressure_mmhg": "systolic pressure", "log_glucose": "glucose",
    "log_volume": "hematoma volume", "male": "sex", "on_anticoagulant": "anticoagulant", "on_warfarin": "warfarin",
    "on_antiplatelet": "antiplatelet", "previous_ich": "recurrent ICH", "ivh": "extension into the ventricles",
    "lobar": "location", "infratentorial": "location", "dl_score": "image score",
}  # fmt: skip
FIELDS = {
    "age_years": "age_years", "gcs": "gcs", "nihss": "nihss", "log_hours": "onset_to_ct_h", "hours_late": "onset_to_ct_h",
    "pressure_mmhg": "systolic_mmhg", "log_glucose": "glucose_mg_dl", "male": "sex", "on_anticoagulant": "on_anticoagulant",
    "on_warfarin": "on_warfarin", "on_antiplatelet": "on_antiplatelet", "previous_ich": "recurrent_ich",
}  # fmt: skip
"""Variable -> field of ClinicalFacts. Variables of one field are missing together and vary together."""


LATEST_H = 168.0
"""Hours from onset that are still told to the models; the cohort that they learned from ends at 48."""


def variables_of(facts: ClinicalFacts, ml: float | None, ivh: bool, place: str | None) -> dict[str, float | None]:
    """Every variable that the models may use but the score; None: not known. `place`: a Location's value or None."""
    hours, glucose = clinical.usable_hours(facts), clinical.usable_glucose(facts)
    if hours is not None and hours > LATEST_H:  # nobody like that was learned from
        hours = None
    return {
        "age_years": clinical.usable_age(facts),
        "male": None if facts.sex not in ("M", "F") else float(facts.sex == "M"),
        "gcs": clinical.usable_gcs(facts),
        "nihss": clinical.usable_nihss(facts),
        **_of_hours(hours),
        "pressure_mmhg": clinical.usable_pressure(facts),
        "log_glucose": None if glucose is None else math.log(glucose),
        "on_anticoagulant": _known(facts.on_anticoagulant),
        "on_warfarin": _known(clinical.usable_warfarin(facts)),
        "on_antiplatelet": _known(facts.on_antiplatelet),
        "previous_ich": _known(facts.recurrent_ich),
        "log_volume": None if ml is None else math.log(max(0.3, ml)),
        "ivh": float(ivh),
        "lobar": None if place is None else float(place == Location.LOBAR),
        "infratentorial": None if place is None else float(place == Location.INFRATENTORIAL),
    }


def _of_hours(hours: float | None) -> dict[str, float | None]:
    late = None if hours is None else min(24.0, max(0.0, hours - 5))
    return {"log_hours": None if hours is None else math.log(max(0.3, hours)), "hours_late": late}


def _known(value: object) -> float | None:
    return float(value) if isinstance(value, bool) else None


@dataclass(frozen=True)
class Logistic:
    """A logistic regression over standardised variables. `covariance` is that of (intercept, *coefficients)."""

    names: tuple[str, ...]
    intercept: float
    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]

    def logit(self, standardised: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shape: (n, len(names)) -> (n,)."""
        return self.intercept + standardised @ np.array(self.coefficients)

    def deviation(self, standardised: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard error of the logit. Shape: as `logit`."""
        row = np.concatenate([np.ones((len(standardised), 1)), standardised], axis=1)
        variance = np.einsum("ni,ij,nj->n", row, np.array(self.covariance), row)
        return np.sqrt(np.clip(variance, 0, None))


@dataclass(frozen=True)
class ExpansionModel:
    """What configs/expansion.json holds. `scale`: variable -> (mean, deviation); `choices`: field -> likely values.

    A value of `choices` is a dictionary of the variables of that field; all are as likely as one another.
    """

    definition: str
    definition_ml: float | None
    definition_fraction: float | None
    threshold: float
    scale: Mapping[str, tuple[float, float]]
    choices: Mapping[str, tuple[Mapping[str, float], ...]]
    image: Logistic
    clinical: Logistic
    integrated: Logistic

    @classmethod
    def from_json(cls, text: bytes) -> ExpansionModel:
        """Raises: ManifestInvalid for anything but what evaluate.py writes."""
        try:
            j = json.loads(text)
            found = cls(
                j["definition"]["name"], j["definition"]["ml"], j["definition"]["fraction"],
                float(j["threshold"]),
                {k: (float(m), float(s)) for k, (m, s) in j["scale"].items()},
                {k: tuple(dict(v) for v in values) for k, values in j["choices"].items()},
                _logistic(j["image"], IMAGE), _logistic(j["clinical"], CLINICAL), _logistic(j["integrated"], INTEGRATED),
            )  # fmt: skip
            if unscaled := [n for n in found.image.names if not found.scale[n][1] > 0]:
                raise ValueError(f"{unscaled[0]} has no scale")
            for name in (*found.clinical.names, *found.integrated.names):
                if not found.scale[name][1] > 0 or (name != "dl_score" and not found.choices[FIELDS.get(name, name)]):
                    raise ValueError(f"{name} has no scale or no choices")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ManifestInvalid(f"{MODEL_FILE}: {type(error).__name__}: {error}") from error
        return found

    def normalised(self, measured: Mapping[str, float]) -> float:
        """The normalised DL score: the probability that the picture alone gives, from its features (`image_features`)."""
        at = np.array([[self._standard(n, measured[n]) for n in self.image.names]])
        return _sigmoid(float(self.image.logit(at)[0]))

    def chance(self, model: Logistic, known: Mapping[str, float | None]) -> tuple[float, float, float, tuple[str, ...]]:
        """(expected, low, high, what is missing): missing fields are averaged over; the interval spans them and the fit's error."""
        known_at = np.array([self._standard(n, known[n]) if known.get(n) is not None else 0.0 for n in model.names])
        weight = np.array(model.coefficients)
        low_at, high_at = known_at.copy(), known_at.copy()
        points = model.logit(known_at[None])
        open_ = [n for n in model.names if known.get(n) is None]
        for field in dict.fromkeys(FIELDS.get(n, n) for n in open_):
            choices = np.zeros((len(self.choices[field]), len(model.names)))
            for k, n in enumerate(model.names):
                if n in open_ and FIELDS.get(n, n) == field:
                    choices[:, k] = [self._standard(n, choice[n]) for choice in self.choices[field]]
            adds = choices @ weight
            low_at += choices[int(adds.argmin())]
            high_at += choices[int(adds.argmax())]
            points = (points[:, None] + adds).ravel()
            if len(points) > MOST_POINTS:  # many gaps: every k-th of the sorted sums stands for its neighbours
                points = np.sort(points)[len(points) // MOST_POINTS // 2 :: len(points) // MOST_POINTS]
        ends = np.stack([low_at, high_at])
        (low, high), error = model.logit(ends), 1.96 * model.deviation(ends)
        missing = tuple(dict.fromkeys(SHOWN[n] for n in open_))
        return (
            float(np.mean(1 / (1 + np.exp(-points)))),
            _sigmoid(float(low - error[0])),
            _sigmoid(float(high + error[1])),
            missing,
        )

    def _standard(self, name: str, value: float | None) -> float:
        mean, deviation = self.scale[name]
        return (float(value or 0.0) - mean) / deviation


def _logistic(j: Mapping[str, Any], allowed: tuple[str, ...]) -> Logistic:
    found = Logistic(
        tuple(j["names"]), float(j["intercept"]), tuple(float(c) for c in j["coefficients"]),
        tuple(tuple(float(c) for c in row) for row in j["covariance"]),
    )  # fmt: skip
    n = len(found.names)
    if len(found.coefficients) != n or len(found.covariance) != n + 1 or any(len(r) != n + 1 for r in found.covariance):
        raise ValueError("names, coefficients and covariance differ in length")
    if unknown := set(found.names) - set(allowed):
        raise ValueError(f"no such variable: {', '.join(sorted(unknown))}")
    return found


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, x))))


# ---- the predictor ----------------------------------------------------------------------------------------------------


class Expansion:
    """ImagePredictor. The caller has asked the envelope before; what is named here is beyond it."""

    name = NAME

    def __init__(self, folder: Path, threads: int) -> None:
        """Raises: ManifestInvalid, HashMismatch."""
        bundle = load_bundle(folder)
        _check(bundle)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        network = bundle.read(bundle.manifest.network)
        self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self._model = ExpansionModel.from_json(bundle.read(MODEL_FILE))
        self.identity: BundleIdentity = bundle.identity(f"onnxruntime {onnxruntime.__version__}")
        self.label = f"Hematoma expansion ({self._model.definition})"

    def measure(self, volume: Volume, detection: Detection) -> dict[str, Any]:
        """`features`: as `image_features`; `ml`: the network's own volume of parenchymal blood; or `abstained`."""
        picture = picture_of(volume)
        if isinstance(picture, str):
            return {"abstained": picture}
        return self.read(picture)

    def read(self, picture: NDArray[np.uint8]) -> dict[str, Any]:
        """As `measure`, from a picture laid out already."""
        mask, score, signs = self._session.run(["mask", "score", "signs"], {"picture": network_input(picture[None])})
        features = image_features(picture, mask[0], score[0, 0], signs[0])
        return {"ml": float((mask[0, 0] > 0).sum() * VOXEL_ML), "features": features}

    def predict(self, measured: Mapping[str, Any], detection: Detection, facts: ClinicalFacts) -> Prediction:
        bleed = clinical.hematoma_of(detection)
        if reason := clinical.abstention(detection, facts) or self._refusal(measured, bleed):
            return Prediction(self.name, self.label, abstained=reason)
        score = self._model.normalised(measured["features"])
        place = next(iter(bleed.places)) if len(bleed.places) == 1 else None
        known = variables_of(facts, bleed.volume_ml, bleed.in_ventricles, place)
        known["dl_score"] = _logit(score)
        both, low, high, missing = self._model.chance(self._model.integrated, known)
        alone, alone_low, alone_high, missing_alone = self._model.chance(self._model.clinical, known)
        missing = tuple(dict.fromkeys((*missing, *missing_alone)))
        if high - low > WIDEST:
            open_ = f"{clinical.NOT_COMPUTABLE}: without {', '.join(missing)} anything is possible"
            far = f"{clinical.NOT_COMPUTABLE}: this patient is unlike those of the training"
            return Prediction(self.name, self.label, abstained=open_ if missing else far, missing=missing)
        percent = [round(100 * p, 1) for p in (both, low, high, alone, alone_low, alone_high)]
        names = dict.fromkeys((*self._model.integrated.names, *self._model.clinical.names))
        prediction = Prediction(
            name=self.name,
            label=self.label,
            missing=missing,
            estimates=(
                Estimate(f"Growth by {self._model.definition}, image and facts", *percent[:3], "%"),
                Estimate("The same from the facts alone", *percent[3:], "%"),
            ),
            used=tuple(dict.fromkeys(_said(n, known, bleed, facts, score) for n in names if known.get(n) is not None)),
            model=f"{self.identity.name} {self.identity.version}",
            evidence=self.identity.level(NAME).value,
            source=f"{self.identity.name} {self.identity.version}; growth by {self._model.definition}",
            warnings=(SIMULATED,) if self.identity.level(NAME) is EvidenceLevel.E0 else (),
            caution="Never a reason to limit care.",
        )
        return clinical.conditioned(prediction, facts)

    def _refusal(self, measured: Mapping[str, Any], bleed: clinical.Hematoma) -> str:
        if said := measured.get("abstained"):
            return str(said)
        features, seen = measured.get("features"), measured.get("ml")
        whole = isinstance(features, Mapping) and all(_finite(features.get(n)) for n in self._model.image.names)
        if not (whole and _finite(seen)):
            return "the images were not measured for it"
        ml = bleed.volume_ml
        if ml is None or ml < LEAST_ML:
            return f"hematoma volume: only for {LEAST_ML:g} mL or more"
        if abs(ml - seen) > LARGEST_DISAGREEMENT * max(ml, seen):
            return f"volume: this model sees {seen:.1f} mL where detection measured {ml:.1f} mL"
        return ""


def _check(bundle: Bundle) -> None:
    p = bundle.manifest.preprocessing
    found = (p.version, p.hu_clip, p.grid_pixels, p.pixel_mm, p.slice_mm)
    expected = (PREPROCESSING, (LOWEST_HU, HIGHEST_HU), SHAPE[1], SPACING_MM[1], SPACING_MM[0])
    if found != expected:
        raise ManifestInvalid(f"{bundle.folder}: preprocessing is {found}, this node prepares {expected}")
    if MODEL_FILE not in bundle.manifest.files:
        raise ManifestInvalid(f"{bundle.folder}: {MODEL_FILE} is not listed")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _logit(p: float) -> float:
    p = min(1 - 1e-6, max(1e-6, p))
    return math.log(p / (1 - p))


def _said(
    name: str, known: Mapping[str, float | None], bleed: clinical.Hematoma, facts: ClinicalFacts, score: float
) -> tuple[str, str]:
    """(input, its value with who said it)."""
    by = bleed.measured_by
    if name == "dl_score":
        return SHOWN[name], f"{score:.2f}"
    if name == "log_volume":
        return SHOWN[name], f"{bleed.volume_ml} mL ({by})"
    if name == "ivh":
        return SHOWN[name], f"{'seen' if bleed.in_ventricles else 'not seen'} ({by})"
    if name in ("lobar", "infratentorial"):
        return SHOWN[name], f"{next(iter(bleed.places)).value} ({by})"
    field = FIELDS[name]
    value = getattr(facts, field)
    if name == "on_warfarin" and value is None:
        field, value = "on_anticoagulant", facts.on_anticoagulant
    text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return SHOWN[name], clinical.entered(facts, field, text)
