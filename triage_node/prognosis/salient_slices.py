"""Maps on the coarse picture of the prognosis networks, brought back to the slices of the scan that they were made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triage_node.domain.volume import Volume
from triage_node.prognosis.expansion import layout_of

Floats = NDArray[np.float32]
_INSIDE = 0.99
"""Share of a coarse pixel that was scanned, from which its centre is known."""


@dataclass(frozen=True)
class OnSlices:
    """Shape: maps (map, 96, 96); `of_slice`: for each slice which map is its, -1: the network saw nothing of it.

    `box`: (row, column, height, width) in native pixels that the maps cover.
    """

    maps: dict[str, Floats]
    of_slice: tuple[int, ...]
    box: tuple[float, float, float, float]


def on_slices(volume: Volume, coarse: Mapping[str, Floats]) -> OnSlices | str:
    """Each used slice gets the coarse slices that it was averaged into, by their shares; or why there is no layout."""
    layout = layout_of(volume)
    if isinstance(layout, str):
        return layout
    if any((w.sum(axis=1) > _INSIDE).sum() < 2 for w in (layout.rows, layout.columns)):
        return "the scan is narrower than what the networks read"
    shares = layout.share / layout.share.sum(axis=0)
    place = {int(z): i for i, z in enumerate(layout.used)}
    row, height = _extent(layout.rows)
    column, width = _extent(layout.columns)
    return OnSlices(
        maps={task: np.einsum("sz,src->zrc", shares, m).astype(np.float32) for task, m in coarse.items()},
        of_slice=tuple(place.get(z, -1) for z in range(volume.hu.shape[0])),
        box=(row, column, height, width),
    )


def _extent(weights: Floats) -> tuple[float, float]:
    """Where an axis of the coarse picture begins in native pixels, and how many it covers, from two pixels that lie inside.

    Shape: weights (coarse, native), each row an average.
    """
    inside = np.flatnonzero(weights.sum(axis=1) > _INSIDE)
    first, last = int(inside[0]), int(inside[-1])
    centres = [float(weights[i] @ np.arange(weights.shape[1]) / weights[i].sum()) + 0.5 for i in (first, last)]
    step = (centres[1] - centres[0]) / (last - first)
    return centres[0] - (first + 0.5) * step, step * weights.shape[0]
