"""Moved pictures and pictures as the node lays them out: blood keeps its volume, edges are mixed, masks go with pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.expansion.laid_out import Move, as_scanned, drawn, mask_as_scanned, moved, scan_of
from models.expansion.pool import Pool, built_in
from triage_node.prognosis.expansion import layout_of
from triage_node.simulation.cohort_images import VOXEL_ML


@pytest.fixture(scope="module")
def pool() -> Pool:
    return built_in(8, 3)


def edges(pictures: np.ndarray) -> float:
    """Share of voxels as dense as blood, in 256 steps."""
    return float(((pictures > 140) & (pictures < 200)).mean())


def test_a_move_by_nothing_changes_nothing():
    still = Move(*(torch.eye(n)[None] for n in (24, 96, 96)))
    array = torch.randn(1, 2, 24, 96, 96, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(still.of(array), array)
    assert torch.allclose(still.halved().of(array), torch.nn.functional.avg_pool3d(array, (1, 2, 2)), atol=1e-6)


def test_every_new_voxel_is_a_mean_of_old_ones():
    move = drawn(5, np.random.default_rng(0))
    for weights in (move.slices, move.rows, move.columns):
        assert weights.min() >= 0
        inner = weights[:, 8:-8].sum(2)
        assert torch.allclose(inner, torch.ones_like(inner), atol=1e-5)


def test_blood_keeps_its_volume_and_stays_where_the_picture_shows_it(pool):
    which = np.arange(8)
    pictures, shares = moved(pool, which, np.random.default_rng(1))
    found = shares.sum((2, 3, 4)) * 4 * VOXEL_ML
    assert torch.allclose(found, torch.from_numpy(pool.mask(which).sum((2, 3, 4)) * VOXEL_ML).float(), rtol=0.02)
    halved = torch.nn.functional.avg_pool3d(pictures, (1, 2, 2))[:, 0]
    inside = torch.stack([halved[k][shares[k, 0] > 0.99].median() for k in which if (shares[k, 0] > 0.99).any()])
    assert (inside * 55 + 45).median() > 45, "HU of blood where the share is whole"


def test_a_picture_that_the_node_lays_out_has_mixed_edges_and_so_have_those_of_training(pool):
    which = np.arange(8)
    answered, laid_out = as_scanned(pool, which)
    assert answered.tolist() == which.tolist()
    raw = edges(np.asarray(pool.pictures))
    assert edges(laid_out) > 5 * raw
    training = np.concatenate([(moved(pool, which, np.random.default_rng(k))[0].numpy() + 1) * 127.5 for k in range(3)])
    assert edges(training) > 5 * raw


def test_the_mask_is_laid_out_as_its_picture_is(pool):
    for i in range(8):
        volume, mask = scan_of(pool.pictures[i]), mask_as_scanned(pool, i)
        ones = np.ones(volume.hu.shape[1:], np.float32)
        assert layout_of(volume).of(lambda _, ones=ones: ones, 1.0).min() > 0.99
        drawn_ml = pool.mask([i])[0, 0].sum() * VOXEL_ML
        assert mask[0].sum() * VOXEL_ML == pytest.approx(drawn_ml, abs=0.5 + 0.35 * drawn_ml)


def test_a_mask_of_a_picture_without_a_skull_is_refused_by_name(pool):
    empty = Pool(pool.patients, np.full_like(pool.pictures, 60), pool.masks, "")
    with pytest.raises(ValueError, match="no skull was found"):
        mask_as_scanned(empty, 0)
