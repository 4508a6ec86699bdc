"""Grad-CAM from exported maps and the last layer's weights is what torch's gradients give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.quantification.export import heads
from triage_node.networks.multitask_prognosis import OUTPUTS, MultitaskNet
from triage_node.networks.quantification import QuantificationNet
from triage_node.networks.residual import MAP, PICTURE
from triage_node.prognosis.gradcam import grad_cam


def by_autograd(logit: torch.Tensor, maps: torch.Tensor) -> np.ndarray:
    """Selvaraju 2017, equations 1 and 2, with gradients."""
    (gradient,) = torch.autograd.grad(logit, maps, retain_graph=True)
    weight = gradient.mean((2, 3, 4), keepdim=True)
    return torch.relu((weight * maps).sum(1))[0].detach().numpy()


def awake(net: torch.nn.Module) -> torch.nn.Module:
    """Untrained, but with maps that are not all 0."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.constant_(module.bias, 0.1)
    return net.eval()


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return torch.randn(1, 1, *PICTURE, generator=torch.Generator().manual_seed(3))


def assert_exact(maps: torch.Tensor, weights: np.ndarray, logit: torch.Tensor) -> None:
    """For the logit and for its opposite, as one of the two may have nothing that speaks for it."""
    spoken = 0.0
    for sign in (1, -1):
        found = grad_cam(maps[0].detach().numpy(), sign * weights)
        expected = by_autograd(sign * logit, maps)
        assert found.shape == MAP
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.max()) + 1e-12)
        spoken = max(spoken, float(expected.max()))
    assert spoken > 1e-6


@pytest.mark.parametrize("task", ["volume", "outcome"])
def test_quantification_grad_cam_equals_autograd(picture: torch.Tensor, task: str):
    torch.manual_seed(1)
    net = awake(QuantificationNet())
    said = net(picture)
    assert_exact(getattr(said, f"{task}_maps"), np.array(heads(net)[task], np.float32)[0], getattr(said, task)[0, 0])


@pytest.mark.parametrize("task", list(OUTPUTS))
def test_multitask_grad_cam_equals_autograd_of_the_tasks_logits(picture: torch.Tensor, task: str):
    torch.manual_seed(2)
    net = awake(MultitaskNet())
    said = net(picture)
    weights = net.gain * getattr(net, task).weight.detach().numpy()
    assert_exact(said.maps, weights.sum(axis=0), getattr(said, task).sum())


def test_logit_is_the_sum_of_the_weighted_maps_and_the_bias(picture: torch.Tensor):
    torch.manual_seed(4)
    net = awake(QuantificationNet())
    said = net(picture)
    weights = torch.tensor(heads(net)["outcome"])[0]
    total = (weights[:, None, None, None] * said.outcome_maps[0]).mean((1, 2, 3)).sum() + net.outcome.linear.bias[0]
    assert said.outcome[0, 0].item() == pytest.approx(total.item(), rel=1e-4, abs=1e-5)
