"""Measure a bundle on the held-out heads and write the figures into its metadata.json.

    python -m models.bloodnet.evaluate --pool=build/bloodnet2

The only place figures come from, run once per release: patients whose id ends in 3 or 8, their mirrored halves, and anatomy
never trained on. Nothing is chosen here; thresholds, calibration and the way to join slices come from choose.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.bloodnet.export import write_manifest
from models.bloodnet.pool import Pool
from models.bloodnet.score import Study, keep, kept, least_blood, scored
from models.bloodnet.settings import from_command_line
from triage_node.bundle.load import load_bundle
from triage_node.detection.ich import BloodNetDetector
from triage_node.detection.study_score import Scoring, scoring_of
from triage_node.domain.intervals import proportion_interval
from triage_node.evaluation.bootstrap import auc_interval, interval
from triage_node.evaluation.metrics import auc
from triage_node.evaluation.scored import Answers

SDH_SUBTYPES = ("acute", "chronic", "isodense", "layered", "post-operative", "mixed", "falx")
THIN_MM = 5.0
HELD_OUT = "held-out patients of PHE-SICH (ids ending in 3 or 8)"
HALVES = "their mirrored halves with and without mimics"


@dataclass(frozen=True)
class Settings:
    bundle: str = str(Path(__file__).parent)
    pool: str = "build/bloodnet"
    scores: str = ""  # a file of an earlier run: nothing is scored again
    ablation: str = ""  # what ablate.py wrote, to stand beside these figures


@dataclass(frozen=True)
class Thresholds:
    flag: float
    notify: float
    unsure: float
    of_slice: float


class Figures:
    """Rows of the manifest's `evaluation`."""

    def __init__(self, scoring: Scoring, at: Thresholds) -> None:
        self.scoring, self.at, self.rows = scoring, at, list[dict]()

    def answers(self, studies: Sequence[Study]) -> Answers:
        p = np.array([self.scoring.study(np.array(s.logits)) for s in studies])
        return Answers(np.array([s.bleeds for s in studies]), p, patients_of(studies))

    def add(
        self, name: str, value: float, ends: tuple[float, float] | None, studies: Sequence[Study], data: str, level: str
    ) -> None:
        low, high = ends or (None, None)
        row = {
            "name": name, "value": value, "low": low, "high": high, "n": len(studies),
            "n_patients": len({s.patient for s in studies}), "data": data, "evidence": level,
        }  # fmt: skip
        self.rows.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})

    def auc(self, name: str, bleeding: Sequence[Study], silent: Sequence[Study], data: str, level: str) -> None:
        found = self.answers([*bleeding, *silent])
        value = auc(found)
        if value is not None:
            self.add(name, value, auc_interval(found), [*bleeding, *silent], data, level)

    def share(
        self, name: str, studies: Sequence[Study], hit: Callable[[Answers], np.ndarray], data: str, level: str
    ) -> None:
        if studies:
            found = self.answers(studies)
            hits = hit(found)
            self.add(name, float(hits.mean()), proportion_interval(hits, found.patients), studies, data, level)


def patients_of(studies: Sequence[Study]) -> np.ndarray:
    return np.unique([s.patient for s in studies], return_inverse=True)[1].astype(np.intp)


def slice_answers(studies: Sequence[Study], scoring: Scoring) -> Answers:
    """Every slice whose class is known."""
    p = np.concatenate([scoring.slices(np.array(s.logits)) for s in studies])
    truth = np.concatenate([np.array(s.truth) for s in studies])
    patients = np.repeat(patients_of(studies), [len(s.truth) for s in studies])
    known = truth >= 0
    return Answers(truth[known] == 1, p[known].astype(np.float64), patients[known])


