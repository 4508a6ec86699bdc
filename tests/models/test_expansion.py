"""The expansion bundle: it trains, exports and measures itself from nothing, and the one that ships keeps what it promises."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from monai.bundle import run as monai_run
from safetensors.torch import load

from models.expansion import evaluate, export, logistic, train
from models.expansion.pool import SPLITS, built_in, split_of
from triage_node.bundle.load import load_bundle
from triage_node.domain.errors import HashMismatch
from triage_node.networks.expansion import CUT_OUT, PICTURE, ExpansionNet, cut_out
from triage_node.prognosis.expansion import MODEL_FILE, Expansion, ExpansionModel
from triage_node.simulation.cohort import virtual_cohort
from triage_node.simulation.cohort_images import render

FOLDER = Path(__file__).resolve().parents[2] / "models" / "expansion"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    """(run folder, bundle) of a training of seconds."""
    run, bundle = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("bundle")
    smoke = train.Settings(
        run=str(run),
        smoke=1,
        smoke_patients=40,
        minutes=0.02,
        minutes_closer=0.01,
        definition="12.5 mL",
        warm_up_steps=2,
    )
    train.main(smoke)
    export.main(export.Settings(checkpoint=str(run / "last.pt"), bundle=str(bundle)))
    evaluate.main(evaluate.Settings(bundle=str(bundle), smoke_patients=160, resamples=20))
    return run, bundle


def test_checkpoint_holds_config_commit_data_seed_and_splits(made):
    kept = torch.load(made[0] / "last.pt", weights_only=True)
    assert kept["settings"]["definition"] == "12.5 mL"
    assert len(kept["data"]) == 64
    assert kept["seed"] == 5
    assert "modulo" in kept["splits"]["rule"]
    assert "revision" in kept


def test_finished_run_starts_again_without_training_more(made):
    before = (made[0] / "last.pt").read_bytes()
    kept = torch.load(made[0] / "last.pt", weights_only=True)
    train.main(train.Settings(**kept["settings"]))
    assert (made[0] / "last.pt").read_bytes() == before


def test_run_of_another_definition_is_not_continued(made):
    kept = torch.load(made[0] / "last.pt", weights_only=True)
    with pytest.raises(SystemExit, match="choose another --run"):
        train.main(train.Settings(**{**kept["settings"], "definition": "6 mL"}))


def test_definition_travels_from_training_to_the_words_on_the_page(made):
    assert Expansion(made[1], 1).label == "Hematoma expansion (12.5 mL)"


def test_evaluation_writes_every_figure_with_interval_and_level(made):
    figures = {f.name: f for f in load_bundle(made[1]).manifest.evaluation}
    for name in ("auc_integrated", "baseline_auc_clinical", "baseline_auc_image", "auc_bayes", "auc_permuted_images",
                 "gain_integrated_over_clinical", "gain_integrated_over_image", "brier_integrated", "brier_bayes",
                 "calibration_slope_integrated", "ece_integrated", "baseline_auc_brain", "baseline_auc_nag", "baseline_auc_bat",
                 "slope_against_known_integrated", "dice_median"):  # fmt: skip
        assert figures[name].low <= figures[name].value + 1e-9, name
        assert figures[name].evidence == "E0"
    assert "never to be shown as the better one" in figures["baseline_auc_image"].data


def test_altered_model_file_is_refused(made, tmp_path):
    copy = shutil.copytree(made[1], tmp_path / "expansion")
    (copy / MODEL_FILE).write_text("{}")
    with pytest.raises(HashMismatch):
        Expansion(copy, 1)


def test_monai_runs_the_bundle_alone(made, tmp_path):
    patient = virtual_cohort(1, 9)[0]
    np.save(tmp_path / "scan.npy", render(patient, 0).hu)
    config, answer = made[1] / "configs" / "inference.json", tmp_path / "answer.npz"
    monai_run(config_file=str(config), bundle_root=str(made[1]), scan=str(tmp_path / "scan.npy"), answer=str(answer))
    with np.load(answer) as found:
        assert found["mask"].shape == (1, 2, *PICTURE)
        assert found["score"].shape == (1, 1)


def test_unknown_setting_is_refused():
    with pytest.raises(SystemExit, match="unknown setting"):
        train.from_command_line(train.Settings(), ["--minute=3"])


def test_no_head_is_in_two_splits():
    heads: dict[int, set[str]] = {}
    for p in virtual_cohort(800, 2):
        heads.setdefault(p.anatomy_seed, set()).add(split_of(p))
    assert all(len(s) == 1 for s in heads.values())
    assert set().union(*heads.values()) == set(SPLITS)


def test_pool_is_the_same_for_the_same_seed():
    assert built_in(3, 8).sha256 == built_in(3, 8).sha256


# ---- the network and the regression -----------------------------------------------------------------------------------


def test_cut_out_follows_the_blood_and_its_numbers_are_its_volume():
    picture, share = torch.zeros(1, 1, *PICTURE), torch.zeros(1, 2, *PICTURE)
    share[0, 0, 8:12, 60:70, 20:30] = 1
    picture[0, 0, 10, 65, 25] = 5
    cut, numbers = cut_out(picture, share)
    assert cut.shape == (1, 3, *CUT_OUT)
    assert torch.isclose(cut[0, 1].sum(), torch.tensor(400.0), atol=1e-2)
    assert cut[0, 0].max() > 0.5
    assert abs(float(torch.exp(2 * numbers[0, 0])) - 0.1 - 400 * 6 * 2.2 * 2.2 / 1000) < 0.01


def test_score_moves_the_mask_through_the_cut_out():
    net = ExpansionNet().eval()
    picture = torch.randn(1, 1, *PICTURE, generator=torch.Generator().manual_seed(1))
    _, score, _ = net(picture)
    score.sum().backward()
    assert net.segmenter.last.weight.grad.abs().sum() > 0


def test_regression_finds_the_coefficients_that_drew_the_labels():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20000, 3))
    y = (rng.random(20000) < 1 / (1 + np.exp(-(-1 + 0.8 * x[:, 0] - 0.5 * x[:, 1])))).astype(float)
    beta, covariance, _ = logistic.fitted(x, y)
    assert np.abs(beta - [-1, 0.8, -0.5, 0]).max() < 4 * np.sqrt(np.diag(covariance)).max()


def test_forward_selection_takes_what_matters_strongest_first_and_leaves_noise():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 4))
    y = (rng.random(4000) < 1 / (1 + np.exp(-(0.4 * x[:, 2] + 1.2 * x[:, 0])))).astype(float)
    assert logistic.forward_selection(x, y, ["a", "b", "c", "d"])[:2] == ["a", "c"]


def test_auc_counts_ties_half():
    truth, score = np.array([1.0, 0, 1, 0]), np.array([0.5, 0.5, 0.9, 0.1])
    assert evaluate.auc(truth, score) == pytest.approx(0.875)


# ---- the bundle that ships --------------------------------------------------------------------------------------------


def test_shipped_onnx_and_safetensors_agree():
    bundle = load_bundle(FOLDER)
    net = ExpansionNet()
    net.load_state_dict(load(bundle.read("models/model.safetensors")))
    net.eval()
    picture = np.random.default_rng(0).normal(0, 0.5, (2, 1, *PICTURE)).astype(np.float32)
    session = onnxruntime.InferenceSession(bundle.read(bundle.manifest.network), providers=["CPUExecutionProvider"])
    found = session.run(["mask", "score", "signs"], {"picture": picture})
    with torch.no_grad():
        expected = net(torch.from_numpy(picture))
    for e, f in zip(expected, found, strict=True):
        assert np.abs(e.numpy() - f).max() < 1e-3


def test_shipped_bundle_states_simulated_evidence_only_and_its_definition():
    bundle = load_bundle(FOLDER)
    assert {k: v.value for k, v in bundle.manifest.evidence.items()} == {"expansion": "E0"}
    assert all(f.evidence == "E0" for f in bundle.manifest.evaluation)
    model = ExpansionModel.from_json(bundle.read(MODEL_FILE))
    assert model.definition == bundle.manifest.training["definition"]
    assert (model.definition_ml, model.definition_fraction) == (6.0, 0.33)


def test_shipped_integrated_model_beats_both_others_and_falls_to_the_facts_with_swapped_images():
    figures = {f.name: f for f in load_bundle(FOLDER).manifest.evaluation}
    assert figures["auc_integrated"].n >= 1000
    assert figures["gain_integrated_over_clinical"].low > 0
    assert figures["gain_integrated_over_image"].low > 0
    assert figures["auc_integrated"].value <= figures["auc_bayes"].value + 0.01
    assert figures["auc_permuted_images"].value <= figures["baseline_auc_clinical"].value + 0.01
    assert 0.85 < figures["slope_against_known_integrated"].value < 1.15


def test_shipped_card_is_written_from_the_metadata():
    card = (FOLDER / "docs" / "README.md").read_text()
    manifest = json.loads((FOLDER / "configs" / "metadata.json").read_text())
    assert manifest["version"] in card
    for word in ("virtual", "Never a reason to limit care", "not verified"):
        assert word in card
