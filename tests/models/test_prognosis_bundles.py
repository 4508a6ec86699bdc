"""The two bundles of outcome that ship: weights and ONNX agree, every figure is of simulated patients and says what it beat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load

from tests.prognosis.bundles import scan
from tests.prognosis.cases import detection, piece
from triage_node.bundle.load import load_bundle
from triage_node.networks.multitask_prognosis import MultitaskNet
from triage_node.networks.quantification import QuantificationNet
from triage_node.prognosis.expansion import network_input, stored
from triage_node.prognosis.outcome import Outcome
from triage_node.prognosis.quantification import BOUND_FILE, Agreement, Quantification
from triage_node.simulation.cohort import virtual_cohort
from triage_node.simulation.cohort_images import VOXEL_ML, render

MODELS = Path(__file__).resolve().parents[2] / "models"
BUNDLES = [
    (MODELS / "quantification", QuantificationNet, ("volume", "outcome", "volume_maps", "outcome_maps")),
    (MODELS / "multitask_prognosis", MultitaskNet, ("prognosis", "gcs", "age", "maps")),
]


@pytest.mark.parametrize(("folder", "network", "outputs"), BUNDLES)
def test_onnx_network_and_safetensors_weights_agree(folder: Path, network: type, outputs: tuple[str, ...]):
    bundle = load_bundle(folder)
    net = network()
    net.load_state_dict(load(bundle.read("models/model.safetensors")))
    net.eval()
    picture = network_input(np.stack([stored(render(p, 4).hu) for p in virtual_cohort(2, 4)]))
    session = onnxruntime.InferenceSession(bundle.read(bundle.manifest.network), providers=["CPUExecutionProvider"])
    found = session.run(list(outputs), {"picture": picture})
    with torch.no_grad():
        expected = net(torch.from_numpy(picture))
    for name, e, f in zip(outputs, expected, found, strict=True):
        assert f.shape[1] == bundle.manifest.network_data_format.outputs[name].num_channels
        np.testing.assert_allclose(f, e.numpy(), atol=1e-3)


@pytest.mark.parametrize(("folder", "network", "outputs"), BUNDLES)
def test_every_output_and_figure_is_evidence_from_simulated_patients(folder: Path, network: type, outputs: tuple):
    manifest = load_bundle(folder).manifest
    assert {level.value for level in manifest.evidence.values()} == {"E0"}
    assert {f.evidence.value for f in manifest.evaluation} == {"E0"}
    assert all("simulated" in f.data for f in manifest.evaluation)
    assert "simulated" in (folder / "docs/README.md").read_text()


@pytest.mark.parametrize(("folder", "network", "outputs"), BUNDLES)
def test_the_known_optimum_and_a_verdict_on_each_baseline_stand_beside_the_result(
    folder: Path, network: type, outputs: tuple
):
    figures = {f.name: f for f in load_bundle(folder).manifest.evaluation}
    assert figures["outcome_auc_image_age_gcs"].value < figures["outcome_auc_bayes"].value
    verdicts = [f.data for name, f in figures.items() if "_minus_" in name]
    assert len(verdicts) >= 4
    assert all("better than" in v or "WORSE than" in v for v in verdicts)
    assert all(f.low is not None and f.high is not None and f.low <= f.value <= f.high for f in figures.values())


def test_a_scan_laid_out_by_the_node_has_the_volume_that_was_drawn():
    """Laying out mixes bone with what lies beside it, which looks like blood; a network that minds it is off by a head."""
    model = Quantification(MODELS / "quantification", 1)
    bound = Agreement.from_json((MODELS / "quantification" / BOUND_FILE).read_bytes())
    agree, errors = [], []
    for k in range(16):
        s = scan(k)
        drawn = float(s.image.blood.sum() * VOXEL_ML)
        found = model.measure(s.volume, detection(piece(ml=drawn)))["ml"]
        agree.append(bound.holds(found, drawn))
        errors.append(abs(found - drawn))
    assert np.mean(agree) >= 0.8
    assert np.median(errors) < 2.5


def test_the_regressed_volume_is_within_two_ml_or_a_tenth_in_the_median():
    figures = {f.name: f for f in load_bundle(MODELS / "quantification").manifest.evaluation}
    ml, share = figures["volume_median_error_ml"], figures["volume_median_error_share"]
    assert ml.high <= 2 or share.high <= 0.1
    assert ml.n >= 1000


def test_the_node_loads_both():
    assert Quantification(MODELS / "quantification", 1).identity.level("volume").value == "E0"
    assert Outcome(MODELS / "multitask_prognosis", 1).identity.level("outcome").value == "E0"
