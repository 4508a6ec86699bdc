"""A CT series as Hounsfield units with true geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Volume:
    """Slices stay one to one with their instances; steps may differ, so there is one origin per slice, not one affine.

    Shape: hu (slice, row, column) int16, slice 0 lowest along the normal.
    Units: HU after rescale, padding set to -1024; millimetres in the patient system (LPS+).
    Convention: `row_cosine` is the direction of growing column index, `column_cosine` of growing row index
    (the first and last three values of Image Orientation (Patient)); `normal` = row x column, pointing up (+z).
    `origins_mm[i]` is Image Position (Patient) of slice i. `slice_extent_mm[i]` is the share of the normal that the
    slice stands for: half the distance to each neighbour, at the ends half the slice thickness outward.
    Source: PS3.3 C.7.6.2.1.1.
    """

    hu: NDArray[np.int16]
    origins_mm: NDArray[np.float64]
    row_cosine: NDArray[np.float64]
    column_cosine: NDArray[np.float64]
    pixel_spacing_mm: tuple[float, float]
    slice_extent_mm: NDArray[np.float64]
    slice_thickness_mm: NDArray[np.float64]
    frame_of_reference_uid: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    frame_numbers: tuple[int, ...] = ()
    lossy: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = self.hu.shape[0]
        if self.hu.ndim != 3 or self.hu.dtype != np.int16:
            raise ValueError(f"hu must be int16 (slice, row, column), got {self.hu.dtype} {self.hu.shape}")
        if self.origins_mm.shape != (n, 3) or len(self.sop_instance_uids) != n or self.slice_extent_mm.shape != (n,):
            raise ValueError("origins_mm, sop_instance_uids and slice_extent_mm need one entry per slice")

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.row_cosine, self.column_cosine)

    @property
    def positions_mm(self) -> NDArray[np.float64]:
        """Distance of each slice along the normal, ascending. Shape: (slice,)."""
        return self.origins_mm @ self.normal

    @property
    def pixel_area_mm2(self) -> float:
        return self.pixel_spacing_mm[0] * self.pixel_spacing_mm[1]

    def to_patient_mm(self, slice_index: float, row: float, column: float) -> NDArray[np.float64]:
        """LPS position in mm of a voxel centre; a fractional slice index is interpolated between origins."""
        i = np.arange(len(self.origins_mm))
        origin = np.array([np.interp(slice_index, i, self.origins_mm[:, k]) for k in range(3)])
        across = self.row_cosine * column * self.pixel_spacing_mm[1]
        return origin + across + self.column_cosine * row * self.pixel_spacing_mm[0]

    def volume_ml(self, mask: NDArray[np.bool_]) -> float:
        """Volume of a mask: pixel area times each slice's extent along the normal. Shape: mask like hu. Units: mL."""
        pixels = mask.reshape(mask.shape[0], -1).sum(axis=1)
        return float((pixels * self.slice_extent_mm).sum() * self.pixel_area_mm2 / 1000.0)
