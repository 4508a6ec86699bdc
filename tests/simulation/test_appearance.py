"""One head as many hospitals would have exported it: seeded, 8-bit, and each different in the way its name says."""

from __future__ import annotations

import numpy as np
import pytest

from tests.detection.heads import simple_head
from triage_node.simulation.appearance import APPEARANCES, CANONICAL, FURTHER, Appearance, shown

ALL = {**APPEARANCES, **FURTHER}


@pytest.fixture(scope="module")
def head():
    hu = simple_head(4, size=256).astype(np.float32)
    hu[1:3, 110:140, 110:140] = 65
    return np.clip(hu, -20, 100)


def grey(pictures):
    return np.stack(pictures).astype(float)


def test_there_are_fifteen_and_windows_and_colours_beyond_them():
    assert len(APPEARANCES) == 15
    assert {a.width for a in ALL.values()} >= {40, 50, 160, 200, 350}
    assert sum(bool(a.colours) for a in ALL.values()) >= 3


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_bytes_and_every_picture_is_8_bit(name, head):
    first, again = (shown(head, ALL[name], 3, (-20, 100)) for _ in range(2))
    assert len(first) == 4
    for a, b in zip(first, again, strict=True):
        assert a.dtype == np.uint8
        assert a.ndim == (3 if ALL[name].colours else 2)
        assert np.array_equal(a, b)


def test_another_seed_gives_other_noise(head):
    a, b = (grey(shown(head, APPEARANCES["noisy"], seed, (-20, 100))) for seed in (1, 2))
    assert np.abs(a - b).max() > 10


def test_the_brain_window_is_exact_and_clipped_ends_are_bone_and_air(head):
    picture = shown(head, APPEARANCES[CANONICAL], 0, (-20, 100))[1]
    assert picture[125, 125] == round(65 / 80 * 255)
    assert picture[0, 0] == 0
    wide = shown(head, FURTHER["wider 350/50"], 0, (-20, 100))[1]
    assert wide.max() == 255, "what the source clipped is bone, not 100 HU"
    assert wide[0, 0] == 0


def test_hounsfield_units_that_were_not_clipped_need_no_range():
    hu = simple_head(2, size=128)
    picture = shown(hu, Appearance(), 0)[0]
    assert picture[0, 0] == 0
    assert picture.max() == 255


def test_windows_gamma_size_turn_and_skull_do_what_they_say(head):
    plain = grey(shown(head, APPEARANCES[CANONICAL], 0, (-20, 100)))
    contrast = {n: np.diff(grey(shown(head, ALL[n], 0, (-20, 100)))[1, 125, [90, 125]])[0] for n in ("narrow 50/32", "wide 160/45")}  # fmt: skip
    assert contrast["narrow 50/32"] > np.diff(plain[1, 125, [90, 125]])[0] > contrast["wide 160/45"]
    assert grey(shown(head, APPEARANCES["gamma 1.5"], 0, (-20, 100))).mean() < plain.mean()
    assert shown(head, APPEARANCES["110 px"], 0, (-20, 100))[0].shape == (110, 110)
    assert np.array_equal(shown(head, APPEARANCES["rotated 90"], 0, (-20, 100))[1], np.rot90(plain[1]))
    assert shown(head, APPEARANCES["skull unsaturated"], 0, (-20, 100))[0].max() < 205
    assert shown(head, FURTHER["inverted"], 0, (-20, 100))[0][0, 0] == 255


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((0, 4, 4)), np.full((1, 8, 8), np.nan)])
def test_what_is_no_stack_is_refused(bad):
    with pytest.raises(ValueError, match="stack of finite HU"):
        shown(bad, Appearance(), 0)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"gamma": -1}, {"crop": 0.5}, {"longest": 3}, {"colours": "nope"}, {"jpeg": 200}])  # fmt: skip
def test_impossible_appearances_are_refused(wrong):
    with pytest.raises(ValueError):
        Appearance(**wrong)
