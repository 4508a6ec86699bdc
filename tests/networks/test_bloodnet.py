"""BloodNet: shapes, one truth known by hand, gradient from the class into the mask, overfitting one batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from triage_node.networks.bloodnet import OUTPUTS, BloodNet, mask_statistics


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_forward_of_two_pictures_gives_six_masks_and_six_logits_each():
    mask, slices = BloodNet().eval()(torch.zeros(2, 4, 64, 96))
    assert mask.shape == (2, 6, 64, 96)
    assert slices.shape == (2, 6)
    assert mask.dtype == slices.dtype == torch.float32


def test_network_has_less_than_a_million_parameters():
    assert 0.6e6 < sum(p.numel() for p in BloodNet().parameters()) < 1e6


def test_outputs_are_the_findings_in_the_domains_order():
    from triage_node.domain.finding import SUBTYPES

    assert OUTPUTS == ("any", *SUBTYPES)


@pytest.mark.parametrize("head", [0, 1])
def test_gradient_of_either_class_head_reaches_every_mask_channel(head):
    net = BloodNet().eval()
    logits = net.heads(torch.randn(1, 4, 64, 64))[head]
    logits[0, 0].backward()
    assert net.mask.weight.grad is not None
    per_channel = net.mask.weight.grad.abs().sum(dim=(1, 2, 3))
    assert (per_channel > 0).all()


def test_statistics_of_a_known_mask_are_those_computed_by_hand():
    logits = torch.full((1, 6, 32, 32), -50.0)
    logits[0, 0, :4, :3] = 2.0  # twelve pixels of probability 0.8808
    found = mask_statistics(logits)[0].reshape(4, 6)[:, 0]
    expected = [2.0, (12 * 2 - 52 * 50) / 64, (12 * 2 - 244 * 50) / 256, np.log(1 + 12 / (1 + np.exp(-2.0)))]
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_axes_are_channel_row_column():
    """A bright bar moved along rows moves the mask's response along rows, and not along columns."""
    net = BloodNet().eval()

    def response(rows: slice, columns: slice) -> torch.Tensor:
        picture = torch.zeros(1, 4, 64, 64)
        picture[:, :, rows, columns] = 3.0
        with torch.no_grad():
            difference = (net(picture)[0] - net(torch.zeros(1, 4, 64, 64))[0]).abs()[0, 0]
        return difference

    top, left = response(slice(4, 12), slice(28, 36)), response(slice(28, 36), slice(4, 12))
    assert top[:16].sum() > 3 * top[48:].sum()
    assert left[:, :16].sum() > 3 * left[:, 48:].sum()
    assert top[4:12, 28:36].mean() > 2 * top[28:36, 4:12].mean()


def test_order_of_neighbours_matters():
    net = BloodNet().eval()
    picture = torch.randn(1, 4, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(net(picture)[1], net(picture[:, [2, 1, 0, 3]])[1])


def test_picture_that_is_not_divisible_by_sixteen_is_refused():
    with pytest.raises(RuntimeError):
        BloodNet().eval()(torch.zeros(1, 4, 50, 50))
