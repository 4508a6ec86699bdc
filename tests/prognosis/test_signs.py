"""Signs drawn into a clot on native HU are found; a plain clot has none; what cannot be read says why."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.prognosis.cases import detection
from triage_node.prognosis import signs
from triage_node.simulation.phantom import head

SHAPE, PIXEL_MM, SLICE_MM = (8, 128, 128), 0.5, 5.0
Z, Y, X = np.meshgrid(
    (np.arange(SHAPE[0]) - 3.5) * SLICE_MM, *(2 * [(np.arange(128) - 63.5) * PIXEL_MM]), indexing="ij"
)


def clot(change=None, radius: float = 17, seed: int = 0, noise: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    blood = (X**2 + Y**2 + Z**2) < radius**2
    hu = np.where(blood, 62.0, 32.0)
    if change is not None:
        hu, blood = change(hu, blood)
    hu = hu + np.random.default_rng(seed).normal(0, noise, SHAPE)
    return hu.round().astype(np.int16), blood


def found(change=None, **how) -> dict:
    hu, blood = clot(change, **how)
    return signs.of_mask(hu, blood, (PIXEL_MM, PIXEL_MM), np.full(SHAPE[0], SLICE_MM), np.array([0.0, 1.0, 0.0]))


def hole(hu, blood, by: float = 36.0):
    return np.where((X - 4) ** 2 + (Y + 3) ** 2 + Z**2 < 5**2, 62.0 - by, hu), blood


def half(hu, blood):
    return np.where(blood & (X + 0.4 * Y > 5), 40.0, hu), blood


def level(hu, blood):
    return np.where(blood & (Y < 2), 44.0, hu), blood


def swirl(hu, blood):
    return np.where(blood & (np.abs(np.sin(X / 5 + Y / 9)) < 0.35) & (X**2 + Y**2 < 150), 40.0, hu), blood


def spots(count: int, away: float = 24.0, wide: float = 3.0):
    def draw(hu, blood):
        for k in range(count):
            angle = 2 * np.pi * k / max(count, 1) + 0.3
            blood = blood | ((X - away * np.cos(angle)) ** 2 + (Y - away * np.sin(angle)) ** 2 + (Z / 2) ** 2 < wide**2)
        return np.where(blood, 62.0, hu), blood

    return draw


@pytest.mark.parametrize("seed", range(4))
def test_plain_clot_has_no_sign(seed):
    measured = found(seed=seed)
    assert {k: measured[k] for k in signs.NAMES} == dict.fromkeys(signs.NAMES, False)
    assert measured["hu_variation"] < 0.08


def test_hole_36_hu_down_is_a_black_hole_and_one_of_20_is_only_a_hypodensity():
    deep, shallow = found(hole), found(lambda hu, blood: hole(hu, blood, 20))
    assert deep["black_hole"]
    assert deep["hypodensity"]
    assert not shallow["black_hole"]
    assert shallow["hypodensity"]
    assert deep["hu_variation"] > found()["hu_variation"]


def test_darker_half_with_a_sharp_oblique_border_is_a_blend_and_no_level():
    measured = found(half)
    assert measured["blend"]
    assert not measured["fluid_level"]


def test_darker_front_with_a_flat_border_is_a_level_and_no_blend():
    measured = found(level)
    assert measured["fluid_level"]
    assert not measured["blend"]


def test_dark_back_is_no_level():
    assert not found(lambda hu, blood: (np.where(blood & (Y > 2), 44.0, hu), blood))["fluid_level"]


def test_dark_streaks_over_slices_are_a_swirl():
    assert found(swirl)["swirl"]


def test_one_small_clot_beside_is_a_satellite_and_three_are_islands():
    one, three = found(spots(1)), found(spots(3))
    assert (one["satellite"], one["island"]) == (True, False)
    assert three["island"]


def specks(count: int, pixels: int, seed: int = 5):
    """Scattered voxels of noise that a mask took for blood, each `pixels` wide, on one slice each."""

    def draw(hu, blood):
        blood = blood.copy()
        rng = np.random.default_rng(seed)
        for _ in range(count):
            angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(21, 28)
            y, x = (round(63.5 + away * f(angle) / PIXEL_MM) for f in (np.sin, np.cos))
            blood[rng.integers(2, 6), y : y + pixels, x : x + pixels] = True
        return hu, blood

    return draw


@pytest.mark.parametrize(("count", "pixels"), [(1, 1), (60, 1), (40, 2), (12, 4)])
def test_specks_of_noise_are_neither_satellites_nor_islands(count, pixels):
    measured = found(specks(count, pixels))
    assert (measured["satellite"], measured["island"]) == (False, False)


def test_streaks_and_rings_beside_the_clot_are_no_small_clots():
    def streaks(hu, blood):
        beside = (np.abs(np.hypot(X, Y) - 25) < 0.8) & (np.sin(3 * np.arctan2(Y, X)) > -0.5) & (np.abs(Z) < 3)
        return hu, blood | beside

    def ring(hu, blood):
        return hu, blood | ((np.abs(np.hypot(X - 24, Y) - 4) < 0.8) & (np.abs(Z) < 3))

    for change in (streaks, ring):
        measured = found(change)
        assert (measured["satellite"], measured["island"]) == (False, False)


@pytest.mark.parametrize(("wide_mm", "is_one"), [(2.4, False), (3.6, True), (8.0, True)])
def test_smallest_clot_beside_is_three_millimetres_wide(wide_mm, is_one):
    def disc(hu, blood):
        return hu, blood | ((np.hypot(X - 24, Y) < wide_mm / 2) & (np.abs(Z) < 3))

    assert found(disc)["satellite"] is is_one


def test_oval_clot_of_two_to_one_is_a_satellite_whatever_its_direction():
    for angle in (0.0, 0.6, 1.2):

        def oval(hu, blood, angle=angle):
            u = (X - 24) * np.cos(angle) + Y * np.sin(angle)
            v = Y * np.cos(angle) - (X - 24) * np.sin(angle)
            return hu, blood | ((u / 3.5) ** 2 + (v / 1.75) ** 2 + (Z / 6) ** 2 < 1)

        assert found(oval)["satellite"]


def test_specks_beside_real_islands_do_not_hide_them():
    def both(hu, blood):
        return specks(30, 1)(*spots(3)(hu, blood))

    measured = found(both)
    assert (measured["satellite"], measured["island"]) == (True, True)


def test_mask_that_leaves_the_dark_part_out_still_shows_the_hole():
    hu, blood = clot(hole)
    measured = signs.of_mask(
        hu, blood & (hu > 45), (PIXEL_MM, PIXEL_MM), np.full(SHAPE[0], SLICE_MM), np.array([0.0, 1.0, 0.0])
    )
    assert measured["black_hole"]


def test_small_clot_is_not_read_and_says_so():
    measured = found(radius=5)
    assert all(measured[k] is None for k in signs.NAMES)
    assert "1 mL" in measured["reasons"]["blend"]


def test_no_blood_and_tilted_slices_say_what_cannot_be_read():
    hu, blood = clot()
    nothing = signs.of_mask(hu, np.zeros_like(blood), (0.5, 0.5), np.full(8, 5.0), np.array([0.0, 1.0, 0.0]))
    assert nothing["reasons"]["swirl"] == "no parenchymal blood"
    coronal = signs.of_mask(hu, blood, (0.5, 0.5), np.full(8, 5.0), np.array([0.0, 0.0, -1.0]))
    assert coronal["fluid_level"] is None
    assert coronal["blend"] is False


def test_answers_are_plain_json():
    assert json.loads(json.dumps(found(half))) == found(half)


def test_mask_of_another_shape_is_not_read():
    volume = head(7, 0, slices=4, size=128).volume
    measured = signs.measure(volume, detection())
    assert measured["reasons"]["blend"] == "the mask does not fit the images"
