"""The trainings of volume, outcome, GCS and age on virtual patients: splits, masked losses, and from nothing to a bundle."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from monai.bundle import run as monai_run

from models.multitask_prognosis import evaluate as multitask_evaluate
from models.multitask_prognosis import export as multitask_export
from models.multitask_prognosis import train as multitask_train
from models.quantification import evaluate, export, figures, train
from models.quantification.data import SPLITS, as_scanned, batch_of, cohort, masked, shrink, split_of
from models.quantification.reading import seen, seen_batch
from triage_node.bundle.load import MANIFEST, load_bundle
from triage_node.networks.multitask_prognosis import LOSS_WEIGHTS, Multitask
from triage_node.networks.quantification import QuantificationNet
from triage_node.networks.residual import PICTURE
from triage_node.prognosis.expansion import network_input, stored
from triage_node.prognosis.outcome import Outcome
from triage_node.prognosis.quantification import Quantification
from triage_node.simulation.cohort import virtual_cohort
from triage_node.simulation.cohort_images import render

PATIENTS = 80


def test_no_head_is_in_two_splits():
    heads: dict[str, set[int]] = {s: set() for s in SPLITS}
    for patient in virtual_cohort(600, 1):
        heads[split_of(patient)].add(patient.anatomy_seed)
    assert all(heads.values())
    assert heads["train"].isdisjoint(heads["fit"] | heads["test"])
    assert heads["fit"].isdisjoint(heads["test"])


def test_cohort_holds_the_masks_volume_and_hides_outcomes_that_nobody_followed_up():
    data = cohort("", 20, 3)
    for i, patient in enumerate(data.pool.patients):
        assert float(data.ml[i]) == pytest.approx(data.pool.mask([i])[0, 0].sum() * 0.02904, rel=1e-3)
        assert math.isnan(data.poor_known[i]) is not patient.outcome_known
        assert float(data.poor[i]) == patient.outcome.poor_90_days
    assert batch_of(data, np.arange(3)).shape == (3, 1, 24, 48, 48)


def test_shrunk_pixel_is_the_rounded_mean_of_four():
    picture = np.array([[[1, 2], [3, 5]]], np.uint8)
    assert shrink(picture).tolist() == [[[3]]]


def test_training_pictures_mix_neighbours_as_laying_out_a_scan_does():
    data = cohort("", 8, 3)
    which = np.arange(8)
    drawn, laid_out = data.pool.pictures[which], as_scanned(data, which)[1]

    def edges(pictures: np.ndarray) -> float:
        """Share of voxels that are as dense as blood."""
        return float(((pictures > 140) & (pictures < 200)).mean())

    assert edges(laid_out) > 5 * edges(drawn)
    rng = np.random.default_rng(0)
    blurred = np.concatenate([(batch_of(data, which, rng).numpy() + 1) * 127.5 for _ in range(4)])
    assert edges(blurred) > 1.3 * edges((batch_of(data, which).numpy() + 1) * 127.5)


def test_a_batch_holds_shades_and_shares_and_training_moves_them():
    data = cohort("", 6, 3)
    pictures = seen(data, "")
    shown = np.array([i for i, p in enumerate(data.pool.patients) if split_of(p) != "test"])
    still, again = seen_batch(pictures, shown), seen_batch(pictures, shown)
    assert still.shape == (len(shown), 3, 24, 48, 48)
    assert torch.equal(still, again)
    assert -1 <= still[:, 0].min() < -0.9 < 0.9 < still[:, 0].max() <= 1
    assert 0 <= still[:, 1:].min() <= still[:, 1:].max() <= 1
    assert not torch.equal(still, seen_batch(pictures, shown, np.random.default_rng(0)))


def test_the_segmenter_stands_still_while_the_extractor_learns():
    net = QuantificationNet().train()
    before = {k: v.clone() for k, v in net.trunk.segmenter.state_dict().items()}
    read = net.trunk.read(torch.randn(2, 1, *PICTURE, generator=torch.Generator().manual_seed(0)))
    net.upstream(read)[0].sum().backward()
    assert all(p.grad is None for p in net.trunk.segmenter.parameters())
    assert net.trunk.fine[0][0].weight.grad is not None
    assert all(torch.equal(v, before[k]) for k, v in net.trunk.segmenter.state_dict().items())


def test_an_untrained_volume_is_the_sum_of_the_shares():
    net = QuantificationNet().eval()
    read = torch.full((1, 3, 24, 48, 48), -1.0)
    read[:, 1:] = 0
    read[0, 1, 10:14, 20:30, 8:24] = 0.5
    said = net.downstream(net.trunk.of_read(read))
    assert float(said.volume) == pytest.approx(4 * 10 * 16 * 0.5 * 6 * 4.4 * 4.4 / 1000, rel=1e-4)


def test_a_segmenter_of_another_pool_is_refused(tmp_path: Path):
    torch.save({"data": "another"}, tmp_path / "last.pt")
    with pytest.raises(SystemExit, match="another pool"):
        seen(cohort("", 2, 3), str(tmp_path / "last.pt"))


def test_missing_labels_change_neither_loss_nor_gradient():
    loss = torch.tensor([1.0, 100.0, 3.0], requires_grad=True)
    total = masked(loss, torch.tensor([0.0, math.nan, 1.0]))
    total.backward()
    assert float(total) == 2
    assert loss.grad is not None
    assert loss.grad.tolist() == [0.5, 0.0, 0.5]
    assert float(masked(loss, torch.full((3,), math.nan))) == 0


def test_multitask_loss_weighs_the_tasks_as_the_paper_does():
    said = Multitask(torch.tensor([[0.3]]), torch.tensor([[0.2, -1.0]]), torch.tensor([[-0.7]]), torch.zeros(1))
    poor, gcs, old = torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([0.0])
    parts = [-math.log(1 / (1 + math.exp(-0.3)))]
    parts.append((-math.log(1 / (1 + math.exp(-0.2))) - math.log(1 - 1 / (1 + math.e))) / 2)
    parts.append(-math.log(1 - 1 / (1 + math.exp(0.7))))
    expected = 0.4 * parts[0] + 0.3 * parts[1] + 0.3 * parts[2]
    assert float(multitask_train.loss_of(said, poor, gcs, old, LOSS_WEIGHTS)) == pytest.approx(expected, rel=1e-5)


def test_volume_loss_counts_bounds_of_two_ml_and_a_tenth():
    settings = train.Settings()
    volume, ml = torch.tensor([[28.0]]), torch.tensor([20.0])
    by_volume, by_outcome = train.losses(volume, torch.zeros(1, 1), ml, torch.tensor([math.nan]), settings)
    assert float(by_volume) == pytest.approx(1.5)  # two bounds away, Huber
    assert float(by_outcome) == 0


# ---- figures ----------------------------------------------------------------------------------------------------------


def test_auc_counts_ties_half_and_needs_two_classes():
    assert figures.auc(np.array([0, 1, 1.0]), np.array([0.1, 0.1, 0.9])) == 0.75
    assert math.isnan(figures.auc(np.ones(3), np.arange(3.0)))


def test_logistic_regression_finds_the_coefficients_that_made_the_coins():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2))
    p = figures.sigmoid(0.5 + x @ np.array([1.0, -2.0]))
    fit = figures.fitted(("a", "b"), x, (rng.random(4000) < p).astype(float))
    error = np.sqrt(np.diag(np.array(fit.covariance)))
    found = np.array([fit.intercept, *fit.coefficients])
    assert np.all(np.abs(found - [0.5, 1.0, -2.0]) < 4 * error)
    assert figures.slope_against(p, p) == pytest.approx(1)


def test_a_difference_says_better_only_when_its_interval_excludes_0():
    good = figures.difference("d", lambda r: 1.0 + 0 * len(r), 50, "x", "y")
    none = figures.difference("d", lambda r: float((r % 2).mean() - 0.5), 50, "x", "y")
    assert good.data == "x: better than y"
    assert none.data == "x: NOT shown to be better than y"


# ---- from nothing to a bundle that the node loads -------------------------------------------------------------------------


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "RESAMPLES", 20)


def agrees_with_monai(bundle: Path, outputs: list[str]) -> None:
    """`monai.bundle run` in the bundle's folder says what ONNX Runtime says, with the weights as safetensors."""
    hu = render(virtual_cohort(1, 5)[0], 5).hu
    np.save(bundle / "scan.npy", hu)
    files = {"scan": str(bundle / "scan.npy"), "answer": str(bundle / "answer.npz")}
    monai_run(config_file=str(bundle / "configs/inference.json"), bundle_root=str(bundle), **files)
    session = onnxruntime.InferenceSession(str(bundle / "models/model.onnx"), providers=["CPUExecutionProvider"])
    said = session.run(outputs, {"picture": network_input(stored(hu)[None])})
    answer = np.load(bundle / "answer.npz")
    for name, value in zip(outputs, said, strict=True):
        np.testing.assert_allclose(answer[name], value, atol=1e-3)


