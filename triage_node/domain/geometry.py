"""Where slices lie: normals, steps, gaps and the share of the normal that each slice stands for.

Source: PS3.3 C.7.6.2.1.1 (Image Position and Image Orientation (Patient)); the definition of a gap is DESIGN.md section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GAP_FACTOR = 1.5
THICKEST_MM = 50.0
SAME_PLACE_MM = 0.01
"""Positions closer than this are one position: DS strings carry rounding of about a thousandth of a millimetre."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A step that misses slices. `after_index` is the slice below it in ascending order; positions in mm along the normal."""

    after_index: int
    below_mm: float
    above_mm: float
    missing_slices: int


def cosines(image_orientation_patient: Sequence[float]) -> tuple[Floats, Floats]:
    """Unit vectors of growing column index and growing row index.

    Raises ValueError when the six values are not two finite, perpendicular directions (DS rounding is allowed for).
    """
    values = np.asarray(image_orientation_patient, dtype=np.float64)
    if values.shape != (6,) or not (np.abs(values) < 2).all():
        raise ValueError("Image Orientation (Patient) needs six direction cosines")
    row, column = values[:3], values[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.9 or max(lengths) > 1.1:
        raise ValueError("Image Orientation (Patient) does not hold direction cosines")
    row, column = row / lengths[0], column / lengths[1]
    if abs(float(row @ column)) > 1e-3:
        raise ValueError("rows and columns of Image Orientation (Patient) are not perpendicular")
    return row, column


def normal_of(image_orientation_patient: Sequence[float]) -> Floats:
    """Unit normal of the image plane, row x column. Raises ValueError like `cosines`."""
    normal = np.cross(*cosines(image_orientation_patient))
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def angle_deg(a: Floats, b: Floats) -> float:
    """Angle between two unit vectors in degrees."""
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), float(a @ b))))


def distinct_positions(positions_mm: Sequence[float]) -> int:
    """How many different places there are."""
    ordered = np.sort(np.asarray(positions_mm, dtype=np.float64))
    return int(ordered.size and 1 + (np.diff(ordered) > SAME_PLACE_MM).sum())


def usable_thickness(thickness_mm: float | None) -> float | None:
    """The thickness when it can be one of a CT slice, else None."""
    return thickness_mm if thickness_mm is not None and 0 < thickness_mm <= THICKEST_MM else None


def thickness_or_step(positions_mm: Floats, thickness_mm: Sequence[float | None]) -> Floats:
    """Slice thickness per slice; where it is missing or no thickness of a CT slice, the median step takes its place. Units: mm."""
    steps = np.diff(positions_mm)
    substitute = float(np.median(steps)) if steps.size else 0.0
    return np.array([usable_thickness(t) or substitute for t in thickness_mm], dtype=np.float64)


def find_gaps(positions_mm: Floats, thickness_mm: Sequence[float | None]) -> tuple[Gap, ...]:
    """Steps over 1.5 times the larger thickness of their two slices and over 1.5 times the smaller neighbouring step.

    `positions_mm` ascending along the normal, without duplicates. A missing thickness sets no condition; a step without
    neighbours (two slices) is judged by thickness alone.
    """
    steps = np.diff(positions_mm)
    gaps: list[Gap] = []
    for i, step in enumerate(steps):
        neighbours = [float(steps[j]) for j in (i - 1, i + 1) if 0 <= j < len(steps)]
        known = [t for t in map(usable_thickness, thickness_mm[i : i + 2]) if t is not None]
        limits = ([max(known)] if known else []) + ([min(neighbours)] if neighbours else [])
        if not limits or any(step <= GAP_FACTOR * limit for limit in limits):
            continue
        # the usual step here: the widest neighbour that is no gap itself (beside a narrow junction of two blocks, say)
        plain = [n for n in neighbours if n * GAP_FACTOR < step] or known
        missing = max(1, round(float(step) / max(plain)) - 1) if plain else 1
        gaps.append(Gap(i, float(positions_mm[i]), float(positions_mm[i + 1]), missing))
    return tuple(gaps)


def slice_extents(positions_mm: Floats, thickness_mm: Sequence[float | None]) -> Floats:
    """Share of the normal that each slice stands for: half the distance to each neighbour, at the ends half the slice
    thickness outward. Shape: (slice,). Units: mm. `positions_mm` ascending.
    """
    thickness = thickness_or_step(positions_mm, thickness_mm)
    half_steps = np.diff(positions_mm) / 2
    below = np.concatenate(([thickness[0] / 2], half_steps))
    above = np.concatenate((half_steps, [thickness[-1] / 2]))
    return below + above


def coverage_mm(positions_mm: Floats, thickness_mm: Sequence[float | None]) -> float:
    """Length along the normal that the slices cover together."""
    return float(slice_extents(positions_mm, thickness_mm).sum()) if len(positions_mm) else 0.0
