"""A head as densities: scalp, skull, brain and its fluid, painted in order over points in head coordinates.

Each structure is a signed distance turned into a share of the voxel, so that edges carry partial volume; later structures
cover earlier ones. Positions are MNI coordinates with y reversed (see `shapes`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from triage_node.simulation.person import Person
from triage_node.simulation.shapes import (
    Array,
    Bumps,
    Indices,
    Point,
    Points,
    capsule,
    coverage,
    ellipsoid,
    smooth_union,
)

AIR = -1000.0
SIDES = (-1.0, 1.0)
BumpsByName = Callable[[str, float], Bumps]


@dataclass(frozen=True)
class Surfaces:
    """Signed distances that several structures share. Shape of each: (voxel,)."""

    cavity: Array
    """Inner table of the skull."""
    infratentorial: Array
    """Space under the tentorium and behind the petrous bones."""
    head: Array
    """Skin."""
    skull_mm: Array
    """Thickness of the vault."""

    def take(self, which: Indices) -> Surfaces:
        return Surfaces(self.cavity[which], self.infratentorial[which], self.head[which], self.skull_mm[which])


@dataclass(frozen=True)
class Compartments:
    """Shares of each voxel, 0 to 1. Shape of each: (voxel,)."""

    cavity: Array
    ventricles: Array
    csf: Array
    parenchyma: Array


class Painter:
    """Densities in HU at the points, painted one structure after the other. `within` caps every structure's share."""

    def __init__(self, at: Points, hu: Array, within: Array | None = None) -> None:
        self.at = at
        self.hu = hu
        self._within = within

    def put(self, share: Array, hu: Array | float) -> None:
        self.hu += share * (hu - self.hu)

    def put_at(self, which: Indices, share: Array, hu: Array | float) -> None:
        old = self.hu[which]
        if self._within is not None:
            share = share * self._within[which]
        self.hu[which] = old + share * (hu - old)

    def ellipsoid(self, centre: Point, semi: Point, hu: float, edge: float = 1.0) -> None:
        which = self.at.near(centre, (semi[0] + edge, semi[1] + edge, semi[2] + edge))
        self.put_at(which, coverage(ellipsoid(*self.at.take(which).xyz, centre, semi), edge), hu)

    def capsule(self, start: Point, end: Point, r0: float, r1: float, hu: float, edge: float = 1.0) -> None:
        which = self.near_capsule(start, end, max(r0, r1) + edge)
        self.put_at(which, coverage(capsule(*self.at.take(which).xyz, start, end, r0, r1), edge), hu)

    def near_capsule(self, start: Point, end: Point, radius: float) -> Indices:
        (ax, ay, az), (bx, by, bz) = start, end
        middle = ((ax + bx) / 2, (ay + by) / 2, (az + bz) / 2)
        return self.at.near(middle, (abs(ax - bx) / 2 + radius, abs(ay - by) / 2 + radius, abs(az - bz) / 2 + radius))


