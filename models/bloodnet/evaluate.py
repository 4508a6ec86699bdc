"""Measure a bundle on the validation pools and write figures and operating points into its metadata.json.

    python -m models.bloodnet.evaluate

The only place figures come from. The threshold is chosen on validation patients, their mirrored normals and simulated heads;
no study that the tests use as a gate is read here.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.metrics import compute_roc_auc
from numpy.typing import NDArray

from models.bloodnet.export import write_manifest
from models.bloodnet.pool import IGNORE, Pool
from models.bloodnet.settings import from_command_line
from triage_node.bundle.load import load_bundle
from triage_node.detection import preprocess
from triage_node.detection.ich import BloodNetDetector
from triage_node.detection.preprocess import GridStudy, Square
from triage_node.detection.study_score import study_probability

RESAMPLES = 2000


@dataclass(frozen=True)
class Settings:
    bundle: str = str(Path(__file__).parent)
    pool: str = "build/bloodnet"
    seed: int = 1
    raise_specificity: float = 0.95  # of all validation studies without blood; what choose() may spend
    notify_specificity: float = 0.995


@dataclass(frozen=True)
class Scored:
    """One validation study: what it is, its probability, and the overlap of mask and label where it bleeds."""

    patient: str
    origin: str
    dressed: bool
    kinds: tuple[str, ...]
    probability: float
    dice: float


def scored(detector: BloodNetDetector, pool: Pool) -> list[Scored]:
    found = []
    for s in pool.studies:
        here = slice(s["start"], s["stop"])
        hu = pool.pictures[here].astype(np.float32) / 2
        inside = preprocess.intracranial(hu)
        blocks = np.arange(len(hu))
        square = Square(0.0, 0.0, float(preprocess.GRID))
        study = GridStudy(hu, inside, s["tissue_hu"], blocks, square, (preprocess.GRID, preprocess.GRID))
        share, logits = detector.read(study)
        probability = study_probability(logits[:, 0])
        label = pool.labels[here]
        mask, truth = (share[:, 0] > 0.5) & (label != IGNORE), (label > 0) & (label != IGNORE)
        dice = 2 * float((mask & truth).sum()) / max(1.0, float(mask.sum() + truth.sum()))
        found.append(Scored(s["patient"], s["origin"], s["dressed"], tuple(s["kinds"]), probability, dice))
    return found


def auc(studies: list[Scored]) -> float:
    truth = torch.tensor([float(bool(s.kinds)) for s in studies])
    return float(compute_roc_auc(torch.tensor([s.probability for s in studies]), truth))


def interval(studies: list[Scored], rng: np.random.Generator) -> tuple[float, float]:
    """95 % of the AUC over resampled patients, each with all its studies."""
    by_patient: dict[str, list[Scored]] = {}
    for s in studies:
        by_patient.setdefault(s.patient, []).append(s)
    names = sorted(by_patient)
    values = []
    for _ in range(RESAMPLES):
        drawn = [s for name in rng.choice(names, len(names)) for s in by_patient[name]]
        if len({bool(s.kinds) for s in drawn}) == 2:
            values.append(auc(drawn))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def wilson(hits: int, n: int) -> tuple[float, float]:
    p, z = hits / n, 1.96
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return float((middle - half) / (1 + z * z / n)), float((middle + half) / (1 + z * z / n))


def threshold(negatives: NDArray[np.float64], specificity: float) -> float:
    """Halfway in logits between the highest negative that stays silent and the next one, or above all of them."""
    logits = np.sort(np.log(negatives / (1 - negatives)))
    k = int(np.ceil(specificity * len(logits)))
    above = logits[k] if k < len(logits) else logits[-1] + 0.5
    return float(1 / (1 + np.exp(-(logits[k - 1] + above) / 2)))


def rounded(figure: dict) -> dict:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in figure.items()}


if __name__ == "__main__":
    settings = from_command_line(Settings(), sys.argv[1:])
    bundle = load_bundle(Path(settings.bundle))
    pool = Pool.read(Path(settings.pool) / "validation")
    studies = scored(BloodNetDetector(bundle), pool)
    rng = np.random.default_rng(settings.seed)
    real = [s for s in studies if s.origin == "real"]
    mirrored = [s for s in studies if s.origin == "mirrored" and not s.kinds]
    drawn = [s for s in studies if s.kinds and s.origin == "mirrored"]
    negatives = [s for s in studies if not s.kinds]
    scores = np.array([s.probability for s in negatives])
    flag = threshold(scores, settings.raise_specificity)
    notify = max(flag, threshold(scores, settings.notify_specificity))

    figures = []

    def add(name: str, group: list[Scored], value: float, low: float, high: float, data: str, level: str) -> None:
        n_patients = len({s.patient for s in group})
        figure = {"name": name, "value": value, "low": low, "high": high, "n": len(group), "n_patients": n_patients}
        figures.append(rounded({**figure, "data": data, "evidence": level}))

    held_out = (
        "validation patients of PHE-SICH (ids ending in 3 or 8) against their mirrored halves, with and without mimics"
    )
    add("study_auc", real + mirrored, auc(real + mirrored), *interval(real + mirrored, rng), held_out, "E1")
    for kind in ("iph", "ivh", "sah", "sdh", "edh"):
        group = [s for s in drawn if s.kinds[0] == kind] + mirrored
        text = f"simulated {kind} on mirrored halves of validation patients against those halves"
        add(f"study_auc_simulated_{kind}", group, auc(group), *interval(group, rng), text, "E0")
    procedural = [s for s in studies if s.origin == "procedural"]
    text = "procedural heads with and without simulated blood, anatomy never trained on"
    add("study_auc_procedural", procedural, auc(procedural), *interval(procedural, rng), text, "E0")
    for name, group, hit, level in (
        ("sensitivity_real", real, True, "E1"),
        ("sensitivity_simulated", drawn, True, "E0"),
        ("sensitivity_procedural", [s for s in procedural if s.kinds], True, "E0"),
        ("specificity_mirrored", mirrored, False, "E1"),
        ("specificity_procedural", [s for s in procedural if not s.kinds], False, "E0"),
    ):
        hits = sum((s.probability >= flag) == hit for s in group)
        text = "at raise_probability, which was chosen on these very studies: optimistic"
        add(name, group, hits / len(group), *wilson(hits, len(group)), text, level)
    dice = np.array([s.dice for s in real])
    low, high = np.quantile(dice, [0.25, 0.75])
    text = "median and quartiles; reference derived by threshold, not by experts: no clinical accuracy"
    add("dice_real_median", real, float(np.median(dice)), float(low), float(high), text, "E1")

    manifest = json.loads((Path(settings.bundle) / "configs" / "metadata.json").read_text())
    rule = (
        f"specificity {settings.raise_specificity:g} (raise) and {settings.notify_specificity:g} (notify) on {len(negatives)} "
        "validation studies without blood: mirrored halves with and without mimics, and procedural heads"
    )
    point = {"raise_probability": round(flag, 4), "notify_probability": round(notify, 4), "chosen_on": rule}
    manifest["operating_points"] = {"ich": point}
    manifest["evaluation"] = figures
    write_manifest(Path(settings.bundle), manifest)
    for f in figures:
        print(f"{f['name']:26} {f['value']:.3f} ({f['low']:.3f}-{f['high']:.3f}) n {f['n']}")
    print(f"raise {flag:.4f} notify {notify:.4f}")
    for s in sorted(real, key=lambda s: s.probability)[:4] + sorted(negatives, key=lambda s: -s.probability)[:6]:
        print(f"{s.patient} {s.origin} dressed={s.dressed} {s.kinds} {s.probability:.3f}")
