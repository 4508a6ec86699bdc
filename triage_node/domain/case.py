"""One labelled head CT as every data set, the simulator and the evaluation see it. Pixels are read only when asked for.

None always means "the data set does not say"; it is never a negative. A case is small (names, labels): thousands of them
can be held, while `Case.load` and `LabelMask.load` read one study's pixels and keep none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from triage_node.domain import geometry
from triage_node.domain.finding import FINDINGS
from triage_node.domain.volume import Volume

OEDEMA = "oedema"
"""Meaning of a mask value that is no blood (the expert marks of PHE-SICH-CT-IDS, PAPERS.md 7.7)."""
NOT_SCORED = "not scored"
"""Meaning of a mask value that says: nobody knows; left out of losses and figures."""


@dataclass(frozen=True)
class HeadVolume:
    """The pixels of one study (or of one picture), slice 0 lowest where the order is known.

    Shape: hu (slice, row, column) float32 or int16 HU when `is_hu`, else None; `grey` one uint8 (row, column) picture per
    slice when not `is_hu`, sizes may differ, black 0. Spacing in mm (row step, column step); positions along the normal in
    mm, ascending; thickness in mm; each None when not known.
    `contiguous`: neighbours in the array are neighbours in the head. `hu_range`: where HU were clipped at the source
    (lowest, highest known value). `native`: the volume with true geometry when the source was DICOM.
    """

    is_hu: bool
    hu: NDArray[np.float32] | NDArray[np.int16] | None = None
    grey: tuple[NDArray[np.uint8], ...] = ()
    pixel_spacing_mm: tuple[float, float] | None = None
    positions_mm: NDArray[np.float64] | None = None
    thickness_mm: NDArray[np.float64] | None = None
    contiguous: bool = True
    hu_range: tuple[float, float] | None = None
    native: Volume | None = None

    def __post_init__(self) -> None:
        if self.is_hu:
            if self.hu is None or self.grey or self.hu.ndim != 3 or self.hu.dtype not in (np.float32, np.int16):
                raise ValueError(
                    "a volume in HU needs hu (slice, row, column) of float32 or int16, and no grey pictures"
                )
        elif self.hu is not None or not self.grey or any(g.ndim != 2 or g.dtype != np.uint8 for g in self.grey):
            raise ValueError("pictures need grey, one uint8 (row, column) per slice, and no hu")
        for name in ("positions_mm", "thickness_mm"):
            values = getattr(self, name)
            if values is not None and values.shape != (self.n_slices,):
                raise ValueError(f"{name} needs one value for each of {self.n_slices} slices, got {values.shape}")

    @property
    def n_slices(self) -> int:
        return len(self.grey) if self.hu is None else self.hu.shape[0]

    def slice_shape(self, index: int) -> tuple[int, int]:
        """Rows and columns of one slice: those of its mask too."""
        image = self.grey[index] if self.hu is None else self.hu[index]
        return int(image.shape[0]), int(image.shape[1])

    @cached_property
    def slice_extent_mm(self) -> NDArray[np.float64] | None:
        """Share of the normal that each slice stands for (domain/geometry.py). Shape: (slice,); None when not known."""
        if self.positions_mm is not None and self.n_slices > 1:
            thickness = [None] * self.n_slices if self.thickness_mm is None else list(self.thickness_mm)
            return geometry.slice_extents(self.positions_mm, thickness)
        return self.thickness_mm

    def volume_ml(self, mask: NDArray[np.bool_]) -> float | None:
        """Volume of a mask shaped like hu, in mL; None when the source does not tell its spacing."""
        if self.pixel_spacing_mm is None or self.slice_extent_mm is None:
            return None
        area_mm2 = self.pixel_spacing_mm[0] * self.pixel_spacing_mm[1]
        return float((mask.reshape(mask.shape[0], -1).sum(axis=1) * self.slice_extent_mm).sum() * area_mm2 / 1000.0)

    def as_volume(self, assumed_spacing_mm: float | None = None, assumed_step_mm: float | None = None) -> Volume:
        """The study as the node's own Volume: `native` where there is one, else an upright axial stack (LPS).

        What is assumed is used only where the source does not say, and noted in `Volume.notes`. Raises ValueError when the
        values are no HU, when there is only one slice, or when spacing or step are neither known nor assumed.
        """
        if self.native is not None:
            return self.native
        if self.hu is None:
            raise ValueError("8-bit pictures hold no Hounsfield units and make no volume")
        n, notes = self.n_slices, []
        spacing, positions = self.pixel_spacing_mm, self.positions_mm
        if spacing is None:
            if assumed_spacing_mm is None:
                raise ValueError("the source does not tell its pixel spacing")
            spacing = (assumed_spacing_mm, assumed_spacing_mm)
            notes.append(f"pixel spacing assumed {assumed_spacing_mm:g} mm")
        if positions is None:
            if assumed_step_mm is None:
                raise ValueError("the source does not tell where its slices lie")
            positions = np.arange(n, dtype=np.float64) * assumed_step_mm
            notes.append(f"slice step assumed {assumed_step_mm:g} mm")
        if n < 2:
            raise ValueError("a single slice is not a volume")
        thickness = geometry.thickness_or_step(
            positions, [None] * n if self.thickness_mm is None else list(self.thickness_mm)
        )
        origins = np.zeros((n, 3))
        origins[:, 2] = positions
        return Volume(
            hu=np.rint(self.hu).astype(np.int16),
            origins_mm=origins,
            row_cosine=np.array([1.0, 0.0, 0.0]),
            column_cosine=np.array([0.0, 1.0, 0.0]),
            pixel_spacing_mm=spacing,
            slice_extent_mm=geometry.slice_extents(positions, list(thickness)),
            slice_thickness_mm=thickness,
            frame_of_reference_uid="",
            study_instance_uid="",
            series_instance_uid="",
            sop_instance_uids=tuple(str(i) for i in range(n)),
            notes=tuple(notes),
        )


@dataclass(frozen=True, slots=True)
class LabelMask:
    """A mask that is read when asked for. `load` gives uint8 pictures, one per slice, each shaped like that slice.

    `meaning`: mask value -> key of FINDINGS ("ich", "iph", ...), OEDEMA or NOT_SCORED; 0 is background. `silver`: derived by
    a rule for this project, not drawn by an expert: a Dice against it is no clinical accuracy.
    """

    meaning: Mapping[int, str]
    load: Callable[[], tuple[NDArray[np.uint8], ...]]
    silver: bool = False

    @property
    def blood_values(self) -> tuple[int, ...]:
        """Values that mean blood. Oedema does not."""
        return tuple(v for v, word in self.meaning.items() if word in FINDINGS)

    @property
    def marks_blood(self) -> bool:
        return bool(self.blood_values)

    def blood(self) -> tuple[NDArray[np.bool_], ...]:
        """Where blood is marked, one picture per slice."""
        values = list(self.blood_values)
        return tuple(np.isin(one, values) for one in self.load())


@dataclass(frozen=True, slots=True)
class Labels:
    """What a data set says of one case. Tuples run along the slices of the case.

    slice_labels: 1 hemorrhage, 0 none, None not scored. study_label likewise. subtypes: key of SUBTYPES -> present; a key
    that is absent is not known. outcome: 1 poor, 0 good, in the words of `outcome_meaning`. expansion: 1 the hematoma grew,
    in the words of `expansion_meaning`. volume_ml is what the source states (a mask's volume is computed where it is needed).
    gcs 3 to 15. clinical: the source's own column names, values as numbers where they are numbers.
    """

    slice_labels: tuple[int | None, ...] = ()
    study_label: int | None = None
    slice_subtypes: tuple[Mapping[str, int], ...] = ()
    study_subtypes: Mapping[str, int] = field(default_factory=dict)
    mask: LabelMask | None = None
    volume_ml: float | None = None
    gcs: int | None = None
    age_years: float | None = None
    outcome: int | None = None
    outcome_meaning: str = ""
    expansion: int | None = None
    expansion_meaning: str = ""
    clinical: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One study, or one picture that belongs to no study.

    `source`: short name of the data set; `patient_id` is unique inside it and decides splits. `slice_ids`: file or instance
    name per slice, in slice order. `family`: data sets made from one another share it ("rsna", "ct-ich", "cq500"), and
    `overlap_keys` name this case across them (an RSNA study UID, a CQ500 number).
    `load` reads the pixels and raises CaseUnreadable when they cannot be had.
    """

    source: str
    patient_id: str
    study_id: str
    slice_ids: tuple[str, ...]
    labels: Labels
    load: Callable[[], HeadVolume]
    is_hu: bool = True
    scanner: str = ""
    kernel: str = ""
    software: str = ""
    sex: str = ""
    """"M", "F" or "O" as in Patient's Sex (0010,0040)."""
    thickness_mm: float | None = None
    licence: str = ""
    family: str = ""
    overlap_keys: tuple[str, ...] = ()
    simulated: bool = False
    files: tuple[str, ...] = ()
    """Every file that it is made of, masks too, where that is more than `slice_ids`."""

    @property
    def key(self) -> str:
        """Unique over all data sets."""
        return f"{self.source}/{self.study_id}"


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file (or a row of a table) of the data set that no case uses. `name` is relative to the folder."""

    name: str
    reason: str
