"""Fit the logistic models on "fit" patients, measure all three on "test" patients, and write both into the bundle.

    python -m models.expansion.evaluate

The network read neither group. Because every patient's true probability is known, the best reachable result (Bayes) stands
beside each figure, and calibration is measured against the probability itself as well as against the coins. The only place
where figures of this bundle come from; level E0.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.expansion import logistic
from models.expansion.export import OUTPUTS, write_manifest
from models.expansion.laid_out import as_scanned, mask_as_scanned
from models.expansion.pool import Pool, built_in, read
from models.expansion.settings import from_command_line
from triage_node.domain.finding import BundleIdentity, Component, Detection, Location
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.prognosis import bat, brain, nag
from triage_node.prognosis.expansion import (
    CLINICAL,
    FIELDS,
    IMAGE,
    INTEGRATED,
    MODEL_FILE,
    VOXEL_ML,
    YES_NO,
    Expansion,
    ExpansionModel,
    Logistic,
    image_features,
    network_input,
    variables_of,
)
from triage_node.simulation.cohort import EXPANSION_DEFINITIONS, Facts, VirtualPatient

Floats = NDArray[np.float64]
PLACES = {"lobar": Location.LOBAR, "deep": Location.DEEP}
LEAST_IVH_ML = 0.5
BINS = 10
CHOICES, COINS = 5, 20
"""Likely values that stand in for a number, and for a yes or no, that is missing."""


@dataclass(frozen=True)
class Settings:
    bundle: str = str(Path(__file__).parent)
    pool: str = "build/expansion"
    smoke_patients: int = 0  # a built-in pool of so many instead
    resamples: int = 2000
    seed: int = 1


# ---- what the network says, and the facts as the node has them ----------------------------------------------------------


@dataclass(frozen=True)
class Read:
    """One entry per patient. features: as the node has them; ml, ivh_ml: by the mask; dice: parenchymal, against the truth."""

    features: list[dict[str, float]]
    ml: Floats
    ivh_ml: Floats
    dice: Floats


def network_answers(
    session: onnxruntime.InferenceSession, pool: Pool, which: NDArray[np.intp], pictures: NDArray[np.uint8]
) -> Read:
    """Of pictures as the node lays them out."""
    features, rows = [], []
    began = time.monotonic()
    for n, (i, picture) in enumerate(zip(which, pictures, strict=True)):
        mask, score, signs = session.run(list(OUTPUTS), {"picture": network_input(picture[None])})
        features.append(image_features(picture, mask[0], score[0, 0], signs[0]))
        found, truth = mask[0] > 0, mask_as_scanned(pool, i)
        dice = 2 * (found[0] & truth[0]).sum() / max(1, found[0].sum() + truth[0].sum())
        rows.append((found[0].sum() * VOXEL_ML, found[1].sum() * VOXEL_ML, dice))
        if n % 200 == 199:
            left = (time.monotonic() - began) / (n + 1) * (len(which) - n)
            print(f"{n + 1} of {len(which)}, {left:.0f} s left", flush=True)
    return Read(features, *(np.array(column, float) for column in zip(*rows, strict=True)))


def facts_of(facts: Facts) -> ClinicalFacts:
    """A virtual patient's facts as the node would hold them."""
    return ClinicalFacts(
        age_years=facts.age_years, sex=None if facts.male is None else "M" if facts.male else "F", gcs=facts.gcs,
        nihss=facts.nihss, onset_to_ct_h=facts.onset_to_ct_h, on_anticoagulant=facts.on_anticoagulant,
        on_warfarin=facts.on_warfarin, on_antiplatelet=facts.on_antiplatelet, recurrent_ich=facts.previous_ich,
        cognitive_impairment_before=facts.cognitive_impairment_before, systolic_mmhg=facts.pressure_mmhg,
        glucose_mg_dl=facts.glucose_mg_dl, trauma=False,
    )  # fmt: skip


def known_of(patient: VirtualPatient, ml: float, ivh: bool, facts: Facts | None = None) -> dict[str, float | None]:
    place = PLACES.get(patient.bleed.place, Location.INFRATENTORIAL).value
    return variables_of(facts_of(facts or patient.recorded), ml, ivh, place)


def table(known: list[dict[str, float | None]], names: tuple[str, ...]) -> Floats:
    """Shape: (n, len(names)); NaN where not known."""
    return np.array([[np.nan if k[n] is None else k[n] for n in names] for k in known], float)


