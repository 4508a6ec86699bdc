"""Intracranial hemorrhage by BloodNet, through ONNX Runtime on the CPU. Needs neither torch nor MONAI."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

from triage_node.bundle.load import Bundle
from triage_node.detection import preprocess
from triage_node.detection.components import LEAST_ML, MOST_COMPONENTS, connected, location_of, measured
from triage_node.detection.naming import features_of, name_of
from triage_node.detection.preprocess import GRID, GridStudy, network_input, on_grid
from triage_node.detection.study_score import scoring_of
from triage_node.domain.errors import ManifestInvalid
from triage_node.domain.finding import SUBTYPES, Component, Detection, Location
from triage_node.domain.volume import Volume

MASK_PROBABILITY = 0.5
FAINTEST_HEAT = 0.05
NOTHING_TO_JUDGE = -4.0
"""Highest logit of a slice that is bone only: one in 1,300 bleeding slices of the training heads, one in 15 of the others."""

Array = NDArray[np.float32]


class BloodNetDetector:
    """FindingDetector for ICH. `threads` is what ONNX Runtime may use; the first run is made at construction."""

    finding = "ich"

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Raises: HashMismatch, ManifestInvalid when the bundle was trained for another preprocessing."""
        _same_preprocessing(bundle)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            bundle.read(bundle.manifest.network), options, providers=["CPUExecutionProvider"]
        )
        self.scoring = scoring_of(bundle.manifest)
        self.picture_scoring = scoring_of(bundle.manifest, picture=True)
        self._naming = bundle.manifest.naming
        self.preprocessing = bundle.manifest.preprocessing
        self.identity = bundle.identity(f"onnxruntime {onnxruntime.__version__} cpu")
        self.run(np.zeros((1, preprocess.CHANNELS, GRID, GRID), np.float32))

    def detect(self, volume: Volume) -> Detection:
        """Read one volume. Deterministic for a volume and a bundle."""
        study = on_grid(volume)
        share, logits = self.read(study)
        labels, components = self._bleeds(volume, study, share, logits)
        heat = _heat(study, share[:, 0], volume.hu.shape)
        slice_probabilities = self.scoring.slices(logits[:, 0])[study.block_of_slice]
        main = max(components, key=lambda c: c.volume_ml, default=None)
        return Detection(
            study_probability=self.scoring.study(logits[:, 0]),
            slice_probabilities=slice_probabilities,
            subtype_probabilities={kind: self.scoring.study(logits[:, k]) for k, kind in enumerate(SUBTYPES, start=1)},
            mask=labels,
            heat=heat,
            hematoma_volume_ml=sum(c.volume_ml for c in components),
            components=components,
            key_slice_index=main.key_slice_index if main else int(slice_probabilities.argmax()),
            bundle=self.identity,
        )

    def read(self, study: GridStudy) -> tuple[Array, Array]:
        """What the network sees. Shape: mask probabilities (block, 6, GRID, GRID), slice logits (block, 6)."""
        pictures = network_input(study.hu, study.tissue_hu)
        # one at a time: eight took 1.5 s of CPU for 32 slices instead of 1.1, the rest went into fresh pages
        runs = [self.run(pictures[i : i + 1]) for i in range(len(pictures))]
        share = expit(np.concatenate([mask for mask, _ in runs]))
        share *= _plausible(study)[:, None]
        logits = np.concatenate([slices for _, slices in runs])
        bone = preprocess.bone_only(study.hu)
        share[bone] = 0
        logits[bone] = np.minimum(logits[bone], NOTHING_TO_JUDGE)
        return share, logits

    def name(self, piece: NDArray[np.bool_], share: Array, logits: Array, volume_ml: float) -> str:
        """The type of one piece of the mask of `read`, "" for none. Shape: piece (block, row, column)."""
        return name_of(features_of(piece, share[:, 1:], logits, volume_ml), self._naming)

    def run(self, pictures: Array) -> tuple[Array, Array]:
        """Logits as the network gives them. Shape: (n, CHANNELS, GRID, GRID) -> mask (n, 6, GRID, GRID), slices (n, 6)."""
        mask, slices = self._session.run(["mask", "slices"], {"picture": pictures})
        return mask, slices

    def _bleeds(
        self, volume: Volume, study: GridStudy, share: Array, logits: Array
    ) -> tuple[NDArray[np.uint8], tuple[Component, ...]]:
        """Mask at native resolution and its pieces, largest first."""
        pieces = connected(share[:, 0] > MASK_PROBABILITY)
        native = np.zeros(volume.hu.shape, np.uint8)
        voxel_ml = (study.square.side / GRID) ** 2 * volume.pixel_area_mm2 / 1000
        per_block = np.bincount(study.block_of_slice, weights=volume.slice_extent_mm)
        weights = np.broadcast_to(per_block[:, None, None], pieces.shape)
        ml = np.bincount(pieces.ravel(), weights=weights.ravel()) * voxel_ml
        ml[0] = 0
        kept = [int(p) for p in np.argsort(-ml)[:MOST_COMPONENTS] if ml[p] >= LEAST_ML]
        number = np.zeros(len(ml), np.uint8)
        number[kept] = np.arange(1, len(kept) + 1)
        numbered = number[pieces]
        for block in np.flatnonzero(numbered.any(axis=(1, 2))):
            inside = preprocess.to_native(study, share[block, 0]) > MASK_PROBABILITY
            nearest = preprocess.nearest_native(study, _spread(numbered[block]))
            native[study.block_of_slice == block] = np.where(inside, nearest, 0)
        components = []
        for label, piece_number in enumerate(kept, start=1):
            if not (native == label).any():
                continue
            piece = pieces == piece_number
            kind = self.name(piece, share, logits, float(ml[piece_number]))
            place = _location(volume, study, piece, kind)
            components.append(measured(volume, native, label, kind, place, float(share[:, 0][piece].max())))
        return native, tuple(components)


