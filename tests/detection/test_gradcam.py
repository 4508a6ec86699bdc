"""Grad-CAM from feature maps alone is the one that automatic differentiation gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch

from triage_node.bundle.load import load_bundle
from triage_node.detection.gradcam import GradCam, with_output
from triage_node.detection.ich import BloodNetDetector
from triage_node.networks.bloodnet import BloodNet

FOLDER = Path(__file__).resolve().parents[2] / "models" / "bloodnet"


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(FOLDER)


@pytest.fixture(scope="module")
def pictures():
    made = np.random.default_rng(3).normal(0, 0.4, (2, 4, 192, 192)).astype(np.float32)
    made[1, :, 80:110, 60:90] += 1.0
    return made


@pytest.mark.parametrize("output", [0, 3])
def test_it_equals_autograd(bundle, pictures, output):
    net = BloodNet().eval()
    net.load_state_dict(safetensors.torch.load(bundle.read("models/model.safetensors")))
    seen: list[torch.Tensor] = []

    def keep(module, args, out):
        out.retain_grad()
        seen.append(out)

    net.beside_mask.register_forward_hook(keep)
    _, logits = net(torch.from_numpy(pictures))
    logits[:, output].sum().backward()
    alpha = seen[0].grad.mean(dim=(2, 3), keepdim=True)
    expected = (alpha * seen[0]).sum(dim=1).detach().numpy()
    found = GradCam(bundle).weighted(pictures, output)
    assert found.shape == (2, 24, 24)
    size = np.abs(expected).max()
    assert size > 0
    assert np.abs(found - expected).max() < 1e-3 * size
    assert np.array_equal(GradCam(bundle)(pictures, output), np.maximum(found, 0))


def test_an_inner_value_becomes_an_output_and_the_others_stay(bundle, pictures):
    network = bundle.read(bundle.manifest.network)
    plain = BloodNetDetector(bundle).run(pictures)
    session = onnxruntime.InferenceSession(
        with_output(network, GradCam(bundle)._name), providers=["CPUExecutionProvider"]
    )
    assert [o.name for o in session.get_outputs()][:2] == ["mask", "slices"]
    mask, slices = session.run(["mask", "slices"], {"picture": pictures})
    assert np.allclose(mask, plain[0], atol=1e-4)
    assert np.allclose(slices, plain[1], atol=1e-4)


def test_a_bundle_without_such_a_head_says_so(bundle):
    class Other:
        def __init__(self, found: bytes) -> None:
            self.manifest, self._found = bundle.manifest, found

        def read(self, name: str) -> bytes:
            return self._found

    with pytest.raises(LookupError, match="no network"):
        GradCam(Other(b"no network at all"))
    only = {bundle.manifest.network: bundle.manifest.files[bundle.manifest.network]}
    bare = replace(bundle, manifest=bundle.manifest.model_copy(update={"files": only}))
    with pytest.raises(LookupError, match="no network"):
        GradCam(bare)
