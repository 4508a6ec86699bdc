"""Measure the bundle on virtual patients that it never saw, and write its figures, its chance of outcome and its bound.

    python -m models.quantification.evaluate     # after export.py

"fit" patients give the logistic regression of the outcome (image score, age, GCS) and the bound of the volume; "test" patients
give every figure, with 95 % intervals over resampled patients. The Bayes rate is the best that anything can reach here.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from models.expansion.settings import from_command_line
from models.quantification import figures as fig
from models.quantification.bundle import METADATA, ONNX, SIMULATED, write_json, write_manifest
from models.quantification.data import Cohort, cohort
from models.quantification.export import FILES, HERE
from models.quantification.figures import Row
from models.quantification.reading import scanned
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.evaluation.card import CARD, card
from triage_node.networks.quantification import QuantificationNet
from triage_node.prognosis.chance_of_outcome import FACTS, MODEL_FILE, VARIABLES, OutcomeModel
from triage_node.prognosis.expansion import Logistic, network_input
from triage_node.prognosis.gradcam import HEADS_FILE, enlarged, grad_cam, head_weights
from triage_node.prognosis.quantification import BOUND_FILE

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  the backend goes first

STRATA = (("under_5_ml", 0.0, 5.0), ("5_to_25_ml", 5.0, 25.0), ("over_25_ml", 25.0, 1e9))
CHOICES = 7


@dataclass(frozen=True)
class Settings:
    checkpoint: str = "build/quantification/first/last.pt"
    pool: str = "build/expansion"
    bundle: str = str(HERE)
    smoke_patients: int = 0
    seed: int = 11


# ---- what the networks say --------------------------------------------------------------------------------------------


def answers(bundle: Path, pictures: NDArray[np.uint8], outputs: list[str]) -> list[NDArray[np.float32]]:
    """What the bundle's own ONNX network says of pictures, (n, 24, 96, 96) as `stored`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(bundle / ONNX), options, providers=["CPUExecutionProvider"])
    parts = np.array_split(pictures, max(1, len(pictures) // 8))
    said = [session.run(outputs, {"picture": network_input(p)}) for p in parts]
    return [np.concatenate([s[k] for s in said]) for k in range(len(outputs))]


@torch.no_grad()
def by_torch(net: torch.nn.Module, pictures: NDArray[np.uint8], output: str) -> NDArray[np.float64]:
    """One output of a baseline network, shape (n,)."""
    net.eval()
    parts = np.array_split(pictures, max(1, len(pictures) // 8))
    said = [getattr(net(torch.from_numpy(network_input(p))), output) for p in parts]
    return torch.cat(said)[:, 0].double().numpy()


@torch.no_grad()
def by_reading(net: QuantificationNet, read: NDArray[np.float16], outputs: list[str]) -> list[NDArray]:
    """Outputs (n, c) of a network from what its segmenter made of the pictures, which all variants share (reading.scanned).

    The bundle's ONNX network says the same within a stated tolerance: tests/models/test_prognosis_bundles.py.
    """
    net.eval()
    said = [net.of_read(torch.from_numpy(p).float()) for p in np.array_split(read, max(1, len(read) // 16))]
    return [torch.cat([getattr(s, name) for s in said]).double().numpy() for name in outputs]


# ---- chances of outcome -----------------------------------------------------------------------------------------------


def recorded(data: Cohort, which: NDArray[np.intp]) -> list[ClinicalFacts]:
    patients = [data.pool.patients[i].recorded for i in which]
    return [ClinicalFacts(age_years=p.age_years, gcs=p.gcs) for p in patients]


def outcome_model(image: NDArray, data: Cohort, which: NDArray[np.intp]) -> dict:
    """The logistic regression of (image score, age, GCS) on "fit" patients whose facts and outcome are known, as JSON."""
    facts = recorded(data, which)
    known = np.array([f.age_years is not None and f.gcs is not None for f in facts])
    known &= ~np.isnan(data.poor_known[which].numpy())
    x = np.array([[s, f.age_years or 0, f.gcs or 0] for s, f in zip(image, facts, strict=True)], np.float64)[known]
    y = data.poor_known[which].numpy()[known].astype(np.float64)
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    fit = fig.fitted(VARIABLES, (x - mean) / deviation, y)
    spread = {
        fact: np.quantile(x[:, VARIABLES.index(fact)], (np.arange(CHOICES) + 0.5) / CHOICES).tolist() for fact in FACTS
    }
    return {
        "names": list(fit.names),
        "intercept": fit.intercept,
        "coefficients": list(fit.coefficients),
        "covariance": [list(row) for row in fit.covariance],
        "scale": {v: [float(m), float(s)] for v, m, s in zip(VARIABLES, mean, deviation, strict=True)},
        "choices": spread,
        "fitted_on": f"{len(y)} virtual patients with known age, GCS and outcome",
    }


def tabular(data: Cohort) -> NDArray[np.float64]:
    """Age and GCS alone, logistic, fitted on "train" and "fit": the chance of every patient. A missing GCS is the mean."""
    facts = recorded(data, np.arange(len(data.ml)))
    x = np.array([[f.age_years or np.nan, f.gcs or np.nan] for f in facts], np.float64)
    shown = np.concatenate([data.of("train"), data.of("fit")])
    y = data.poor_known.numpy().astype(np.float64)
    complete = shown[~np.isnan(x[shown]).any(axis=1) & ~np.isnan(y[shown])]
    mean, deviation = x[complete].mean(axis=0), x[complete].std(axis=0) + 1e-6
    scaled = np.nan_to_num((x - mean) / deviation)
    fit = fig.fitted(("age", "gcs"), scaled[complete], y[complete])
    return fig.sigmoid(fit.logit(scaled))


def true_facts(data: Cohort) -> NDArray[np.float64]:
    """Logistic regression of what a perfect reader would say (volume, ventricles, place) with true age and GCS: a ceiling."""
    patients = data.pool.patients
    x = np.array(
        [
            [
                np.log(p.bleed.volume_ml), p.bleed.ivh, p.bleed.place == "lobar",
                p.bleed.place in ("cerebellum", "brainstem"), p.truth.age_years, p.truth.gcs,
            ]
            for p in patients
        ],
        np.float64,
    )  # fmt: skip
    scaled = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)
    shown = np.concatenate([data.of("train"), data.of("fit")])
    known = shown[~np.isnan(data.poor_known.numpy()[shown])]
    names = ("volume", "ventricles", "lobar", "infratentorial", "age", "gcs")
    return fig.fitted(names, scaled[known], data.poor_known.numpy()[known].astype(np.float64)).logit(scaled)


def calibrated(image: NDArray, data: Cohort, which: NDArray[np.intp]) -> Logistic:
    """The image score alone as a chance, fitted on "fit"."""
    y = data.poor_known[which].numpy().astype(np.float64)
    known = ~np.isnan(y)
    return fig.fitted(("image",), image[known, None].astype(np.float64), y[known])


def outcome_rows(
    data: Cohort, test: NDArray[np.intp], image: NDArray, alone: NDArray, together: NDArray, baselines: dict
) -> list[Row]:
    """Figures of the outcome on "test". `image`: score; `alone`, `together`: chances; `baselines`: name -> score."""
    y = data.poor[test].numpy().astype(np.float64)
    p = np.array([data.pool.patients[i].p.poor_90_days for i in test])
    table, perfect = tabular(data)[test], true_facts(data)[test]
    n, where = len(test), SIMULATED
    rows = [
        fig.figure("outcome_auc_image", lambda r: fig.auc(y[r], image[r]), n, f"{where}; the picture alone"),
        fig.figure("outcome_auc_image_age_gcs", lambda r: fig.auc(y[r], together[r]), n, f"{where}; as the node shows it"),
        fig.figure("outcome_auc_bayes", lambda r: fig.auc(y[r], p[r]), n, f"{where}; the KNOWN chance, the best possible"),
        fig.figure("outcome_auc_true_facts", lambda r: fig.auc(y[r], perfect[r]), n, f"{where}; logistic regression of a perfect reader's facts with age and GCS"),
        fig.figure("outcome_brier_image", lambda r: fig.brier(y[r], alone[r]), n, where),
        fig.figure("outcome_brier_image_age_gcs", lambda r: fig.brier(y[r], together[r]), n, where),
        fig.figure("outcome_brier_bayes", lambda r: fig.brier(y[r], p[r]), n, where),
        fig.figure("outcome_calibration_slope", lambda r: fig.calibration_slope(y[r], together[r]), n, f"{where}; image, age, GCS; 1 is right"),
        fig.figure("outcome_slope_against_known_chance", lambda r: fig.slope_against(p[r], together[r]), n, f"{where}; logit on logit, image, age, GCS; under 1 where the facts do not tell all"),
        fig.figure("outcome_ece", lambda r: fig.calibration_error(y[r], together[r]), n, f"{where}; ten bins of equal size, image, age, GCS"),
        fig.figure("baseline_tabular_age_gcs_auc", lambda r: fig.auc(y[r], table[r]), n, f"{where}; logistic regression, no picture"),
        fig.difference("baseline_image_minus_tabular_auc", lambda r: fig.auc(y[r], image[r]) - fig.auc(y[r], table[r]), n, where, "age and GCS alone"),
        fig.difference("baseline_image_age_gcs_minus_tabular_auc", lambda r: fig.auc(y[r], together[r]) - fig.auc(y[r], table[r]), n, where, "age and GCS alone"),
        fig.difference("baseline_image_age_gcs_minus_image_auc", lambda r: fig.auc(y[r], together[r]) - fig.auc(y[r], image[r]), n, where, "the picture alone"),
    ]  # fmt: skip
    for name, score in baselines.items():
        rows.append(fig.figure(f"baseline_{name}_auc", lambda r, s=score: fig.auc(y[r], s[r]), n, where))
        rows.append(
            fig.difference(
                f"baseline_image_minus_{name}_auc",
                lambda r, s=score: fig.auc(y[r], image[r]) - fig.auc(y[r], s[r]), n, where, f"the network {name}",
            )
        )  # fmt: skip
    return rows


# ---- volume -----------------------------------------------------------------------------------------------------------


def bound_of(found: NDArray, truth: NDArray) -> dict:
    """95 % of "fit" lie within ml + share x volume; both are the aim's 2 mL and 10 %, stretched alike."""
    stretch = float(np.quantile(np.abs(found - truth) / (2.0 + 0.1 * truth), 0.95))
    return {
        "ml": round(2.0 * stretch, 2),
        "share": round(0.1 * stretch, 4),
        "chosen_on": f"{len(truth)} virtual patients, 95 % within",
    }


def volume_rows(found: NDArray, single: NDArray, truth: NDArray, bound: dict) -> list[Row]:
    error, share = np.abs(found - truth), np.abs(found - truth) / truth
    aim = (error <= 2) | (share <= 0.1)
    beside = np.abs(single - truth)
    within = error <= bound["ml"] + bound["share"] * truth
    n, where = len(truth), f"{SIMULATED}; parenchymal blood"
    signed = found - truth
    rows = [
        fig.figure("volume_median_error_ml", lambda r: float(np.median(error[r])), n, where),
        fig.figure("volume_median_error_share", lambda r: float(np.median(share[r])), n, where),
        fig.figure("volume_within_10_percent_or_2_ml", lambda r: float(aim[r].mean()), n, f"{where}; share of patients"),
        fig.figure("volume_bias_ml", lambda r: float(signed[r].mean()), n, f"{where}; regressed minus true"),
        fig.figure("volume_limit_low_ml", lambda r: float(signed[r].mean() - 1.96 * signed[r].std()), n, f"{where}; Bland-Altman"),
        fig.figure("volume_limit_high_ml", lambda r: float(signed[r].mean() + 1.96 * signed[r].std()), n, f"{where}; Bland-Altman"),
        fig.figure("volume_within_bound", lambda r: float(within[r].mean()), n, f"{where}; not flagged beside a right mask"),
        fig.figure("baseline_single_task_volume_median_error_ml", lambda r: float(np.median(beside[r])), n, where),
        fig.difference("baseline_single_task_minus_both_volume_error_ml", lambda r: float(np.median(beside[r]) - np.median(error[r])), n, where, "the network of volume alone"),
    ]  # fmt: skip
    for name, low, high in STRATA:
        part = (truth >= low) & (truth < high)
        some = error[part], share[part]
        if part.any():
            rows.append(
                fig.figure(
                    f"volume_median_error_ml_{name}",
                    lambda r, e=some[0]: float(np.median(e[r])),
                    int(part.sum()),
                    where,
                )
            )
            rows.append(
                fig.figure(
                    f"volume_median_error_share_{name}",
                    lambda r, e=some[1]: float(np.median(e[r])),
                    int(part.sum()),
                    where,
                )
            )
    return rows  # fmt: skip


# ---- pictures ---------------------------------------------------------------------------------------------------------


def bland_altman(path: Path, found: NDArray, truth: NDArray) -> None:
    figure, axes = plt.subplots(figsize=(6, 4))
    axes.plot((found + truth) / 2, found - truth, ".", markersize=3)
    middle, spread = float((found - truth).mean()), 1.96 * float((found - truth).std())
    for y, style in ((middle, "-"), (middle - spread, "--"), (middle + spread, "--")):
        axes.axhline(y, color="k", linestyle=style, linewidth=0.8)
    axes.set(xlabel="mean of regressed and true volume, mL", ylabel="regressed minus true, mL")
    axes.set_title("Simulated patients (E0)", fontsize=9)
    figure.savefig(path, dpi=90, bbox_inches="tight")
    plt.close(figure)


def reliability(path: Path, truth: NDArray, chances: dict[str, NDArray]) -> None:
    figure, axes = plt.subplots(figsize=(4.5, 4.5))
    axes.plot((0, 1), (0, 1), "k--", linewidth=0.8)
    for name, chance in chances.items():
        parts = [o for o in np.array_split(np.argsort(chance), 10) if len(o)]
        axes.plot([chance[o].mean() for o in parts], [truth[o].mean() for o in parts], "o-", markersize=3, label=name)
    axes.set(xlabel="chance stated", ylabel="share with a poor outcome", xlim=(0, 1), ylim=(0, 1))
    axes.set_title("Simulated patients (E0)", fontsize=9)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=90, bbox_inches="tight")
    plt.close(figure)


def pictures_of(path: Path, pictures: NDArray[np.uint8], cams: dict[str, NDArray], titles: list[str]) -> None:
    """A row for each patient: the slice with most of the first task's map, and the tasks' Grad-CAM over it."""
    figure, grid = plt.subplots(len(pictures), 1 + len(cams), figsize=(2 * (1 + len(cams)), 2.1 * len(pictures)))
    for k, row in enumerate(np.atleast_2d(grid)):
        first = next(iter(cams.values()))[k]
        z = int(first.sum(axis=(1, 2)).argmax())
        for axes in row:
            axes.imshow(pictures[k, z], cmap="gray")
            axes.axis("off")
        row[0].set_title(titles[k], fontsize=6)
        for axes, (task, cam) in zip(row[1:], cams.items(), strict=True):
            axes.imshow(cam[k][z], cmap="hot", alpha=0.5, vmin=0, vmax=1)
            axes.set_title(task, fontsize=6)
    figure.savefig(path, dpi=80, bbox_inches="tight")
    plt.close(figure)


# ---- the run ----------------------------------------------------------------------------------------------------------


def main(settings: Settings) -> None:
    torch.set_num_threads(1)
    bundle = Path(settings.bundle)
    content = json.loads((bundle / METADATA).read_text())
    data = cohort(settings.pool, settings.smoke_patients, settings.seed)
    kept = torch.load(settings.checkpoint, weights_only=True)
    if kept["data"] != data.pool.sha256:
        raise SystemExit("the checkpoint was trained on another pool: its splits cannot be told")
    nets = {name: QuantificationNet() for name in ("both", "volume", "outcome")}
    for name, net in nets.items():
        net.load_state_dict(kept["averages"][name])
    of_fit, of_test = (
        scanned(data, split, nets["both"].trunk.segmenter, not settings.smoke_patients) for split in ("fit", "test")
    )
    fit, test, test_pictures = of_fit.which, of_test.which, of_test.pictures

    fit_ml, fit_image = (a[:, 0] for a in by_reading(nets["both"], of_fit.read, ["volume", "outcome"]))
    ml, image = (a[:, 0] for a in by_reading(nets["both"], of_test.read, ["volume", "outcome"]))
    fit_ml, ml = np.maximum(fit_ml, 0), np.maximum(ml, 0)
    single = {name: by_reading(nets[name], of_test.read, [name])[0][:, 0] for name in ("volume", "outcome")}

    bound = bound_of(fit_ml, data.ml[fit].numpy().astype(np.float64))
    write_json(bundle / BOUND_FILE, bound)
    regression = outcome_model(fit_image, data, fit)
    write_json(bundle / MODEL_FILE, regression)
    model = OutcomeModel.from_json((bundle / MODEL_FILE).read_bytes())
    together = np.array([model.chance(float(s), f).value for s, f in zip(image, recorded(data, test), strict=True)])
    alone = fig.sigmoid(calibrated(fit_image, data, fit).logit(image[:, None]))

    truth = data.ml[test].numpy().astype(np.float64)
    rows = volume_rows(ml, np.maximum(single["volume"], 0), truth, bound)
    rows += outcome_rows(data, test, image, alone, together, {"single_task": single["outcome"]})
    for row in rows:
        print(f"{row.name}: {row.value:.3f} ({row.low}, {row.high}) n {row.n}; {row.data}", flush=True)
    content["evaluation"] = [row.as_dict() for row in rows]

    docs = bundle / "docs"
    docs.mkdir(exist_ok=True)
    y = data.poor[test].numpy().astype(np.float64)
    bland_altman(docs / "bland_altman.png", ml, truth)
    reliability(docs / "calibration.png", y, {"image": alone, "image, age, GCS": together})
    worst = np.argsort(-np.abs(ml - truth) / (2 + 0.1 * truth))[:5]
    maps = answers(bundle, test_pictures[worst], ["volume_maps", "outcome_maps"])
    weights = head_weights((bundle / HEADS_FILE).read_bytes(), {"volume": 1, "outcome": 1}, maps[0].shape[1])
    shown = test_pictures[worst]
    cams = {
        task: np.stack([enlarged(grad_cam(a, weights[task][0]), shown.shape[1:]) for a in m])
        for task, m in zip(("volume", "outcome"), maps, strict=True)
    }
    titles = [f"{data.pool.patients[test[i]].key}: {ml[i]:.1f} mL, true {truth[i]:.1f}" for i in worst]
    pictures_of(docs / "failures_volume.png", shown, cams, titles)
    write_manifest(bundle, content, (*FILES, BOUND_FILE, MODEL_FILE))
    if (docs / "words.md").exists():
        (bundle / CARD).write_text(card(bundle), encoding="utf-8")


if __name__ == "__main__":
    main(from_command_line(Settings(), sys.argv[1:]))
