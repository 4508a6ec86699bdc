"""8-bit pictures as other hospitals, teaching sets and exports would have made them of the same head.

    pictures = shown(hu, APPEARANCES["wide 160/45"], seed=7, hu_range=(0, 100))

One appearance stands for one hospital: the whole set is altered alike, only noise and the place of a text are drawn anew. The
same stack, appearance and seed give the same bytes. For stress tests with thresholds fixed before; what another scanner does to
Hounsfield units is in scanners.py (SCANS).
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

AIR_HU = -400.0
USUAL_SIDE = 256
"""Pixels a side for which `kernel` and `noise` are meant; a larger picture is blurred over more pixels."""
TEXT = ("HEAD 5.0 MM", "W:80 L:40", "SE 2 IM 14", "R", "120 KV 220 MAS")


@dataclass(frozen=True, slots=True)
class Appearance:
    """How a picture is made of HU. The defaults are the brain window as it is.

    centre, width: HU. gamma: above 1 darker. contrast: grey 0 to 1 becomes contrast[0] to contrast[0] + contrast[1]. kernel:
    below 0 smoother, above 0 sharper. noise: deviation as a share of the window. bone: grey of bone, 1 is saturated.
    longest: pixels of the longer side afterwards, 0 as it was. jpeg: quality, 0 for none. quarter_turns: counter-clockwise.
    crop: share cut off each side. text: marks and a scale in the picture. colours: name of a matplotlib colour map, which
    makes an RGB picture. inverted: air is white.
    """

    centre: float = 40.0
    width: float = 80.0
    gamma: float = 1.0
    contrast: tuple[float, float] = (0.0, 1.0)
    kernel: float = 0.0
    noise: float = 0.0
    bone: float = 1.0
    longest: int = 0
    jpeg: int = 0
    quarter_turns: int = 0
    crop: float = 0.0
    text: bool = False
    colours: str = ""
    inverted: bool = False

    def __post_init__(self) -> None:
        if not self.width > 0 or not self.gamma > 0 or not 0 <= self.crop < 0.4 or not 0 <= self.noise < 1:
            raise ValueError(f"width and gamma must be above 0, crop 0 to 0.4, noise 0 to 1, got {self}")
        if not (self.longest == 0 or 32 <= self.longest <= 4096) or not 0 <= self.jpeg <= 95:
            raise ValueError(f"longest must be 0 or 32 to 4096, jpeg 0 to 95, got {self}")
        if self.colours and self.colours not in matplotlib.colormaps:
            raise ValueError(f"no such colour map: {self.colours!r}")


CANONICAL = "canonical 80/40"
APPEARANCES: dict[str, Appearance] = {
    CANONICAL: Appearance(),
    "narrow 50/32": Appearance(centre=32, width=50),
    "wide 160/45": Appearance(centre=45, width=160),
    "gamma 1.5": Appearance(gamma=1.5),
    "gamma 0.65": Appearance(gamma=0.65),
    "JPEG 20": Appearance(jpeg=20),
    "110 px": Appearance(longest=110),
    "sharpened": Appearance(kernel=1.4, noise=0.04),
    "noisy": Appearance(noise=0.08),
    "rotated 90": Appearance(quarter_turns=1),
    "skull unsaturated": Appearance(bone=0.78),
    "mixture A": Appearance(width=110, gamma=1.2, jpeg=40, longest=300, text=True, kernel=-0.6),
    "mixture B": Appearance(centre=35, width=70, gamma=0.8, longest=140, kernel=1.0, bone=0.85),
    "mixture C": Appearance(centre=60, width=180, noise=0.05, jpeg=35, quarter_turns=3, text=True),
    "mixture D": Appearance(centre=28, width=60, contrast=(0.05, 0.85), longest=220, crop=0.06),
}
"""The 15 of the first stress test."""

FURTHER: dict[str, Appearance] = {
    "narrower 40/35": Appearance(centre=35, width=40),
    "wider 200/70": Appearance(centre=70, width=200),
    "wider 350/50": Appearance(centre=50, width=350),
    "hot": Appearance(colours="hot"),
    "rainbow": Appearance(colours="jet"),
    "copper": Appearance(colours="copper"),
    "viridis": Appearance(colours="viridis", text=True),
    "inverted": Appearance(inverted=True),
}
"""Wider and narrower windows and colour tables; one table is none that the reading of pictures knows."""


def shown(
    hu: NDArray[np.floating] | NDArray[np.int16],
    appearance: Appearance,
    seed: int,
    hu_range: tuple[float, float] | None = None,
) -> list[Picture]:
    """A stack as pictures, lowest slice first, uint8 (row, column) or, with `colours`, (row, column, 3).

    Shape: hu (slice, row, column). `hu_range`: where the source was clipped; its ends are then bone and air, whose true
    density is far outside every window. Raises ValueError for a stack that is none.
    """
    stack = np.asarray(hu, np.float32)
    if stack.ndim != 3 or 0 in stack.shape or not np.isfinite(stack).all():
        raise ValueError(f"a stack of finite HU (slice, row, column) is needed, got shape {stack.shape}")
    rng = np.random.default_rng([seed, 0xA99])
    return [_picture(one, appearance, rng, hu_range) for one in stack]


def _picture(hu: Array, a: Appearance, rng: np.random.Generator, hu_range: tuple[float, float] | None) -> Picture:
    low, high = (AIR_HU, np.inf) if hu_range is None else (hu_range[0] + 0.5, hu_range[1] - 0.5)
    bone = hu >= min(high, 300.0)
    grey = np.clip((hu - (a.centre - a.width / 2)) / a.width, 0, 1)
    grey = np.where(hu <= low, 0, np.where(bone, 1, grey)) ** a.gamma
    scale = max(hu.shape) / USUAL_SIDE
    if a.kernel:
        blurred = ndimage.gaussian_filter(grey, scale)
        grey = np.clip(grey + a.kernel * (grey - blurred), 0, 1)
    if a.noise:
        fine = rng.standard_normal(hu.shape, dtype=np.float32)
        soft = ndimage.gaussian_filter(fine, 0.7 * scale)
        grey = np.clip(grey + a.noise * soft / max(float(soft.std()), 1e-6) * (hu > low), 0, 1)
    grey = np.where(bone, np.minimum(grey, a.bone), grey)
    grey = np.clip(a.contrast[0] * (hu > low) + a.contrast[1] * grey, 0, 1)
    if a.crop:
        r, c = (int(a.crop * side) for side in grey.shape)
        grey = grey[r : grey.shape[0] - r, c : grey.shape[1] - c]
    image = Image.fromarray(np.rint(grey * 255).astype(np.uint8))
    if a.longest:
        ratio = a.longest / max(image.size)
        image = image.resize((max(1, round(image.width * ratio)), max(1, round(image.height * ratio))), Image.Resampling.BICUBIC)  # fmt: skip
    picture = np.ascontiguousarray(np.rot90(np.asarray(image), a.quarter_turns))
    if a.text:
        picture = _written(picture, rng)
    if a.inverted:
        picture = 255 - picture
    if a.colours:
        table = np.asarray(matplotlib.colormaps[a.colours](np.arange(256)))[:, :3]
        picture = np.rint(table * 255).astype(np.uint8)[picture]
    if a.jpeg:
        kept = io.BytesIO()
        Image.fromarray(picture).save(kept, "JPEG", quality=a.jpeg)
        picture = np.asarray(Image.open(kept))
    return np.ascontiguousarray(picture)


def _written(picture: Picture, rng: np.random.Generator) -> Picture:
    """Words in the corners and a scale at the right, as a workstation burns them in."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    words = rng.permutation(np.asarray(TEXT))
    width, height = image.size
    for word, at in zip(words, ((3, 2), (3, height - 12), (int(width * 0.7), 2)), strict=False):
        draw.text(at, str(word), fill=255)
    draw.line([(width - 4, height // 3), (width - 4, 2 * height // 3)], fill=220)
    return np.asarray(image).copy()
