"""Pictures and labels of the virtual cohort, as the two networks that predict the outcome read them.

The pool is the one that models/expansion/prepare.py draws. Split by head (`anatomy_seed`): patients who share a head never
meet across a split. "train" is for the networks, "fit" for calibration, "test" for figures only; the test patients are those
of the expansion model too. Outcomes that nobody followed up are not read in "train" and "fit".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.expansion import laid_out
from models.expansion.pool import Pool, built_in, read
from triage_node.networks.multitask_prognosis import OLD_YEARS, gcs_class
from triage_node.simulation.cohort import VirtualPatient
from triage_node.simulation.cohort_images import VOXEL_ML

SPLITS = ("train", "fit", "test")
SPLIT_RULE = "anatomy_seed modulo 10: 0-6 train, 7 fit, 8-9 test"
CACHE = Path("build/prognosis")


def split_of(patient: VirtualPatient) -> str:
    rest = patient.anatomy_seed % 10
    return "train" if rest < 7 else "fit" if rest == 7 else "test"


@dataclass(frozen=True)
class Cohort:
    """Rows are patients. Labels are float32, NaN where the label is missing.

    shrunk: (n, 24, 48, 48) uint8, the stored picture averaged over 2 x 2. ml: parenchymal blood by the mask. poor: 90-day
    outcome, of everybody; `poor_known`: of those who were followed up. gcs: class 0..2 of the recorded GCS. old: 80 years or more.
    """

    pool: Pool
    shrunk: NDArray[np.uint8]
    ml: Tensor
    poor: Tensor
    poor_known: Tensor
    gcs: Tensor
    old: Tensor

    def of(self, split: str) -> NDArray[np.intp]:
        return np.array([i for i, p in enumerate(self.pool.patients) if split_of(p) == split], np.intp)


def cohort(pool_folder: str, smoke_patients: int, seed: int) -> Cohort:
    """The pool on disk, or with `smoke_patients` a small one drawn now. Raises: FileNotFoundError without a pool."""
    pool = built_in(smoke_patients, seed) if smoke_patients else read(Path(pool_folder))
    shrunk = shrink(pool.pictures) if smoke_patients else _cached(pool)
    patients = pool.patients
    poor = torch.tensor([float(p.outcome.poor_90_days) for p in patients])
    known = torch.tensor([p.outcome_known for p in patients])
    return Cohort(
        pool,
        shrunk,
        torch.tensor([_ml(pool, i) for i in range(len(patients))]),
        poor,
        torch.where(known, poor, torch.nan),
        torch.tensor([torch.nan if p.recorded.gcs is None else gcs_class(p.recorded.gcs) for p in patients]),
        torch.tensor([float((p.recorded.age_years or 0) >= OLD_YEARS) for p in patients]),
    )


def shrink(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shape: (n, slice, row, column) -> (n, slice, row / 2, column / 2)."""
    sums = pictures.astype(np.uint16)
    sums = sums[..., ::2, :] + sums[..., 1::2, :]
    sums = sums[..., ::2] + sums[..., 1::2]
    return ((sums + 2) // 4).astype(np.uint8)


def _cached(pool: Pool) -> NDArray[np.uint8]:
    kept = CACHE / f"shrunk-{pool.sha256[:16]}.npy"
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        parts = [shrink(np.array(pool.pictures[k : k + 200])) for k in range(0, len(pool.pictures), 200)]
        unfinished = kept.with_suffix(".tmp")
        with unfinished.open("wb") as file:
            np.save(file, np.concatenate(parts))
        unfinished.rename(kept)
    return np.load(kept)


def _ml(pool: Pool, i: int) -> float:
    return int(np.bitwise_count(pool.masks[i][0]).sum()) * VOXEL_ML


def batch_of(data: Cohort, which: NDArray[np.intp], rng: np.random.Generator | None = None) -> Tensor:
    """Shrunk pictures as the trunk reads them, (n, 1, 24, 48, 48), -1..1; with `rng` mirrored, shifted, blurred, off calibration.

    The cohort's heads have sharp edges; a scan that is laid out anew has not, and half bone, half air looks like blood. So
    pictures are shifted by parts of a voxel, which mixes neighbours, up to a whole slice.
    """
    picture = data.shrunk[which]
    if rng is None:
        return _scaled(picture)
    move = tuple(int(m) for m in rng.integers((-1, -2, -2), (2, 3, 3)))
    picture = np.roll(picture, move, (1, 2, 3))
    mirrored = rng.random(len(which)) < 0.5
    picture = np.where(mirrored[:, None, None, None], picture[..., ::-1], picture)
    mixed = picture.astype(np.float32)
    for axis, most in ((1, 1.0), (2, 0.6), (3, 0.6)):
        for direction in (1, -1):
            part = rng.uniform(0, most, (len(which), 1, 1, 1)) * (rng.random((len(which), 1, 1, 1)) < 0.6)
            part = part.astype(np.float32) * (1.0 if direction == 1 else 0.4)
            mixed += part * (np.roll(mixed, direction, axis) - mixed)
    offset = rng.normal(0, 0.03, (len(which), 1, 1, 1, 1)).astype(np.float32)
    return _scaled(mixed) + torch.from_numpy(offset)


def _scaled(picture: NDArray) -> Tensor:
    return torch.from_numpy(picture.astype(np.float32)).mul_(2 / 255).sub_(1)[:, None]


def as_scanned(data: Cohort, which: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """The patients whose scan the node can lay out, and their pictures as the node sees them: through `picture_of`.

    Figures are of these pictures.
    """
    return laid_out.as_scanned(data.pool, which)


def masked(loss: Tensor, target: Tensor) -> Tensor:
    """Mean of the losses whose target is known; 0 when none is. Shape: both (n,)."""
    known = ~torch.isnan(target)
    return torch.where(known, loss, 0.0).sum() / known.sum().clamp(min=1)
