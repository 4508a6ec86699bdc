"""One case through the detector, whatever it is made of: a DICOM volume, Hounsfield units without geometry, 8-bit pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triage_node.detection import preprocess
from triage_node.detection.ich import MASK_PROBABILITY, BloodNetDetector
from triage_node.detection.pictures import grid_of_pictures
from triage_node.detection.preprocess import GridStudy
from triage_node.detection.study_score import Scoring
from triage_node.domain.case import HeadVolume
from triage_node.domain.errors import StudyRejected
from triage_node.domain.finding import SUBTYPES
from triage_node.domain.volume import Volume
from triage_node.volume.checks import BONE_HU, check_head

ASSUMED_SPACING_MM, ASSUMED_STEP_MM = 0.45, 5.0
"""Of a source that does not say: a head then has a plausible size. The network's own crop does not depend on it."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the detector says of one case.

    Shape: slices (slice,), subtypes (slice, 5) in the order of SUBTYPES, masks one (row, column) per slice.
    `study` and `study_subtypes` None for a single picture. `volume_ml` None without known spacing. `declined`: why
    the node would not analyse the study; it was scored all the same.
    """

    slices: NDArray[np.float64]
    subtypes: NDArray[np.float64]
    masks: tuple[Bools, ...]
    study: float | None
    study_subtypes: dict[str, float] | None
    volume_ml: float | None
    declined: str = ""


def answer(detector: BloodNetDetector, head: HeadVolume) -> Answer:
    """Raises: StudyRejected, ValueError for what cannot be read at all."""
    if head.contiguous and head.n_slices > 1:
        return _study(detector, head)
    return _apart(detector, head)


def _study(detector: BloodNetDetector, head: HeadVolume) -> Answer:
    """Slices that are neighbours in one head."""
    declined = ""
    if head.is_hu:
        volume = head.as_volume(ASSUMED_SPACING_MM, ASSUMED_STEP_MM)
        if head.hu_range is None and int(volume.hu.max()) > BONE_HU:
            # what was clipped to a window has neither bone nor air to judge by
            try:
                check_head(volume)
            except StudyRejected as refusal:
                declined = refusal.reason
        grid = preprocess.on_grid(volume)
    else:
        grid = grid_of_pictures(list(head.grey))
    scoring = detector.scoring if head.is_hu else detector.picture_scoring
    share, logits = detector.read(grid)
    per_slice = scoring.slices(logits).astype(np.float64)[grid.block_of_slice]
    masks = tuple(_native(grid, share, int(b)) for b in grid.block_of_slice)
    return Answer(
        slices=per_slice[:, 0],
        subtypes=per_slice[:, 1:],
        masks=masks,
        study=scoring.study(logits[:, 0]),
        study_subtypes=_of_study(scoring, logits),
        volume_ml=head.volume_ml(np.stack(masks)) if head.is_hu else None,
        declined=declined,
    )


def _apart(detector: BloodNetDetector, head: HeadVolume) -> Answer:
    """Slices that know nothing of each other, a single picture above all. Several of one study still make a study."""
    rows, masks = [], []
    for i in range(head.n_slices):
        grid = grid_of_pictures([head.grey[i]]) if head.hu is None else preprocess.on_grid(_one_slice(head, i))
        share, logits = detector.read(grid)
        rows.append(logits[0])
        masks.append(_native(grid, share, 0))
    logits = np.stack(rows)
    scoring = detector.scoring if head.is_hu else detector.picture_scoring
    per_slice = scoring.slices(logits).astype(np.float64)
    whole = head.n_slices > 1
    return Answer(
        slices=per_slice[:, 0],
        subtypes=per_slice[:, 1:],
        masks=tuple(masks),
        study=scoring.study(logits[:, 0]) if whole else None,
        study_subtypes=_of_study(scoring, logits) if whole else None,
        volume_ml=None,
    )


def _of_study(scoring: Scoring, logits: NDArray[np.float32]) -> dict[str, float]:
    return {kind: scoring.study(logits[:, k]) for k, kind in enumerate(SUBTYPES, start=1)}


def _native(grid: GridStudy, share: NDArray[np.float32], block: int) -> Bools:
    mask: Bools = preprocess.to_native(grid, share[block, 0]) > MASK_PROBABILITY
    return mask


def _one_slice(head: HeadVolume, index: int) -> Volume:
    """One slice of Hounsfield units as a volume of its own. Nothing that is read off it depends on the geometry."""
    assert head.hu is not None
    spacing = head.pixel_spacing_mm or (ASSUMED_SPACING_MM, ASSUMED_SPACING_MM)
    return Volume(
        hu=np.rint(head.hu[index : index + 1]).astype(np.int16),
        origins_mm=np.zeros((1, 3)),
        row_cosine=np.array([1.0, 0.0, 0.0]),
        column_cosine=np.array([0.0, 1.0, 0.0]),
        pixel_spacing_mm=spacing,
        slice_extent_mm=np.array([ASSUMED_STEP_MM]),
        slice_thickness_mm=np.array([ASSUMED_STEP_MM]),
        frame_of_reference_uid="",
        study_instance_uid="",
        series_instance_uid="",
        sop_instance_uids=("0",),
    )
