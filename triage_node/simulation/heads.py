"""A head to draw on: its axes, its inner table, its grain, and the few ways in which every drawing changes a picture.

Lengths in mm, densities in HU. Positions are those of the head, not of the picture: the long axis of the inside of the
skull is found, so a head that lies turned has its front in front.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Bools = NDArray[np.bool_]
Random = np.random.Generator
USUAL_TISSUE_HU = 30.0
"""Mode of the brain on a calibrated scanner; blood is shifted by what a head differs from it."""
BONE_HU = 82.0
MEASURED = ("slices", "cavity", "_to_table", "vault", "outside_mm", "widest", "turn", "grid_mm", "half_mm", "level")
"""What depends on the skull alone and is not measured again for another picture of the same head."""


@dataclass(frozen=True)
class Head:
    """A stack of axial slices, lowest first. Shape: hu and intracranial (slice, row, column); row 0 is in front.

    `plastic`: a phantom, in which nothing can bleed.
    """

    hu: Array
    intracranial: Bools
    tissue_hu: float
    pixel_mm: float = 1.05
    slice_mm: float = 5.0
    plastic: bool = False

    @cached_property
    def slices(self) -> NDArray[np.intp]:
        """Slices with an intracranial space."""
        return np.flatnonzero(self.intracranial.any(axis=(1, 2)))

    @cached_property
    def cavity(self) -> Bools:
        """The intracranial space with its calcifications and bony spurs."""
        return np.stack([ndimage.binary_fill_holes(s) for s in self.intracranial])

    @cached_property
    def _to_table(self) -> tuple[Array, Array]:
        """In-plane distance to the nearest place of the inner table, and the angle of that place (`angle`)."""
        x, y = self.grid_mm
        angle = np.arctan2(y, x).astype(np.float32)
        depth = np.zeros(self.hu.shape, np.float32)
        at = np.broadcast_to(angle, self.hu.shape).copy()
        for z in self.slices:
            depth[z], (rows, columns) = ndimage.distance_transform_edt(self.cavity[z], return_indices=True)
            # smoothed, as pixels are square and the table is not
            cos, sin = (ndimage.gaussian_filter(f(angle[rows, columns]), 1.2) for f in (np.cos, np.sin))
            at[z] = np.where(self.cavity[z], np.arctan2(sin, cos), angle)
        return depth * np.float32(self.pixel_mm), at

    @property
    def depth_mm(self) -> Array:
        """In-plane distance of a pixel's outer edge from the inner table, 0 outside."""
        return self._to_table[0]

    @property
    def table_angle(self) -> Array:
        """Where on the table the place nearest to a pixel lies: 0 to the picture's right, growing to the back. Shape: as hu."""
        return self._to_table[1]

    @cached_property
    def vault(self) -> Array:
        """1 where the table belongs to the vault, 0 where it is the base, whose steps and spurs no crescent follows."""
        x, y = self.grid_mm
        width, length = self.half_mm
        far = np.hypot(x, y)[None] + self.depth_mm
        whole = 1 / np.hypot(np.cos(self.table_angle) / width, np.sin(self.table_angle) / length)
        area = self.cavity.sum(axis=(1, 2)) / max(int(self.cavity[self.widest].sum()), 1)
        above = np.arange(len(self.hu)) > self.widest
        size = np.where(above, np.sqrt(np.maximum(area, 0.05)), 1.0)[:, None, None]
        level = self.level[:, None, None]
        orbits = np.where(np.sin(self.table_angle) < -0.45, np.clip((level - 0.42) / 0.08, 0, 1), 1)
        petrous = np.where(np.sin(self.table_angle) < 0.3, np.clip((level - 0.2) / 0.06, 0, 1), 1)
        return (np.clip((far / (whole * size) - 0.74) / 0.1, 0, 1) * orbits * petrous).astype(np.float32)

    @cached_property
    def outside_mm(self) -> Array:
        """In-plane distance from the inner table outward, 0 inside."""
        return np.stack([ndimage.distance_transform_edt(~s) * self.pixel_mm for s in self.intracranial]).astype(
            np.float32
        )

    @cached_property
    def smooth(self) -> Array:
        return ndimage.gaussian_filter(self.hu, (0, 1.1, 1.1))

    @cached_property
    def grain(self) -> Array:
        """The picture's noise: what is finer than 1 mm, with edges of the anatomy cut down to the strength of the noise."""
        fine = self.hu - self.smooth
        local = np.sqrt(ndimage.gaussian_filter(fine * fine, (0, 2.5, 2.5)))
        deep = local[self.depth_mm > 8]
        usual = float(np.median(deep)) if deep.size else 2.0
        even = fine * np.minimum(1.15 * usual / (local + 1e-3), 1)
        return np.clip(even, -3.5 * usual, 3.5 * usual).astype(np.float32)

    @cached_property
    def table_grain(self) -> Array:
        """The grain, but near the table, where it is the bone's edge, that of the tissue 26 mm deeper."""
        x, y = self.grid_mm
        far = np.hypot(x, y) + 1e-3
        step = np.minimum(26.0, 0.6 * far) / far / self.pixel_mm
        _, rows, columns = self.hu.shape
        r, c = np.mgrid[:rows, :columns]
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        # along the head's own axes towards its centre, in whole pixels so that the grain keeps its texture
        r = np.clip(r - np.round((y * cos + x * sin) * step), 0, rows - 1).astype(int)
        c = np.clip(c - np.round((x * cos - y * sin) * step), 0, columns - 1).astype(int)
        deep = self.grain[:, r, c]
        spread = max(float(self.grain[self.depth_mm > 8].std()) if (self.depth_mm > 8).any() else 2.5, 0.3)
        near = np.clip(1.3 - self.depth_mm / 6, 0, 1)
        return (self.grain * (1 - near) + near * np.clip(deep, -2.5 * spread, 2.5 * spread)).astype(np.float32)

    @cached_property
    def widest(self) -> int:
        return int(self.slices[self.intracranial[self.slices].sum(axis=(1, 2)).argmax()])

    @cached_property
    def turn(self) -> float:
        """Angle of the head's long axis to the picture's columns, radians, within +-45 degrees; 0 when it is nearly round."""
        rows, columns = np.nonzero(self.intracranial[self.widest])
        spread = np.cov(np.stack([columns, rows]))
        values, axes = np.linalg.eigh(spread)
        if values[1] < 1.1 * values[0]:
            return 0.0
        column, row = axes[:, 1] * np.sign(axes[1, 1])
        angle = float(np.arctan2(-column, row))
        return angle if abs(angle) < np.pi / 4 else 0.0

    @cached_property
    def grid_mm(self) -> tuple[Array, Array]:
        """Distance to the picture's right and to the back of the brain's centre, along the head's axes. Shape: (row, column)."""
        rows, columns = np.nonzero(self.intracranial[self.widest])
        r, c = np.mgrid[: self.hu.shape[1], : self.hu.shape[2]].astype(np.float32)
        right, down = (c - columns.mean()) * self.pixel_mm, (r - rows.mean()) * self.pixel_mm
        cos, sin = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        return right * cos + down * sin, down * cos - right * sin

    @cached_property
    def half_mm(self) -> tuple[float, float]:
        """Half of the width and of the length of the inside of the skull where it is widest."""
        x, y = self.grid_mm
        inside = self.intracranial[self.widest]
        return float(np.abs(x[inside]).max()), float(np.abs(y[inside]).max())

    @cached_property
    def level(self) -> Array:
        """Height of each slice by what lies there: 1 the vertex, 0 about the foramen magnum, less in the neck. Shape: (slice,).

        Measured from the vertex down, as stacks differ in where they begin: sella 0.34, pineal 0.44, body of the lateral
        ventricles 0.6. When the uppermost slice is wide, the vertex lies above it by what a ball would add.
        """
        top = int(self.slices[-1])
        area = float(self.cavity[top].sum()) / max(float(self.cavity[self.widest].sum()), 1)
        size = self.half_mm[1] / 84
        missing = 60 * size * (1 - np.sqrt(max(1 - area, 0)))
        below = (top - np.arange(len(self.hu))) * self.slice_mm + missing
        return (1 - below / (127 * size)).astype(np.float32)

    def between(self, low: float, high: float) -> NDArray[np.intp]:
        """Slices of which the level lies in a range; the nearest one when there is none."""
        levels = self.level[self.slices]
        found = self.slices[(levels >= low) & (levels <= high)]
        return found if len(found) else self.slices[[int(np.abs(levels - (low + high) / 2).argmin())]]

    @property
    def voxel_ml(self) -> float:
        return self.pixel_mm**2 * self.slice_mm / 1000

    @property
    def offset_hu(self) -> float:
        """What the scanner adds to every density, as far as the brain's mode tells."""
        return float(np.clip(self.tissue_hu - USUAL_TISSUE_HU, -8, 8))

    def with_hu(self, hu: Array) -> Head:
        """The same head in another picture; what was measured on the skull stays measured."""
        made = replace(self, hu=hu.astype(np.float32))
        for name in MEASURED:
            if name in self.__dict__:
                made.__dict__[name] = self.__dict__[name]
        return made