def shown_by_node(node: Expansion, answers: Read, patients: list[VirtualPatient]) -> Floats:
    """1 for each patient whose chance stands on the page, 0 where the predictor abstains. Detection: what was drawn."""
    shown = []
    for features, ml, patient in zip(answers.features, answers.ml, patients, strict=True):
        place = PLACES.get(patient.bleed.place, Location.INFRATENTORIAL)
        drawn = [("iph", patient.bleed.volume_ml, place)]
        drawn += [("ivh", patient.bleed.ivh_ml, Location.VENTRICULAR)] * bool(patient.bleed.ivh)
        pieces = tuple(
            Component(k, v, kind, at, 0, (0.0, 0.0, 0.0), 0.9, False) for k, (kind, v, at) in enumerate(drawn)
        )
        nothing = np.zeros((1, 1, 1), np.uint8)
        detection = Detection(
            study_probability=0.9, slice_probabilities=np.ones(1, np.float32), subtype_probabilities={}, mask=nothing,
            heat=nothing, hematoma_volume_ml=sum(p.volume_ml for p in pieces), components=pieces, key_slice_index=0,
            bundle=BundleIdentity("drawn", "0", "", "none", {}),
        )  # fmt: skip
        said = node.predict({"ml": ml, "features": features}, detection, facts_of(patient.recorded))
        shown.append(float(not said.abstained))
    return np.array(shown)


# ---- figures ------------------------------------------------------------------------------------------------------------


def auc(truth: Floats, score: Floats) -> float:
    """Ties count half."""
    order = np.argsort(score, kind="stable")
    _, first, counts = np.unique(score[order], return_index=True, return_counts=True)
    rank = np.empty(len(score))
    rank[order] = np.repeat(first + (counts + 1) / 2, counts)
    positive = truth > 0
    n, m = positive.sum(), (~positive).sum()
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


def brier(truth: Floats, p: Floats) -> float:
    return float(((truth - p) ** 2).mean())


def calibration_slope(truth: Floats, p: Floats) -> float:
    """Of the label on the logit of the prediction; 1 is right, below 1 too sure."""
    beta, _, _ = logistic.fitted(_logit(p)[:, None], truth)
    return float(beta[1])


def slope_against_known(known: Floats, p: Floats) -> float:
    """Of the true logit on the predicted one: no coin in it (ML.md 9.6)."""
    return float(np.polyfit(_logit(p), _logit(known), 1)[0])


def ece(truth: Floats, p: Floats) -> float:
    """Expected calibration error over ten bins of equal size."""
    parts = np.array_split(np.argsort(p, kind="stable"), BINS)
    return float(sum(len(i) * abs(truth[i].mean() - p[i].mean()) for i in parts if len(i)) / len(p))


def at_threshold(truth: Floats, p: Floats, threshold: float) -> tuple[float, float, float]:
    """Accuracy, sensitivity, specificity."""
    said = p >= threshold
    return float((said == (truth > 0)).mean()), float(said[truth > 0].mean()), float((~said)[truth == 0].mean())


def youden(truth: Floats, p: Floats) -> float:
    """The threshold with the largest sum of sensitivity and specificity."""
    steps = np.unique(p)
    return float(max(steps, key=lambda t: sum(at_threshold(truth, p, t)[1:])))


