"""The geometry of a series as far as it can be told from headers, while it is still arriving or when it is there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from triage_node.domain import geometry
from triage_node.domain.instance import LOCALIZERS, InstanceHeader

MULTI_FRAME_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"})
"""Enhanced and Legacy Converted Enhanced CT: places of their frames stand in functional groups."""
FURTHEST_MM = 1e5
SAME_ORIENTATION_DEG = 0.5


@dataclass(frozen=True, slots=True)
class Stack:
    """`slices` counts distinct positions; frames of a multi-frame instance count as slices whose places are not known here.

    `normal` is None when no instance holds a usable orientation and position. Units: mm.
    """

    slices: int
    frames: int
    coverage_mm: float
    gaps: tuple[geometry.Gap, ...]
    normal: tuple[float, float, float] | None
    mixed_orientation: bool
    has_duplicates: bool
    thickness_mm: float | None

    @property
    def is_multi_frame(self) -> bool:
        return self.frames > 0


def is_localizer(header: InstanceHeader) -> bool:
    """A scout image by its Image Type. Some scanners put it into the series that it planned."""
    return any(v.upper() in LOCALIZERS for v in header.image_type[2:])


def images_of(headers: Iterable[InstanceHeader]) -> tuple[InstanceHeader, ...]:
    """The series without its localizers, unless it holds nothing else."""
    everything = tuple(headers)
    return tuple(h for h in everything if not is_localizer(h)) or everything


def stack_of(headers: Iterable[InstanceHeader]) -> Stack:
    """Measure the series. Localizers and instances without usable orientation and position are left out."""
    frames = 0
    normals: dict[tuple[float, ...], geometry.Floats | None] = {}
    placed: list[tuple[tuple[float, ...], float | None]] = []
    thickness: list[float] = []
    for header in images_of(headers):
        if header.number_of_frames > 1 or header.sop_class_uid in MULTI_FRAME_CLASSES:
            frames += header.number_of_frames
        thick = geometry.usable_thickness(header.slice_thickness_mm)
        if thick is not None:
            thickness.append(thick)
        orientation, place = header.image_orientation_patient, header.image_position_patient
        if orientation is None or place is None or not _is_place(place):
            continue
        if orientation not in normals:  # thousands of slices share one
            normals[orientation] = _normal_or_none(orientation)
        if normals[orientation] is not None:
            placed.append((place, thick))
    median = float(np.median(thickness)) if thickness else None
    usable = [n for n in normals.values() if n is not None]
    if not placed:
        return Stack(frames, frames, 0.0, (), None, False, False, median)
    normal = usable[0]
    ordered = sorted(
        ((float(normal @ np.asarray(place)), thick) for place, thick in placed), key=lambda p: (p[0], p[1] or 0.0)
    )
    positions: list[float] = []
    thicknesses: list[float | None] = []
    for position, thick in ordered:
        if positions and position - positions[-1] <= geometry.SAME_PLACE_MM:
            continue
        positions.append(position)
        thicknesses.append(thick)
    along = np.asarray(positions, dtype=np.float64)
    return Stack(
        slices=max(len(positions), frames),
        frames=frames,
        coverage_mm=geometry.coverage_mm(along, thicknesses),
        gaps=geometry.find_gaps(along, thicknesses),
        normal=(float(normal[0]), float(normal[1]), float(normal[2])),
        mixed_orientation=any(geometry.angle_deg(normal, n) > SAME_ORIENTATION_DEG for n in usable[1:]),
        has_duplicates=len(placed) > len(positions),
        thickness_mm=median,
    )


def _is_place(position: tuple[float, ...]) -> bool:
    """Three numbers within a room around the scanner; DS can hold 1e308 too."""
    return len(position) == 3 and all(abs(p) < FURTHEST_MM for p in position)


def _normal_or_none(orientation: tuple[float, ...]) -> geometry.Floats | None:
    try:
        return geometry.normal_of(orientation)
    except ValueError:
        return None