def surfaces(at: Points, p: Person, bumps: BumpsByName) -> Surfaces:
    """Inner table, tentorium and skin at every point."""
    x, y, z = at.xyz
    ax = np.abs(x)
    vault = ellipsoid(x, y, z, (0, 17, 6), (69, 88, 71))
    # in front the floor is a plane over the orbits; behind it the temporal and posterior fossae take over
    floor = np.where(y < -8, -20 + 0.06 * (y + 8) + 0.10 * ax, -20 - 0.5 * (y + 8)).astype(np.float32)
    cavity = np.maximum(vault, (np.maximum(floor, -34) - z) * 0.95)
    for s in SIDES:
        cavity = smooth_union(cavity, ellipsoid(x, y, z, (42 * s, 10, -20), (24, 35, 24)), 6)
    cavity = smooth_union(cavity, ellipsoid(x, y, z, (0, 60, -32), (54, 42, 31)), 6)
    cavity = smooth_union(cavity, capsule(x, y, z, (0, 26, -12), (0, 32, -48), 20, 17), 5)
    cavity = smooth_union(cavity, capsule(x, y, z, (0, 36, -48), (0, 42, -120), 14, 13), 4)
    cavity = cavity + 0.9 * bumps("inner table", 66).at(x, y, z)
    wide = bumps("skull", 70).at(x, y, z)
    thick = p.skull * (1 + 0.17 * wide)
    thick += np.clip((y - 80) / 25, 0, 1) * 2.5 * np.exp(-((ax / 14) ** 2)) + np.clip((-y - 45) / 25, 0, 1) * 2
    thick -= 2.5 * np.exp(-(((z + 5) / 22) ** 2) - (((y - 5) / 28) ** 2)) * np.clip((ax - 45) / 15, 0, 1)
    brow = np.exp(-(((z + 12 - 0.5 * p.frontal_sinus) / 15) ** 2) - ((x / 24) ** 2))
    thick += (1.5 + 0.3 * p.frontal_sinus) * brow * np.clip((-y - 50) / 15, 0, 1)
    thick = np.clip(thick, 2.4, 14)
    skin = p.scalp * (1 + 0.18 * bumps("scalp", 55).at(x, y, z)) + 2 * np.clip((y - 60) / 40, 0, 1)
    head = cavity - thick - np.clip(skin, 3.5, 16)
    head = smooth_union(head, ellipsoid(x, y, z, (0, -33, -58), (68, 63, 62)), 14)
    head = smooth_union(head, capsule(x, y, z, (0, 38, -40), (0, 46, -140), 62, 60), 18)
    head = smooth_union(head, capsule(x, y, z, (0, -84, -30), (0, -102, -58), 7, 13), 10)
    tent = 5 - 0.32 * ax - 0.30 * np.maximum(y - 45, 0) + 1.5 * wide
    infra = np.maximum((z - tent) * 0.95, (12 + 0.55 * ax - y) * 0.85)
    return Surfaces(*(a.astype(np.float32) for a in (cavity, infra, head, thick)))


def paint_outside(k: Painter, p: Person, s: Surfaces, bumps: BumpsByName) -> None:
    """Scalp, face, skull and skull base."""
    x, y, z = k.at.xyz
    ax = np.abs(x)
    texture, fine = bumps("soft tissue", 22).at(x, y, z), bumps("marrow", 7).at(x, y, z)
    # temporalis and neck muscles lie on the bone, fat between them and the skin
    temple = np.exp(-(((z + 15) / 30) ** 2) - (((y + 10) / 30) ** 2)) * np.clip((ax - 40) / 12, 0, 1)
    neck = np.clip((y - 30) / 20, 0, 1) * np.clip((-20 - z) / 15, 0, 1)
    galea = np.clip(1 - (s.cavity - s.skull_mm) / 3.0, 0, 1) * (z > -25)
    lean = np.clip(0.35 + 1.6 * temple + 1.2 * neck + 0.5 * galea + 0.45 * texture, 0, 1)
    lean *= np.where(z > -25, np.clip(0.25 + 0.8 * galea + 1.4 * temple + neck, 0, 1), 1)
    soft = (55 + 4 * fine) * lean + (-95 + 8 * fine) * (1 - lean)
    skin = np.clip((s.head + 3.0) / 1.2, 0, 1)
    k.put(coverage(s.head, 1.2), soft * (1 - skin) + 45 * skin)
    outward, t = s.cavity, s.skull_mm
    bone = coverage(np.maximum(-outward, outward - t), 0.9)
    diploe = np.clip((np.minimum(outward, t - outward) - 1.3) / 0.9, 0, 1) * np.clip((t - 3.4) / 2, 0, 1)
    k.put(bone, (1350 + 90 * texture) * (1 - diploe) + (560 + 130 * fine + 90 * texture) * diploe)
    _paint_base(k, p, bumps)