def measure(studies: list[Study], figures: Figures) -> None:
    at, scoring = figures.at, figures.scoring
    real = [s for s in studies if s.is_real]
    halves = [s for s in studies if s.origin == "mirrored" and not s.bleeds]
    mimics = [s for s in halves if s.dressed]
    drawn = [s for s in studies if s.origin == "mirrored" and s.bleeds]
    procedural = [s for s in studies if s.origin == "procedural"]

    figures.auc("study_auc", real, halves, f"{HELD_OUT} against {HALVES}", "E1")
    figures.auc("study_auc_against_mimics", real, mimics, f"{HELD_OUT} against their mirrored halves with mimics", "E1")
    slices = slice_answers([*real, *halves], scoring)
    figures.add("slice_auc_real", auc(slices) or 0.0, auc_interval(slices), [*real, *halves],
                f"{slices.n} slices, {slices.positives} with blood, of {HELD_OUT} and {HALVES}", "E1")  # fmt: skip

    against = "simulated on mirrored halves of held-out patients, against those halves with mimics"

    def simulated(name: str, chosen: Callable[[Study], bool]) -> None:
        figures.auc(f"study_auc_simulated_{name}", [s for s in drawn if chosen(s)], mimics, against, "E0")

    for kind in ("iph", "ivh", "sah", "sdh", "edh"):
        simulated(kind, lambda s, k=kind: s.kinds[0] == k)
    for sub in SDH_SUBTYPES:
        simulated(f"sdh_{sub}", lambda s, k=sub: s.kinds[0] == "sdh" and s.subtype == k)
    extra = ("sdh", "edh")
    simulated("extra_axial_under_5_mm", lambda s: s.kinds[0] in extra and s.thickness_mm < THIN_MM)
    simulated("extra_axial_from_5_mm", lambda s: s.kinds[0] in extra and s.thickness_mm >= THIN_MM)
    for name, low, high in (("under_1_ml", 0, 1), ("1_to_5_ml", 1, 5), ("over_5_ml", 5, np.inf)):
        simulated(f"lesion_{name}", lambda s, a=low, b=high: a <= s.volume_ml < b)
    figures.auc("study_auc_procedural", [s for s in procedural if s.bleeds], [s for s in procedural if not s.bleeds],
                "procedural heads with and without simulated blood, anatomy never trained on", "E0")  # fmt: skip

    fixed = "at the stored threshold, chosen on development heads before"

    def flagged(a: Answers) -> np.ndarray:
        return a.probability >= at.flag

    def silent_at_raise(a: Answers) -> np.ndarray:
        return a.probability < at.flag

    for name, group, level in (
        ("sensitivity_real", real, "E1"), ("sensitivity_simulated", drawn, "E0"),
        ("sensitivity_procedural", [s for s in procedural if s.bleeds], "E0"),
    ):  # fmt: skip
        figures.share(name, group, flagged, f"raise, {fixed}", level)
    for name, group in (
        ("mirrored", halves),
        ("mimics", mimics),
        ("procedural", [s for s in procedural if not s.bleeds]),
    ):
        figures.share(f"specificity_{name}", group, silent_at_raise, f"raise, {fixed}", "E0")
    figures.share("notify_sensitivity_real", real, lambda a: a.probability >= at.notify, f"notify, {fixed}", "E1")
    figures.share("notify_specificity_mirrored", halves, lambda a: a.probability < at.notify, f"notify, {fixed}", "E0")

    whole = [*real, *halves, *drawn]

    def unsure(a: Answers) -> np.ndarray:
        return (a.probability >= at.unsure) & (a.probability < at.flag)

    figures.share(
        "unsure_rate", whole, unsure, f"real, simulated and bleed-free studies of held-out patients, {fixed}", "E0"
    )
    among = [s for s, u in zip(whole, unsure(figures.answers(whole)), strict=True) if u]
    if among:
        text = "of the answers not sure, those with blood: what would have been missed"
        figures.share("unsure_with_blood", among, lambda a: a.truth, text, "E0")
    silent = [s for s, p in zip(whole, figures.answers(whole).probability, strict=True) if p < at.unsure]
    if silent:
        figures.share("silent_with_blood", silent, lambda a: a.truth, "of the silent answers, those with blood", "E0")

    truth, hit = slices.truth, slices.probability >= at.of_slice
    text = f"slices of {HELD_OUT} and {HALVES}, {fixed}"
    figures.add("slice_sensitivity_real", float(hit[truth].mean()),
                proportion_interval(hit[truth], slices.patients[truth]), real, text, "E1")  # fmt: skip
    figures.add("slice_specificity_real", float((~hit[~truth]).mean()),
                proportion_interval(~hit[~truth], slices.patients[~truth]), [*real, *halves], text, "E1")  # fmt: skip
    dice = np.array([s.dice for s in real])
    ends = interval(lambda rows: float(np.median(dice[rows])), patients_of(real))
    text = "median; reference derived by threshold, not by experts: no clinical accuracy"
    figures.add("dice_real_median", float(np.median(dice)), ends, real, text, "E1")


if __name__ == "__main__":
    settings = from_command_line(Settings(), sys.argv[1:])
    bundle = load_bundle(Path(settings.bundle))
    if settings.scores:
        studies = kept(Path(settings.scores))
    else:
        pool = Pool.read(Path(settings.pool) / "validation")
        detector = BloodNetDetector(bundle)
        # a simulated bleed too small to be called so is none; a patient is one whatever is seen
        chosen = [s for s in pool.studies if s["origin"] == "real" or not s["kinds"] or least_blood(pool, s)]
        studies = [scored(detector, pool, s) for s in chosen]
        keep(studies, Path(settings.pool) / "held_out.json")
    point = bundle.manifest.operating_points["ich"]
    flag = point.raise_probability
    of_slice = flag if point.slice_probability is None else point.slice_probability
    unsure = flag if point.unsure_from is None else point.unsure_from
    figures = Figures(scoring_of(bundle.manifest), Thresholds(flag, point.notify_probability, unsure, of_slice))
    measure(studies, figures)
    manifest = json.loads((Path(settings.bundle) / "configs" / "metadata.json").read_text())
    kept_rows = ("ablation_", "stress_", "runtime_", "baseline_", "naming_")
    others = [f for f in manifest["evaluation"] if f["name"].startswith(kept_rows)]
    if settings.ablation:
        others = [f for f in others if not f["name"].startswith("ablation_")]
        others += json.loads(Path(settings.ablation).read_text())["rows"]
    manifest["evaluation"] = figures.rows + others
    write_manifest(Path(settings.bundle), manifest)
    for f in figures.rows:
        ends = "" if f["low"] is None else f" ({f['low']:.3f}-{f['high']:.3f})"
        print(f"{f['name']:42} {f['value']:.3f}{ends} n {f['n']}, {f['n_patients']} patients")