@pytest.mark.slow
def test_quantification_trains_resumes_exports_and_is_measured(tmp_path: Path, few_resamples: None):
    run = str(tmp_path / "run")
    short = replace(train.Settings(), smoke=1, smoke_patients=PATIENTS, run=run, minutes=0.01, minutes_heads=0.01)
    train.main(short)
    kept = torch.load(tmp_path / "run/last.pt", weights_only=True)
    assert {"settings", "revision", "data", "seed", "splits", "averages"} <= set(kept)
    train.main(short)  # nothing is left to do, and nothing changes
    again = torch.load(tmp_path / "run/last.pt", weights_only=True)
    assert all(
        torch.equal(a, b) for a, b in zip(kept["nets"]["both"].values(), again["nets"]["both"].values(), strict=True)
    )
    bundle, checkpoint = str(tmp_path / "bundle"), str(tmp_path / "run/last.pt")
    export.main(export.Settings(checkpoint=checkpoint, bundle=bundle))
    evaluate.main(evaluate.Settings(checkpoint=checkpoint, bundle=bundle, smoke_patients=PATIENTS))
    assert Quantification(Path(bundle), 1).identity.name == "quantification"
    agrees_with_monai(Path(bundle), ["volume", "outcome"])
    found = {f.name: f for f in load_bundle(Path(bundle)).manifest.evaluation}
    assert {"volume_median_error_ml", "outcome_auc_image", "outcome_auc_bayes", "baseline_tabular_age_gcs_auc"} <= set(
        found
    )
    assert {f.evidence.value for f in found.values()} == {"E0"}


