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
