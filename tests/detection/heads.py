"""Simple heads whose truth is known by construction: an ellipsoid of brain in a shell of bone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from triage_node.domain.volume import Volume


def volume_of(
    hu: NDArray[np.int16], step_mm: float = 5.0, pixel_mm: float = 0.9, tilt_deg: float = 0.0, turned: bool = False
) -> Volume:
    """A volume around pixels. `turned`: columns run to the patient's right instead of left, rows to the front."""
    n = len(hu)
    tilt = np.radians(tilt_deg)
    row = np.array([1.0, 0, 0])
    column = np.array([0.0, np.cos(tilt), -np.sin(tilt)])
    if turned:
        row, column = -row, -column
    origins = np.stack([np.full(n, -100.0), np.full(n, -100.0), np.arange(n) * step_mm / np.cos(tilt)], axis=1)
    return Volume(
        hu=hu,
        origins_mm=origins,
        row_cosine=row,
        column_cosine=column,
        pixel_spacing_mm=(pixel_mm, pixel_mm),
        slice_extent_mm=np.full(n, step_mm),
        slice_thickness_mm=np.full(n, step_mm),
        frame_of_reference_uid="1.2.3",
        study_instance_uid="1.2.3.1",
        series_instance_uid="1.2.3.2",
        sop_instance_uids=tuple(f"1.2.3.3.{i}" for i in range(n)),
    )


def simple_head(slices: int = 30, step_mm: float = 5.0, size: int = 256, noise: float = 2.0) -> NDArray[np.int16]:
    """Brain 30 HU, skull 1000 HU, air -1000. Shape: (slice, row, column)."""
    rng = np.random.default_rng(0)
    z, y, x = np.meshgrid(np.arange(slices) * step_mm - 60, *(np.arange(size) - size / 2,) * 2, indexing="ij")
    r = np.sqrt((x * 0.9 / 68) ** 2 + (y * 0.9 / 82) ** 2 + (z / 88) ** 2)
    hu = np.select([r < 1, r < 1.1], [30.0, 1000.0], -1000.0)
    return (hu + rng.normal(0, noise, hu.shape)).round().astype(np.int16)
