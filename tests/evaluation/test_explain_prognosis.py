"""Where the prognosis networks looked: one page a system, coloured where its map is, and words where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.prognosis.bundles import scan
from triage_node.cli.explain import salient
from triage_node.domain.finding import BundleIdentity, EvidenceLevel
from triage_node.evaluation.explain_prognosis import GAP, HEAD, LINE, SIDE, prognosis_pages, trained_on

IDENTITY = BundleIdentity("example", "1.0.0", "d" * 64, "test", {"outcome": EvidenceLevel.E0})


class Example:
    """Looks at one place: slice 12, in front on the picture's left. Or gives the words that it was made with."""

    name, label, identity = "example", "An example", IDENTITY

    def __init__(self, words: str = "") -> None:
        self._words = words

    def saliency(self, volume: object) -> dict[str, np.ndarray] | str:
        place, nothing = (np.zeros((24, 96, 96), np.float32) for _ in range(2))
        place[12, 30:42, 30:42] = 1.0
        return self._words or {"outcome": place, "age": nothing}


@pytest.fixture(scope="module")
def volume():
    return scan(0).volume


def test_colour_lies_where_the_map_is_and_nowhere_else(volume, tmp_path: Path):
    files, told = prognosis_pages(volume, [Example()], tmp_path)
    assert told == {"example": "prognosis_example.png"}
    with Image.open(files[0]) as picture:
        page = np.asarray(picture.convert("RGB")).astype(int)
    coloured = np.ptp(page[HEAD:], axis=2) > 60
    left = np.flatnonzero(coloured.any(axis=0))
    tile = coloured[LINE + SIDE + GAP : LINE + 2 * SIDE + GAP]
    assert coloured.sum() == tile.sum() > 400, "only in the lower pictures of the first task"
    rows = np.flatnonzero(tile.any(axis=1))
    assert abs(rows.mean() - 36 / 96 * SIDE) < 6
    where = (left.mean() - GAP) % (SIDE + GAP)
    assert abs(where - 36 / 96 * SIDE) < 6


def test_a_system_without_a_map_gets_words_and_no_page(volume, tmp_path: Path):
    files, told = prognosis_pages(volume, [Example("no skull was found"), Example()], tmp_path)
    assert [f.name for f in files] == ["prognosis_example.png"]
    files, told = prognosis_pages(volume, [Example("no skull was found")], tmp_path)
    assert (files, told) == ([], {"example": "none: no skull was found"})


def test_the_page_says_what_the_network_was_trained_on():
    assert trained_on(IDENTITY) == "simulated training data, E0"
    assert trained_on(replace(IDENTITY, evidence={"outcome": EvidenceLevel.E1})) == "evidence E1"


def test_the_systems_that_ship_have_a_page_each_of_a_virtual_bleed(volume, tmp_path: Path):
    files, told = prognosis_pages(volume, salient(), tmp_path)
    assert list(told) == ["quantification", "outcome"]
    for file in files:
        with Image.open(file) as picture:
            assert np.ptp(np.asarray(picture).astype(int), axis=2).max() > 60, f"{file.name}: no colour"


def test_a_volume_that_is_no_head_has_no_map(volume, tmp_path: Path):
    _, told = prognosis_pages(replace(volume, hu=np.full_like(volume.hu, 30)), salient(), tmp_path)
    assert set(told.values()) == {"none: no skull was found"}
    assert list(tmp_path.iterdir()) == []
