"""The bleeds of a mask as SEG and SR both number and name them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from triage_node.domain.finding import FINDINGS, Detection, FindingDecision, Location
from triage_node.domain.volume import Volume
from triage_node.report import codes


@dataclass(frozen=True, slots=True)
class Segment:
    """One label of the mask. `number` counts from 1 without gaps, as PS3.3 C.8.20.4 wants it.

    `finding` and `location` are as specific as the decision is, which knows what the evidence carries at this site.
    """

    number: int
    label: int
    finding: str
    volume_ml: float
    key_slice_index: int
    location: Location

    @property
    def tracking_id(self) -> str:
        return f"{FINDINGS[self.finding].short}-{self.number}"

    @property
    def name(self) -> str:
        """As a list of segments shows it; at most 64 characters."""
        place = "" if self.location is Location.UNKNOWN else f", {self.location.value}"
        return FINDINGS[self.finding].name.capitalize() + place


def segments_of(detection: Detection, volume: Volume, decision: FindingDecision) -> tuple[Segment, ...]:
    """Labels that occur in the mask, largest bleed first."""
    root = codes.root_finding(decision.finding)
    described = {c.label: c for c in detection.components}
    pixels = np.stack([np.bincount(plane.ravel(), minlength=256) for plane in detection.mask])
    labels = [int(label) for label in np.flatnonzero(pixels.sum(axis=0)) if label]
    milliliters = {
        label: float((pixels[:, label] * volume.slice_extent_mm).sum() * volume.pixel_area_mm2 / 1000)
        for label in labels
    }
    found = []
    for number, label in enumerate(sorted(labels, key=lambda k: (-milliliters[k], k)), start=1):
        component = described.get(label)
        finding = component.subtype if component and component.subtype in decision.subtypes else root
        place = component.location if component and component.location in decision.locations else Location.UNKNOWN
        key = int(pixels[:, label].argmax())
        found.append(Segment(number, label, finding, milliliters[label], key, place))
    return tuple(found)


def outline(region: NDArray[np.bool_]) -> tuple[NDArray[np.float64], int]:
    """The outer border of the largest part of a region, and that part's area in pixels.

    Shape: region (row, column); border (point, 2) as (column, row), first point repeated at the end, clockwise on the screen.
    Convention: the centre of the first pixel is (0.5, 0.5) (PS3.3 C.18.6.1.2), so the border runs on whole numbers.
    Raises ValueError for an empty region.
    """
    parts, count = ndimage.label(region)
    if not count:
        raise ValueError("an empty region has no outline")
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    part = np.pad(parts == int(sizes.argmax()), 1)
    # every pixel side between inside and outside is one step, directed so that the inside lies to its right
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (from_point, to_point), inside, outside in (
        (((0, 0), (1, 0)), part[1:-1, 1:-1], part[:-2, 1:-1]),
        (((1, 0), (1, 1)), part[1:-1, 1:-1], part[1:-1, 2:]),
        (((1, 1), (0, 1)), part[1:-1, 1:-1], part[2:, 1:-1]),
        (((0, 1), (0, 0)), part[1:-1, 1:-1], part[1:-1, :-2]),
    ):
        for row, column in np.argwhere(inside & ~outside):
            start = (int(column) + from_point[0], int(row) + from_point[1])
            steps.setdefault(start, []).append((int(column) + to_point[0], int(row) + to_point[1]))
    first = min(steps, key=lambda p: (p[1], p[0]))  # topmost, then leftmost: on the outer border, never on a hole's
    loop, at, heading = [first], first, (1, 0)
    while True:
        # where two pixels touch at a corner only, turn right: the border then stays with the pixel it follows
        options = steps[at]
        turn = (-heading[1], heading[0])
        there = next((p for p in options if (p[0] - at[0], p[1] - at[1]) == turn), options[0])
        options.remove(there)
        new_heading = (there[0] - at[0], there[1] - at[1])
        if new_heading == heading and len(loop) > 1:
            loop.pop()
        loop.append(there)
        at, heading = there, new_heading
        if at == first:
            break
    return np.asarray(loop, dtype=np.float64), int(sizes.max())
