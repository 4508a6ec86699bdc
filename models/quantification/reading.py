"""What the extractor of quantification reads: pictures with the soft masks of the expansion network's segmenter beside them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.expansion.laid_out import as_scanned, moved
from models.expansion.pool import Pool
from models.quantification.data import CACHE, Cohort, split_of
from triage_node.networks.expansion import ExpansionNet, Segmenter
from triage_node.networks.residual import LEAST_SHARE, WIDTH, ReadingTrunk
from triage_node.prognosis.expansion import network_input

READ = (3, 24, 48, 48)
"""Of a patient, what residual.ReadingTrunk.read gives."""


@dataclass(frozen=True)
class Seen:
    """What residual.ReadingTrunk.read makes of the patients of "train" and "fit", each moved once as a scan that is laid out anew.

    pictures: (n, 3, 24, 48, 48) uint8, shades -1..1 and shares 0..1 in 256 steps. segmenter: the weights that read them.
    """

    pictures: NDArray[np.uint8]
    segmenter: dict[str, Tensor]


def seen(data: Cohort, checkpoint: str) -> Seen:
    """Read by the segmenter of an expansion checkpoint and kept on disk; "": by an untrained one, for a smoke run.

    Its patients of training are patients of training here as well: both split by the same heads.
    Raises: FileNotFoundError, SystemExit when it was trained on another pool.
    """
    if not checkpoint:
        weights = Segmenter(WIDTH).state_dict()
        return Seen(_read_by(weights, data.pool, np.zeros((len(data.pool.patients), *READ), np.uint8)), weights)
    kept = torch.load(checkpoint, weights_only=True, map_location="cpu")
    if kept["data"] != data.pool.sha256:
        raise SystemExit(f"{checkpoint} was trained on another pool: its patients would leak")
    net = ExpansionNet()
    net.load_state_dict(kept["average"])
    weights = net.segmenter.state_dict()
    digest = hashlib.sha256(data.pool.sha256.encode() + b"".join(v.numpy().tobytes() for v in weights.values()))
    file = CACHE / f"seen-{digest.hexdigest()[:16]}.npy"
    if not file.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".tmp")
        found = np.lib.format.open_memmap(unfinished, "w+", np.uint8, (len(data.pool.patients), *READ))
        _read_by(weights, data.pool, found).flush()
        unfinished.rename(file)
    return Seen(np.load(file, mmap_mode="r"), weights)


@torch.no_grad()
def _read_by(weights: dict[str, Tensor], pool: Pool, found: Any) -> Any:
    """Fills `found`."""
    trunk, rng = ReadingTrunk().eval(), np.random.default_rng(0x5EE)
    trunk.segmenter.load_state_dict(weights)
    which = np.array([i for i, p in enumerate(pool.patients) if split_of(p) != "test"], np.intp)
    for done, part in enumerate(np.array_split(which, max(1, len(which) // 8))):
        shades_shares = trunk.read(moved(pool, part, rng)[0])
        shades_shares[:, :1] = (shades_shares[:, :1] + 1) / 2
        found[part] = (shades_shares * 255).round().byte().numpy()
        if done % 100 == 99:
            print(f"read {8 * done} of {len(which)} pictures", flush=True)
    return found


@dataclass(frozen=True)
class Scanned:
    """Patients of a split whose scan the node can lay out. pictures: (n, 24, 96, 96) as the node sees them; read: float16,
    (n, 3, 24, 48, 48), what residual.ReadingTrunk.read makes of them.
    """

    which: NDArray[np.intp]
    pictures: NDArray[np.uint8]
    read: NDArray[np.float16]


def scanned(data: Cohort, split: str, segmenter: Segmenter, keep: bool) -> Scanned:
    """Figures are of these. `keep`: on disk, where the other network, which has the same segmenter, finds them."""
    if not keep:
        return _scanned(data, split, segmenter)
    digest = hashlib.sha256(f"{data.pool.sha256} {LEAST_SHARE}".encode())
    for value in segmenter.state_dict().values():
        digest.update(value.numpy().tobytes())
    file = CACHE / f"scanned-{split}-{len(data.pool.patients)}-{digest.hexdigest()[:16]}.npz"
    if not file.exists():
        found = _scanned(data, split, segmenter)
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f"{file.stem}-{os.getpid()}.tmp")
        with unfinished.open("wb") as out:
            np.savez(out, which=found.which, pictures=found.pictures, read=found.read)
        unfinished.rename(file)
    with np.load(file) as kept:
        return Scanned(kept["which"], kept["pictures"], kept["read"])


@torch.no_grad()
def _scanned(data: Cohort, split: str, segmenter: Segmenter) -> Scanned:
    which, pictures = as_scanned(data.pool, data.of(split))
    trunk = ReadingTrunk().eval()
    trunk.segmenter.load_state_dict(segmenter.state_dict())
    parts = np.array_split(pictures, max(1, len(pictures) // 8))
    read = [trunk.read(torch.from_numpy(network_input(p))).half().numpy() for p in parts]
    return Scanned(which, pictures, np.concatenate(read))


def seen_batch(data: Seen, which: NDArray[np.intp], rng: np.random.Generator | None = None) -> Tensor:
    """What the trunk reads, (n, 3, 24, 48, 48); with `rng` mirrored, shifted by whole voxels, off calibration."""
    stored = torch.from_numpy(np.array(data.pictures[which]))
    offset = torch.zeros(len(which), 1, 1, 1, 1)
    if rng is not None:
        stored = stored.roll(tuple(int(m) for m in rng.integers((-1, -2, -2), (2, 3, 3))), (2, 3, 4))
        mirrored = torch.from_numpy(rng.random(len(which)) < 0.5)[:, None, None, None, None]
        stored = torch.where(mirrored, stored.flip(4), stored)
        offset += torch.from_numpy(rng.normal(0, 0.03, offset.shape).astype(np.float32))
    read_ = stored.float() / 255
    return torch.cat([(read_[:, :1] * 2 - 1 + offset).clamp_(-1, 1), read_[:, 1:]], 1)
