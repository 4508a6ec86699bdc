"""Do thresholds travel? The same heads from other scanners and as other hospitals' pictures, thresholds fixed before.

    report = stress(detector, heads, Thresholds(study=0.42, slice=0.31))

One set is one hospital: all heads altered alike. AUC travels easily, a threshold does not, so sensitivity and specificity at the
stored thresholds stand beside it, with the mean, the worst set and the bounds that were set before. Beside them: what the site
shift (evaluation/calibrate.py) buys. Alterations are simulated, so that all of it is evidence level E0 whatever the heads are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from triage_node.detection.ich import BloodNetDetector
from triage_node.detection.pictures import grid_of_pictures
from triage_node.detection.preprocess import on_grid
from triage_node.domain.case import HeadVolume
from triage_node.domain.errors import EvaluationError, StudyRejected
from triage_node.evaluation.calibrate import QUANTILE
from triage_node.simulation.appearance import APPEARANCES, CANONICAL, FURTHER, Appearance, shown
from triage_node.simulation.scanners import SCANS, Scan, scanned

AS_SCANNED = "as scanned"
SITE_PREVALENCE = 0.15
"""Share of bleeding heads at the site that the shift is tried on: its quantile is weighted so."""
LEVELS = {
    "hu": "Hounsfield units, studies",
    "picture_study": "8-bit pictures, whole studies",
    "picture": "8-bit pictures, one at a time",
}


@dataclass(frozen=True, slots=True)
class Bound:
    """What was asked for before anything was measured; None where nothing was."""

    mean_sensitivity: float | None
    mean_specificity: float | None
    worst_sensitivity: float
    worst_specificity: float


BOUNDS: dict[str, Bound] = {
    "hu": Bound(None, None, 0.93, 0.88),
    "picture_study": Bound(0.92, 0.88, 0.82, 0.75),
    "picture": Bound(0.92, 0.88, 0.82, 0.75),
}
ALL_PICTURES: dict[str, Appearance] = {**APPEARANCES, **FURTHER}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Fixed before: probability of a study and of a single slice or picture from which it is flagged."""

    study: float
    slice: float


@dataclass(frozen=True)
class StressHead:
    """One labelled head. Shape: hu (slice, row, column), lowest first; slice_labels 1, 0 or None, may be empty.

    `hu_range`: where the source was clipped, None when it was not.
    """

    patient: str
    hu: NDArray[np.float32]
    bleeds: bool
    slice_labels: tuple[int | None, ...] = ()
    pixel_mm: float = 1.0
    slice_mm: float = 5.0
    hu_range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class SetScores:
    """Answers of one set. Shape: truth, probability (n,)."""

    level: str
    name: str
    truth: NDArray[np.bool_]
    probability: NDArray[np.float64]
    declined: int = 0


