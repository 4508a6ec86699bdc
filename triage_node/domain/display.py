"""Slices as a page draws them: what their pixels mean in the room."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frame:
    """Geometry of the slices of one volume, slice 0 lowest along the normal, in LPS (domain/volume.py).

    Units: mm. `pixel_spacing_mm` is (row step, column step); `positions_mm` along the normal and `thickness_mm`, one a slice.
    """

    rows: int
    columns: int
    pixel_spacing_mm: tuple[float, float]
    row_cosine: tuple[float, float, float]
    column_cosine: tuple[float, float, float]
    positions_mm: tuple[float, ...]
    thickness_mm: tuple[float, ...]

    @property
    def slices(self) -> int:
        return len(self.positions_mm)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Where a network looked for one task, on a coarse grid over the slices.

    `shape`: (map, row, column) of its values, 0 to 255 on its own scale; `of_slice`: for each slice which map is its, -1: none.
    `box`: what of the native picture a map covers, (row, column, height, width) in pixels. `evidence` of the task's output,
    `by`: the model; `what`: what the map is, in words. `task` of a prognosis: "name of the prediction.output".
    """

    task: str
    label: str
    what: str
    by: str
    evidence: str
    shape: tuple[int, int, int]
    of_slice: tuple[int, ...]
    box: tuple[float, float, float, float]

    @property
    def prognosis(self) -> str:
        """The name of the prediction that the map is of; empty for the detector's."""
        return self.task.rpartition(".")[0]