def resampled(n: int, statistic: Callable[[NDArray[np.intp]], float], settings: Settings) -> tuple[float, float]:
    """95 % interval by patient."""
    rng = np.random.default_rng(settings.seed)
    found = [statistic(rng.integers(n, size=n)) for _ in range(settings.resamples)]
    found = [f for f in found if np.isfinite(f)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _logit(p: Floats) -> Floats:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


# ---- the run ------------------------------------------------------------------------------------------------------------


def choices_of(known: list[dict[str, float | None]]) -> dict[str, list[dict[str, float]]]:
    """Per field, likely values of its variables when it is missing: quantiles of a number, or as many yes and no as are usual."""
    groups: dict[str, list[str]] = {}
    for name in CLINICAL:
        groups.setdefault(FIELDS.get(name, name), []).append(name)
    found: dict[str, list[dict[str, float]]] = {}
    for field, names in groups.items():
        rows = table(known, tuple(names))
        rows = rows[~np.isnan(rows).any(axis=1)]
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        if names[0] in YES_NO:
            at = np.flatnonzero(
                np.r_[True, np.diff(rows[:, 0]) > 0]
            )  # each value once; likely ones decide the mean below
            share = rows[:, 0].mean()
            yes = max(1, round(CHOICES * share))
            found[field] = [{names[0]: 0.0}] * (CHOICES - yes) + [{names[0]: 1.0}] * yes
            continue
        at = ((np.arange(CHOICES) + 0.5) / CHOICES * len(rows)).astype(int)
        found[field] = [dict(zip(names, map(float, rows[i]), strict=True)) for i in at]
    return found


def model_of(pool: Pool, which: NDArray[np.intp], answers: Read, truth: Floats, definition: str, seed: int) -> dict:
    """configs/expansion.json: the normalised score, forward selection, both logistic models and what they need."""
    pixels = np.array([[f[n] for n in IMAGE] for f in answers.features])
    middle, spread = pixels.mean(axis=0), pixels.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    seen = logistic.standardised(pixels, middle, spread)
    image = logistic.logistic(seen, truth, IMAGE, logistic.forward_selection(seen, truth, IMAGE))
    score = image.logit(seen[:, [IMAGE.index(n) for n in image.names]])
    known = known_of_all(pool, which, answers, score)
    names = INTEGRATED
    x = table(known, names)
    mean, deviation = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    z = logistic.standardised(x, mean, deviation)
    facts = z[:, [names.index(n) for n in CLINICAL]]
    clinical = logistic.forward_selection(facts, truth, CLINICAL)
    integrated = logistic.forward_selection(z, truth, names)
    rule = EXPANSION_DEFINITIONS[definition]
    content = {
        "definition": {"name": rule.name, "ml": rule.ml, "fraction": rule.fraction},
        "threshold": 0.5,
        "scale": {
            n: [round(float(m), 6), round(float(s), 6)]
            for n, m, s in zip((*IMAGE, *names), (*middle, *mean), (*spread, *deviation), strict=True)
        },
        "choices": choices_of(known),
        "image": _as_json(image),
        "clinical": _as_json(logistic.logistic(z, truth, names, clinical)),
        "integrated": _as_json(logistic.logistic(z, truth, names, integrated)),
        "fitted_on": f"{len(which)} virtual patients, {int(truth.sum())} expanded; forward selection, p < {logistic.ENTER}",
    }
    model = ExpansionModel.from_json(json.dumps(content).encode())
    content["threshold"] = round(youden(truth, predictions(model, model.integrated, known)), 4)
    return content


def _as_json(model: Logistic) -> dict:
    return {
        "names": model.names, "intercept": model.intercept, "coefficients": model.coefficients,
        "covariance": model.covariance,
    }  # fmt: skip


def known_of_all(pool: Pool, which: NDArray[np.intp], answers: Read, score: Floats) -> list[dict[str, float | None]]:
    """Every patient's variables, volume and ventricles by the mask; `score`: logit of the normalised DL score."""
    known = []
    for k, i in enumerate(which):
        found = known_of(pool.patients[i], answers.ml[k], answers.ivh_ml[k] >= LEAST_IVH_ML)
        known.append({**found, "dl_score": float(score[k])})
    return known


def predictions(model: ExpansionModel, part: Logistic, known: list[dict[str, float | None]]) -> Floats:
    """As the node gives them: what is missing is averaged over."""
    return np.array([model.chance(part, k)[0] for k in known])


def score_rows(patients: list[VirtualPatient], ml: Floats, ivh: NDArray[np.bool_]) -> dict[str, tuple[NDArray, Floats]]:
    """Name -> (which patients have every input, their scores). BAT takes the signs as drawn, as a perfect reader sees them."""
    rows: dict[str, list[tuple[int, float]]] = {"brain": [], "nag": [], "bat": []}
    for k, p in enumerate(patients):
        r = p.recorded
        if None not in (r.previous_ich, r.on_warfarin, r.onset_to_ct_h):
            points = brain.volume_points(ml[k]) + 4 * r.previous_ich + 6 * r.on_warfarin + 2 * bool(ivh[k])
            rows["brain"].append((k, points + brain.hours_points(r.onset_to_ct_h)))
        if None not in (r.nihss, r.on_anticoagulant, r.glucose_mg_dl):
            high = r.glucose_mg_dl >= nag.GLUCOSE_FROM_MG_DL
            rows["nag"].append((k, (r.nihss >= nag.NIHSS_FROM) + r.on_anticoagulant + high))
        if r.on_anticoagulant is False and r.onset_to_ct_h is not None:
            early = 2 * (r.onset_to_ct_h < bat.EARLY_BELOW_H)
            rows["bat"].append((k, p.bleed.blend + 2 * p.bleed.hypodensity + early))
    return {n: (np.array([k for k, _ in v], int), np.array([s for _, s in v], float)) for n, v in rows.items()}


def main(settings: Settings) -> None:
    folder = Path(settings.bundle)
    manifest = json.loads((folder / "configs" / "metadata.json").read_text())
    definition = manifest["training"]["definition"]
    rule = EXPANSION_DEFINITIONS[definition]
    pool = built_in(settings.smoke_patients, settings.seed) if settings.smoke_patients else read(Path(settings.pool))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        folder / "models" / "model.onnx", options, providers=["CPUExecutionProvider"]
    )

    asked = len(pool.of("test"))
    (fit, fit_pictures), (test, pictures) = (as_scanned(pool, pool.of(split)) for split in ("fit", "test"))
    truth_fit, truth = (np.array([float(pool.patients[i].expanded(rule)) for i in part]) for part in (fit, test))
    bayes = np.array([pool.patients[i].p_expansion(rule) for i in test])
    content = model_of(
        pool, fit, network_answers(session, pool, fit, fit_pictures), truth_fit, definition, settings.seed
    )
    (folder / MODEL_FILE).write_text(json.dumps(content, indent=1) + "\n")
    model = ExpansionModel.from_json((folder / MODEL_FILE).read_bytes())

    answers = network_answers(session, pool, test, pictures)
    patients = [pool.patients[i] for i in test]
    image = np.array([model.normalised(f) for f in answers.features])
    known = known_of_all(pool, test, answers, _logit(image))
    clinical, integrated = (predictions(model, part, known) for part in (model.clinical, model.integrated))
    rng = np.random.default_rng(settings.seed)
    swapped = rng.permutation(len(test))
    exchanged = [{**k, "dl_score": known[s]["dl_score"]} for k, s in zip(known, swapped, strict=True)]
    permuted = predictions(model, model.integrated, exchanged)
    # how far the regression itself is from the best, when it is given everything as it is
    all_known = [{**known_of(p, p.bleed.volume_ml, p.bleed.ivh, p.truth), "dl_score": 0.0} for p in patients]
    fit_known = [known_of(p, p.bleed.volume_ml, p.bleed.ivh, p.truth) for p in (pool.patients[i] for i in fit)]
    signs = ("swirl", "hypodensity", "blend", "black_hole", "island")

    def with_signs(rows: list[dict], group: list[VirtualPatient]) -> Floats:
        return np.c_[table(rows, CLINICAL), [[float(getattr(p.bleed, s)) for s in signs] for p in group]]

    x_fit = with_signs(fit_known, [pool.patients[i] for i in fit])
    mean, deviation = x_fit.mean(axis=0), np.where(x_fit.std(axis=0) > 1e-9, x_fit.std(axis=0), 1)
    beta, _, _ = logistic.fitted(logistic.standardised(x_fit, mean, deviation), truth_fit)
    true_facts = (
        np.c_[np.ones(len(test)), logistic.standardised(with_signs(all_known, patients), mean, deviation)] @ beta
    )
    true_facts = 1 / (1 + np.exp(-true_facts))

    figures: list[dict] = []
    n = len(test)
    on = f"{n} virtual patients, {int(truth.sum())} expanded ({definition}), heads that no training read, laid out by the node"

    def add(name: str, statistic: Callable[[NDArray[np.intp]], float], text: str = on, count: int = n) -> None:
        whole = statistic(np.arange(count))
        if not np.isfinite(whole):
            return
        low, high = resampled(count, statistic, settings)
        row = {"name": name, "value": whole, "low": low, "high": high, "n": count, "n_patients": count}
        figures.append(
            {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} | {"data": text, "evidence": "E0"}
        )

    three = {"integrated": integrated, "clinical": clinical, "image": image}
    prefix = {"integrated": "", "clinical": "baseline_", "image": "baseline_"}
    note = {"image": "; the image alone, never to be shown as the better one"}
    for name, p in three.items():
        text = on + note.get(name, "")
        add(f"{prefix[name]}auc_{name}", lambda i, p=p: auc(truth[i], p[i]), text)
    add("auc_bayes", lambda i: auc(truth[i], bayes[i]), f"the best reachable: the known probability; {on}")
    add("auc_true_facts", lambda i: auc(truth[i], true_facts[i]), f"regression on the true facts and signs; {on}")
    add(
        "auc_permuted_images",
        lambda i: auc(truth[i], permuted[i]),
        f"integrated, images swapped between patients; {on}",
    )
    for other in ("clinical", "image"):
        p = three[other]
        add(
            f"gain_integrated_over_{other}",
            lambda i, p=p: auc(truth[i], integrated[i]) - auc(truth[i], p[i]),
            f"paired; {on}",
        )
    add("gain_bayes_over_integrated", lambda i: auc(truth[i], bayes[i]) - auc(truth[i], integrated[i]), f"paired; {on}")
    add(
        "gain_clinical_over_permuted",
        lambda i: auc(truth[i], clinical[i]) - auc(truth[i], permuted[i]),
        f"paired; {on}",
    )
    for name, p in three.items():
        text = on + note.get(name, "")
        add(f"{prefix[name]}brier_{name}", lambda i, p=p: brier(truth[i], p[i]), text)
        add(f"{prefix[name]}calibration_slope_{name}", lambda i, p=p: calibration_slope(truth[i], p[i]), text)
        add(f"{prefix[name]}ece_{name}", lambda i, p=p: ece(truth[i], p[i]), f"ten bins of equal size; {text}")
    add("brier_bayes", lambda i: brier(truth[i], bayes[i]), f"the best reachable; {on}")
    add(
        "slope_against_known_integrated",
        lambda i: slope_against_known(bayes[i], integrated[i]),
        f"true logit on predicted; {on}",
    )
    thresholds = f"at the threshold {model.threshold:g} chosen on fit patients; {on}"
    for k, name in enumerate(("accuracy", "sensitivity", "specificity")):
        add(f"{name}_integrated", lambda i, k=k: at_threshold(truth[i], integrated[i], model.threshold)[k], thresholds)
    ivh = answers.ivh_ml >= LEAST_IVH_ML
    for name, (which, points) in score_rows(patients, answers.ml, ivh).items():
        unverified = " and whose three weights are not verified" if name == "bat" else ""
        text = f"patients with every input of it{unverified}; the cohort's growth was drawn with BRAIN's formula; {definition}, virtual"
        y = truth[which]
        add(f"baseline_auc_{name}", lambda i, y=y, s=points: auc(y[i], s[i]), text, len(which))
        same = integrated[which]
        add(f"baseline_auc_integrated_beside_{name}", lambda i, y=y, s=same: auc(y[i], s[i]), text, len(which))
    add("dice_median", lambda i: float(np.median(answers.dice[i])), f"parenchymal blood; {on}")
    drawn = np.array([p.bleed.volume_ml for p in patients])
    wrong = np.abs(answers.ml - drawn)
    add("volume_error_median_ml", lambda i: float(np.median(wrong[i])), on)
    add("volume_error_median_share", lambda i: float(np.median(wrong[i] / drawn[i])), on)
    write_manifest(folder, manifest)
    shown = shown_by_node(Expansion(folder, 1), answers, patients)
    shown = np.r_[shown, np.zeros(asked - n)]
    text = f"share of patients whose chance the node shows beside a right mask; {on}"
    add("share_shown", lambda i: float(shown[i].mean()), text, asked)

    manifest["evaluation"] = figures
    write_manifest(folder, manifest)
    for f in figures:
        print(f"{f['name']:36} {f['value']:.3f} ({f['low']:.3f} to {f['high']:.3f}) n {f['n']}")
    print("image:", ", ".join(model.image.names))
    print("clinical:", ", ".join(model.clinical.names))
    print("integrated:", ", ".join(model.integrated.names))
    reliability(folder / "docs" / "reliability.png", truth, three, bayes)


def reliability(path: Path, truth: Floats, three: dict[str, Floats], bayes: Floats) -> None:
    """The paper compares calibration by plot; the known probabilities are drawn beside."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 5))
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, p in {**three, "known probability": bayes}.items():
        parts = np.array_split(np.argsort(p, kind="stable"), BINS)
        axes.plot([p[i].mean() for i in parts], [truth[i].mean() for i in parts], marker="o", markersize=3, label=name)
    axes.set(xlabel="predicted", ylabel="observed", title="Hematoma expansion, virtual patients (E0)")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main(from_command_line(Settings(), sys.argv[1:]))
