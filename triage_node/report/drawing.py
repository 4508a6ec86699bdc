"""What is drawn into pixels: CT in the brain window, heat, outlines, and text that stays legible over anything.

The font is the one that Pillow carries, so that every machine draws the same. It knows Latin letters; others become "?".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

WINDOW_CENTER_HU, WINDOW_WIDTH_HU = 40, 80
WHITE, BLACK, RED, AMBER, GREY = (255, 255, 255), (0, 0, 0), (255, 70, 60), (255, 205, 60), (170, 178, 186)
OUTLINE: Colour = (255, 90, 80)
HEAT_SHOWN_FROM = 64
"""Heat below a quarter is not shown: a faint veil over the whole brain tells nothing."""


def gray(hu: NDArray[np.int16]) -> Pixels:
    """CT in the brain window (STANDARDS.md 6.7). Shape: (row, column) to the same."""
    low = WINDOW_CENTER_HU - WINDOW_WIDTH_HU / 2
    scaled = (hu.astype(np.float32) - low) * (255.0 / WINDOW_WIDTH_HU)
    return np.asarray(np.clip(scaled, 0, 255), dtype=np.uint8)


def rgb(image: Pixels) -> Pixels:
    """Shape: (row, column) to (row, column, 3)."""
    return np.repeat(image[:, :, None], 3, axis=2)


def with_heat(image: Pixels, heat: Pixels) -> Pixels:
    """Heat from amber (a quarter) to red (1) over the CT, the CT still visible below. Shapes: (row, column, 3), (row, column)."""
    out = image.copy()
    rows, columns = np.nonzero(heat >= HEAT_SHOWN_FROM)
    strength = (heat[rows, columns].astype(np.float32) - HEAT_SHOWN_FROM) / (255 - HEAT_SHOWN_FROM)
    colour = np.stack([np.full_like(strength, 255), 190 - 170 * strength, 30 - 20 * strength], axis=1)
    opacity = (0.2 + 0.35 * strength)[:, None]
    out[rows, columns] = (out[rows, columns] * (1 - opacity) + colour * opacity).astype(np.uint8)
    return out


def border_of(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels outside a region that touch it by a side: the bleed itself stays uncovered."""
    grown = np.zeros_like(region)
    grown[1:] |= region[:-1]
    grown[:-1] |= region[1:]
    grown[:, 1:] |= region[:, :-1]
    grown[:, :-1] |= region[:, 1:]
    return grown & ~region


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    found = ImageFont.load_default(size)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType")
    return found


def drawable(text: str) -> str:
    """Text in the letters that the font has."""
    return "".join(c if " " <= c <= "~" or "\u00a0" <= c <= "\u024f" else "?" for c in text)


def wrapped(text: str, size: int, width: int) -> list[str]:
    """Lines of at most `width` pixels, broken at spaces, a longer word inside itself."""
    lines = [""]
    for word in drawable(text).split():
        joined = f"{lines[-1]} {word}".strip()
        if font(size).getlength(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font(size).getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


class Canvas:
    """A picture that text is put on."""

    def __init__(self, pixels: Pixels) -> None:
        self._image = Image.fromarray(pixels)
        self._draw = ImageDraw.Draw(self._image)

    @property
    def pixels(self) -> Pixels:
        return np.asarray(self._image)

    def paragraph(self, text: str, x: int, y: int, size: int, colour: Colour, width: int, shadow: bool = False) -> int:
        """Draw wrapped text from (x, y) down; returns the y below it."""
        for line in wrapped(text, size, width):
            edge = max(1, size // 9) if shadow else 0
            self._draw.text((x, y), line, fill=colour, font=font(size), stroke_width=edge, stroke_fill=BLACK)
            y += line_height(size)
        return y

    def panel(self, box: tuple[int, int, int, int], colour: Colour) -> None:
        self._draw.rectangle(box, fill=colour)

    def paste(self, pixels: Pixels, x: int, y: int) -> None:
        self._image.paste(Image.fromarray(pixels), (x, y))


def line_height(size: int) -> int:
    return round(size * 1.22)


def text_height(lines: Sequence[str], size: int, width: int) -> int:
    return sum(len(wrapped(line, size, width)) for line in lines) * line_height(size)
