"""Pictures of the pool as the node would see them: a scan that is laid out anew is shifted by parts of a voxel.

The cohort's heads have sharp edges; laying out mixes neighbours, and half bone, half air looks like blood. A network that
never saw such edges reads them as blood. So training moves every picture and its masks by parts of a voxel, with the same
weights, and figures are of pictures that went through `layout_of`, as the node's own scans do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.expansion.pool import Pool
from triage_node.domain.volume import Volume
from triage_node.prognosis.expansion import HIGHEST_HU, LOWEST_HU, layout_of, picture_of
from triage_node.simulation.cohort_images import SHAPE, SPACING_MM

FARTHEST = (1.5, 3.5, 3.5)
"""Voxels along slice, row and column that training moves a head by."""
WIDEST = (0.4, 0.7, 0.7)
"""Voxels that a moved voxel reaches beyond its own size."""


@dataclass(frozen=True)
class Move:
    """Weights of old voxels in new ones, a patient each. Shape: slices (n, 24, 24), rows (n, r, 96), columns (n, c, 96)."""

    slices: Tensor
    rows: Tensor
    columns: Tensor

    def of(self, array: Tensor) -> Tensor:
        """Shape: (n, c, 24, 96, 96) -> (n, c, 24, r, c). What comes from outside is 0: air, no blood."""
        flat = self.rows[:, None, None] @ array @ self.columns[:, None, None].transpose(-1, -2)
        return (self.slices[:, None] @ flat.flatten(3)).unflatten(3, flat.shape[3:])

    def halved(self) -> Move:
        """The same, averaged over 2 x 2 in the plane."""
        return Move(self.slices, *(w.unflatten(1, (-1, 2)).mean(2) for w in (self.rows, self.columns)))


def drawn(n: int, rng: np.random.Generator) -> Move:
    """Shifted by up to FARTHEST, blurred by up to WIDEST, half of them mirrored."""
    weights = []
    for size, far, wide in zip(SHAPE, FARTHEST, WIDEST, strict=True):
        shift, half = rng.uniform(-far, far, (n, 1, 1)), 0.5 + rng.uniform(0, wide / 2, (n, 1, 1))
        apart = np.abs(np.arange(size)[:, None] - np.arange(size)[None] - shift)
        # what a box of width 2 * half has in common with a voxel
        shared = np.clip(half + 0.5 - apart, 0, np.minimum(1, 2 * half)) / (2 * half)
        weights.append(torch.from_numpy(shared.astype(np.float32)))
    mirrored = torch.from_numpy(rng.random(n) < 0.5)[:, None, None]
    columns = torch.where(mirrored, weights[2].flip(2), weights[2])
    return Move(weights[0], weights[1], columns)


def moved(pool: Pool, which: NDArray[np.intp], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pictures as the network reads them (n, 1, 24, 96, 96), another calibration each; shares of blood (n, 2, 24, 48, 48)."""
    move = drawn(len(which), rng)
    stored = move.of(torch.from_numpy(np.array(pool.pictures[which])).float()[:, None])
    offset = torch.from_numpy(rng.normal(0, 0.04, (len(which), 1, 1, 1, 1)).astype(np.float32))
    return (stored * (2 / 255) - 1 + offset).clamp_(-1, 1), move.halved().of(torch.from_numpy(pool.mask(which)).float())


def as_scanned(pool: Pool, which: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """The patients whose scan the node can lay out, and their pictures as the node sees them: through `picture_of`."""
    answered, pictures = [], []
    for i in which:
        picture = picture_of(scan_of(pool.pictures[i]))
        if not isinstance(picture, str):
            answered.append(i)
            pictures.append(picture)
    return np.array(answered, np.intp), np.stack(pictures)


def mask_as_scanned(pool: Pool, i: int) -> NDArray[np.bool_]:
    """Both masks of a patient of `as_scanned`, laid out as the picture was: half a voxel of blood and more is blood."""
    layout = layout_of(scan_of(pool.pictures[i]))
    if isinstance(layout, str):
        raise ValueError(f"patient {i}: {layout}")
    return np.stack([layout.of(lambda z, mask=m: mask[z].astype(np.float32), 0.0) for m in pool.mask([i])[0]]) >= 0.5


def scan_of(picture: NDArray[np.uint8]) -> Volume:
    """A stored picture as an axial scan of its own spacing."""
    step, row, column = SPACING_MM
    n = len(picture)
    origins = np.zeros((n, 3))
    origins[:, 2] = np.arange(n) * step
    return Volume(
        hu=np.round(picture * (HIGHEST_HU - LOWEST_HU) / 255 + LOWEST_HU).astype(np.int16),
        origins_mm=origins,
        row_cosine=np.array([1.0, 0.0, 0.0]),
        column_cosine=np.array([0.0, 1.0, 0.0]),
        pixel_spacing_mm=(row, column),
        slice_extent_mm=np.full(n, step),
        slice_thickness_mm=np.full(n, step),
        frame_of_reference_uid="2.25.1",
        study_instance_uid="2.25.2",
        series_instance_uid="2.25.3",
        sop_instance_uids=tuple(f"2.25.4.{i}" for i in range(n)),
    )
