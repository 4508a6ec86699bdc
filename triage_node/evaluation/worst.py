"""The answers furthest from the truth, with their pictures. Only so many pictures are held as will be shown."""

from __future__ import annotations

import base64
import heapq
import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

TILE = 224
"""Pixels a side."""
SHOWN = 12
WINDOW_HU = (0.0, 80.0)
OUTLINE = (255, 140, 40)
_GAP, _TEXT = 6, 16


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture, RGB uint8 (TILE, TILE, 3), and what is said under it."""

    key: str
    probability: float
    words: str
    picture: NDArray[np.uint8]

    def png(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(self.picture).save(file, "PNG", optimize=True)
        return file.getvalue()

    def data_uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png()).decode()


class Worst:
    """The SHOWN false alarms with the highest and misses with the lowest probability, whatever the threshold says.

    `offer` takes a function that draws, so that nothing is drawn for what is not kept.
    """

    def __init__(self, shown: int = SHOWN) -> None:
        self._shown = shown
        self._heaps: dict[bool, list[tuple[float, int, Tile]]] = {True: [], False: []}
        self._turn = itertools.count()

    def offer(
        self, truth: bool, probability: float, key: str, words: str, draw: Callable[[], NDArray[np.uint8]]
    ) -> None:
        heap, badness = self._heaps[truth], -probability if truth else probability
        if len(heap) == self._shown and badness <= heap[0][0]:
            return
        tile = Tile(key, probability, words, draw())
        if len(heap) == self._shown:
            heapq.heapreplace(heap, (badness, next(self._turn), tile))
        else:
            heapq.heappush(heap, (badness, next(self._turn), tile))

    def of(self, truth: bool) -> list[Tile]:
        """Worst first: with hemorrhage the lowest probabilities, without the highest."""
        return [tile for _, _, tile in sorted(self._heaps[truth], key=lambda e: (-e[0], e[1]))]


def tile(
    image: NDArray[np.generic], low: float, high: float, mask: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """A slice as a square picture from `low` (black) to `high` (white), with the outline of a mask. Shape: (row, column)."""
    grey = np.clip((image.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    side = max(grey.shape)
    square = np.zeros((side, side), np.uint8)
    r, c = (side - grey.shape[0]) // 2, (side - grey.shape[1]) // 2
    square[r : r + grey.shape[0], c : c + grey.shape[1]] = grey
    rgb = np.array(Image.fromarray(square).convert("RGB").resize((TILE, TILE), Image.Resampling.BILINEAR))
    if mask is not None and mask.any():
        wide = np.zeros((side, side), np.uint8)
        wide[r : r + mask.shape[0], c : c + mask.shape[1]] = mask * np.uint8(255)
        small = np.array(Image.fromarray(wide).resize((TILE, TILE), Image.Resampling.BILINEAR)) > 127
        inner = small.copy()
        inner[1:-1, 1:-1] &= small[:-2, 1:-1] & small[2:, 1:-1] & small[1:-1, :-2] & small[1:-1, 2:]
        rgb[small & ~inner] = OUTLINE
    return rgb


def montage(tiles: list[Tile], columns: int = 4) -> Image.Image | None:
    """All of them in one picture with their words; None when there are none."""
    if not tiles:
        return None
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    wide, high = TILE + _GAP, TILE + _TEXT + _GAP
    page = Image.new("RGB", (columns * wide + _GAP, rows * high + _GAP), (16, 22, 30))
    pen = ImageDraw.Draw(page)
    for i, t in enumerate(tiles):
        x, y = _GAP + i % columns * wide, _GAP + i // columns * high
        page.paste(Image.fromarray(t.picture), (x, y))
        pen.text((x, y + TILE + 2), f"{t.probability:.3f} {t.words}"[:38], fill=(220, 228, 236))
    return page
