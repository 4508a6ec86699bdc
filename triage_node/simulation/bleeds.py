"""Simulated bleeds on real or procedural heads. Everything drawn here is evidence level E0.

A head is a stack of Hounsfield units with an intracranial mask (`Head`). Each bleed function takes a head and a random
generator and returns the picture with blood, the mask, and what was drawn; None when the head has no place for it. The
same generator state gives the same bleed. Blood keeps the grain of the picture under it: a fill without noise is found
by its missing noise. Lengths in mm, densities in HU, volumes in mL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Head:
    """A stack of axial slices, lowest first. Shape: hu and intracranial (slice, row, column); row 0 is in front."""

    hu: Array
    intracranial: Bools
    tissue_hu: float
    pixel_mm: float = 1.05
    slice_mm: float = 5.0

    @cached_property
    def slices(self) -> NDArray[np.intp]:
        """Slices with an intracranial space."""
        return np.flatnonzero(self.intracranial.any(axis=(1, 2)))

    @cached_property
    def depth_mm(self) -> Array:
        """In-plane distance from the inner table, 0 outside."""
        return np.stack([ndimage.distance_transform_edt(s) * self.pixel_mm for s in self.intracranial]).astype(
            np.float32
        )

    @cached_property
    def smooth(self) -> Array:
        return ndimage.gaussian_filter(self.hu, (0, 1.1, 1.1))

    @cached_property
    def grain(self) -> Array:
        return self.hu - self.smooth

    @cached_property
    def grid_mm(self) -> tuple[Array, Array]:
        """Distance to the right and to the back of the brain's centre. Shape: (row, column) each."""
        widest = self.slices[self.intracranial[self.slices].sum(axis=(1, 2)).argmax()]
        rows, columns = np.nonzero(self.intracranial[widest])
        y, x = np.mgrid[: self.hu.shape[1], : self.hu.shape[2]].astype(np.float32)
        return (x - columns.mean()) * self.pixel_mm, (y - rows.mean()) * self.pixel_mm

    def with_hu(self, hu: Array) -> Head:
        return Head(hu.astype(np.float32), self.intracranial, self.tissue_hu, self.pixel_mm, self.slice_mm)


@dataclass(frozen=True)
class Drawn:
    """A head after a bleed. `facts` says what was drawn (subtype, size, HU): for strata only, never for a network."""

    hu: Array
    mask: Bools
    kind: str
    facts: dict[str, float | str]


