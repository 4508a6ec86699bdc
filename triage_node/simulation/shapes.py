"""Signed distances and smooth random fields on a grid of head coordinates: the geometry under the phantom.

Head coordinates are millimetres, x to the patient's left, y to the back, z up, with the origin at the anterior commissure;
they are MNI coordinates with y reversed, so that published positions of structures can be used (Talairach-like atlas frame).
A signed distance is negative inside. Values are approximate away from the surface; near it they are millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Box = tuple[slice, slice, slice]
Point = tuple[float, float, float]


@dataclass
class HeadGrid:
    """Head coordinates of every voxel of a scan. Shape of x, y, z: (slice, row, column) float32 mm."""

    x: Array
    y: Array
    z: Array
    _ranges: list[list[tuple[Array, Array]]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        for axis in range(3):
            others = cast(tuple[int, ...], tuple(a for a in range(3) if a != axis))
            self._ranges.append([(c.min(axis=others), c.max(axis=others)) for c in (self.x, self.y, self.z)])

    @property
    def shape(self) -> tuple[int, int, int]:
        return cast(tuple[int, int, int], self.x.shape)

    def box(self, centre: Point, reach: Point) -> Box:
        """Index box that holds every voxel within `reach` mm of `centre` along each head axis; may be empty."""
        found = []
        for axis in range(3):
            keep = np.ones(self.shape[axis], bool)
            for (low, high), c, r in zip(self._ranges[axis], centre, reach, strict=True):
                keep &= (high >= c - r) & (low <= c + r)
            where = np.flatnonzero(keep)
            found.append(slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0))
        return (found[0], found[1], found[2])

    def within(self, box: Box) -> tuple[Array, Array, Array]:
        return self.x[box], self.y[box], self.z[box]


EVERYWHERE: Box = (slice(None), slice(None), slice(None))


def ellipsoid(x: Array, y: Array, z: Array, centre: Point, semi: Point) -> Array:
    """Signed distance to an ellipsoid, first order: k0 (k0 - 1) / k1 with k0 = |p/a|, k1 = |p/a^2|."""
    a, b, c = semi
    u, v, w = (x - centre[0]) / a, (y - centre[1]) / b, (z - centre[2]) / c
    k0 = np.sqrt(u * u + v * v + w * w)
    k1 = np.sqrt((u / a) ** 2 + (v / b) ** 2 + (w / c) ** 2)
    return cast(Array, k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-6)))


def capsule(x: Array, y: Array, z: Array, start: Point, end: Point, radius_start: float, radius_end: float) -> Array:
    """Signed distance to a rod with round ends whose radius changes linearly."""
    dx, dy, dz = (end[0] - start[0], end[1] - start[1], end[2] - start[2])
    length2 = max(dx * dx + dy * dy + dz * dz, 1e-9)
    px, py, pz = x - start[0], y - start[1], z - start[2]
    t = np.clip((px * dx + py * dy + pz * dz) / length2, 0, 1)
    distance = np.sqrt((px - t * dx) ** 2 + (py - t * dy) ** 2 + (pz - t * dz) ** 2)
    return cast(Array, distance - (radius_start + (radius_end - radius_start) * t))


def smooth_union(a: Array, b: Array, width: float) -> Array:
    """Union of two signed distances with a fillet of about `width` mm."""
    h = np.maximum(width - np.abs(a - b), 0) / width
    return cast(Array, np.minimum(a, b) - h * h * (width / 4))


def coverage(distance: Array, edge_mm: float = 1.0) -> Array:
    """Share of a voxel that is inside, for an edge blurred over `edge_mm`."""
    return np.clip(0.5 - distance / edge_mm, 0, 1)


class Bumps:
    """A smooth random field over head coordinates, mean 0 and standard deviation 1, with features of `wavelength_mm`.

    The field is stored on a coarse lattice and read with linear interpolation; it repeats after `extent_mm`.
    """

    def __init__(self, rng: np.random.Generator, wavelength_mm: float, extent_mm: float = 260.0) -> None:
        self.step = wavelength_mm / 6.0
        n = max(8, round(extent_mm / self.step))
        raw = rng.standard_normal((n, n, n), dtype=np.float32)
        smooth = ndimage.gaussian_filter(raw, 1.35, mode="wrap")
        self.lattice = (smooth / smooth.std()).astype(np.float32)

    def as_distance(self) -> Bumps:
        """The same field divided by its slope: near its zero crossings it is a distance in mm from them."""
        slope = np.sqrt(sum((g / self.step) ** 2 for g in np.gradient(self.lattice)))
        twin = Bumps.__new__(Bumps)
        twin.step = self.step
        twin.lattice = np.clip(self.lattice / np.maximum(slope, 0.25 * slope.mean()), -25, 25).astype(np.float32)
        return twin

    def at(self, x: Array, y: Array, z: Array) -> Array:
        inverse = np.float32(1 / self.step)
        points = np.stack([(c * inverse).astype(np.float32) for c in (z, y, x)])
        return cast(Array, ndimage.map_coordinates(self.lattice, points, order=1, mode="grid-wrap", output=np.float32))
