"""The bundle that ships: weights, ONNX and manifest belong together and keep what they promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors.torch import load

from models.bloodnet.prepare import Settings
from models.bloodnet.sources import VALIDATION_ANATOMY
from triage_node.bundle.load import load_bundle
from triage_node.detection.preprocess import CHANNELS, GRID
from triage_node.networks.bloodnet import BloodNet
from triage_node.simulation.phantom import FIRST_DEMO_SEED

FOLDER = Path(__file__).resolve().parents[2] / "models" / "bloodnet"


def test_onnx_network_gives_the_declared_shapes_for_any_batch():
    bundle = load_bundle(FOLDER)
    session = onnxruntime.InferenceSession(bundle.read(bundle.manifest.network), providers=["CPUExecutionProvider"])
    outputs = bundle.manifest.network_data_format.outputs
    for n in (1, 3):
        mask, slices = session.run(["mask", "slices"], {"picture": np.zeros((n, CHANNELS, GRID, GRID), np.float32)})
        assert mask.shape == (n, outputs["mask"].num_channels, *outputs["mask"].spatial_shape)
        assert slices.shape == (n, outputs["slices"].num_channels)


def test_onnx_network_and_safetensors_weights_agree():
    bundle = load_bundle(FOLDER)
    net = BloodNet()
    net.load_state_dict(load(bundle.read("models/model.safetensors")))
    net.eval()
    picture = np.random.default_rng(0).normal(0, 0.6, (2, CHANNELS, GRID, GRID)).astype(np.float32)
    session = onnxruntime.InferenceSession(bundle.read(bundle.manifest.network), providers=["CPUExecutionProvider"])
    found = session.run(["mask", "slices"], {"picture": picture})
    with torch.no_grad():
        expected = net(torch.from_numpy(picture))
    for e, f in zip(expected, found, strict=True):
        assert np.abs(e.numpy() - f).max() < 1e-3


def test_manifest_states_evidence_for_every_finding_and_more_than_simulated_only_for_parenchymal_blood():
    evidence = load_bundle(FOLDER).manifest.evidence
    assert {k: v.value for k, v in evidence.items()} == {
        "ich": "E1", "iph": "E1", "ivh": "E0", "sah": "E0", "sdh": "E0", "edh": "E0",
    }  # fmt: skip


def test_manifest_holds_the_validation_figure_with_interval_and_the_gate_is_passed():
    figures = {f.name: f for f in load_bundle(FOLDER).manifest.evaluation}
    auc = figures["study_auc"]
    assert auc.value >= 0.95
    assert auc.low is not None
    assert auc.high is not None
    assert auc.low <= auc.value <= auc.high
    assert auc.n_patients is not None
    assert auc.n_patients >= 10


def test_operating_points_say_how_they_were_chosen():
    point = load_bundle(FOLDER).manifest.operating_points["ich"]
    assert 0 < point.raise_probability <= point.notify_probability < 1
    assert "specificity" in point.chosen_on


def test_model_card_names_licence_authors_and_limits():
    card = (FOLDER / "docs" / "README.md").read_text()
    for word in ("CC BY 4.0", "non-commercial", "Deguo Ma", "BSD 2-Clause", "Chris Rorden", "Not for diagnostic use"):
        assert word in card


def test_training_never_uses_the_demos_heads():
    s = Settings()
    assert max(1000 + s.procedural_heads, 2000 + s.contrast_heads) < VALIDATION_ANATOMY.start
    assert VALIDATION_ANATOMY.stop <= FIRST_DEMO_SEED