@pytest.mark.slow
def test_multitask_trains_exports_and_is_measured(tmp_path: Path, few_resamples: None):
    run = str(tmp_path / "run")
    settings = multitask_train.Settings()
    multitask_train.main(replace(settings, smoke=1, smoke_patients=PATIENTS, run=run, minutes=0.01))
    bundle, checkpoint = tmp_path / "bundle", str(tmp_path / "run/last.pt")
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs/paper.json").write_text((multitask_export.HERE / "configs/paper.json").read_text())
    multitask_export.main(multitask_export.Settings(checkpoint=checkpoint, bundle=str(bundle)))
    multitask_evaluate.main(
        multitask_evaluate.Settings(checkpoint=checkpoint, bundle=str(bundle), smoke_patients=PATIENTS)
    )
    assert Outcome(bundle, 1).identity.name == "multitask_prognosis"
    agrees_with_monai(bundle, ["prognosis", "gcs", "age"])
    names = {f["name"] for f in json.loads((bundle / MANIFEST).read_text())["evaluation"]}
    assert {"baseline_single_task_auc", "baseline_outcome_and_age_auc", "age_80_auc", "gcs_quadratic_kappa"} <= names


@pytest.mark.slow
def test_another_pool_than_the_checkpoints_is_refused(tmp_path: Path, few_resamples: None):
    run = str(tmp_path / "run")
    train.main(replace(train.Settings(), smoke=1, smoke_patients=20, run=run, minutes=0.0, minutes_heads=0.0))
    bundle, checkpoint = str(tmp_path / "bundle"), str(tmp_path / "run/last.pt")
    export.main(export.Settings(checkpoint=checkpoint, bundle=bundle))
    with pytest.raises(SystemExit, match="another pool"):
        evaluate.main(evaluate.Settings(checkpoint=checkpoint, bundle=bundle, smoke_patients=21))
