"""Virtual patients with their pictures, on disk and in memory, and how they are split.

Split by `anatomy_seed`: patients who share a head never meet across a split. "train" is for the network, "fit" for the
logistic regressions and choices (patients that the network has not seen), "test" for figures only.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from triage_node.prognosis.expansion import stored
from triage_node.simulation.cohort import VirtualPatient, virtual_cohort
from triage_node.simulation.cohort_images import SHAPE, CohortImage, render

SPLITS = ("train", "fit", "test")
SPLIT_RULE = "anatomy_seed modulo 10: 0-4 train (modulo 30 = 4: development), 5-7 fit, 8-9 test"
DEVELOPMENT = 4


def split_of(patient: VirtualPatient) -> str:
    rest = patient.anatomy_seed % 10
    return "train" if rest < 5 else "fit" if rest < 8 else "test"


@dataclass(frozen=True)
class Pool:
    """pictures: (n, slice, row, column) uint8 as `stored`; masks: (n, 2, slice, row, column / 8) bits, parenchyma and ventricles."""

    patients: list[VirtualPatient]
    pictures: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    sha256: str

    def of(self, split: str) -> NDArray[np.intp]:
        return np.array([i for i, p in enumerate(self.patients) if split_of(p) == split], np.intp)

    def development(self) -> NDArray[np.intp]:
        """Patients of "train" that the network is only watched on."""
        return np.array([i for i in self.of("train") if self.patients[i].anatomy_seed % 30 == DEVELOPMENT], np.intp)

    def mask(self, which: NDArray[np.intp] | list[int]) -> NDArray[np.uint8]:
        """Shape: (n, 2, slice, row, column), 0 or 1."""
        return np.unpackbits(self.masks[which], axis=-1)


def packed(image: CohortImage) -> NDArray[np.uint8]:
    return np.packbits(np.stack([image.blood, image.in_ventricles]), axis=-1)


def built_in(n: int, seed: int) -> Pool:
    """In memory, for a smoke run."""
    patients = virtual_cohort(n, seed)
    images = [render(p, seed) for p in patients]
    pictures = np.stack([stored(i.hu) for i in images])
    return Pool(
        patients, pictures, np.stack([packed(i) for i in images]), hashlib.sha256(pictures.tobytes()).hexdigest()
    )


def read(folder: Path) -> Pool:
    """Raises: FileNotFoundError when prepare.py has not been run."""
    about = json.loads((folder / "pool.json").read_text())
    pictures = np.load(folder / "pictures.npy", mmap_mode="r")
    masks = np.load(folder / "masks.npy", mmap_mode="r")
    if pictures.shape != (about["n"], *SHAPE):
        raise ValueError(f"{folder}: pictures are {pictures.shape}, pool.json says {about['n']} patients")
    return Pool(virtual_cohort(about["n"], about["seed"]), pictures, masks, about["sha256"])
