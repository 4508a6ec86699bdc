"""Choose how slices make a study, the calibration and every threshold, on development heads alone, into metadata.json.

    python -m models.bloodnet.choose --pool=build/bloodnet2

Development: patients, templates and procedural heads whose name ends in 5, never trained on in this run, as they are and as
other scanners and other hospitals' 8-bit pictures would show them. Heads after contrast medium are left out: the node does not
read them. Pictures have a calibration of their own, so that one threshold serves them and Hounsfield units. The held-out
patients and the GE study choose nothing.
"""

from __future__ import annotations

import json
import sys
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from models.bloodnet.augment import exported, posed
from models.bloodnet.export import write_manifest
from models.bloodnet.pool import Pool
from models.bloodnet.score import Study, keep, kept, least_blood, scored, study_on_grid, told
from models.bloodnet.settings import from_command_line
from triage_node.bundle.load import load_bundle
from triage_node.detection.ich import BloodNetDetector
from triage_node.detection.pictures import tissue_density
from triage_node.detection.preprocess import channels, intracranial
from triage_node.detection.study_score import AGGREGATIONS
from triage_node.evaluation.calibrate import quartile_logit
from triage_node.simulation.scanners import drawn_scan

Array = NDArray[np.float64]
AS_GOOD = 0.005
"""Ways to join slices whose mean AUC differs by less are taken for equal."""


@dataclass(frozen=True)
class Settings:
    bundle: str = str(Path(__file__).parent)
    pool: str = "build/bloodnet"
    scores: str = ""  # a file of an earlier run: nothing is scored again
    jobs: int = 1  # processes that score side by side
    seed: int = 1
    scans: int = 1  # how many other scanners each study is shown by
    picture_studies: int = 240  # whole studies as 8-bit pictures, half of them with blood
    pictures: int = 1200  # single slices as 8-bit pictures, half of them with blood
    raise_specificity: float = 0.90  # of development studies without blood
    notify_specificity: float = 0.995
    unsure_specificity: float = 0.80
    slice_specificity: float = 0.9925  # one silent slice in four studies of thirty
    picture_specificity: float = 0.94  # of single pictures, which stand for nothing but themselves


def part_scored(settings: Settings, part: int) -> list[Study]:
    """One of `settings.jobs` parts of the development studies, or, as the last part, the pictures."""
    pool = Pool.read(Path(settings.pool) / "train")
    detector = BloodNetDetector(load_bundle(Path(settings.bundle)))
    if part == settings.jobs:
        return picture_studies(detector, pool, settings) + picture_slices(detector, pool, settings)
    return development_studies(detector, pool, settings, part)


def development_studies(detector: BloodNetDetector, pool: Pool, settings: Settings, part: int) -> list[Study]:
    """Every study by the scanners that are drawn for it, whatever the number of parts."""
    rng = np.random.default_rng(settings.seed)
    found = []
    for i, s in enumerate(judged(pool)):
        scans = [drawn_scan(rng) for _ in range(settings.scans)]
        if i % settings.jobs == part:
            found += [scored(detector, pool, s, scan, settings.seed) for scan in (None, *scans)]
            print(f"part {part + 1} of {settings.jobs}: {i + 1} of {len(judged(pool))} studies", flush=True)
    return found


def judged(pool: Pool) -> list[dict]:
    """Development studies that the node would read: not after contrast medium, and none that should bleed but hardly does."""
    return [
        s
        for s in pool.development()
        if not s["patient"].startswith("contrast") and (not s["kinds"] or s["origin"] == "real" or least_blood(pool, s))
    ]