def _paint_base(k: Painter, p: Person, bumps: BumpsByName) -> None:
    air_cells = bumps("air cells", 8)

    def cells(centre: Point, semi: Point, wall: float, threshold: float) -> None:
        """Bone with air cells in it: mastoid, ethmoid."""
        which = k.at.near(centre, semi)
        xyz = k.at.take(which).xyz
        holes = np.clip((air_cells.at(*xyz) - threshold) * 4, 0, 1)
        k.put_at(which, coverage(ellipsoid(*xyz, centre, semi), 1.5), wall * (1 - holes) + AIR * holes)

    for s in SIDES:
        k.capsule((17 * s, 10, -40), (62 * s, 36, -40), 6.5, 12, 1250, 2)  # petrous bone
        cells((60 * s, 42, -46), (12, 15, 18), 700, -0.1)
        k.capsule((27 * s, 18, -39), (33 * s, 20, -39), 3.2, 4, 1900, 2)  # labyrinth
        k.capsule((50 * s, 27, -46), (78 * s, 27, -50), 3.2, 4.0, -950, 1.5)  # ear canal
        k.capsule((6 * s, -14, -20), (52 * s, -26, -16), 3.5, 2.6, 1000, 2)  # sphenoid wings
        k.capsule((52 * s, -26, -16), (56 * s, -20, -44), 3.0, 3.5, 900, 2)
        _paint_orbit(k, s)
        k.capsule((50 * s, -62, -52), (68 * s, -12, -50), 3.4, 3.2, 1000, 2)  # zygoma
        k.ellipsoid((27 * s, -62, -76), (16, 18, 16), 900)
        k.ellipsoid((27 * s, -62, -76), (14, 16, 14), -980)  # maxillary sinus
    k.ellipsoid((0, -14, -40), (20, 17, 13), 900, 2)
    k.capsule((0, 3, -30), (0, 22, -62), 7.5, 8.5, 780, 2)  # clivus
    for s in SIDES:
        k.ellipsoid((8 * s, -16, -41), (7.2, 12, 8.5), -985)  # sphenoid sinus
    cells((0, -52, -38), (12.5, 24, 13), 300, -0.45)
    k.ellipsoid((0, -52, -66), (11, 26, 16), -960, 2)
    k.capsule((0, -40, -52), (0, -70, -75), 1.4, 1.4, 300)
    f = p.frontal_sinus
    for s in SIDES:
        k.ellipsoid((f * 0.6 * s, -76.5, -14 + f * 0.5), (f * 0.55, 3.2, f * 0.8), -985)


def _paint_orbit(k: Painter, s: float) -> None:
    k.capsule((33 * s, -66, -40), (16 * s, -26, -33), 21, 6.5, 950, 1.5)
    k.capsule((33 * s, -68, -40), (15 * s, -25, -33), 18.5, 4.5, -85, 1.5)
    globe = (32.0 * s, -71.0, -40.0)
    k.ellipsoid(globe, (12.4, 12.2, 12.2), 42)
    k.ellipsoid(globe, (11.2, 11.0, 11.0), 12)
    k.ellipsoid((32 * s, -79, -40), (4.5, 2.2, 4.5), 75)
    k.capsule((30 * s, -59, -40), (13 * s, -25, -34), 2.0, 2.2, 38)
    for dx, dz in ((9.5, 0.0), (-9.5, 0.0), (0.0, 9.5), (0.0, -9.5)):
        k.capsule((32.5 * s + dx, -64, -40 + dz), (15 * s + 0.2 * dx, -28, -33 + 0.2 * dz), 1.6, 1.9, 48)


def _lateral_ventricle(at: Points, p: Person, side: float, index: int) -> tuple[Indices, Array]:
    """Frontal horn, body, atrium, occipital and temporal horn of one side as a chain of rods."""
    v = p.ventricle * p.ventricle_side[index]
    which = at.near((24 * side, 20, 2), (26, 70, 40))
    xyz = at.take(which).xyz
    w = 1 + 0.25 * (v - 0.8)
    chains = (
        (
            ((7.5, -31, 2), 2.2),
            ((9.5, -26, 9), 5.0),
            ((9.0, -12, 17), 5.6),
            ((10.0, 8, 22), 5.0),
            ((14.0, 26, 21), 5.4),
        ),
        (((14.0, 26, 21), 5.4), ((24.0, 41, 12), 7.4)),
        (((24.0, 41, 11), 6.5), ((23.5, 60, 6), 3.6), ((20.0, 74, 5), 1.6)),
        (((25.0, 41, 6), 4.4), ((33.0, 28, -8), 2.4), ((33.0, 8, -19), 2.0), ((31.0, -2, -22), 1.6)),
    )
    total = np.full(which.shape, 50, np.float32)
    for chain in chains:
        for (a, ra), (b, rb) in zip(chain, chain[1:], strict=False):
            start, end = (a[0] * w * side, a[1], a[2]), (b[0] * w * side, b[1], b[2])
            total = smooth_union(total, capsule(*xyz, start, end, ra * v - 0.4, rb * v - 0.4), 3)
    # caudate and thalamus press in from the side, so the horns are flat; the septum keeps the two apart
    total = np.maximum(total, (np.abs(xyz[0]) - (14.5 * w + np.maximum(xyz[1] - 12, 0) * 1.2)) * 0.9)
    return which, np.maximum(total, 1.0 - np.abs(xyz[0])).astype(np.float32)