def cloud(rng: np.random.Generator, shape: tuple[int, ...], scale_px: float, along_z: float = 1.0) -> Array:
    """Smooth noise of deviation 1 whose bumps are about `scale_px` pixels wide. Shape: (slice, row, column)."""
    step = max(1, int(scale_px))
    coarse = rng.standard_normal((shape[0], shape[1] // step + 4, shape[2] // step + 4), dtype=np.float32)
    coarse = ndimage.gaussian_filter(coarse, (along_z, 1, 1))
    fine = coarse if step == 1 else ndimage.zoom(coarse, (1, step, step), order=1)
    fine = fine[:, : shape[1], : shape[2]]
    return fine / np.float32(fine.std() + 1e-6)


def softened(mask: Bools | Array, pixels: float) -> Array:
    return ndimage.gaussian_filter(mask.astype(np.float32), (0, pixels, pixels))


def filled(hu: Array, share: Array, density: Array | float, grain: Array) -> Array:
    """`share` of each pixel becomes `density` with the grain of the picture."""
    return (hu * (1 - share) + share * (density + grain)).astype(np.float32)


def parenchymal(head: Head, rng: np.random.Generator, volume_ml: float | None = None) -> Drawn | None:
    """A clot in the brain: rough ellipsoid of 0.3-45 mL with oedema; pushes the tissue around it apart."""
    place = rng.choice(["deep", "lobar", "infratentorial"], p=[0.4, 0.42, 0.18])
    low, high = {"deep": (0.35, 0.7), "lobar": (0.25, 0.95), "infratentorial": (0.0, 0.27)}[place]
    n = len(head.slices)
    z0 = int(rng.choice(head.slices[int(n * low) : max(int(n * high), int(n * low) + 1)]))
    x, y = head.grid_mm
    depth = head.depth_mm[z0]
    allowed = (depth > 6) & (depth < 24) if place == "lobar" else depth > 16
    allowed &= np.abs(x) > {"deep": 8, "lobar": 10, "infratentorial": 0}[place]
    rows, columns = np.nonzero(allowed)
    if len(rows) < 20:
        return None
    pick = rng.integers(len(rows))
    cx, cy = x[rows[pick], columns[pick]], y[rows[pick], columns[pick]]
    ml = volume_ml or float(np.exp(rng.uniform(np.log(0.3), np.log(45))))
    radius = (3000 * ml / (4 * np.pi)) ** (1 / 3)
    axes = np.exp(rng.normal(0, 0.22, 3))
    axes *= radius / axes.prod() ** (1 / 3)
    turn = rng.uniform(0, np.pi)
    dz = ((np.arange(len(head.hu)) - z0) * head.slice_mm / axes[0])[:, None, None]
    along = ((x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)) / axes[1]
    across = ((y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)) / axes[2]
    bumpy = rng.uniform(0.08, 0.3) * cloud(rng, head.hu.shape, max(4, radius / head.pixel_mm / 2.5))
    rho = np.sqrt(dz**2 + along**2 + across**2) + bumpy
    mask = (rho < 1) & head.intracranial
    if mask.sum() < 6:
        return None
    density = float(np.clip(rng.normal(62, 7), 48, 82))
    inner = density + cloud(rng, head.hu.shape, 6) * rng.uniform(0.5, 5)
    if rng.random() < 0.12:  # fluid level
        inner = np.where(y > cy, inner + 5, inner - rng.uniform(5, 25))
    hu = _pushed_apart(head, z0, cx, cy, radius, rng.uniform(0.2, 0.7)) if ml > 4 else head.hu
    oedema = (rho < 1 + rng.uniform(1, 7) / radius) & head.intracranial & ~mask
    hu = hu - softened(oedema, 1.2) * rng.uniform(2, 12)
    hu = filled(hu, softened(mask, rng.uniform(0.5, 1.1)) * head.intracranial, inner, head.grain)
    return Drawn(hu, mask, "iph", {"sub": str(place), "ml": ml, "hu": density})


def _pushed_apart(head: Head, z0: int, cx: float, cy: float, radius: float, strength: float) -> Array:
    """The tissue gives way to a growing clot: each shell moves outward, fading out at the inner table."""
    x, y = head.grid_mm
    hu = head.hu.copy()
    rows, columns = np.mgrid[: hu.shape[1], : hu.shape[2]].astype(np.float32)
    for z in range(len(hu)):
        height = abs(z - z0) * head.slice_mm
        if height > radius or not head.intracranial[z].any():
            continue
        r = np.sqrt(radius**2 - height**2)
        rho = np.hypot(x - cx, y - cy) + 1e-3
        before = np.sqrt(np.maximum(rho**2 - strength * r**2, (0.3 * rho) ** 2))
        move = (before / rho - 1) * np.clip(head.depth_mm[z] / 15, 0, 1)
        moved = [rows + (y - cy) * move / head.pixel_mm, columns + (x - cx) * move / head.pixel_mm]
        hu[z] = np.where(head.intracranial[z], ndimage.map_coordinates(head.hu[z], moved, order=1), head.hu[z])
    return hu


def intraventricular(head: Head, rng: np.random.Generator) -> Drawn | None:
    """Blood in the ventricles: sunk to the back with a tilted level, filling them, or in patches."""
    x, y = head.grid_mm
    dark = (head.smooth < head.tissue_hu - 9) & (head.depth_mm > 18) & (np.abs(x) < 38)
    dark = ndimage.binary_opening(dark, np.ones((1, 2, 2)))
    labels, n = ndimage.label(dark)
    if n == 0:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    ventricles = np.isin(labels, np.flatnonzero(sizes >= 60))
    if ventricles.sum() < 80:
        return None
    ventricles = ndimage.binary_dilation(ventricles, np.ones((1, 3, 3))) & head.intracranial
    sub = rng.choice(["level", "cast", "patches"], p=[0.45, 0.25, 0.3])
    share = softened(ventricles, 0.6)
    if sub == "level":
        back = np.quantile(np.broadcast_to(y, ventricles.shape)[ventricles], rng.uniform(0.45, 0.95))
        level = back + rng.uniform(-0.12, 0.12) * x
        share = share / (1 + np.exp(-(y - level) / rng.uniform(0.8, 3)))
    elif sub == "patches":
        share = share * (cloud(rng, head.hu.shape, 10) > rng.uniform(-0.6, 0.7))
    if rng.random() < 0.45:
        share = share * (x * rng.choice([-1, 1]) > 0)
    mask = (share > 0.5) & head.intracranial
    if mask.sum() < 25:
        return None
    density = float(rng.uniform(42, 74))
    inner = density + cloud(rng, head.hu.shape, 5) * 2
    return Drawn(filled(head.hu, share, inner, head.grain), mask, "ivh", {"sub": str(sub), "hu": density})


def subarachnoid(head: Head, rng: np.random.Generator) -> Drawn | None:
    """Blood where the CSF is: in the cisterns of the base, over a convexity, or in a few sulci."""
    x, y = head.grid_mm
    n = len(head.hu)
    csf = np.clip((head.tissue_hu - 3 - head.smooth) / 12, 0, 1) * head.intracranial
    sub = rng.choice(["basal", "convexity", "focal"], p=[0.4, 0.3, 0.3])
    z = np.arange(n)
    if sub == "basal":
        z0 = head.slices[0] + rng.uniform(0.15, 0.45) * len(head.slices)
        along = np.exp(-(((z - z0) / rng.uniform(1.5, 5)) ** 2))
        region = np.broadcast_to(np.hypot(x / 1.2, y + 8) < rng.uniform(32, 66), csf.shape)
    else:
        z0 = rng.choice(head.slices[len(head.slices) // 4 :])
        along = np.exp(-(((z - z0) / rng.uniform(0.8, 3)) ** 2))
        half = rng.uniform(0.25, 0.7) if sub == "focal" else rng.uniform(0.5, 1.5)
        around = np.abs(np.angle(np.exp(1j * (np.arctan2(y, x) - rng.uniform(-np.pi, np.pi)))))
        region = (head.depth_mm < rng.uniform(9, 20)) & (around < half)
    share = csf * np.clip(0.75 + 0.5 * cloud(rng, csf.shape, 9), 0, 1)
    if sub != "basal":  # tight sulci: the blood itself shows them, as thin curves
        curves = np.exp(-((cloud(rng, csf.shape, rng.choice([5, 8]), 0.6) / rng.uniform(0.12, 0.3)) ** 2))
        share = np.maximum(share, curves * rng.uniform(0.5, 1))
    share = share * region * np.where(along > 0.3, along, 0)[:, None, None] * head.intracranial
    share = softened(np.clip(share, 0, 1), 0.6) * head.intracranial
    mask = share > 0.35
    if mask.sum() < 25:
        return None
    density = float(rng.uniform(48, 72))
    hu = filled(head.hu, np.clip(share * 1.1, 0, 1), density, head.grain)
    return Drawn(hu, mask, "sah", {"sub": str(sub), "hu": density})


def subdural(head: Head, rng: np.random.Generator, sub: str | None = None) -> Drawn | None:
    """A crescent under the inner table that presses the brain inward, or a ribbon along the falx."""
    kinds = ["acute", "chronic", "isodense", "layered", "mixed", "falx"]
    sub = sub or str(rng.choice(kinds, p=[0.52, 0.09, 0.05, 0.1, 0.12, 0.12]))
    if sub == "falx":
        return _along_falx(head, rng)
    thickness = float(np.exp(rng.uniform(np.log(2.6), np.log(20))))
    if sub in ("chronic", "isodense", "layered"):
        thickness = max(thickness, 6.0)
    z0 = float(rng.choice(head.slices[len(head.slices) // 4 :]))
    centre = float(rng.choice([0.0, np.pi]) + rng.uniform(-0.7, 0.7))
    t = _lens(head, rng, thickness, centre, rng.uniform(0.5, 1.5), z0, rng.uniform(2, 7), 0.55)
    texture = cloud(rng, head.hu.shape, 8)
    x, y = head.grid_mm
    density = {"chronic": rng.uniform(8, 24), "isodense": rng.uniform(27, 42)}.get(sub, rng.normal(62, 7))
    inner = density + texture * (rng.uniform(1, 6) if sub == "acute" else 2)
    if sub == "layered":
        upper, lower = rng.uniform(10, 30), rng.uniform(48, 66)
        level = rng.uniform(-15, 25) + 4 * texture
        inner = upper + (lower - upper) / (1 + np.exp(-(y - level) / rng.uniform(1.5, 10)))
    elif sub == "mixed":
        inner = np.where(texture > rng.uniform(-0.6, 0.6), rng.uniform(52, 68), rng.uniform(14, 32))
    return _under_table(head, rng, t, inner, "sdh", {"sub": sub, "mm": thickness, "hu": float(density)})


def epidural(head: Head, rng: np.random.Generator) -> Drawn | None:
    """A lens between table and dura: short, thick, biconvex."""
    half = float(rng.uniform(0.25, 0.65))
    thickness = float(min(rng.uniform(4, 26), 55 * half))
    z0 = float(rng.choice(head.slices[1:]))
    centre = float(rng.choice([0.0, np.pi]) + rng.uniform(-1.3, 1.3))
    t = _lens(head, rng, thickness, centre, half, z0, rng.uniform(1.5, 4.5), 0.9)
    density = float(rng.normal(64, 6))
    inner = density + cloud(rng, head.hu.shape, 8) * rng.uniform(1, 7)
    return _under_table(head, rng, t, inner, "edh", {"sub": "acute", "mm": thickness, "hu": density})


def _lens(
    head: Head, rng: np.random.Generator, mm: float, centre: float, half: float, z0: float, reach: float, power: float
) -> Array:
    """Thickness at each pixel's direction: greatest `mm` at angle `centre`, 0 beyond `half` and `reach` slices."""
    x, y = head.grid_mm
    off = np.abs(np.angle(np.exp(1j * (np.arctan2(y, x) - centre)))) / half
    along = np.clip(1 - ((np.arange(len(head.hu)) - z0) / reach) ** 2, 0, 1) ** 0.6
    t = mm * (np.clip(1 - off**2, 0, 1) ** power)[None] * along[:, None, None]
    t = t * (1 + 0.12 * cloud(rng, head.hu.shape, 16))
    return np.clip(t, 0, 0.6 * head.depth_mm.max(axis=(1, 2))[:, None, None]).astype(np.float32)


def _under_table(
    head: Head, rng: np.random.Generator, t: Array, inner: Array, kind: str, facts: dict[str, float | str]
) -> Drawn | None:
    mask = (head.depth_mm > 0) & (head.depth_mm <= t + 0.3) & (t > 0.9) & head.intracranial
    if mask.sum() < 30:
        return None
    hu = _pressed(head, t, float(np.clip(2.3 * t.max(), 40, 64)))
    # Under the table the picture's own grain is bone edge: new grain of the same strength instead.
    near = np.clip(1 - head.depth_mm / 3, 0, 1)
    spread = float(head.grain[head.depth_mm > 8].std()) if (head.depth_mm > 8).any() else 2.5
    grain = head.grain * (1 - near) + near * spread * rng.standard_normal(hu.shape, dtype=np.float32)
    share = np.maximum(softened(mask, 0.7) * head.intracranial, 0.9 * mask)
    return Drawn(filled(hu, share, inner, grain), mask, kind, facts)


def _pressed(head: Head, t: Array, reach: float) -> Array:
    """The brain moves inward by t at the table and by nothing `reach` mm deeper, so that no cortex is cut away."""
    hu = head.hu.copy()
    rows, columns = np.mgrid[: hu.shape[1], : hu.shape[2]].astype(np.float32)
    for z in range(len(hu)):
        if t[z].max() < 1.5:
            continue
        depth = head.depth_mm[z]
        dy, dx = np.gradient(ndimage.gaussian_filter(depth, 2))
        length = np.hypot(dy, dx) + 1e-3
        earlier = np.clip((depth - t[z]) * reach / np.maximum(reach - t[z], 1), 0, None)
        move = np.where(depth < reach, earlier - depth, 0) / head.pixel_mm
        moved = [rows + move * dy / length, columns + move * dx / length]
        pressed = ndimage.map_coordinates(head.hu[z], moved, order=1, mode="nearest")
        hu[z] = np.where(head.intracranial[z], pressed, hu[z])
    return hu


def _along_falx(head: Head, rng: np.random.Generator) -> Drawn | None:
    x, y = head.grid_mm
    half = np.clip(rng.uniform(2, 5) * (1 + 0.25 * cloud(rng, head.hu.shape, 12)), 1.2, 6)
    z0 = float(rng.choice(head.slices[len(head.slices) // 3 :]))
    along = np.clip(1 - ((np.arange(len(head.hu)) - z0) / rng.uniform(2, 6)) ** 2, 0, 1)[:, None, None] ** 0.6
    place = y < -14 if rng.random() < 0.4 else y > 20
    mask = (np.abs(x - rng.uniform(-3, 3)) < half * along) & place & head.intracranial
    if mask.sum() < 30:
        return None
    density = float(rng.normal(60, 6))
    hu = filled(head.hu, softened(mask, 0.7) * head.intracranial, density, head.grain)
    return Drawn(hu, mask, "sdh", {"sub": "falx", "mm": float(2 * half.mean()), "hu": density})


BLEEDS: dict[str, Callable[[Head, np.random.Generator], Drawn | None]] = {
    "iph": parenchymal,
    "ivh": intraventricular,
    "sah": subarachnoid,
    "sdh": subdural,
    "edh": epidural,
}
KINDS = tuple(BLEEDS)


def draw(kind: str, head: Head, rng: np.random.Generator, tries: int = 5) -> Drawn | None:
    """One bleed of a kind, drawn again when the head has no place for the first. Raises: ValueError for no such kind."""
    if kind not in BLEEDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if not len(head.slices):
        return None
    for _ in range(tries):
        drawn = BLEEDS[kind](head, rng)
        if drawn is not None:
            return drawn
    return None