def picture_studies(detector: BloodNetDetector, pool: Pool, settings: Settings) -> list[Study]:
    """Development studies, each as another hospital's pictures: one window, one treatment for all of its slices."""
    rng = np.random.default_rng([settings.seed, 3])
    found = []
    for bleeds in (True, False):
        these = [s for s in judged(pool) if bool(s["kinds"]) is bleeds]
        for i in rng.choice(len(these), min(len(these), settings.picture_studies // 2), replace=False):
            s = these[int(i)]
            read, _ = exported(pool.hu(s), float(s["tissue_hu"]), False, rng)
            shown = study_on_grid(read, tissue_density(read, intracranial(read)))
            found.append(told(pool, s, "picture", detector.read(shown)[1][:, 0]))
    return found


def picture_slices(detector: BloodNetDetector, pool: Pool, settings: Settings) -> list[Study]:
    """Development slices, each as a foreign single picture and so a study of its own."""
    rng = np.random.default_rng([settings.seed, 2])
    names = {s["start"] for s in judged(pool)}
    development = np.array([s["start"] in names for s in pool.studies])[pool.study_of]
    found = []
    for positive, here in ((True, pool.positive), (False, pool.negative)):
        candidates = np.flatnonzero(here & development)
        for i in rng.choice(candidates, min(len(candidates), settings.pictures // 2), replace=False):
            hu = torch.from_numpy(np.repeat(pool.pictures[i][None].astype(np.float32) / 2, 3, axis=0))[None]
            label = torch.from_numpy(pool.labels[i])[None]
            hu, _ = posed(hu, label, np.ones(1, bool), rng)
            s = pool.studies[pool.study_of[i]]
            read, _ = exported(hu[0].numpy(), float(s["tissue_hu"]), True, rng)
            centre = read[:1]
            tissue = tissue_density(centre, intracranial(centre))
            logits = detector.run(channels(centre, centre, centre, tissue))[1][:, 0]
            found.append(told(pool, s, "single picture", logits, np.array([int(positive)])))
    return found


def balanced_logistic(x: Array, y: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset that make logits into probabilities where one in two bleeds (Platt)."""
    fit = LogisticRegression(C=1e3, class_weight="balanced").fit(x[:, None], y)
    return float(fit.coef_[0, 0]), float(fit.intercept_[0])


def threshold(negatives: Array, specificity: float) -> float:
    """Halfway in logits between the highest negative that stays silent and the next one, or above all of them."""
    logits = logit(np.sort(negatives))
    k = int(np.ceil(specificity * len(logits)))
    above = logits[k] if k < len(logits) else logits[-1] + 0.5
    return float(expit((logits[k - 1] + above) / 2))


def group_of(study: Study) -> str:
    return "real" if study.is_real else study.kinds[0]


def aggregation_figures(studies: list[Study]) -> dict[str, tuple[float, float]]:
    """Name: AUC of real bleeds, and mean AUC over real and the five simulated types, against all without blood."""
    negatives = [s for s in studies if not s.bleeds]
    found = {}
    for name, join in AGGREGATIONS.items():
        below = [join(np.array(s.logits)) for s in negatives]
        by_group: dict[str, list[float]] = {}
        for s in studies:
            if s.bleeds:
                by_group.setdefault(group_of(s), []).append(join(np.array(s.logits)))
        aucs = {
            g: float(roc_auc_score([1] * len(v) + [0] * len(below), [*v, *below])) for g, v in sorted(by_group.items())
        }
        found[name] = (aucs.get("real", float("nan")), float(np.mean(list(aucs.values()))))
    return found


def chosen_aggregation(figures: dict[str, tuple[float, float]]) -> str:
    """The best for real bleeds among those whose mean is as good as the best one's: simulated types are many, and simulated."""
    highest = max(mean for _, mean in figures.values())
    return max((n for n, (_, mean) in figures.items() if mean > highest - AS_GOOD), key=lambda n: figures[n][0])


@dataclass(frozen=True)
class Line:
    """From logits to probabilities."""

    slope: float
    offset: float

    def __call__(self, logits: Array) -> Array:
        p: Array = expit(self.slope * logits + self.offset)
        return p

    def sharing(self, own: float, shared: float) -> Line:
        """Moved so that the threshold `own` comes to lie at `shared`."""
        return Line(self.slope, self.offset + float(logit(shared) - logit(own)))


def slices_of(studies: list[Study]) -> tuple[Array, NDArray[np.bool_]]:
    """Logits and truth of every slice whose class is known."""
    x = np.concatenate([np.array(s.logits) for s in studies])
    truth = np.concatenate([np.array(s.truth) for s in studies])
    return x[truth >= 0], truth[truth >= 0] == 1


def shares(p: Array, y: NDArray[np.bool_], at: float) -> str:
    return f"sensitivity {(p[y] >= at).mean():.3f}, specificity {(p[~y] < at).mean():.3f}"


if __name__ == "__main__":
    settings = from_command_line(Settings(), sys.argv[1:])
    if settings.scores:
        everything = kept(Path(settings.scores))
    else:
        parts = Parallel(settings.jobs)(delayed(part_scored)(settings, k) for k in range(settings.jobs + 1))
        everything = [study for part in parts for study in part]
        keep(everything, Path(settings.pool) / "development.json")
    studies = [s for s in everything if s.scan not in ("picture", "single picture")]
    as_pictures = [s for s in everything if s.scan == "picture"]
    by_aggregation = aggregation_figures(studies)
    for name, (real, mean) in by_aggregation.items():
        print(f"{name:10} AUC real {real:.4f}, mean of real and the five simulated types {mean:.4f}")
    best = chosen_aggregation(by_aggregation)
    join = AGGREGATIONS[best]

    x, y = np.array([join(np.array(s.logits)) for s in studies]), np.array([s.bleeds for s in studies])
    line = Line(*balanced_logistic(x, y))
    p = line(x)
    flag, notify, unsure = (
        threshold(p[~y], f)
        for f in (settings.raise_specificity, settings.notify_specificity, settings.unsure_specificity)
    )
    picture_x, picture_y = np.array([join(np.array(s.logits)) for s in as_pictures]), np.array([s.bleeds for s in as_pictures])  # fmt: skip
    picture_line = Line(*balanced_logistic(picture_x, picture_y))
    own = threshold(picture_line(picture_x[~picture_y]), settings.raise_specificity)
    picture_line = picture_line.sharing(own, flag)

    slice_x, slice_y = slices_of([s for s in studies if not s.scan])
    of_slices = Line(*balanced_logistic(slice_x, slice_y))
    of_slice = threshold(of_slices(slice_x[~slice_y]), settings.slice_specificity)
    single_x, single_y = slices_of([s for s in everything if s.scan == "single picture"])
    of_singles = Line(*balanced_logistic(single_x, single_y))
    own = threshold(of_singles(single_x[~single_y]), settings.picture_specificity)
    of_singles = of_singles.sharing(own, of_slice)

    n, heads = int((~y).sum()), len({s.patient for s in studies})
    also = "; some as another scanner" if any(s.scan for s in studies) else ""
    rule = (
        f"specificity {settings.raise_specificity:g} (raise), {settings.notify_specificity:g} (notify) and "
        f"{settings.unsure_specificity:g} (unsure from) on {n} development studies without blood (names ending in 5: mirrored "
        f"halves with and without mimics, templates, procedural heads{also}); slice: specificity "
        f"{settings.slice_specificity:g} on their slices. 8-bit pictures are moved so that the same thresholds have specificity "
        f"{settings.raise_specificity:g} on {len(as_pictures)} studies and {settings.picture_specificity:g} on {len(single_x)} slices "
        "shown as pictures"
    )
    path = Path(settings.bundle) / "configs" / "metadata.json"
    manifest = json.loads(path.read_text())
    manifest["operating_points"] = {
        "ich": {
            "raise_probability": round(flag, 4), "notify_probability": round(max(flag, notify), 4),
            "unsure_from": round(min(unsure, flag), 4), "slice_probability": round(of_slice, 4),
            "quartile_logit": round(quartile_logit(p[~y]), 4), "chosen_on": rule,
        }
    }  # fmt: skip

    def lines(of_study: Line, of_slice: Line) -> dict[str, float]:
        names = ("slope", "offset", "slice_slope", "slice_offset")
        return dict(zip(names, (round(v, 5) for v in (*astuple(of_study), *astuple(of_slice))), strict=True))

    manifest["calibration"] = {
        "ich": {
            "aggregation": best, **lines(line, of_slices), "picture": lines(picture_line, of_singles),
            "chosen_on": f"{len(studies)} development studies of {heads} heads, as likely to bleed as not; of the ways to join "
            f"slices the best for real bleeds among those within {AS_GOOD:g} of the best mean AUC over real bleeds and the five "
            "simulated types: "
            + ", ".join(f"{k} {v[1]:.4f} (real {v[0]:.4f})" for k, v in by_aggregation.items()),
        }
    }  # fmt: skip
    write_manifest(Path(settings.bundle), manifest)
    real = np.array([s.is_real and s.bleeds for s in studies])
    print(f"{best}: {line}, raise {flag:.4f} notify {notify:.4f} unsure from {unsure:.4f} slice {of_slice:.4f}")
    print(f"development studies: {shares(p, y, flag)}; real {(p[real] >= flag).mean():.3f}")
    print(f"as pictures: {shares(picture_line(picture_x), picture_y, flag)}")
    print(f"slices: {shares(of_slices(slice_x), slice_y, of_slice)}")
    print(f"as single pictures: {shares(of_singles(single_x), single_y, of_slice)}")
