"""Which failures are shown, and how."""

from __future__ import annotations

import numpy as np

from triage_node.evaluation.worst import TILE, Worst, montage, tile


def flat() -> np.ndarray:
    return np.zeros((TILE, TILE, 3), np.uint8)


def test_only_the_worst_are_kept_worst_first():
    worst = Worst(shown=3)
    for p in (0.2, 0.9, 0.5, 0.1, 0.7):
        worst.offer(False, p, f"n{p}", "", flat)
        worst.offer(True, p, f"p{p}", "", flat)
    assert [t.probability for t in worst.of(False)] == [0.9, 0.7, 0.5]
    assert [t.probability for t in worst.of(True)] == [0.1, 0.2, 0.5]


def test_what_is_not_kept_is_never_drawn():
    drawn = []
    worst = Worst(shown=1)
    for p in (0.9, 0.1, 0.2):
        worst.offer(False, p, "", "", lambda p=p: drawn.append(p) or flat())
    assert drawn == [0.9]


def test_a_slice_of_any_shape_becomes_a_square_with_an_outline():
    image = np.full((100, 300), 40, np.int16)
    mask = np.zeros((100, 300), bool)
    mask[40:60, 100:200] = True
    found = tile(image, 0, 80, mask)
    assert found.shape == (TILE, TILE, 3)
    assert found[0].max() == 0, "what was added to make it square is black"
    assert (found[TILE // 2, TILE // 8] == 127).all()
    assert (found == (255, 140, 40)).all(axis=2).sum() > 50


def test_a_montage_has_room_for_each():
    worst = Worst()
    for i in range(6):
        worst.offer(True, i / 10, str(i), "words", flat)
    page = montage(worst.of(True))
    assert page is not None
    assert page.width > 4 * TILE
    assert page.height > 2 * TILE
    assert montage([]) is None
