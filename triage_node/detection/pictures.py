"""8-bit pictures of unknown window, as teaching sets and exports hold them, onto the network's grid.

What a picture does not say is guessed once: grey 0 to 255 is read as 0 to PICTURE_HU, white as bone, colour tables and
inverted pictures are reduced to grey first. The network was trained on pictures read in just this way. A picture has no
Hounsfield units: what comes from here is a test of the network on foreign material and never a clinical reading.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from triage_node.detection.preprocess import (
    CLIP_HU,
    GRID,
    GridStudy,
    Square,
    intracranial,
    resampled,
)
from triage_node.domain.errors import StudyRejected

PICTURE_HU = 80.0
"""Grey 255 of a picture is read as so many HU, and white as bone."""
WHITE = 0.985
HEAD_SHARE = 0.94
"""The longer side of a head with its skin fills this share of the grid: its skull then about SKULL_SHARE."""
LEAST_SIDE, MOST_SIDE = 32, 8192
LEAST_BRAIN = 300
USUAL_TISSUE_HU = 30.0
FLAT_HU, MOST_GAIN = 4.5, 4.0
"""Where the middle half of the brain's greys spans less than FLAT_HU, the window was wide and contrast is stretched to it."""

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def grid_of_pictures(pictures: Sequence[Bytes]) -> GridStudy:
    """Pictures as one study that the network reads, one block each; a picture without neighbours is a study of its own.

    pictures: uint8, (row, column) or (row, column, 1 to 4 channels), all of one size, in order from the neck upward. They
    share one head box and one tissue density.
    Raises: StudyRejected when there is none, they differ in size, or one is no picture.
    """
    if not pictures:
        raise StudyRejected("there is no picture")
    grey = [grey_of(p) for p in pictures]
    if len({g.shape for g in grey}) > 1:
        raise StudyRejected("the pictures of one volume differ in size")
    stack = np.stack(grey)
    box = head_square(stack)
    small = np.stack([resampled(g, box) for g in stack])
    hu = np.where(small >= WHITE, CLIP_HU[1], small * PICTURE_HU).astype(np.float32)
    inside = intracranial(hu)
    tissue = tissue_density(hu, inside)
    return GridStudy(stretched(hu, inside, tissue), inside, tissue, np.arange(len(hu)), box, grey[0].shape)


def stretched(hu: Array, inside: NDArray[np.bool_], tissue_hu: float) -> Array:
    """Contrast about the brain's own grey as a window of usual width shows it; never less than it was. Shape: as hu.

    Measured on development slices: from a window of 350 HU the median logit of blood rose from 0.0 to 1.1 and the AUC from
    0.845 to 0.860, usual windows stayed as they were.
    """
    brain = hu[inside]
    if brain.size < LEAST_BRAIN:
        return hu
    low, high = np.quantile(brain, (0.25, 0.75))
    gain = min(FLAT_HU / max(float(high - low), 0.3), MOST_GAIN)
    if gain <= 1:
        return hu
    between = (hu > 0.5) & (hu < CLIP_HU[1] - 5)
    return np.where(between, np.clip(tissue_hu + (hu - tissue_hu) * gain, 0.5, CLIP_HU[1] - 6), hu).astype(np.float32)


def grey_of(picture: Bytes) -> Array:
    """Brightness 0 to 1 of one picture with dark air. Shape: (row, column[, channel]) -> (row, column).

    Colours laid over grey are undone for the tables of `TABLES` and else averaged; transparency counts as black; a picture
    with a bright border around a darker middle is inverted. Raises: StudyRejected for what is no 8-bit picture.
    """
    p = np.asarray(picture)
    if p.dtype != np.uint8 or p.ndim not in (2, 3) or (p.ndim == 3 and p.shape[2] not in (1, 2, 3, 4)):
        raise StudyRejected("a picture must be 8-bit, grey or in colours")
    if min(p.shape[:2]) < LEAST_SIDE or max(p.shape[:2]) > MOST_SIDE:
        raise StudyRejected(f"a picture must have {LEAST_SIDE} to {MOST_SIDE} pixels a side, this has {p.shape[:2]}")
    values = p.astype(np.float32) / 255
    if values.ndim == 3:
        if values.shape[2] in (2, 4):
            values = values[..., :-1] * values[..., -1:]
        values = grey_of_colours(values) if values.shape[2] == 3 else values[..., 0]
    border = np.concatenate([values[:3].ravel(), values[-3:].ravel(), values[:, :3].ravel(), values[:, -3:].ravel()])
    outside = float(np.median(border))
    rows, columns = values.shape[0] // 4, values.shape[1] // 4
    if outside > 0.8 and float(np.median(values[rows:-rows, columns:-columns])) < outside - 0.1:
        values = 1 - values
    return values.astype(np.float32)