@dataclass(frozen=True)
class Drawn:
    """A head after a bleed. `facts` says what was drawn: for strata only, never for a network.

    facts: subtype, place, hu (median of the blood where it is pure), volume_ml (of the mask), thickness_mm (largest
    extent under the table, extra-axial bleeds only), and what else the kind has.
    """

    hu: Array
    mask: Bools
    kind: str
    facts: dict[str, float | str]


def cloud(rng: Random, shape: tuple[int, ...], scale_px: float, along_z: float = 1.0) -> Array:
    """Smooth noise of deviation 1 whose bumps are about `scale_px` pixels wide. Shape: (slice, row, column)."""
    step = max(1, int(scale_px))
    coarse = rng.standard_normal((shape[0], shape[1] // step + 4, shape[2] // step + 4), dtype=np.float32)
    coarse = ndimage.gaussian_filter(coarse, (along_z, 1, 1))
    if step > 1:  # as ndimage.zoom does it, ten times as fast
        rows, columns = (_between(n, step)[:wide] for n, wide in zip(coarse.shape[1:], shape[1:], strict=True))
        coarse = (rows @ coarse @ columns.T).astype(np.float32)
    fine = coarse[:, : shape[1], : shape[2]]
    return fine / np.float32(fine.std() + 1e-6)


def _between(n: int, step: int) -> NDArray[np.float64]:
    """Weights of linear interpolation that make n values n * step, ends kept. Shape: (n * step, n)."""
    at = np.arange(n * step) * ((n - 1) / (n * step - 1))
    return np.clip(1 - np.abs(at[:, None] - np.arange(n)), 0, None)


def softened(mask: Bools | Array, pixels: float) -> Array:
    return ndimage.gaussian_filter(mask.astype(np.float32), (0, pixels, pixels))


def filled(hu: Array, share: Array, density: Array | float, grain: Array) -> Array:
    """`share` of each pixel becomes `density` with the grain of the picture."""
    return (hu * (1 - share) + share * (density + grain)).astype(np.float32)


def moved(head: Head, rows: Array, columns: Array) -> Array:
    """The picture with each inner pixel taken from elsewhere: `rows`, `columns` pixels away. Shape: as hu.

    Cubic, so that the tissue keeps its grain; bone is replaced by tissue first, so that none is drawn in.
    """
    hu = head.hu.copy()
    r, c = np.mgrid[: hu.shape[1], : hu.shape[2]].astype(np.float32)
    for z in range(len(hu)):
        if not head.intracranial[z].any() or max(np.abs(rows[z]).max(), np.abs(columns[z]).max()) < 0.2:
            continue
        clear = head.cavity[z] & (head.depth_mm[z] > 3.2)
        beside = clear & (head.depth_mm[z] < 5.5)
        usual = max(float(np.median(head.hu[z][beside])) if beside.any() else 0.0, head.tissue_hu) + 4
        source = np.where(clear, head.hu[z], np.clip(head.hu[z], head.tissue_hu - 20, usual))
        taken = ndimage.map_coordinates(source, [r + rows[z], c + columns[z]], order=3, mode="nearest")
        share = np.clip(np.hypot(rows[z], columns[z]) / 0.5, 0, 1) * head.cavity[z]
        hu[z] = hu[z] * (1 - share) + taken * share
    return hu


def in_pixels(head: Head, right_mm: Array, back_mm: Array) -> tuple[Array, Array]:
    """Rows and columns of a displacement along the head's axes."""
    cos, sin = np.cos(head.turn), np.sin(head.turn)
    return (back_mm * cos + right_mm * sin) / head.pixel_mm, (right_mm * cos - back_mm * sin) / head.pixel_mm


def shifted_midline(head: Head, z0: float, side: float, shift_mm: float, reach_mm: float) -> tuple[Array, Array]:
    """Where the tissue comes from when a mass on `side` (+-1) pushes the middle away by `shift_mm`: rows, columns."""
    x, _ = head.grid_mm
    across = np.clip(1 - np.abs(x) / (0.95 * head.half_mm[0]), 0, 1) ** 0.7
    height = (np.arange(len(head.hu)) - z0) * head.slice_mm
    along = np.exp(-((height / max(reach_mm, head.slice_mm)) ** 2))[:, None, None]
    push = (shift_mm * side * across[None] * along * np.clip(head.depth_mm / 22, 0, 1)).astype(np.float32)
    return in_pixels(head, push, np.zeros_like(push))


def sulci_mm(head: Head, rng: Random, spacing_mm: float) -> Array:
    """In-plane distance to the nearest of a set of leaves that cut inward from the table. Shape: as hu.

    The leaves are the zero crossings of a random field over the table's surface that hardly changes with depth.
    """
    n, around, deep = len(head.hu), 288, 14
    radius = float(np.mean(head.half_mm))
    per_bin = 2 * np.pi * radius / around
    field = rng.standard_normal((n, around, deep), dtype=np.float32)
    field = ndimage.gaussian_filter1d(field, 0.42 * spacing_mm / per_bin, axis=1, mode="wrap")
    field = ndimage.gaussian_filter1d(field, max(7.0 / head.slice_mm, 0.4), axis=0)
    field = ndimage.gaussian_filter1d(field, 5.0, axis=2)
    x, y = head.grid_mm
    at = np.arctan2(y, x)
    bend = cloud(rng, head.hu.shape, 10) * rng.uniform(0.004, 0.011)
    out = np.full(head.hu.shape, 99.0, np.float32)
    for z in head.slices:
        closed = np.concatenate([field[z], field[z, :1]], axis=0)
        depth = np.clip(head.depth_mm[z] / 3, 0, deep - 1)
        turned = ((at + bend[z] * head.depth_mm[z]) / (2 * np.pi) % 1) * around
        f = ndimage.map_coordinates(closed, [turned, depth], order=1)
        dy, dx = np.gradient(f)
        out[z] = np.abs(f) / (np.hypot(dy, dx) + 1e-4 * np.abs(f).max() + 1e-9) * head.pixel_mm
    return out


def csf_share(head: Head) -> Array:
    """How much of each inner pixel is fluid, by its density, 0 to 1."""
    smooth = ndimage.gaussian_filter(head.hu, (0, 0.7, 0.7))
    return (np.clip((head.tissue_hu - 4 - smooth) / 13, 0, 1) * head.intracranial).astype(np.float32)


def ventricles(head: Head) -> Array:
    """How much of each pixel is ventricle, 0 to 1: fluid that is deep and hangs together with the middle of the head.

    Shape: as hu. The lateral ventricles lie between 30 and 78 % of the height, the fourth below, at the midline.
    """
    x, y = head.grid_mm
    width, length = head.half_mm
    level = head.level[:, None, None]
    near = (np.abs(x) < 0.52 * width) & (y > -0.5 * length) & (y < 0.62 * length)
    near &= (np.abs(x) > 0.12 * width) | (y < 0.3 * length)  # the fissure between the hemispheres is none
    fourth = (np.abs(x) < 0.16 * width) & (y > 0.1 * length) & (y < 0.5 * length)
    region = np.where(level > 0.3, near & (level < 0.74), fourth) & (head.depth_mm > 17)
    fluid = csf_share(head)
    dark = ndimage.binary_opening((fluid > 0.45) & region, np.ones((1, 2, 2)))
    labels, count = ndimage.label(dark)
    if count == 0:
        return np.zeros_like(fluid)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    at = np.bincount(labels.ravel(), np.broadcast_to(np.abs(x), dark.shape).ravel()) / np.maximum(sizes, 1)
    chosen = np.flatnonzero((sizes * head.voxel_ml >= 0.4) & (at < 0.36 * width))
    kept = ndimage.binary_dilation(np.isin(labels, chosen), np.ones((1, 3, 3)), iterations=1)
    return (np.clip(fluid * 1.15, 0, 1) * softened(kept, 0.5)).astype(np.float32)