def _sulci(at: Points, p: Person, depth: Array, wide: Array, fine: Array, bumps: BumpsByName) -> tuple[Array, Array]:
    """Distance to the nearest sulcus and to its wall for the cortical ribbon.

    A sulcus is the zero crossing of a random field that hardly changes along the radius, so it cuts inward like a leaf;
    the two hemispheres share half of their pattern, as brains do.
    """
    x, y, z = at.xyz
    radius = np.sqrt((x / 69) ** 2 + ((y - 17) / 88) ** 2 + ((z - 6) / 71) ** 2) + np.float32(1e-3)
    a, b, c = (np.float32(75) * (v - o) / (s * radius) for v, o, s in ((x, 0, 69), (y, 17, 88), (z, 6, 71)))
    inward = (1 - radius) * 9
    mirrored = bumps("sulci of both sides", 20).as_distance().at(np.abs(a) + inward, b, c + inward)
    single = bumps("sulci", 20).as_distance().at(a + inward, b + inward, c)
    pick = np.clip(0.5 + 3 * bumps("which sulci", 70).at(x, y, z), 0, 1)
    leaf = np.abs(mirrored * pick + single * (1 - pick))
    reach = np.clip(13 + 5 * wide + 3 * fine, 5, 24)
    taper = np.clip(1.15 - 0.75 * depth / reach, 0.15, 1.1) * np.clip(1 + 0.35 * fine, 0.2, 2)
    sulcus = np.maximum(leaf - 0.5 * p.sulcus * taper, depth - reach)
    wall = np.maximum(leaf - 0.3 * p.sulcus, depth - reach - 1.0)
    return sulcus.astype(np.float32), wall.astype(np.float32)


def paint_inside(
    k: Painter, p: Person, s: Surfaces, cavity_now: Array, bumps: BumpsByName, contrast: bool = False
) -> Compartments:
    """Brain, fluid, membranes and vessels inside the inner table.

    `k.at` and `s` are where the tissue came from (a bleed displaces it), `cavity_now` is the inner table, which does not move.
    """
    x, y, z = k.at.xyz
    inside = coverage(cavity_now, 1.0)
    k.put(inside, p.csf)
    dura = 32 + 0.2 * p.falx + (45 if contrast else 0)
    k.put(coverage(np.abs(cavity_now + 0.5) - 0.6, 1.0) * inside, dura)
    wide, fine = bumps("wide", 45).at(x, y, z), bumps("fine", 12).at(x, y, z)
    gap = p.gap * np.clip(1 + 0.45 * wide + 0.6 * np.clip(-y / 60, 0, 1), 0.25, 2.5)
    wobble = 0.8 * bumps("midline", 40).at(np.zeros_like(x), y, z)
    cerebrum = _paint_cerebrum(k, p, s, gap, wobble, wide, fine, bumps)
    _paint_deep_nuclei(k, p)
    rest = _paint_posterior_fossa(k, p, s, gap, wide)
    ventricles = _paint_ventricles(k, p, contrast)
    parenchyma = np.maximum(cerebrum, rest) * (1 - ventricles) * inside
    csf = np.clip(inside - parenchyma - ventricles, 0, 1)
    _paint_membranes(k, p, s, wobble, inside, contrast)
    if p.infarct:
        _paint_infarct(k, p, parenchyma, bumps)
    return Compartments(inside, ventricles, csf, parenchyma)


