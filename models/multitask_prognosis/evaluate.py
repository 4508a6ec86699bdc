"""Measure the bundle on virtual patients that it never saw, beside its baselines, and write its figures and its chance.

    python -m models.multitask_prognosis.evaluate     # after export.py

"fit" patients give the logistic regression of the outcome (image score, age, GCS); "test" patients give every figure, with
95 % intervals over resampled patients. Baselines: the outcome alone, outcome with age, and age and GCS without a picture.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.expansion.settings import from_command_line
from models.multitask_prognosis.export import FILES, HERE
from models.quantification import figures as fig
from models.quantification.bundle import METADATA, SIMULATED, write_json, write_manifest
from models.quantification.data import as_scanned, cohort
from models.quantification.evaluate import (
    answers,
    by_torch,
    calibrated,
    outcome_model,
    outcome_rows,
    pictures_of,
    recorded,
    reliability,
)
from models.quantification.figures import Row
from triage_node.evaluation.card import CARD, card
from triage_node.networks.multitask_prognosis import OUTPUTS, MultitaskNet
from triage_node.prognosis.chance_of_outcome import MODEL_FILE, OutcomeModel
from triage_node.prognosis.gradcam import HEADS_FILE, enlarged, grad_cam, head_weights


@dataclass(frozen=True)
class Settings:
    checkpoint: str = "build/multitask_prognosis/first/last.pt"
    pool: str = "build/expansion"
    bundle: str = str(HERE)
    smoke_patients: int = 0
    seed: int = 13


def kappa(truth: np.ndarray, said: np.ndarray, classes: int = 3) -> float:
    """Quadratic weighted kappa; NaN when nothing could be disagreed on."""
    seen = np.zeros((classes, classes))
    np.add.at(seen, (truth, said), 1)
    apart = (np.arange(classes)[:, None] - np.arange(classes)) ** 2
    by_chance = np.outer(seen.sum(axis=1), seen.sum(axis=0)) / max(1, seen.sum())
    expected = (apart * by_chance).sum()
    return float(1 - (apart * seen).sum() / expected) if expected else float("nan")


def balanced_accuracy(truth: np.ndarray, said: np.ndarray) -> float:
    return float(np.mean([said[truth == k].mean() if k else (~said[truth == k]).mean() for k in (0, 1)]))


def further_rows(gcs: np.ndarray, gcs_said: np.ndarray, old: np.ndarray, age_logit: np.ndarray) -> list[Row]:
    known = ~np.isnan(gcs)
    classes, said = gcs[known].astype(int), gcs_said[known]
    n = int(known.sum())
    return [
        fig.figure("gcs_quadratic_kappa", lambda r: kappa(classes[r], said[r]), n, SIMULATED),
        fig.figure("gcs_mean_class_error", lambda r: float(np.abs(classes[r] - said[r]).mean()), n, SIMULATED),
        fig.figure("age_80_auc", lambda r: fig.auc(old[r], age_logit[r]), len(old), SIMULATED),
    ]


def main(settings: Settings) -> None:
    torch.set_num_threads(1)
    bundle = Path(settings.bundle)
    content = json.loads((bundle / METADATA).read_text())
    data = cohort(settings.pool, settings.smoke_patients, settings.seed)
    fit, fit_pictures = as_scanned(data, data.of("fit"))
    test, test_pictures = as_scanned(data, data.of("test"))
    kept = torch.load(settings.checkpoint, weights_only=True)
    if kept["data"] != data.pool.sha256:
        raise SystemExit("the checkpoint was trained on another pool: its splits cannot be told")

    both = np.concatenate([fit_pictures, test_pictures])
    prognosis, gcs, age = answers(bundle, both, ["prognosis", "gcs", "age"])
    fit_image, image = np.split(prognosis[:, 0].astype(np.float64), [len(fit)])
    gcs_said, age_logit = (gcs[len(fit) :] > 0).sum(axis=1), age[len(fit) :, 0]
    baselines = {}
    for name in ("single", "with_age"):
        net = MultitaskNet()
        net.load_state_dict(kept["averages"][name])
        baselines[{"single": "single_task", "with_age": "outcome_and_age"}[name]] = by_torch(
            net, test_pictures, "prognosis"
        )

    write_json(bundle / MODEL_FILE, outcome_model(fit_image, data, fit))
    model = OutcomeModel.from_json((bundle / MODEL_FILE).read_bytes())
    together = np.array([model.chance(float(s), f).value for s, f in zip(image, recorded(data, test), strict=True)])
    alone = fig.sigmoid(calibrated(fit_image, data, fit).logit(image[:, None]))
    y = data.poor[test].numpy().astype(np.float64)

    rows = outcome_rows(data, test, image, alone, together, baselines)
    said = alone >= 0.5
    rows.append(
        fig.figure(
            "outcome_balanced_accuracy_image", lambda r: balanced_accuracy(y[r], said[r]), len(test),
            f"{SIMULATED}; at the chance of one half",
        )
    )  # fmt: skip
    rows += further_rows(data.gcs[test].numpy(), gcs_said, data.old[test].numpy().astype(np.float64), age_logit)
    for row in rows:
        print(f"{row.name}: {row.value:.3f} ({row.low}, {row.high}) n {row.n}; {row.data}", flush=True)
    content["evaluation"] = [row.as_dict() for row in rows]

    docs = bundle / "docs"
    docs.mkdir(exist_ok=True)
    reliability(docs / "calibration.png", y, {"image": alone, "image, age, GCS": together})
    worst = np.argsort(-np.abs(together - y))[:5]
    (maps,) = answers(bundle, test_pictures[worst], ["maps"])
    weights = head_weights((bundle / HEADS_FILE).read_bytes(), OUTPUTS, maps.shape[1])
    shown = test_pictures[worst]
    cams = {
        task: np.stack([enlarged(grad_cam(m, weights[task].sum(axis=0)), shown.shape[1:]) for m in maps])
        for task in OUTPUTS
    }
    titles = [f"{data.pool.patients[test[i]].key}: {together[i]:.2f}, came {'poor' if y[i] else 'good'}" for i in worst]
    pictures_of(docs / "failures_outcome.png", shown, cams, titles)
    write_manifest(bundle, content, (*FILES, MODEL_FILE))
    if (docs / "words.md").exists():
        (bundle / CARD).write_text(card(bundle), encoding="utf-8")


if __name__ == "__main__":
    main(from_command_line(Settings(), sys.argv[1:]))
