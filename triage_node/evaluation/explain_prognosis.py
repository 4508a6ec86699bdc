"""Where did a prognosis network look? Its saliency over the coarse picture that it read, one PNG for each system.

The maps are Grad-CAM, exact from exported feature maps (prognosis/gradcam.py), each on its own scale. The networks were
trained on simulated patients: a map says what such a network used, and nothing about the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from triage_node.domain.finding import BundleIdentity, EvidenceLevel
from triage_node.domain.volume import Volume
from triage_node.prognosis.expansion import picture_of
from triage_node.prognosis.predictor import Salient

SHOWN = 5
"""Slices of a task, those with most of its map."""
SIDE, GAP, HEAD, LINE = 240, 8, 64, 22
GROUND, WORDS, QUIET = (16, 22, 30), (226, 232, 240), (150, 162, 176)
FAINT = 0.05
"""Less of a map than this is left out of the colours."""

Floats = NDArray[np.float32]


def prognosis_pages(volume: Volume, predictors: Sequence[Salient], out: Path) -> tuple[list[Path], dict[str, str]]:
    """Write `prognosis_NAME.png` for each; returns the files, and for each predictor its file's name or why there is none.

    Raises: OSError when `out` cannot be written.
    """
    files: list[Path] = []
    told: dict[str, str] = {}
    for predictor in predictors:
        maps = predictor.saliency(volume)
        if isinstance(maps, str):
            told[predictor.name] = f"none: {maps}"
            continue
        picture = picture_of(volume)
        if isinstance(picture, str):
            told[predictor.name] = f"none: {picture}"
            continue
        path = out / f"prognosis_{predictor.name}.png"
        _page(predictor, picture, maps).save(path)
        files.append(path)
        told[predictor.name] = path.name
    return files, told


def trained_on(identity: BundleIdentity) -> str:
    """What stands over every map. The lowest level of the bundle decides."""
    lowest = min(identity.evidence.values(), default=EvidenceLevel.E0)
    return "simulated training data, E0" if lowest is EvidenceLevel.E0 else f"evidence {lowest.value}"


def _page(predictor: Salient, picture: NDArray[np.uint8], maps: dict[str, Floats]) -> Image.Image:
    """A row for each task: the slices with most of its map from low to high, with the map over them; their grey above."""
    width = SHOWN * (SIDE + GAP) + GAP
    page = Image.new("RGB", (width, HEAD + len(maps) * (2 * (SIDE + GAP) + LINE)), GROUND)
    pen = ImageDraw.Draw(page)
    by = f"{predictor.identity.name} {predictor.identity.version}"
    pen.text((GAP, 6), f"{predictor.label}   {by}   {trained_on(predictor.identity)}", fill=WORDS, font=_font(16))
    said = "Grad-CAM, each task on its own scale. What the network used, not what is true. "
    pen.text((GAP, 30), f"{said}Not for diagnostic use; never a reason to limit care.", fill=QUIET, font=_font(13))
    for row, (task, heat) in enumerate(maps.items()):
        top = HEAD + row * (2 * (SIDE + GAP) + LINE)
        shown = np.sort(np.argsort(-heat.sum(axis=(1, 2)), kind="stable")[:SHOWN])
        nothing = "" if heat.max() > 0 else ": nothing speaks for it"
        slices = ", ".join(str(z + 1) for z in shown)
        pen.text((GAP, top), f"{task}{nothing}   slices {slices} of {len(heat)}", fill=WORDS, font=_font(14))
        for k, z in enumerate(shown):
            grey = _large(picture[z])
            at = (GAP + k * (SIDE + GAP), top + LINE)
            page.paste(Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2)), at)
            page.paste(Image.fromarray(_heated(grey, heat[z])), (at[0], at[1] + SIDE + GAP))
    return page


def _large(image: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _heated(grey: NDArray[np.uint8], heat: Floats) -> NDArray[np.uint8]:
    """Colours over grey, more opaque where there is more."""
    strength = np.clip(_large(heat.astype(np.float32)), 0, 1)
    colour = np.asarray(matplotlib.colormaps["inferno"](0.25 + 0.75 * strength))[:, :, :3] * 255
    alpha = (0.75 * np.sqrt(strength) * (strength > FAINT))[:, :, None]
    return np.rint(grey[:, :, None] * 0.85 * (1 - alpha) + colour * alpha).astype(np.uint8)


def _font(size: int) -> Any:
    return ImageFont.load_default(size=size)
