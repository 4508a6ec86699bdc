"""The training step on one batch of simulated slices: it overfits in seconds, and its settings refuse nonsense."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.bloodnet.settings import from_command_line
from models.bloodnet.train import Settings, augmented, loss_of, rate
from triage_node.detection.preprocess import channels
from triage_node.networks.bloodnet import BloodNet


def _batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Four discs of brain in rings of bone, two with a clot. Shape: picture (4, 4, 96, 96), label, types."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96] - 47.5
    radius = np.hypot(x, y)
    head = np.where(radius < 34, 30.0, np.where(radius < 42, 100.0, 0.0))
    hu = np.stack([head] * 4) + rng.normal(0, 2, (4, 96, 96))
    label = np.zeros((4, 96, 96), np.uint8)
    for i, (cx, cy) in enumerate(((-12, 5), (15, -8))):
        clot = np.hypot(x - cx, y - cy) < 6
        hu[i][clot] += 35
        label[i][clot] = 1
    hu = hu.astype(np.float32)
    types = torch.zeros(4, 6)
    types[:2, :2] = 1
    return torch.from_numpy(channels(hu, hu, hu, 30.0)), torch.from_numpy(label), types


def test_one_batch_is_overfitted_in_mask_and_class():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    picture, label, types = _batch()
    net = BloodNet()
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3)
    real = torch.zeros(4, dtype=torch.bool)
    first = None
    for _ in range(90):
        loss, _ = loss_of(net, picture, label, types, real)
        first = first or loss.item()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        by_extent, by_picture, mask = net.heads(picture)
    assert loss.item() < 0.3 * first
    logits = (by_extent + by_picture)[:, 0] / 2
    assert logits[:2].min() > 1 > -1 > logits[2:].max()
    found, truth = mask[:, 0] > 0, label > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85


def test_ignored_pixels_change_no_loss():
    torch.manual_seed(0)
    picture, label, types = _batch()
    net = BloodNet().eval()
    label[3, 20:30, 20:30] = 255
    other = label.clone()
    real = torch.zeros(4, dtype=torch.bool)
    with torch.no_grad():
        before = loss_of(net, picture, label, types, real)[0]
        other[3, 20:30, 20:30] = 255
        net_mask = net.heads
        net.heads = lambda p: (*net_mask(p)[:2], net_mask(p)[2].index_put(
            (torch.tensor(3), torch.tensor(0), torch.tensor(25), torch.tensor(25)), torch.tensor(9.0)))  # fmt: skip
        after = loss_of(net, picture, other, types, real)[0]
    assert after == pytest.approx(before.item(), rel=1e-5)


def test_augmentation_moves_picture_and_label_together():
    rng = np.random.default_rng(3)
    hu = torch.full((2, 3, 192, 192), 30.0)
    hu[:, :, 60:90, 100:140] = 70.0
    label = torch.zeros(2, 192, 192, dtype=torch.uint8)
    label[:, 60:90, 100:140] = 4
    moved, mask = augmented(hu, label, rng)
    assert moved.shape == hu.shape
    assert set(mask.unique().tolist()) == {0, 4}
    for i in range(2):
        assert moved[i, 1][mask[i] == 4].mean() > moved[i, 1][mask[i] == 0].mean() + 20
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 100


def test_rate_warms_up_then_falls_to_nothing_by_the_clock():
    s = Settings(minutes=10, peak_rate=1e-3, warm_up_steps=100)
    assert rate(s, 0, 0) < 5e-5
    assert rate(s, 1000, 0) == pytest.approx(1e-3 + 1e-5)
    assert rate(s, 1000, 300) == pytest.approx(5e-4 + 1e-5)
    assert rate(s, 1000, 600) == pytest.approx(1e-5)


@pytest.mark.parametrize("argument", ["--batchh=8", "--batch=eight", "batch=8", "--batch"])
def test_setting_that_does_not_exist_or_has_the_wrong_type_is_refused(argument):
    with pytest.raises(SystemExit):
        from_command_line(Settings(), [argument])


def test_setting_given_replaces_its_default_only():
    found = from_command_line(Settings(), ["--batch=4", "--peak_rate=0.001"])
    assert (found.batch, found.peak_rate, found.seed) == (4, 0.001, Settings().seed)