NAMES = ("hot", "jet", "copper", "bone", "viridis", "plasma", "inferno", "magma", "cividis", "turbo", "pink", "afmhot")
TABLES: dict[str, Array] = {n: colormaps[n](np.arange(256))[:, :3].astype(np.float32) for n in NAMES}
"""Colour tables that viewers offer, dark to bright."""
_NEAREST = [
    (KDTree(colours), first) for colours, first in (np.unique(t, axis=0, return_index=True) for t in TABLES.values())
]
"""For each table a tree of its colours, and the first level that each of them shows."""
COLOURED, MOST_OFF = 0.05, 0.06
"""Mean spread of the channels from which a head is coloured; mean distance to a table from which it is not that table."""


def grey_of_colours(rgb: Array) -> Array:
    """Brightness of a coloured picture, a colour table of `TABLES` undone. Shape: (row, column, 3), 0 to 1 -> (row, column)."""
    seen = rgb.max(axis=2) > 0.08
    spread = rgb.max(axis=2) - rgb.min(axis=2)
    if not seen.any() or spread[seen].mean() < COLOURED:  # grey; text and marks may be coloured
        luminance: Array = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
        return luminance
    coarse, back = np.unique(np.round(rgb.reshape(-1, 3) * 63).astype(np.int32) @ [4096, 64, 1], return_inverse=True)
    colours = np.stack([coarse // 4096, coarse // 64 % 64, coarse % 64], axis=1).astype(np.float32) / 63
    weight = np.bincount(back[seen.ravel()], minlength=len(coarse)).astype(np.float64)
    best, least = rgb.mean(axis=2), MOST_OFF
    for tree, level in _NEAREST:
        off, nearest = tree.query(colours)
        distance = float((off * weight).sum() / weight.sum())
        if distance < least:
            best, least = (level[nearest] / 255).astype(np.float32)[back].reshape(rgb.shape[:2]), distance
    return best


def head_square(grey: Array) -> Square:
    """The square around the head of all slices, free of text, frame and head rest. Shape: grey (slice, row, column), 0 to 1.

    The whole picture when what is found is under a fifth of it (ML.md 1.6 of the project's notes: threshold above the
    border, a light opening, the largest piece, a heavy opening that drops what hangs on to it).
    """
    _, rows, columns = grey.shape
    border = np.concatenate([grey[:, [0, -1]].ravel(), grey[:, :, [0, -1]].ravel()])
    bright = grey > max(25 / 255, float(np.median(border)) + 15 / 255)
    side = min(rows, columns)
    step = max(1, side // 256)
    low, high = [], []
    for image in bright[:, ::step, ::step]:
        opened = ndimage.binary_opening(image, iterations=max(1, round(side / step / 340)))
        labels, n = ndimage.label(opened)
        if not n:
            continue
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        head = ndimage.binary_fill_holes(labels == sizes.argmax())
        heavy = max(2, round(side / step / 50))
        padded = np.pad(head, heavy, mode="edge")
        solid = ndimage.binary_opening(padded, iterations=heavy)[heavy:-heavy, heavy:-heavy]
        found = np.argwhere(solid if solid.any() else head)
        low.append(found.min(axis=0) * step)
        high.append((found.max(axis=0) + 1) * step)
    whole = Square((rows - max(rows, columns)) / 2, (columns - max(rows, columns)) / 2, float(max(rows, columns)))
    if not low:
        return whole
    first, last = np.min(low, axis=0), np.max(high, axis=0)
    longest = float((last - first).max())
    if longest < 0.2 * max(rows, columns):
        return whole
    cut = longest > 0.97 * max(rows, columns)
    square_side = longest if cut else longest / HEAD_SHARE
    centre = (first + last) / 2
    return Square(float(centre[0] - square_side / 2), float(centre[1] - square_side / 2), square_side)


def tissue_density(hu: Array, inside: NDArray[np.bool_]) -> float:
    """Most frequent grey of the brain in the picture's own "HU": inside the skull, or of all that is neither black nor white."""
    values = hu[inside]
    if values.size < 2000:
        values = hu[:, GRID // 5 : -GRID // 5, GRID // 5 : -GRID // 5].ravel()
    values = values[(values > 6) & (values < PICTURE_HU * 0.93)]
    if values.size < 1000:
        return USUAL_TISSUE_HU
    counts = np.bincount(np.round(values * 2).astype(int), minlength=2 * int(PICTURE_HU) + 1).astype(np.float64)
    return float(ndimage.gaussian_filter1d(counts, 3.0).argmax() / 2)
