"""From Hounsfield units to the network's working grid, and back. Training and serving share every line of it.

Four steps, in this order: average thin slices to about the trained thickness, clip to the range that the training pictures
had, cut the square that holds the skull and average it to GRID x GRID pixels, subtract the tissue's own density. The crop
removes the unknown pixel size of the training pictures; they were clipped before they were averaged in the plane, so are we.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from triage_node.domain.volume import Volume

VERSION = 1
"""Part of the key under which a site's evaluation counts (DESIGN.md section 4): grows with any change below."""
GRID = 192
"""Pixels a side of the working grid."""
SKULL_SHARE = 0.88
"""The longer side of the skull's box fills this share of the grid: an adult head then has about 1.05 mm a pixel."""
CLIP_HU = (0.0, 100.0)
"""The training pictures know nothing outside; air, fat and bone are all at the end."""
TRAINED_SLICE_MM = 5.0
THIN_BELOW_MM = 3.0
"""Slices closer than this are averaged in blocks of about TRAINED_SLICE_MM."""
CHANNELS = 4
BONE_ONLY_SHARE = 0.8
"""A slice of whose head so much is bone shows no brain that could be judged: the roof of the skull, shared with the brain below."""
BONE_HU = 82.0
"""On the averaged grid a pixel from here on is taken for bone."""

Array = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Square:
    """Part of the native picture that the grid shows. Unit: native pixels; (row, column) of the corner and the side."""

    row: float
    column: float
    side: float


@dataclass(frozen=True, slots=True)
class GridStudy:
    """A study on the working grid.

    hu: clipped HU, (block, GRID, GRID). intracranial: inside the inner table, same shape. tissue_hu: mode of the brain.
    block_of_slice: for each original slice the block it belongs to, (slice,). square: what of the native picture is seen.
    """

    hu: Array
    intracranial: Bools
    tissue_hu: float
    block_of_slice: NDArray[np.intp]
    square: Square
    native_shape: tuple[int, int]


def on_grid(volume: Volume) -> GridStudy:
    """Prepare a volume for the network. Raises nothing: an empty picture gives an empty intracranial mask."""
    block_of_slice = _blocks(volume)
    clipped = np.stack(
        [_block_mean(volume, np.flatnonzero(block_of_slice == b)) for b in range(int(block_of_slice.max()) + 1)]
    )
    return grid_study(clipped, block_of_slice)


def grid_study(clipped: Array, block_of_slice: NDArray[np.intp] | None = None) -> GridStudy:
    """The same from clipped HU. Shape: clipped (block, row, column)."""
    square = skull_square(clipped)
    hu = np.stack([resampled(image, square) for image in clipped])
    inside = intracranial(hu)
    blocks = np.arange(len(clipped)) if block_of_slice is None else block_of_slice
    return GridStudy(hu, inside, tissue_mode(hu, inside), blocks, square, (clipped.shape[1], clipped.shape[2]))


def resampled(image: Array, square: Square) -> Array:
    """What a square of the native picture shows, averaged to the grid; 0 outside the picture. Shape: (row, column) -> GRID^2."""
    rows = _averaging(image.shape[0], square.row, square.side)
    columns = _averaging(image.shape[1], square.column, square.side)
    return (rows @ image @ columns.T).astype(np.float32)


def network_input(hu: Array, tissue_hu: float) -> Array:
    """Channels of the network: slice below, slice, slice above relative to the tissue, and the slice as it is.

    Shape: hu (block, GRID, GRID) -> (block, 4, GRID, GRID). At the ends the outer slice stands for its missing neighbour.
    """
    return channels(np.concatenate([hu[:1], hu[:-1]]), hu, np.concatenate([hu[1:], hu[-1:]]), tissue_hu)


def channels(below: Array, centre: Array, above: Array, tissue_hu: float | Array) -> Array:
    """Four channels from three neighbouring slices. Shape: each (n, GRID, GRID) -> (n, 4, GRID, GRID)."""
    relative = np.clip((np.stack([below, centre, above], axis=1) - np.asarray(tissue_hu)) / 25.0, -1.2, 1.8)
    return np.concatenate([relative, centre[:, None] / 50.0 - 1.0], axis=1).astype(np.float32)


def to_native(study: GridStudy, image: Array) -> Array:
    """A picture of the grid at native resolution by linear interpolation, 0 outside. Shape: (GRID, GRID) -> native."""
    rows = _interpolating(study.native_shape[0], study.square.row, study.square.side)
    columns = _interpolating(study.native_shape[1], study.square.column, study.square.side)
    return (rows @ image @ columns.T).astype(np.float32)