def _paint_cerebrum(
    k: Painter, p: Person, s: Surfaces, gap: Array, wobble: Array, wide: Array, fine: Array, bumps: BumpsByName
) -> Array:
    x, y, z = k.at.xyz
    ax = np.abs(x)
    # above the tentorium, away from the basal cisterns
    distance = np.maximum(s.cavity + gap, 1.2 - s.infratentorial)
    moat = capsule(x, y, z, (0, 26, -12), (0, 30, -60), 17.5 + 1.8 * p.atrophy, 17)
    cisterns = np.minimum(
        ellipsoid(x, y, z, (0, 2, -19), (12 + 2 * p.atrophy, 13, 8)),
        ellipsoid(x, y, z, (0, 41, 0), (11 + 2 * p.atrophy, 5 + p.atrophy, 7)),
    )
    distance = np.maximum(distance, -np.minimum(moat, cisterns))
    # longitudinal fissure; the corpus callosum stays whole
    widening = 1 + 0.8 * np.clip(-y / 60, 0, 1)
    midline = np.abs(x - wobble) - (0.25 + 0.28 * p.fissure * widening + 0.35 * fine)
    midline = np.maximum(midline, -ellipsoid(x, y, z, (0, 4, 8), (30, 40, 20)))
    # Sylvian fissure: the cleft over the insula, the slit that opens it to the side, the stem to the cistern
    insula = np.maximum(np.abs(ax - (40 + 0.05 * (y - 5) + 1.2 * fine)) - 0.30 * p.fissure, np.abs(y + 2) - 23)
    insula = np.maximum(insula, np.abs(z - 3) - 15)
    slant = -8 + 0.42 * (y + 12) + 1.5 * wide
    slit = np.abs(z - slant) * 0.9 - 0.42 * p.fissure * (1 + 0.5 * np.clip(-y / 25, 0, 1))
    slit = np.maximum(np.maximum(slit, 39 - ax), np.abs(y - 4) - 32)
    stem = capsule(ax, y, z, (12, -6, -19), (40, -18, -14), 0.7 + 0.42 * p.fissure, 0.9 + 0.5 * p.fissure)
    distance = np.maximum(distance, -np.minimum(np.minimum(midline, stem), np.minimum(insula, slit)))
    depth = np.maximum(-(s.cavity + gap), 0)
    sulcus, wall = _sulci(k.at, p, depth, wide, fine, bumps)
    cerebrum = coverage(distance, 1.2) * (1 - coverage(sulcus, 1.3))
    # gray where the nearest fluid is within the cortical ribbon, and in the insula
    ribbon = np.clip(0.5 + (3.3 + 0.5 * fine - np.minimum(-distance, wall)) / 1.6, 0, 1)
    over_insula = coverage(np.maximum(np.abs(y + 2) - 23, np.abs(z - 3) - 15), 3)
    ribbon = np.maximum(ribbon, np.clip(0.5 + (2.8 - (np.abs(ax - 40) - 0.3 * p.fissure)) / 1.6, 0, 1) * over_insula)
    k.put(cerebrum, p.white + (p.gray - p.white) * ribbon + 0.7 * wide)
    return cerebrum


def _paint_deep_nuclei(k: Painter, p: Person) -> None:
    for s in SIDES:
        k.ellipsoid((15.5 * s, -14, 8), (4.2, 11, 8), p.gray, 2)  # head of the caudate
        k.capsule((15 * s, -6, 16), (19 * s, 22, 20), 3.0, 2.0, p.gray, 2)
        k.ellipsoid((27 * s, -2, 2), (5.2, 16, 9.5), p.gray + 0.5, 2)  # putamen
        k.ellipsoid((20.5 * s, 2, 0), (4.5, 8.5, 6), p.gray - 1, 2)  # pallidum
        k.ellipsoid((11 * s, 18, 8), (8.5, 14, 9), p.gray - 0.5, 2.5)  # thalamus
        if p.basal_calcium:
            k.ellipsoid((20 * s, 1, 0), (2.2, 4.0, 2.6), p.gray + p.basal_calcium, 2.5)


