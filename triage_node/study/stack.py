"""The geometry of a series as far as it can be told from headers, while it is still arriving or when it is there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from triage_node.domain import geometry
from triage_node.domain.instance import InstanceHeader


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
    thickness_mm: float | None

    @property
    def is_multi_frame(self) -> bool:
        return self.frames > 0


def stack_of(headers: Iterable[InstanceHeader]) -> Stack:
    """Measure the series. Instances without usable orientation and position are left out."""
    frames = 0
    placed: list[tuple[InstanceHeader, geometry.Floats]] = []
    thickness: list[float] = []
    for header in headers:
        if header.number_of_frames > 1:
            frames += header.number_of_frames
        if header.slice_thickness_mm is not None and header.slice_thickness_mm > 0:
            thickness.append(header.slice_thickness_mm)
        if header.image_orientation_patient is None or header.image_position_patient is None:
            continue
        if len(header.image_position_patient) != 3 or not np.isfinite(header.image_position_patient).all():
            continue
        try:
            placed.append((header, geometry.normal_of(header.image_orientation_patient)))
        except ValueError:
            continue
    median = float(np.median(thickness)) if thickness else None
    if not placed:
        return Stack(frames, frames, 0.0, (), None, False, median)
    normal = placed[0][1]
    mixed = any(geometry.angle_deg(normal, n) > 0.5 for _, n in placed[1:])
    ordered = sorted(
        ((float(normal @ np.asarray(h.image_position_patient)), h.slice_thickness_mm) for h, _ in placed),
        key=lambda p: (p[0], p[1] or 0.0),
    )
    positions: list[float] = []
    thick: list[float | None] = []
    for position, t in ordered:
        if positions and position - positions[-1] <= geometry.SAME_PLACE_MM:
            continue
        positions.append(position)
        thick.append(t)
    along = np.asarray(positions, dtype=np.float64)
    return Stack(
        slices=max(len(positions), frames),
        frames=frames,
        coverage_mm=geometry.coverage_mm(along, thick),
        gaps=geometry.find_gaps(along, thick),
        normal=(float(normal[0]), float(normal[1]), float(normal[2])),
        mixed_orientation=mixed,
        thickness_mm=median,
    )
