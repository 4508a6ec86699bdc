"""Signed distances and smooth random fields over points of a head: the geometry under the phantom.

Head coordinates are millimetres, x to the patient's left, y to the back, z up, origin at the anterior commissure: MNI
coordinates with y reversed, so that published positions of structures can be used. A signed distance is negative inside; it
is in millimetres near the surface and approximate further away.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Indices = NDArray[np.intp]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Points:
    """Head coordinates of the voxels that matter. Shape of each: (voxel,) float32 mm."""

    x: Array
    y: Array
    z: Array

    @property
    def xyz(self) -> tuple[Array, Array, Array]:
        return self.x, self.y, self.z

    def near(self, centre: Point, reach: Point) -> Indices:
        """Indices of the points within `reach` mm of `centre` along every axis."""
        keep = np.abs(self.z - centre[2]) <= reach[2]
        for c, o, r in ((self.y, centre[1], reach[1]), (self.x, centre[0], reach[0])):
            keep &= np.abs(c - o) <= r
        return np.flatnonzero(keep)

    def take(self, which: Indices) -> Points:
        return Points(self.x[which], self.y[which], self.z[which])


def ellipsoid(x: Array, y: Array, z: Array, centre: Point, semi: Point) -> Array:
    """Signed distance to an ellipsoid, first order: k0 (k0 - 1) / k1 with k0 = |p/a|, k1 = |p/a^2|."""
    a, b, c = semi
    u, v, w = (x - centre[0]) / a, (y - centre[1]) / b, (z - centre[2]) / c
    k0 = np.sqrt(u * u + v * v + w * w)
    u, v, w = u / a, v / b, w / c
    k1 = np.sqrt(u * u + v * v + w * w)
    return cast(Array, k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-6)))


def capsule(x: Array, y: Array, z: Array, start: Point, end: Point, radius_start: float, radius_end: float) -> Array:
    """Signed distance to a rod with round ends whose radius changes linearly."""
    dx, dy, dz = (end[0] - start[0], end[1] - start[1], end[2] - start[2])
    length2 = max(dx * dx + dy * dy + dz * dz, 1e-9)
    px, py, pz = x - start[0], y - start[1], z - start[2]
    t = np.clip((px * dx + py * dy + pz * dz) / length2, 0, 1)
    px, py, pz = px - t * dx, py - t * dy, pz - t * dz
    return cast(Array, np.sqrt(px * px + py * py + pz * pz) - (radius_start + (radius_end - radius_start) * t))


def smooth_union(a: Array, b: Array, width: float) -> Array:
    """Union of two signed distances with a fillet of about `width` mm."""
    h = np.maximum(width - np.abs(a - b), 0) / width
    return cast(Array, np.minimum(a, b) - h * h * (width / 4))


def coverage(distance: Array, edge_mm: float = 1.0) -> Array:
    """Share of a voxel that is inside, for an edge blurred over `edge_mm`."""
    return np.clip(0.5 - distance / np.float32(edge_mm), 0, 1)


@cache
def _finer(n: int) -> NDArray[np.float64]:
    """Cubic spline through n values that repeat, read at three times as many places. Shape: (3 n, n)."""
    return cast(NDArray[np.float64], ndimage.zoom(np.eye(n), (3, 1), order=3, mode="grid-wrap", grid_mode=True))


@dataclass(frozen=True)
class Bumps:
    """A smooth random field over head coordinates, mean 0, standard deviation 1, that repeats after its lattice's extent.

    Shape of lattice: (z, y, x), `step` mm apart, read with linear interpolation.
    """

    lattice: Array
    step: float

    @classmethod
    def random(cls, rng: np.random.Generator, wavelength_mm: float) -> Bumps:
        step = wavelength_mm / 6.0
        n = int(np.clip(round(260 / step), 16, 64))
        smooth = ndimage.gaussian_filter(rng.standard_normal((n, n, n), dtype=np.float32), 1.35, mode="wrap")
        if n <= 32:  # a coarse lattice read linearly would show its edges on the skull
            finer = _finer(n)
            smooth = np.einsum("ai,bj,ck,ijk->abc", finer, finer, finer, smooth.astype(np.float64), optimize=True)
            step /= 3
        return cls((smooth / smooth.std()).astype(np.float32), step)

    def as_distance(self) -> Bumps:
        """The same field divided by its slope: near its zero crossings it is a distance in mm from them."""
        slope = np.sqrt(sum((g / self.step) ** 2 for g in np.gradient(self.lattice)))
        distance = self.lattice / np.maximum(slope, 0.25 * slope.mean())
        return Bumps(np.clip(distance, -25, 25).astype(np.float32), self.step)

    def at(self, x: Array, y: Array, z: Array) -> Array:
        inverse = np.float32(1 / self.step)
        points = np.stack([z * inverse, y * inverse, x * inverse])
        return cast(Array, ndimage.map_coordinates(self.lattice, points, order=1, mode="grid-wrap", output=np.float32))


def bumps_by_name(anatomy_seed: int) -> Callable[[str, float], Bumps]:
    """Give each field its own random stream, so that adding one does not change the others."""
    known: dict[tuple[str, float], Bumps] = {}

    def bumps(name: str, wavelength_mm: float) -> Bumps:
        key = (name, wavelength_mm)
        if key not in known:
            stream = np.random.default_rng([anatomy_seed, zlib.crc32(name.encode())])
            known[key] = Bumps.random(stream, wavelength_mm)
        return known[key]

    return bumps