def stress(
    detector: BloodNetDetector,
    heads: Sequence[StressHead],
    thresholds: Thresholds,
    *,
    scans: Mapping[str, Scan] = SCANS,
    appearances: Mapping[str, Appearance] = ALL_PICTURES,
    levels: Iterable[str] = tuple(LEVELS),
    singles: int = 2,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Score all sets and tell what came out. `singles`: pictures drawn of each head for the level "picture".

    `advance` is called after each set. Raises EvaluationError when heads of one class only are given.
    """
    scores = []
    _both_classes(heads)
    for level in levels:
        for name, setting in (scans if level == "hu" else appearances).items():
            scores.append(_scored(detector, heads, level, name, setting, singles, seed))
            advance()
    return told(scores, thresholds)


def told(scores: Sequence[SetScores], thresholds: Thresholds) -> dict[str, Any]:
    """The figures of all sets: rows, a summary per level with its bounds, and in words what was missed."""
    levels: dict[str, Any] = {}
    for level, words in LEVELS.items():
        sets = [s for s in scores if s.level == level]
        if not sets:
            continue
        threshold = thresholds.slice if level == "picture" else thresholds.study
        plain = next((s for s in sets if s.name in (CANONICAL, AS_SCANNED)), None)
        rows = [_row(s, threshold, None if plain is None else _quantile(plain)) for s in sets]
        levels[level] = {"words": words, "threshold": threshold, "sets": rows, **_summary(rows, BOUNDS[level])}
    missed = [f"{v['words']}: {m}" for v in levels.values() for m in v["missed"]]
    return {
        "evidence": "E0",
        "words": "Thresholds fixed before; alterations are simulated. Only a hospital's own data can settle what holds there.",
        "shift_words": f"After the site shift by the set's own {QUANTILE:.0%} quantile, no labels read. The reference are the "
        "same heads unaltered, so this is the most that the shift can buy.",
        "levels": levels,
        "missed": missed,
    }


def figures(report: dict[str, Any], data: str, n_patients: int) -> list[dict[str, Any]]:
    """The report as figures of a bundle's metadata, names beginning with `stress_` (bundle/manifest.py, Figure)."""
    found: list[dict[str, Any]] = []

    def add(name: str, value: float | None, n: int) -> None:
        if value is not None:
            common = {"low": None, "high": None, "n": n, "n_patients": n_patients, "data": data, "evidence": "E0"}
            found.append({"name": f"stress_{name}", "value": round(value, 4), **common})

    for level, v in report["levels"].items():
        n = v["sets"][0]["n"]
        for when in ("fixed", "shifted"):
            for which in ("mean", "worst"):
                for measure in ("sensitivity", "specificity"):
                    add(f"{level}_{which}_{measure}" + ("" if when == "fixed" else "_after_site_shift"), v[when][which][measure], n)  # fmt: skip
        for row in v["sets"]:
            for measure in ("auc", "sensitivity", "specificity"):
                add(f"{level}, {row['set']}, {measure}", row[measure], row["n"])
    return found


def markdown(report: dict[str, Any]) -> str:
    """The report as tables to read."""
    lines = [report["words"], "", report["shift_words"]]
    for v in report["levels"].values():
        lines += ["", f"## {v['words']} (threshold {v['threshold']:.4f})", ""]
        lines += ["| set | n | positive | AUC | sensitivity | specificity | after the shift |", "|---|---|---|---|---|---|---|"]  # fmt: skip
        for r in v["sets"]:
            after = f"{_said(r['shifted_sensitivity'])} / {_said(r['shifted_specificity'])}"
            lines.append(
                f"| {r['set']} | {r['n']} | {r['positives']} | {_said(r['auc'])} | {_said(r['sensitivity'])} "
                f"| {_said(r['specificity'])} | {after} |"
            )
        for which in ("mean", "worst"):
            f, s = v["fixed"][which], v["shifted"][which]
            lines.append(
                f"| **{which}** | | | | {_said(f['sensitivity'])} | {_said(f['specificity'])} "
                f"| {_said(s['sensitivity'])} / {_said(s['specificity'])} |"
            )
        asked = ", ".join(f"{k.replace('_', ' ')} {b:.2f}" for k, b in v["bounds"].items() if b is not None)
        lines += ["", f"Asked for: {asked}. " + ("All met." if not v["missed"] else "MISSED: " + "; ".join(v["missed"]) + ".")]  # fmt: skip
    return "\n".join(lines) + "\n"


def _both_classes(heads: Sequence[StressHead]) -> None:
    if len({h.bleeds for h in heads}) < 2:
        raise EvaluationError("a stress test needs heads with and without hemorrhage")


def _scored(
    detector: BloodNetDetector, heads: Sequence[StressHead], level: str, name: str, setting: Any, singles: int, seed: int
) -> SetScores:  # fmt: skip
    truth, probability, declined = [], [], 0
    for number, head in enumerate(heads):
        answers, lost = _answers(detector, head, level, setting, singles, seed * 100_003 + number)
        truth += [head.bleeds] * len(answers)
        probability += answers
        declined += lost
    return SetScores(level, name, np.array(truth, bool), np.array(probability, np.float64), declined)


def _answers(
    detector: BloodNetDetector, head: StressHead, level: str, setting: Any, singles: int, seed: int
) -> tuple[list[float], int]:
    """Probabilities of one head, and how many pictures could not be read."""
    if level == "hu":
        rng = np.random.default_rng([seed, 0x5CA])
        nothing = np.zeros(head.hu.shape, np.uint8)
        hu, _, step = scanned(head.hu.astype(np.float32), nothing, head.pixel_mm, head.slice_mm, setting, rng)
        spacing, positions = (head.pixel_mm, head.pixel_mm), np.arange(len(hu)) * step
        grid = on_grid(HeadVolume(True, hu, pixel_spacing_mm=spacing, positions_mm=positions).as_volume())
        return [detector.scoring.study(detector.read(grid)[1][:, 0])], 0
    if level == "picture_study":
        grid = grid_of_pictures(shown(head.hu, setting, seed, head.hu_range))
        return [detector.picture_scoring.study(detector.read(grid)[1][:, 0])], 0
    found, lost = [], 0
    for index in _drawn(head, singles, seed):
        picture = shown(head.hu[index : index + 1], setting, seed + index, head.hu_range)
        try:
            _, logits = detector.read(grid_of_pictures(picture))
        except StudyRejected:
            lost += 1
            continue
        found.append(float(detector.picture_scoring.slices(logits[:, 0])[0]))
    return found, lost


def _drawn(head: StressHead, singles: int, seed: int) -> list[int]:
    """Slices for the level of single pictures: with blood of a bleeding head, without blood of another."""
    labels = head.slice_labels
    if not labels:
        return [] if head.bleeds else _some(range(len(head.hu)), singles, seed)
    return _some([i for i, known in enumerate(labels) if known == int(head.bleeds)], singles, seed)


def _some(indices: Sequence[int], singles: int, seed: int) -> list[int]:
    # the same slices in every set: the seed knows nothing of the set
    rng = np.random.default_rng([seed, 0x51C])
    return sorted(int(i) for i in rng.permutation(np.asarray(indices, int))[:singles])


def _row(s: SetScores, threshold: float, reference: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "set": s.name,
        "n": len(s.truth),
        "positives": int(s.truth.sum()),
        "not_read": s.declined,
        "auc": float(roc_auc_score(s.truth, s.probability)) if len(set(s.truth.tolist())) == 2 else None,
        **_at(s.truth, s.probability, threshold),
    }
    own = _quantile(s)
    both = reference is not None and own is not None
    shifted = expit(_logit(s.probability) - own + reference) if both else s.probability
    after = _at(s.truth, shifted, threshold)
    row |= {f"shifted_{k}": v if both else None for k, v in after.items()}
    row["shift"] = own - reference if both else None
    return row


def _at(truth: NDArray[np.bool_], probability: NDArray[np.float64], threshold: float) -> dict[str, float | None]:
    flagged = probability >= threshold
    return {
        "sensitivity": float(flagged[truth].mean()) if truth.any() else None,
        "specificity": float((~flagged[~truth]).mean()) if (~truth).any() else None,
    }


def _quantile(s: SetScores) -> float | None:
    """The quantile of the logits at a site where SITE_PREVALENCE bleed; None when a class is missing."""
    if not s.truth.any() or s.truth.all():
        return None
    weight = np.where(s.truth, SITE_PREVALENCE / s.truth.sum(), (1 - SITE_PREVALENCE) / (~s.truth).sum())
    order = np.argsort(s.probability)
    along = np.cumsum(weight[order])
    return float(_logit(s.probability)[order][int(np.searchsorted(along, QUANTILE))])


def _logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(logit(np.clip(probability, 1e-9, 1 - 1e-9)), np.float64)


def _summary(rows: list[dict[str, Any]], bound: Bound) -> dict[str, Any]:
    found: dict[str, Any] = {"bounds": {k: getattr(bound, k) for k in Bound.__slots__}}
    for when, prefix in (("fixed", ""), ("shifted", "shifted_")):
        known = {m: [r[prefix + m] for r in rows if r[prefix + m] is not None] for m in ("sensitivity", "specificity")}
        found[when] = {
            "mean": {m: float(np.mean(v)) if v else None for m, v in known.items()},
            "worst": {m: min(v) if v else None for m, v in known.items()},
        }
    missed = []
    for which in ("mean", "worst"):
        for measure in ("sensitivity", "specificity"):
            asked, had = found["bounds"][f"{which}_{measure}"], found["fixed"][which][measure]
            if asked is not None and had is None:
                missed.append(f"{which} {measure} is not known")
            elif asked is not None and had < asked:
                where = ""
                if which == "worst":
                    where = f" ({next(r['set'] for r in rows if r[measure] == had)})"
                missed.append(f"{which} {measure} {had:.3f} instead of {asked:.2f}{where}")
    found["missed"] = missed
    return found


def _said(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