def nearest_native(study: GridStudy, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels of the grid at native resolution, without mixing them. Shape: (GRID, GRID) -> native."""
    taken = []
    for native, start in zip(study.native_shape, (study.square.row, study.square.column), strict=True):
        taken.append(np.floor((np.arange(native) + 0.5 - start) * GRID / study.square.side).astype(int))
    inside = [(at >= 0) & (at < GRID) for at in taken]
    rows, columns = (np.clip(at, 0, GRID - 1) for at in taken)
    return labels[np.ix_(rows, columns)] * np.outer(*inside).astype(np.uint8)


def _blocks(volume: Volume) -> NDArray[np.intp]:
    """Which block each slice belongs to: its own, or for thin slices runs of about TRAINED_SLICE_MM along the normal."""
    n = len(volume.positions_mm)
    steps = np.diff(volume.positions_mm)
    if n < 2 or np.median(steps) >= THIN_BELOW_MM:
        return np.arange(n)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    blocks = np.floor(along / TRAINED_SLICE_MM + 1e-6)
    return np.unique(blocks, return_inverse=True)[1].astype(np.intp)


def _block_mean(volume: Volume, slices: NDArray[np.intp]) -> Array:
    """Clipped mean of a block, as a thick slice would have been scanned: bone that shares a voxel stays bone.

    A tilted gantry's sideways drift between the slices is undone by whole pixels.
    """
    middle = slices[len(slices) // 2]
    total = np.zeros(volume.hu.shape[1:], np.float32)
    for i in slices:
        drift = volume.origins_mm[i] - volume.origins_mm[middle]
        rows = round(float(drift @ volume.column_cosine) / volume.pixel_spacing_mm[0])
        columns = round(float(drift @ volume.row_cosine) / volume.pixel_spacing_mm[1])
        image = volume.hu[i]
        total += np.roll(image, (rows, columns), axis=(0, 1)) if rows or columns else image
    return np.clip(total / len(slices), *CLIP_HU)


def skull_square(clipped: Array) -> Square:
    """The square around the largest connected piece of bone in the study; the whole picture when there is no skull."""
    _, rows, columns = clipped.shape
    step = max(1, min(rows, columns) // 128)
    bone = ndimage.uniform_filter((clipped >= 99.0).astype(np.float32), (0, step, step))[:, ::step, ::step] > 0.5
    labels, n = ndimage.label(bone, np.ones((3, 3, 3), bool))
    whole = Square(0.0, 0.0, float(max(rows, columns)))
    if n == 0:
        return whole
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    found = np.argwhere(labels == sizes.argmax())
    low, high = found.min(axis=0)[1:] * step, (found.max(axis=0)[1:] + 1) * step
    side = float((high - low).max()) / SKULL_SHARE
    if side < 0.2 * min(rows, columns):
        return whole
    centre = (low + high) / 2
    return Square(float(centre[0] - side / 2), float(centre[1] - side / 2), side)


def _averaging(native: int, start: float, side: float) -> Array:
    """Weights that average native pixels over each grid pixel. Shape: (GRID, native); outside the picture counts 0."""
    edges = start + side * np.arange(GRID + 1) / GRID
    low = np.maximum(edges[:-1, None], np.arange(native)[None])
    high = np.minimum(edges[1:, None], np.arange(native)[None] + 1)
    return (np.clip(high - low, 0, None) / (side / GRID)).astype(np.float32)


def _interpolating(native: int, start: float, side: float) -> Array:
    """Weights of linear interpolation from the grid at native pixel centres. Shape: (native, GRID)."""
    at = (np.arange(native) + 0.5 - start) * GRID / side - 0.5
    return np.clip(1 - np.abs(at[:, None] - np.arange(GRID)[None]), 0, None).astype(np.float32)


def intracranial(hu: Array) -> Bools:
    """Inside the inner table, slice by slice; a slice without a closed skull has none. Shape: (block, GRID, GRID)."""
    return np.stack([_intracranial_slice(image) for image in hu])


def bone_only(hu: Array) -> NDArray[np.bool_]:
    """Slices whose head is nearly all bone (BONE_ONLY_SHARE). Shape: (block, GRID, GRID) -> (block,)."""
    return np.array([_is_bone_only(image) for image in hu])


def _is_bone_only(image: Array) -> bool:
    bone = image >= BONE_HU
    if bone.sum() < 0.5 * (image > 14).sum():
        return False
    labels, n = ndimage.label(ndimage.binary_opening(ndimage.binary_fill_holes(image > 14), iterations=2))
    if n == 0:
        return False
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    head = labels == sizes.argmax()
    return bool(head.sum() > 800 and bone[head].mean() > BONE_ONLY_SHARE)


def _intracranial_slice(image: Array) -> Bools:
    pad = 12
    bone = image >= BONE_HU
    ring = ndimage.binary_closing(np.pad(bone, pad), iterations=6)[pad:-pad, pad:-pad]
    inside = ndimage.binary_fill_holes(ring) & ~bone & (image > 0.5)
    labels, n = ndimage.label(ndimage.binary_opening(inside, iterations=3))
    if n == 0:
        return np.zeros(image.shape, bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    if sizes.max() < 800:
        return np.zeros(image.shape, bool)
    filled: Bools = ndimage.binary_fill_holes(labels == sizes.argmax()) & (image < BONE_HU + 10)
    return filled


def tissue_mode(hu: Array, inside: Bools) -> float:
    """Most frequent density of the brain, HU; 30 when there is none to measure."""
    values = hu[inside]
    values = values[(values > 14) & (values < 55)]
    if values.size < 2000:
        return 30.0
    counts = np.bincount(np.round(values * 2).astype(int), minlength=111).astype(np.float64)
    return float(ndimage.gaussian_filter1d(counts, 3.0).argmax() / 2)
