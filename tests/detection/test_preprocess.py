"""Working grid: what comes in as HU of any geometry leaves as one head in one pose of size, and maps back."""

from __future__ import annotations

import numpy as np
import pytest

from tests.detection.heads import simple_head, volume_of
from triage_node.detection import preprocess
from triage_node.detection.preprocess import GRID, channels, network_input, on_grid


def test_thick_slices_stay_one_to_one_and_the_skull_fills_its_share():
    study = on_grid(volume_of(simple_head()))
    assert study.hu.shape == (30, GRID, GRID)
    assert study.block_of_slice.tolist() == list(range(30))
    bone = (study.hu > 90).any(axis=0)
    extent = max(np.ptp(np.flatnonzero(bone.any(axis=axis))) for axis in (0, 1))
    assert extent / GRID == pytest.approx(preprocess.SKULL_SHARE, abs=0.02)
    assert study.tissue_hu == pytest.approx(30, abs=1)
    assert study.hu.min() >= 0
    assert study.hu.max() <= 100.001


def test_thin_slices_are_averaged_to_the_trained_thickness_and_every_slice_knows_its_block():
    thin = on_grid(volume_of(simple_head(140, 1.0, 128, noise=8.0), 1.0, 1.8))
    assert len(thin.hu) == 28
    assert np.bincount(thin.block_of_slice).tolist() == [5] * 28
    one = on_grid(volume_of(simple_head(28, 5.0, 128, noise=8.0), 5.0, 1.8))
    inner = np.s_[10:20, 80:110, 80:110]
    assert thin.hu[inner].std() < 0.6 * one.hu[inner].std()


def test_same_head_in_another_field_of_view_looks_the_same_on_the_grid():
    hu = simple_head()
    wide = np.full((30, 400, 400), -1000, np.int16)
    wide[:, 40:296, 100:356] = hu
    a, b = on_grid(volume_of(hu)), on_grid(volume_of(wide))
    assert np.abs(a.hu - b.hu)[5:25].mean() < 1.5


def test_bone_is_clipped_before_it_is_averaged():
    hu = np.full((1, 64, 64), 30, np.int16)
    hu[0, :, 32] = 3000
    study = on_grid(volume_of(np.repeat(hu, 3, axis=0)))
    assert study.hu.max() <= 100.001


def test_drift_of_a_tilted_gantry_is_undone_before_thin_slices_are_averaged():
    hu = np.full((10, 64, 64), 30, np.int16)
    for i in range(10):
        hu[i, 20 + i, :] = 90
    volume = volume_of(hu, 1.0, 1.0)
    shifted = volume.origins_mm.copy()
    shifted[:, 1] = -np.arange(10.0)  # row i of slice i lies at the same place in the patient
    moved = volume_of(hu, 1.0, 1.0)
    object.__setattr__(moved, "origins_mm", shifted)
    straight, undone = on_grid(volume), on_grid(moved)
    assert straight.hu.max() < 60
    assert undone.hu.max() > 80


def test_picture_on_the_grid_maps_back_to_the_native_place():
    hu = simple_head()
    study = on_grid(volume_of(hu))
    back = preprocess.to_native(study, study.hu[15])
    inside = np.s_[60:200, 80:180]
    assert np.abs(back[inside] - np.clip(hu[15], 0, 100)[inside]).mean() < 3
    label = np.zeros((GRID, GRID), np.uint8)
    label[90:100, 70:80] = 7
    native = preprocess.nearest_native(study, label)
    rows, columns = np.nonzero(native)
    scale = study.square.side / GRID
    assert set(np.unique(native)) == {0, 7}
    assert rows.mean() == pytest.approx(study.square.row + 95 * scale - 0.5, abs=1)
    assert columns.mean() == pytest.approx(study.square.column + 75 * scale - 0.5, abs=1)


def test_channels_are_neighbour_below_slice_neighbour_above_and_raw():
    hu = np.stack([np.full((GRID, GRID), v, np.float32) for v in (20, 30, 45)])
    found = network_input(hu, 30.0)
    assert found.shape == (3, preprocess.CHANNELS, GRID, GRID)
    assert found[1, :, 0, 0].tolist() == pytest.approx([-0.4, 0.0, 0.6, -0.4])
    assert found[0, :3, 0, 0].tolist() == pytest.approx([-0.4, -0.4, 0.0])
    assert found[2, :3, 0, 0].tolist() == pytest.approx([0.0, 0.6, 0.6])


def test_channels_take_one_tissue_density_for_each_picture():
    hu = np.full((2, 4, 4), 40, np.float32)
    tissue = np.array([40.0, 15.0], np.float32)[:, None, None, None]
    assert channels(hu, hu, hu, tissue)[:, 1, 0, 0].tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("value", [-1024, 0, 40, 3071])
def test_picture_without_a_head_raises_nothing_and_has_no_inside(value):
    study = on_grid(volume_of(np.full((3, 64, 64), value, np.int16)))
    assert study.hu.shape == (3, GRID, GRID)
    assert not study.intracranial.any()
    assert study.tissue_hu == 30.0


def test_single_slice_is_its_own_neighbours():
    study = on_grid(volume_of(simple_head()[15:16]))
    found = network_input(study.hu, study.tissue_hu)
    assert np.array_equal(found[0, 0], found[0, 1])
    assert np.array_equal(found[0, 2], found[0, 1])


def test_roof_of_the_skull_is_bone_only_and_a_slice_with_brain_or_without_a_head_is_not():
    y, x = np.mgrid[:192, :192] - 96.0
    radius = np.hypot(x, y)
    roof = np.where(radius < 40, 100.0, 0.0)
    roof[radius < 8] = 60
    brain = np.where(radius < 40, 100.0, 0.0)
    brain[radius < 26] = 32
    stack = np.stack([roof, brain, np.zeros_like(roof), np.full_like(roof, 30.0)]).astype(np.float32)
    assert preprocess.bone_only(stack).tolist() == [True, False, False, False]