def _paint_posterior_fossa(k: Painter, p: Person, s: Surfaces, gap: Array, wide: Array) -> Array:
    """Cerebellum with folia, brainstem between its cisterns."""
    x, y, z = k.at.xyz
    ax = np.abs(x)
    edge = np.maximum(s.infratentorial + 1.4, s.cavity + 0.8 + 0.5 * gap)
    edge = np.maximum(edge, 20 + 0.40 * ax - y)
    edge = np.maximum(edge, -ellipsoid(x, y, z, (0, 84, -50), (13, 11, 16)))  # great cistern
    body = coverage(edge, 1.2)
    bark = np.clip(0.5 + (8 + edge) / 5, 0, 1)
    k.put(body, p.white + 1.5 + (p.gray - p.white - 1) * bark + 0.6 * wide)
    folia = np.abs(np.sin((z * 0.9 + 0.25 * ax + 3 * wide) * 0.9))
    crease = np.clip(1 - folia / 0.22, 0, 1) * np.clip(1 + edge / 9, 0, 1)
    k.put(body * crease * (0.06 + 0.26 * p.atrophy), p.csf)
    stem = np.minimum(
        np.minimum(
            ellipsoid(x, y, z, (0, 25, -12), (15.5, 12.0, 12)), ellipsoid(x, y, z, (0, 25, -31), (17.5, 12.0, 14))
        ),
        capsule(x, y, z, (0, 31, -42), (0, 40, -110), 8.5, 6.5),
    )
    stem = np.minimum(stem, capsule(ax, y, z, (12, 26, -32), (27, 44, -36), 8, 9))
    stem = np.maximum(stem, -ellipsoid(x, y, z, (0, 12, -14), (4.5, 5.5, 9)))  # interpeduncular cistern
    share = coverage(stem, 1.4)
    k.put(share, p.white + 3.5)
    return np.maximum(body, share)


def _paint_ventricles(k: Painter, p: Person, contrast: bool) -> Array:
    total = np.zeros(k.hu.shape, np.float32)

    def add(which: Indices, distance: Array) -> None:
        total[which] = np.maximum(total[which], coverage(distance, 1.2))

    for index, side in enumerate(SIDES):
        which, d = _lateral_ventricle(k.at, p, side, index)
        if p.leukoaraiosis:
            near = k.at.take(which)
            cap = np.exp(-np.maximum(d, 0) / 5.5) * np.clip(0.35 + np.abs(near.y - 8) / 45, 0, 1)
            old = k.hu[which]
            cap *= np.clip((near.z + 2) / 8, 0, 1) * (old > p.white - 6) * (old < 60)
            k.hu[which] = old - p.leukoaraiosis * cap
        add(which, d)
    third: tuple[Point, Point] = ((0, 9, 1), (max(1.1 + 2.3 * (p.ventricle - 0.6), 0.9), 15.0, 9.0))
    fourth: tuple[Point, Point] = ((0, 46, -31), (5.5 + 2.5 * p.ventricle, 3.6 + 1.8 * p.ventricle, 10.0))
    for centre, semi in (third, fourth):
        which = k.at.near(centre, (semi[0] + 2, semi[1] + 2, semi[2] + 2))
        add(which, ellipsoid(*k.at.take(which).xyz, centre, semi))
    which = k.near_capsule((0, 27, -2), (0, 40, -22), 3)
    add(which, capsule(*k.at.take(which).xyz, (0, 27, -2), (0, 40, -22), 1, 1))
    k.put(total, p.csf - 1)
    for index, side in enumerate(SIDES):
        k.ellipsoid((24 * side, 43, 10), (2.4, 5, 4), 90 if contrast else 34, 1.5)  # choroid plexus
        r = p.choroid[index]
        if r:
            k.ellipsoid((24.5 * side, 44, 9 + index), (r, r * 1.3, r), 240 if r > 2.4 else 130, 2)
    if p.pineal:
        k.ellipsoid((0.5, 32, 3), (p.pineal, p.pineal * 1.1, p.pineal), 220, 2)
    return total


