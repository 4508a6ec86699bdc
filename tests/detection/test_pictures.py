"""Foreign pictures: any size, border, text and colour table end on the grid as the same head; what is none is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from triage_node.bundle.load import load_bundle
from triage_node.detection.ich import BloodNetDetector
from triage_node.detection.pictures import TABLES, grey_of, grid_of_pictures, stretched
from triage_node.detection.preprocess import GRID
from triage_node.domain.errors import StudyRejected
from triage_node.simulation import phantom
from triage_node.simulation.phantom_bleeds import Bleed

FOLDER = Path(__file__).resolve().parents[2] / "models" / "bloodnet"


def head(size: int = 300, radius: float = 90.0, row: float = 140.0) -> np.ndarray:
    """Brain of grey 96 in a white ring on black, with a brighter clot."""
    y, x = np.mgrid[:size, :size].astype(float)
    r = np.hypot(x - 160, y - row)
    picture = np.where(r < radius - 8, 96.0, np.where(r < radius, 255.0, 0.0))
    picture[np.hypot(x - 130, y - row) < 14] = 200
    return picture.astype(np.uint8)


def test_head_fills_its_share_of_the_grid_wherever_it_lay_and_whatever_is_written_beside_it():
    plain = head()
    plain[4:14, 4:90] = 255
    plain[-12:-4, 180:290] = 220
    study = grid_of_pictures([plain])
    bright = np.argwhere(study.hu[0] > 90)
    assert bright.max(axis=0) - bright.min(axis=0) == pytest.approx(0.94 * GRID, abs=4)
    assert study.tissue_hu == pytest.approx(96 / 255 * 80, abs=0.8)
    assert study.intracranial.any()


def test_pictures_of_one_volume_share_their_box():
    study = grid_of_pictures([head(radius=40), head(radius=90)])
    seen = [np.ptp(np.argwhere(hu > 10), axis=0).max() for hu in study.hu]
    assert seen[0] < 0.55 * seen[1]


@pytest.mark.parametrize("name", TABLES)
def test_colour_table_is_undone(name):
    grey = ndimage.gaussian_filter(head().astype(float), 2)
    coloured = np.round(TABLES[name][np.round(grey).astype(int)] * 255).astype(np.uint8)
    assert np.abs(grey_of(coloured) - grey / 255).mean() < 0.02


def test_contrast_of_a_wide_window_is_stretched_about_the_brain_and_a_usual_one_is_left_alone():
    rng = np.random.default_rng(0)
    inside = np.zeros((1, GRID, GRID), bool)
    inside[0, 40:150, 40:150] = True
    usual = np.where(inside, 30 + 6 * rng.standard_normal((1, GRID, GRID)), 0).astype(np.float32)
    assert stretched(usual, inside, 30.0) is usual
    flat = np.where(inside, 30 + 0.8 * rng.standard_normal((1, GRID, GRID)), 0).astype(np.float32)
    flat[0, 60:70, 60:70] = 36  # blood
    flat[0, 30:40] = 100  # bone stays bone, air stays air
    seen = stretched(flat, inside, 30.0)
    assert seen[0, 65, 65] == pytest.approx(30 + 6 * 4.0, abs=1)
    assert (seen[0, 30:40] == 100).all()
    assert (seen[0, :30] == 0).all()
    assert seen.dtype == np.float32


def test_inverted_and_transparent_pictures_are_dark_outside_the_head():
    plain = head()
    assert np.abs(grey_of(255 - plain) - plain / 255).max() < 0.01
    clear = np.dstack([plain, plain, plain, np.where(plain > 0, 255, 0)]).astype(np.uint8)
    assert np.abs(grey_of(clear) - plain / 255).max() < 0.01


@pytest.mark.parametrize(
    "pictures",
    [
        [],
        [np.zeros((64, 64), np.uint16)],
        [np.zeros((64, 64, 5), np.uint8)],
        [np.zeros((64, 8), np.uint8)],
        [np.zeros((2, 64, 64, 3), np.uint8)],
        [np.zeros((64, 64), np.uint8), np.zeros((65, 64), np.uint8)],
    ],
)
def test_what_is_no_set_of_pictures_is_refused(pictures):
    with pytest.raises(StudyRejected):
        grid_of_pictures(pictures)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_empty_picture_gives_a_grid_without_a_skull(value):
    study = grid_of_pictures([np.full((100, 60), value, np.uint8)])
    assert study.hu.shape == (1, GRID, GRID)
    assert not study.intracranial.any()


@pytest.fixture(scope="module")
def detector() -> BloodNetDetector:
    return BloodNetDetector(load_bundle(FOLDER))


@pytest.fixture(scope="module")
def bleeding() -> phantom.Phantom:
    return phantom.head(9001, 1, 12, 8.0, size=256, bleeds=(Bleed("iph", 22.0, (26, 4, 10), 64.0),))


@pytest.mark.parametrize(("low", "high"), [(0, 80), (-20, 140), (10, 70)])
def test_clot_of_a_phantom_is_seen_in_its_pictures_whatever_the_window(detector, bleeding, low, high):
    grey = np.clip((bleeding.volume.hu - float(low)) / (high - low), 0, 1) * 255
    truth = (bleeding.truth.bleed > 0).sum(axis=(1, 2))
    probabilities = []
    for picture in np.round(grey).astype(np.uint8):
        share, logits = detector.read(grid_of_pictures([np.dstack([picture] * 3)]))
        probabilities.append(float(detector.picture_scoring.slices(logits[:, 0])[0]))
        assert share.shape == (1, 6, GRID, GRID)
    point = load_bundle(FOLDER).manifest.operating_points["ich"]
    limit = point.raise_probability if point.slice_probability is None else point.slice_probability
    assert max(np.array(probabilities)[truth > 100]) >= limit
    assert max(np.array(probabilities)[truth == 0]) < max(np.array(probabilities)[truth > 100])
