"""Fit how pieces of the mask are named on development heads; with --measure, measure it on the held-out ones.

    python -m models.bloodnet.naming --pool=build/bloodnet2
    python -m models.bloodnet.naming --pool=build/bloodnet2 --measure

A multinomial regression over what the network says of a piece and of its slices (triage_node/detection/naming.py). As many
pieces of each kind as there are: most small pieces are no blood, and shall not be called a bleed of some type. Its strength is
chosen by cross-validation that keeps the pieces of one head together. Held-out heads choose nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from models.bloodnet.choose import judged
from models.bloodnet.export import write_manifest
from models.bloodnet.pool import IGNORE, LABEL, PIXEL_MM, SLICE_MM, Pool
from models.bloodnet.score import least_blood, study_on_grid
from models.bloodnet.settings import from_command_line
from triage_node.bundle.load import load_bundle
from triage_node.bundle.manifest import Naming
from triage_node.detection.components import LEAST_ML, MOST_COMPONENTS, connected
from triage_node.detection.ich import MASK_PROBABILITY, BloodNetDetector
from triage_node.detection.naming import features_of, name_of
from triage_node.domain.finding import SUBTYPES
from triage_node.domain.intervals import proportion_interval

LEAST_BLOOD = 0.1
"""Share of a piece's pixels that must be blood for it to be a bleed."""
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Inverse strengths of the regression's penalty."""
FOLDS = 5
NONE = 0


@dataclass(frozen=True)
class Settings:
    bundle: str = str(Path(__file__).parent)
    pool: str = "build/bloodnet"
    jobs: int = 1  # processes that read side by side
    measure: int = 0  # 1: measure on held-out heads instead of fitting


@dataclass(frozen=True)
class Piece:
    """What it is named by, and the truth: 0 for no blood, else the label of its type (iph 1 .. edh 5)."""

    features: NDArray[np.float64]
    truth: int


@dataclass(frozen=True)
class Read:
    """One study: its pieces, and the types that were drawn into it."""

    patient: str
    is_real: bool
    kinds: frozenset[str]
    pieces: tuple[Piece, ...]

    def named(self, naming: Naming | None) -> frozenset[str]:
        return frozenset(name_of(p.features, naming) for p in self.pieces) - {""}


def truth_of(label: NDArray[np.uint8], is_real: bool) -> int | None:
    """Of the labels under a piece; None where nobody knows: mostly not labelled, or beside the clot of a real patient."""
    known = label[label != IGNORE]
    if 2 * len(known) < len(label):
        return None
    counts = np.bincount(known, minlength=len(LABEL))[1:]
    if counts.sum() < LEAST_BLOOD * len(known):
        # what is labelled in a real head is its clot, and not the blood in the ventricles beside it
        return None if is_real else NONE
    return int(counts.argmax()) + 1


def read(detector: BloodNetDetector, pool: Pool, study: dict) -> Read:
    """One study of a pool by the way that a volume takes in the node."""
    label = pool.labels[study["start"] : study["stop"]]
    share, logits = detector.read(study_on_grid(pool.hu(study), study["tissue_hu"]))
    numbers = connected(share[:, 0] > MASK_PROBABILITY)
    ml = np.bincount(numbers.ravel()) * PIXEL_MM**2 * SLICE_MM / 1000
    ml[0] = 0
    is_real = study["origin"] == "real"
    pieces = []
    for number in np.argsort(-ml)[:MOST_COMPONENTS]:
        if ml[number] < LEAST_ML:
            break
        piece = numbers == number
        truth = truth_of(label[piece], is_real and bool(study["kinds"]))
        if truth is not None:
            pieces.append(Piece(features_of(piece, share[:, 1:], logits, float(ml[number])), truth))
    return Read(study["patient"], is_real, frozenset(study["kinds"]), tuple(pieces))


def part_read(settings: Settings, subset: str, part: int) -> list[Read]:
    """One of `settings.jobs` parts of the development studies ("train") or of the held-out ones ("validation")."""
    pool = Pool.read(Path(settings.pool) / subset)
    detector = BloodNetDetector(load_bundle(Path(settings.bundle)))
    held_out = [s for s in pool.studies if s["origin"] == "real" or not s["kinds"] or least_blood(pool, s)]
    studies = judged(pool) if subset == "train" else held_out
    return [read(detector, pool, s) for i, s in enumerate(studies) if i % settings.jobs == part]