def _paint_membranes(k: Painter, p: Person, s: Surfaces, wobble: Array, inside: Array, contrast: bool) -> None:
    """Falx, tentorium, venous sinuses, arteries of the base."""
    x, y, z = k.at.xyz
    ax = np.abs(x)
    sinus = 165.0 if contrast else p.sinus
    inner_edge = ellipsoid(np.zeros_like(x), y, z, (0, 8, 4), (50, 52, 34))
    falx = coverage(np.abs(x - wobble) - 0.55, 1.1) * coverage(-inner_edge, 3) * coverage(-s.infratentorial, 2)
    k.put(falx * inside, 42 + p.falx + (50 if contrast else 0))
    notch = np.maximum(ellipsoid(x, y, z, (0, 26, -6), (20, 26, 30)), -5)
    sheet = coverage(np.abs(s.infratentorial) - 0.45, 1.1) * coverage(-notch, 2) * coverage(12 - y, 2)
    k.put(sheet * inside, 44 + 0.4 * p.falx + (50 if contrast else 0))
    # superior sagittal sinus: a triangle on the inner table; transverse sinuses along the tentorium
    sagittal = coverage(np.maximum(ax - 3.2 - 0.45 * (-s.cavity - 5), -s.cavity - 5.5), 1.4)
    k.put(sagittal * inside * coverage(-14 - z, 4) * coverage(20 - y - z * 0.8, 6), sinus)
    transverse = coverage(np.maximum(np.abs(s.infratentorial - 1) - 3.4, -s.cavity - 5), 1.4)
    k.put(transverse * inside * coverage(58 - y, 4), sinus)
    k.ellipsoid((0, 98, -8), (5, 5, 5), sinus, 2)
    vessel = 210.0 if contrast else p.sinus - 8
    k.capsule((0, 12, -40), (0, 10, -20), 1.7, 1.6, vessel)  # basilar artery
    for side in SIDES:
        k.capsule((8 * side, -4, -26), (9 * side, -6, -17), 2.0, 1.8, vessel)  # carotid
        k.capsule((9 * side, -6, -17), (38 * side, -17, -14), 1.5, 1.1, vessel)  # middle cerebral artery
        k.capsule((2 * side, 10, -20), (16 * side, 24, -16), 1.0, 0.9, vessel)
        if contrast:
            for a, b in (((38, -17, -14), (41, 0, 8)), ((41, 0, 8), (58, 20, 18)), ((16, 24, -16), (18, 60, -4))):
                k.capsule((a[0] * side, a[1], a[2]), (b[0] * side, b[1], b[2]), 1.2, 0.9, vessel)
            k.capsule((1.5 * side, 34, 6), (4 * side, 12, 16), 1.2, 1.0, sinus)  # internal cerebral vein
    k.capsule((0, -10, -15), (0, -30, -2), 1.1, 0.9, vessel)
    if contrast:
        k.capsule((0, 38, 8), (0, 84, 2), 2.0, 2.4, sinus)  # straight sinus
        k.capsule((0, -30, -2), (0, -42, 22), 1.1, 0.9, vessel)


def _paint_infarct(k: Painter, p: Person, parenchyma: Array, bumps: BumpsByName) -> None:
    """An old infarct: a lacune or a wedge near the density of fluid, with an irregular edge."""
    side = 1.0 if p.ventricle_side[0] > p.ventricle_side[1] else -1.0
    places: tuple[tuple[Point, Point], ...] = (
        ((25 * side, -4, 6), (4, 6, 4)),
        ((50 * side, 35, 15), (14, 16, 14)),
        ((26 * side, 82, 5), (12, 14, 10)),
        ((28 * side, 62, -42), (14, 10, 7)),
    )
    centre, semi = places[p.infarct - 1]
    which = k.at.near(centre, (1.6 * semi[0], 1.6 * semi[1], 1.6 * semi[2]))
    xyz = k.at.take(which).xyz
    d = ellipsoid(*xyz, centre, semi) + 2.5 * bumps("infarct", 14).at(*xyz)
    k.put_at(which, coverage(d, 4) * parenchyma[which] * 0.85, p.csf + 6)
