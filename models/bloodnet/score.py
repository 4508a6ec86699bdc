"""What a network says of every study of a pool: logits per slice and overlap, kept in a file so that choosing is quick."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bloodnet.pool import IGNORE, LEAST_PIXELS, PIXEL_MM, SLICE_MM, Pool, first_fact
from triage_node.detection import preprocess
from triage_node.detection.ich import MASK_PROBABILITY, BloodNetDetector
from triage_node.detection.preprocess import GRID, GridStudy, Square, on_grid
from triage_node.domain.case import HeadVolume
from triage_node.simulation.scanners import Scan, scanned

NOTHING = np.zeros(0, np.intp)


@dataclass(frozen=True)
class Study:
    """One study and what the network said. `truth` per slice: 1 blood, 0 none, -1 not known; empty for another scanner."""

    patient: str
    origin: str
    dressed: bool
    kinds: tuple[str, ...]
    subtype: str
    thickness_mm: float
    volume_ml: float
    scan: str
    logits: tuple[float, ...]
    truth: tuple[int, ...]
    dice: float

    @property
    def bleeds(self) -> bool:
        return bool(self.kinds)

    @property
    def is_real(self) -> bool:
        return self.origin == "real" and not self.dressed


def study_on_grid(hu: NDArray[np.float32], tissue_hu: float) -> GridStudy:
    """A study of a pool, which is on the grid already. Shape: hu (slice, GRID, GRID)."""
    square = Square(0.0, 0.0, float(GRID))
    return GridStudy(hu, preprocess.intracranial(hu), tissue_hu, np.arange(len(hu)), square, (GRID, GRID))


def scored(detector: BloodNetDetector, pool: Pool, study: dict, scan: Scan | None = None, seed: int = 0) -> Study:
    """One study as it is, or as another scanner would have shown it, by the way that a volume takes in the node."""
    hu, label = pool.hu(study), pool.labels[study["start"] : study["stop"]]
    if scan is None:
        grid = study_on_grid(hu, study["tissue_hu"])
    else:
        rng = np.random.default_rng([seed, study["start"]])
        stack, _, step = scanned(hu, np.zeros_like(label), PIXEL_MM, SLICE_MM, scan, rng)
        positions = np.arange(len(stack)) * step
        head = HeadVolume(True, stack, pixel_spacing_mm=(PIXEL_MM, PIXEL_MM), positions_mm=positions)
        grid = on_grid(head.as_volume())
    share, logits = detector.read(grid)
    truth, dice = NOTHING, 0.0
    if scan is None:
        here = slice(study["start"], study["stop"])
        truth = np.where(pool.positive[here], 1, np.where(pool.negative[here], 0, -1))
        known = label != IGNORE
        mask, blood = (share[:, 0] > MASK_PROBABILITY) & known, (label > 0) & known
        dice = 2 * float((mask & blood).sum()) / max(1.0, float(mask.sum() + blood.sum()))
    return told(pool, study, "" if scan is None else "another", logits[:, 0], truth, dice)


def told(
    pool: Pool,
    study: dict,
    scan: str,
    logits: NDArray[np.floating],
    truth: NDArray[np.integer] = NOTHING,
    dice: float = 0.0,
) -> Study:
    """What is known of a study beside what the network said. Shape: logits (block,), truth (slice,) or empty."""
    label = pool.labels[study["start"] : study["stop"]]
    facts = first_fact(study)
    return Study(
        patient=study["patient"],
        origin=study["origin"],
        dressed=study["dressed"],
        kinds=tuple(study["kinds"]),
        subtype=str(facts.get("subtype", "")),
        thickness_mm=float(facts.get("thickness_mm", np.nan)),
        volume_ml=float((label[(label > 0) & (label != IGNORE)] > 0).sum()) * PIXEL_MM**2 * SLICE_MM / 1000,
        scan=scan,
        logits=tuple(float(v) for v in logits),
        truth=tuple(int(v) for v in truth),
        dice=dice,
    )


def kept(path: Path) -> list[Study]:
    rows = json.loads(path.read_text())
    return [
        Study(**{**r, "kinds": tuple(r["kinds"]), "logits": tuple(r["logits"]), "truth": tuple(r["truth"])})
        for r in rows
    ]


def keep(studies: list[Study], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(s) for s in studies]))


def least_blood(pool: Pool, study: dict) -> bool:
    """Whether a study that should bleed shows enough of it in any slice to be called so."""
    here = slice(study["start"], study["stop"])
    label = pool.labels[here]
    return bool((((label > 0) & (label != IGNORE)).sum(axis=(1, 2)) >= LEAST_PIXELS).any())