def fitted(studies: Sequence[Read]) -> Naming:
    """Coefficients for features as they are, with the words that say on what and how well."""
    x = np.array([p.features for s in studies for p in s.pieces])
    y = np.array([p.truth for s in studies for p in s.pieces])
    heads = np.array([s.patient for s in studies for _ in s.pieces])

    def regression(strength: float) -> Pipeline:
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))

    folds = GroupKFold(min(FOLDS, len(set(heads))))
    right = {c: float(cross_val_score(regression(c), x, y, groups=heads, cv=folds).mean()) for c in STRENGTHS}
    best = max(right, key=lambda c: right[c])
    (_, scale), (_, model) = regression(best).fit(x, y).steps
    # of features as they are, not scaled; a type that never occurs is never said
    rows = np.zeros((len(LABEL), x.shape[1]))
    at = np.full(len(LABEL), -1e3)
    rows[model.classes_] = model.coef_ / scale.scale_
    at[model.classes_] = model.intercept_ - (model.coef_ * scale.mean_ / scale.scale_).sum(axis=1)
    words = (
        f"{len(y)} pieces of {len(studies)} development studies of {len(set(heads))} heads (names ending in 5), "
        f"{int((y == NONE).sum())} of them no blood; inverse penalty {best:g} by cross-validation over heads: "
        f"{right[best]:.3f} of the pieces right"
    )
    return Naming.model_validate(
        {"coefficients": rows.round(5).tolist(), "intercepts": at.round(5).tolist(), "fitted_on": words}
    )


def figures(prefix: str, studies: Sequence[Read], naming: Naming | None) -> list[dict]:
    """Rows for the manifest's `evaluation`. Simulated types only: in real heads nobody labelled any but the clot."""
    drawn = [s for s in studies if s.kinds and not s.is_real]
    data = "simulated bleeds in held-out anatomy; a type is named on at least one piece"

    def row(name: str, hits: list[bool], of: Sequence[Read], what: str) -> dict:
        patients = np.unique([s.patient for s in of], return_inverse=True)[1].astype(np.intp)
        low, high = proportion_interval(np.array(hits), patients)
        return {
            "name": f"{prefix}_{name}", "value": round(float(np.mean(hits)), 4), "low": round(low, 4), "high": round(high, 4),
            "n": len(of), "n_patients": len(set(patients.tolist())), "data": f"{what}; {data}", "evidence": "E0",
        }  # fmt: skip

    rows = [
        row(
            "exact",
            [s.named(naming) == s.kinds for s in drawn],
            drawn,
            "studies whose types are all named and no other",
        )
    ]
    for kind in SUBTYPES:
        bleeding, said = [s for s in drawn if kind in s.kinds], [s for s in drawn if kind in s.named(naming)]
        if bleeding:
            rows.append(
                row(f"found_{kind}", [kind in s.named(naming) for s in bleeding], bleeding, f"{kind} drawn: named so")
            )
        if said:
            rows.append(row(f"right_{kind}", [kind in s.kinds for s in said], said, f"{kind} named: drawn"))
    return rows


if __name__ == "__main__":
    settings = from_command_line(Settings(), sys.argv[1:])
    subset = "validation" if settings.measure else "train"
    parts = Parallel(settings.jobs)(delayed(part_read)(settings, subset, k) for k in range(settings.jobs))
    studies = [study for part in parts for study in part]
    path = Path(settings.bundle) / "configs" / "metadata.json"
    manifest = json.loads(path.read_text())
    if settings.measure:
        naming = load_bundle(Path(settings.bundle)).manifest.naming
        if naming is None:
            raise SystemExit("the bundle has no naming yet: fit it first, without --measure")
        names = ("naming", "baseline_naming_by_largest_share")
        rows = [*figures(names[0], studies, naming), *figures(names[1], studies, None)]
        others = [f for f in manifest["evaluation"] if not f["name"].startswith(names)]
        manifest["evaluation"] = others + rows
        for f in rows:
            print(f"{f['name']:45} {f['value']:.3f} ({f['low']:.3f}-{f['high']:.3f}) n {f['n']}")
    else:
        naming = fitted(studies)
        manifest["naming"] = naming.model_dump(mode="json")
        print(naming.fitted_on)
        for which, by in (("fitted", naming), ("by largest share", None)):
            print(which, *(f"{f['name']} {f['value']:.3f}" for f in figures("", studies, by)))
        real = [s for s in studies if s.is_real and s.kinds]
        print("real", *(f"{'+'.join(sorted(s.named(naming))) or 'none'}" for s in real))
    write_manifest(Path(settings.bundle), manifest)
