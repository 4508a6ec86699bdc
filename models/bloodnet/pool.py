"""Slices that train.py and evaluate.py read: kept as bytes, found again by origin, type and hardness."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from triage_node.detection.preprocess import GRID
from triage_node.networks.bloodnet import OUTPUTS

IGNORE = 255
"""Label of a pixel that no loss may look at."""
LABEL = {kind: i for i, kind in enumerate(OUTPUTS)}
"""Label of a pixel by kind: iph 1 .. edh 5; 0 is no blood."""
LEAST_PIXELS = 12
"""A slice counts as positive from so many blood pixels on; with fewer it is neither."""
PIXEL_MM, SLICE_MM = 1.05, 5.0
"""About, of every pool: the crop to the head took the true pixel away."""
ANEW = 0.4
"""Share of the training samples whose plane lies between the slices, as thin, tilted and shifted series give it."""
ORIGINS = ("real", "mirrored", "template", "procedural")
DEVELOPMENT_DIGIT = "5"
"""Patients and simulated heads of the training set whose name ends so choose thresholds and are never trained on."""

Bytes = NDArray[np.uint8]


class Pool:
    """Slices of one set by origin. `studies` says where each study starts and stops; HU are kept as 2 x HU in a byte."""

    def __init__(self, pictures: Bytes, labels: Bytes, sure: NDArray[np.bool_], studies: list[dict]) -> None:
        """Shape: pictures and labels (slice, GRID, GRID), sure (slice,)."""
        self.pictures, self.labels, self.sure, self.studies = pictures, labels, sure, studies
        self.sha256: dict[str, str] = {}
        self.study_of = np.repeat(np.arange(len(studies)), [s["stop"] - s["start"] for s in studies])
        blood = (labels > 0) & (labels != IGNORE)
        self.positive = sure & (blood.sum(axis=(1, 2)) >= LEAST_PIXELS)
        self.negative = sure & ~self.positive & ((pictures > 20).mean(axis=(1, 2)) > 0.02)
        self.types = np.stack([(labels == k).sum(axis=(1, 2)) >= LEAST_PIXELS for k in range(1, len(OUTPUTS))], 1)
        self.known_logit = np.zeros(len(sure), np.float32)  # of "any", when the slice was last trained on
        self.index: dict[str, tuple[dict[str, NDArray[np.intp]], NDArray[np.intp]]] = {}

    @classmethod
    def read(cls, folder: Path) -> Pool:
        """All parts under a folder that prepare.py wrote, in order of their names."""
        parts = sorted(p for p in folder.iterdir() if (p / "studies.json").exists())
        if not parts:
            raise SystemExit(f"no pool under {folder}; models.bloodnet.prepare builds it")
        studies: list[dict] = []
        for p in parts:
            offset = studies[-1]["stop"] if studies else 0
            here = json.loads((p / "studies.json").read_text())
            studies += [{**s, "start": s["start"] + offset, "stop": s["stop"] + offset} for s in here]
        whole = (np.concatenate([np.load(p / f"{name}.npy") for p in parts]) for name in ("pictures", "labels", "sure"))
        pool = cls(*whole, studies)
        pool.sha256 = {p.name: (p / "sha256").read_text().strip() for p in parts}
        return pool

    def index_for_training(self) -> None:
        """By origin: positives of each look that occurs ("sdh chronic", or "iph" where no subtype was drawn), and negatives.

        Development heads are in neither.
        """
        trained = np.array([not is_development(s["patient"]) for s in self.studies])[self.study_of]
        origins = np.array([s["origin"] for s in self.studies])[self.study_of]
        drawn = np.array([look(first_fact(s)) for s in self.studies])[self.study_of]
        for origin in ORIGINS:
            here = trained & (origins == origin)
            by_look: dict[str, NDArray[np.intp]] = {}
            for k, kind in enumerate(OUTPUTS[1:]):
                found = np.flatnonzero(here & self.positive & self.types[:, k])
                looks = np.where(np.char.startswith(drawn[found], kind), drawn[found], kind)
                by_look |= {str(name): found[looks == name] for name in np.unique(looks)}
            negatives = np.flatnonzero(here & self.negative)
            if len(negatives) and by_look:
                self.index[origin] = (by_look, negatives)

    def development(self) -> list[dict]:
        return [s for s in self.studies if is_development(s["patient"])]

    def hu(self, study: dict) -> NDArray[np.float32]:
        return self.pictures[study["start"] : study["stop"]].astype(np.float32) / 2

    def three(self, i: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], Bytes]:
        """A slice between its neighbours in HU, as thick, thin, tilted and single ones come, and its labels.

        Shape: (3, GRID, GRID) and (GRID, GRID). A plane that was laid anew may show more blood than slice i, or less.
        """
        s = self.studies[self.study_of[i]]
        near = [max(s["start"], i - 1), i, min(s["stop"] - 1, i + 1)]
        anew = rng.random() < ANEW
        stack, label = self.resliced(i, rng) if anew else (self.pictures[near].astype(np.float32) / 2, self.labels[i])
        alike = self.sure[near].all() and len(set(self.positive[near].tolist())) == 1
        coin = rng.random()
        if coin < 0.25:
            stack[[0, 2]] = stack[1]
        elif coin < 0.45:  # thinner than the pool's
            part = rng.uniform(0.1, 0.8)
            stack[[0, 2]] = part * stack[[0, 2]] + (1 - part) * stack[1]
        elif coin < 0.55 and alike and not anew:  # thicker: the neighbours shine in
            part = rng.uniform(0.1, 0.3)
            stack[1] = (1 - 2 * part) * stack[1] + part * (stack[0] + stack[2])
        return (stack[::-1].copy() if rng.random() < 0.5 else stack), label

    def resliced(self, i: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], Bytes]:
        """Planes between the slices, half of them tilted about the left-right axis, on lines from slice to slice."""
        s = self.studies[self.study_of[i]]
        tilt = np.tan(np.radians(rng.uniform(-18, 18))) * PIXEL_MM / SLICE_MM if rng.random() < 0.5 else 0.0
        rows = np.arange(GRID)
        height = i + rng.uniform(-0.5, 0.5) + tilt * (rows - GRID / 2) + np.arange(-1, 2)[:, None]
        height = np.clip(height, s["start"], s["stop"] - 1)
        below = np.minimum(height.astype(np.intp), s["stop"] - 2)
        part = (height - below).astype(np.float32)[..., None]
        stack = (1 - part) * self.pictures[below, rows] + part * self.pictures[below + 1, rows]
        return stack / 2, self.labels[np.round(height[1]).astype(np.intp), rows]


def first_fact(study: dict) -> dict:
    """What was drawn first; normal heads name their mimics there, real ones nothing."""
    facts = study.get("facts", "")
    return json.loads(facts)[0] if facts.startswith("[") else {}


def look(fact: dict) -> str:
    """Kind and subtype of what was drawn, "sdh chronic"; empty for nothing."""
    return f"{fact['kind']} {fact['subtype']}" if "subtype" in fact else ""


def is_development(patient: str) -> bool:
    return patient.endswith(DEVELOPMENT_DIGIT)


def built_in(seed: int, studies: int = 24, slices: int = 8) -> Pool:
    """Ovals in a ring, half of them with a bright disc: enough to see a training run, of no use for anything else."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:GRID, :GRID] - GRID / 2
    pictures, labels, facts = [], [], []
    for n in range(studies):
        r = np.hypot(x / rng.uniform(60, 80), y / 84)
        head = np.where(r < 0.9, 30.0, np.where(r < 1, 100.0, 0.0)) + rng.normal(0, 2, (slices, GRID, GRID))
        kind = int(rng.integers(1, len(OUTPUTS))) if n % 2 else 0
        x0, y0, radius = rng.uniform(-35, 35), rng.uniform(-35, 35), rng.uniform(5, 14)
        disc = np.hypot(x - x0, y - y0) < radius
        label = np.zeros((slices, GRID, GRID), np.uint8)
        if kind:
            label[2:6, disc] = kind
            head[2:6, disc] += 32
        pictures.append(np.clip(head * 2, 0, 200).astype(np.uint8))
        labels.append(label)
        patient = f"oval {n // 2 * 10 + (5 if n // 2 % 5 == 0 else 1)}"
        facts.append(
            {
                "patient": patient, "origin": ORIGINS[n // 2 % 4], "dressed": False, "kinds": [OUTPUTS[kind]][: kind > 0],
                "facts": "", "tissue_hu": 30.0, "start": n * slices, "stop": (n + 1) * slices,
            }
        )  # fmt: skip
    pool = Pool(np.concatenate(pictures), np.concatenate(labels), np.ones(studies * slices, bool), facts)
    pool.sha256 = {"built in": str(seed)}
    return pool