def _same_preprocessing(bundle: Bundle) -> None:
    p = bundle.manifest.preprocessing
    ours = (preprocess.VERSION, preprocess.CLIP_HU, GRID, preprocess.SKULL_SHARE, preprocess.TRAINED_SLICE_MM)
    theirs = (p.version, p.hu_clip, p.grid_pixels, p.skull_share, p.slice_mm)
    if ours != theirs:
        raise ManifestInvalid(
            f"bundle {bundle.manifest.name} was trained for preprocessing {theirs}, the node has {ours}"
        )


def _plausible(study: GridStudy) -> Array:
    """1 where blood can be: inside the skull, or anywhere in a slice whose skull is not closed. Shape: like study.hu."""
    closed = study.intracranial.any(axis=(1, 2))
    inside = ndimage.binary_dilation(study.intracranial, np.ones((1, 3, 3)), iterations=2)
    plausible: Array = np.where(closed[:, None, None], inside, True).astype(np.float32)
    return plausible


def _spread(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels continued a little outward, so that interpolated edges find theirs."""
    grown: NDArray[np.uint8] = np.where(labels > 0, labels, ndimage.maximum_filter(labels, 3))
    return grown


def _heat(study: GridStudy, share: Array, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    heat = np.zeros(shape, np.uint8)
    for block in np.flatnonzero(share.max(axis=(1, 2)) > FAINTEST_HEAT):
        picture = np.clip(preprocess.to_native(study, share[block]), 0, 1)
        heat[study.block_of_slice == block] = np.round(picture * 255).astype(np.uint8)
    return heat


def _location(volume: Volume, study: GridStudy, piece: NDArray[np.bool_], kind: str) -> Location:
    """Measure what location_of asks for, in the patient's axes (LPS: y grows to the back, z upward)."""
    pixel = study.square.side / GRID * volume.pixel_spacing_mm[0]
    depths = []
    for block in np.flatnonzero(piece.any(axis=(1, 2))):
        if study.intracranial[block].any():
            depths.append(ndimage.distance_transform_edt(study.intracranial[block])[piece[block]] * pixel)
    closed = np.flatnonzero(study.intracranial.any(axis=(1, 2)))
    if not depths or not len(closed):
        return location_of(kind, 0.0, None, False)
    block, row, column = np.argwhere(piece).mean(axis=0)
    at = _patient_mm(volume, study, block, row, column)
    areas = study.intracranial.sum(axis=(1, 2))
    is_upward = volume.normal[2] >= 0  # a legal series may as well begin at the vertex
    top = int(closed[-1] if is_upward else closed[0])
    rows, columns = np.nonzero(study.intracranial[int(areas.argmax())])
    middle = _patient_mm(volume, study, float(areas.argmax()), rows.mean(), columns.mean())
    vertex = _patient_mm(volume, study, float(top), row, column)
    reached = (top + 1 < len(areas) if is_upward else top > 0) or areas[top] < 0.45 * areas.max()
    below = float(vertex[2] - at[2]) if reached else None
    return location_of(kind, float(np.concatenate(depths).mean()), below, bool(at[1] > middle[1]))


def _patient_mm(volume: Volume, study: GridStudy, block: float, row: float, column: float) -> NDArray[np.float64]:
    slices = np.flatnonzero(study.block_of_slice == round(block))
    scale = study.square.side / GRID
    r = study.square.row + (row + 0.5) * scale - 0.5
    c = study.square.column + (column + 0.5) * scale - 0.5
    return volume.to_patient_mm(float(slices.mean()), r, c)
