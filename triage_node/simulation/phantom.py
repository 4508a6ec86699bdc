"""A procedural adult head CT: numpy and scipy only, the same bytes for the same seeds.

`anatomy_seed` decides the head (shape, age, ventricles, sulci, calcifications, old infarct, how it lies in the scanner),
`noise_seed` the quantum noise of one exposure. Training uses anatomy seeds below FIRST_DEMO_SEED; the demo's heads use seeds
from there on, so that no training ever saw them. Everything here is simulated: no figure obtained with it says anything about
patients (evidence level E0, DESIGN.md section 4).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from triage_node.domain.identifiers import deterministic_uid
from triage_node.domain.volume import Volume
from triage_node.simulation.shapes import (
    EVERYWHERE,
    Array,
    Box,
    Bumps,
    HeadGrid,
    Point,
    capsule,
    coverage,
    ellipsoid,
    smooth_union,
)

FIRST_DEMO_SEED = 9000
AIR, PADDING = -1000.0, -1024
SIDES = (-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Truth:
    """What the phantom knows about itself. Masks have the shape of the volume; a voxel counts from half coverage on.

    intracranial: inside the inner table. ventricles: the ventricular system. csf: cisterns, fissures and sulci.
    brain: parenchyma. bleed: 0, or 1 + index into `subtypes`. volumes_ml per subtype.
    """

    intracranial: NDArray[np.bool_]
    ventricles: NDArray[np.bool_]
    csf: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    bleed: NDArray[np.uint8]
    subtypes: tuple[str, ...] = ()
    volumes_ml: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Phantom:
    volume: Volume
    truth: Truth
    age_years: int
    anatomy_seed: int
    noise_seed: int


@dataclass(frozen=True, slots=True)
class Bleed:
    """One simulated bleed. kind: iph_deep, iph_lobar, sdh or sah_ivh; size: mL for iph, thickness in mm for sdh, else unused."""

    kind: str
    size: float = 0.0
    side: float = 1.0


@dataclass(frozen=True)
class _Person:
    """Everything that varies from head to head, drawn once from the anatomy seed. Lengths in mm, HU for densities."""

    age: int
    atrophy: float
    scale: tuple[float, float, float]
    gray: float
    white: float
    csf: float
    gap: float
    sulcus: float
    fissure: float
    ventricle: float
    ventricle_side: tuple[float, float]
    skull: float
    scalp: float
    tilt_deg: tuple[float, float, float]
    shift: tuple[float, float, float]
    choroid: tuple[float, float]
    pineal: float
    falx: float
    basal_calcium: float
    sinus: float
    infarct: int
    leukoaraiosis: float


def _person(rng: np.random.Generator, age_years: int | None) -> _Person:
    age = int(rng.integers(24, 92))
    age = age if age_years is None else age_years
    atrophy = float(np.clip((age - 38) / 50 + rng.normal(0, 0.22), 0, 1.15))
    size = rng.normal(0.945, 0.03)
    chance = rng.random(8)
    calcium = np.clip((age - 20) / 60, 0.15, 0.9)
    return _Person(
        age=age,
        atrophy=atrophy,
        scale=(size * rng.normal(1, 0.025), size * rng.normal(1, 0.03), size * rng.normal(1, 0.03)),
        gray=float(rng.normal(37.5, 1.2)),
        white=float(rng.normal(28.5, 1.2)),
        csf=float(rng.normal(6, 1.5)),
        gap=0.6 + 2.2 * atrophy * float(rng.uniform(0.6, 1.2)),
        sulcus=0.25 + 2.9 * atrophy * float(rng.uniform(0.8, 1.2)),
        fissure=1.2 + 3.6 * atrophy * float(rng.uniform(0.7, 1.3)),
        ventricle=0.72 + 0.62 * atrophy * float(rng.uniform(0.7, 1.3)) + float(rng.normal(0, 0.06)),
        ventricle_side=(float(rng.normal(1, 0.09)), float(rng.normal(1, 0.09))),
        skull=float(rng.uniform(5.0, 8.5)),
        scalp=float(rng.uniform(5.0, 9.5)),
        tilt_deg=(float(rng.normal(4, 7)), float(rng.normal(0, 3.5)), float(rng.normal(0, 6))),
        shift=(float(rng.normal(0, 5)), float(rng.normal(0, 7)), float(rng.uniform(0, 7))),
        choroid=tuple(float(rng.uniform(1.5, 4.2)) if chance[i] < calcium else 0.0 for i in (0, 1)),  # type: ignore[arg-type]
        pineal=float(rng.uniform(1.2, 3.2)) if chance[2] < calcium else 0.0,
        falx=float(rng.uniform(4, 22)) + (120.0 if chance[3] < 0.18 * calcium else 0.0),
        basal_calcium=float(rng.uniform(15, 90)) if chance[4] < 0.35 * calcium else 0.0,
        sinus=float(rng.uniform(48, 62)),
        infarct=int(rng.integers(1, 5)) if chance[5] < 0.28 * atrophy else 0,
        leukoaraiosis=float(rng.uniform(2, 8)) * atrophy,
    )


def _rotation(tilt_deg: tuple[float, float, float]) -> NDArray[np.float64]:
    """Pitch about x, roll about y, turn about z, in that order. Shape: (3, 3)."""
    a, b, c = np.radians(tilt_deg)
    pitch = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    roll = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return turn @ roll @ pitch


class _Painter:
    """The density field being built, in HU, on the fine grid."""

    def __init__(self, grid: HeadGrid) -> None:
        self.grid = grid
        self.hu = np.full(grid.shape, AIR, np.float32)

    def put(self, share: Array, hu: Array | float, box: Box = EVERYWHERE) -> None:
        view = self.hu[box]
        view += share * (hu - view)

    def ellipsoid(self, centre: Point, semi: Point, hu: float, edge: float = 1.0) -> None:
        box = self.grid.box(centre, (semi[0] + edge, semi[1] + edge, semi[2] + edge))
        self.put(coverage(ellipsoid(*self.grid.within(box), centre, semi), edge), hu, box)

    def capsule(self, start: Point, end: Point, r0: float, r1: float, hu: float, edge: float = 1.0) -> None:
        box = self.capsule_box(start, end, max(r0, r1) + edge)
        self.put(coverage(capsule(*self.grid.within(box), start, end, r0, r1), edge), hu, box)

    def capsule_box(self, start: Point, end: Point, radius: float) -> Box:
        middle = tuple((a + b) / 2 for a, b in zip(start, end, strict=True))
        reach = tuple(abs(a - b) / 2 + radius for a, b in zip(start, end, strict=True))
        return self.grid.box(middle, reach)  # type: ignore[arg-type]


@dataclass
class _Surfaces:
    """Signed distances that several structures share. Shape: as the grid."""

    cavity: Array
    infratentorial: Array
    head: Array
    skull_mm: Array


def _surfaces(g: HeadGrid, p: _Person, rng: np.random.Generator) -> _Surfaces:
    x, y, z = g.x, g.y, g.z
    ax = np.abs(x)
    vault = ellipsoid(x, y, z, (0, 17, 6), (69, 88, 71))
    # the floor of the front: a plane over the orbits; further back the temporal fossae and the posterior fossa take over
    floor = np.where(y < -8, -20 + 0.06 * (y + 8) + 0.10 * ax, -20 - 0.5 * (y + 8)).astype(np.float32)
    vault = np.maximum(vault, (np.maximum(floor, -34) - z) * 0.95)
    cavity = vault
    for s in SIDES:
        cavity = smooth_union(cavity, ellipsoid(x, y, z, (42 * s, 10, -20), (24, 35, 24)), 6)
    cavity = smooth_union(cavity, ellipsoid(x, y, z, (0, 60, -32), (54, 42, 31)), 6)
    cavity = smooth_union(cavity, capsule(x, y, z, (0, 26, -12), (0, 32, -48), 20, 17), 5)
    cavity = smooth_union(cavity, capsule(x, y, z, (0, 36, -48), (0, 42, -120), 14, 13), 4)
    cavity += 1.3 * Bumps(rng, 60).at(x, y, z)
    thick = p.skull * (1 + 0.22 * Bumps(rng, 70).at(x, y, z))
    thick += np.clip((y - 80) / 25, 0, 1) * 2.5 * np.exp(-((ax / 14) ** 2)) + np.clip((-y - 45) / 25, 0, 1) * 2
    # temporal squama is thin, the base is thicker
    thick -= 2.5 * np.exp(-(((z + 5) / 22) ** 2) - (((y - 5) / 28) ** 2)) * np.clip((ax - 45) / 15, 0, 1)
    thick = np.clip(thick, 2.4, 14)
    skin = p.scalp * (1 + 0.2 * Bumps(rng, 50).at(x, y, z)) + 2 * np.clip((y - 60) / 40, 0, 1)
    head = cavity - thick - np.clip(skin, 3.0, 16)
    face = ellipsoid(x, y, z, (0, -32, -58), (66, 58, 62))
    neck = capsule(x, y, z, (0, 38, -40), (0, 46, -140), 62, 60)
    head = smooth_union(smooth_union(head, face, 14), neck, 18)
    nose = capsule(x, y, z, (0, -84, -30), (0, -102, -58), 7, 13)
    head = smooth_union(head, nose, 10)
    tent = 5 - 0.32 * ax - 0.30 * np.maximum(y - 45, 0) + 1.5 * Bumps(rng, 50).at(x, y, z)
    petrous_line = 12 + 0.55 * ax
    infra = np.maximum((z - tent) * 0.95, (petrous_line - y) * 0.85)
    return _Surfaces(cavity, infra.astype(np.float32), head.astype(np.float32), thick.astype(np.float32))


def _paint_outside(k: _Painter, p: _Person, s: _Surfaces, rng: np.random.Generator) -> None:
    """Scalp, face, skull and skull base."""
    g = k.grid
    x, y, z = g.x, g.y, g.z
    ax = np.abs(x)
    texture = Bumps(rng, 22).at(x, y, z)
    fine = Bumps(rng, 7).at(x, y, z)
    muscle, fat = 55 + 4 * fine, -95 + 8 * fine
    deep = np.where(z > -25, 0.35, 0.05) + 0.5 * texture
    # temporalis and neck muscles lie on the bone, fat under the skin
    beside_temple = np.exp(-(((z + 15) / 30) ** 2) - (((y + 10) / 30) ** 2)) * np.clip((ax - 40) / 12, 0, 1)
    in_neck = np.clip((y - 30) / 20, 0, 1) * np.clip((-20 - z) / 15, 0, 1)
    lean = np.clip(0.5 + 1.2 * (deep + 2.2 * beside_temple + 1.5 * in_neck - 0.55), 0, 1)
    soft = muscle * lean + fat * (1 - lean)
    skin = np.clip((s.head + 2.4) / 1.2, 0, 1)
    soft = soft * (1 - skin) + 35 * skin
    k.put(coverage(s.head, 1.2), soft)
    bone_depth = s.cavity
    t = s.skull_mm
    bone = coverage(np.maximum(-bone_depth, bone_depth - t), 0.9)
    diploe = np.clip((np.minimum(bone_depth, t - bone_depth) - 1.5) / 0.9, 0, 1) * np.clip((t - 3.8) / 2, 0, 1)
    k.put(bone, (1350 + 90 * texture) * (1 - diploe) + (560 + 130 * fine + 90 * texture) * diploe)
    _paint_base(k, fine, rng)


def _paint_base(k: _Painter, fine: Array, rng: np.random.Generator) -> None:
    g = k.grid
    air_cells = Bumps(rng, 8)

    def cells(centre: Point, semi: Point, wall: float, threshold: float) -> None:
        """Bone with air cells in it: mastoid, ethmoid."""
        box = g.box(centre, semi)
        xyz = g.within(box)
        share = coverage(ellipsoid(*xyz, centre, semi), 1.5)
        holes = np.clip((air_cells.at(*xyz) - threshold) * 4, 0, 1)
        k.put(share, wall * (1 - holes) + AIR * holes, box)

    for s in SIDES:
        k.capsule((17 * s, 10, -40), (62 * s, 36, -40), 6.5, 12, 1250, 2)
        cells((60 * s, 42, -46), (12, 15, 18), 700, -0.1)
        k.capsule((27 * s, 18, -39), (33 * s, 20, -39), 3.2, 4, 1900, 2)
        k.capsule((50 * s, 27, -46), (78 * s, 27, -50), 3.2, 4.0, -950, 1.5)
        k.capsule((6 * s, -14, -20), (52 * s, -26, -16), 3.5, 2.6, 1000, 2)
        k.capsule((52 * s, -26, -16), (56 * s, -20, -44), 3.0, 3.5, 900, 2)
        orbit = (31.0 * s, -58.0, -40.0)
        k.capsule((33 * s, -66, -40), (16 * s, -26, -33), 21, 6.5, 950, 1.5)
        k.capsule((33 * s, -68, -40), (15 * s, -25, -33), 18.5, 4.5, -85, 1.5)
        globe = (32.0 * s, -71.0, -40.0)
        k.ellipsoid(globe, (12.4, 12.2, 12.2), 42)
        k.ellipsoid(globe, (11.2, 11.0, 11.0), 12)
        k.ellipsoid((32 * s, -79, -40), (4.5, 2.2, 4.5), 75)
        k.capsule((30 * s, -59, -40), (13 * s, -25, -34), 2.0, 2.2, 38)
        for dx, dz in ((9.5, 0), (-9.5, 0), (0, 9.5), (0, -9.5)):
            k.capsule(
                (orbit[0] + dx * s + 1.5 * s, -64, -40 + dz), (15 * s + 0.2 * dx * s, -28, -33 + 0.2 * dz), 1.6, 1.9, 48
            )
        k.capsule((50 * s, -62, -52), (68 * s, -12, -50), 3.4, 3.2, 1000, 2)
        k.ellipsoid((27 * s, -62, -76), (16, 18, 16), 900)
        k.ellipsoid((27 * s, -62, -76), (14, 16, 14), -980)
    k.ellipsoid((0, -14, -40), (20, 17, 13), 900, 2)
    k.capsule((0, 3, -30), (0, 22, -62), 7.5, 8.5, 780, 2)
    for s in SIDES:
        k.ellipsoid((8 * s, -16, -41), (7.2, 12, 8.5), -985)
    cells((0, -52, -38), (12.5, 24, 13), 300, -0.45)
    k.ellipsoid((0, -52, -66), (11, 26, 16), -960, 2)
    k.capsule((0, -40, -52), (0, -70, -75), 1.4, 1.4, 300)
    frontal = rng.uniform(5, 19)
    for s in SIDES:
        k.ellipsoid((frontal * 0.9 * s, -79, -14 + frontal * 0.5), (frontal * 0.75, 4.2, frontal * 0.8), -985)


@dataclass
class _Brain:
    """Shares (0..1) of each compartment on the fine grid, kept for truth and bleeds."""

    cavity: Array
    ventricles: Array
    csf: Array
    parenchyma: Array
    cerebrum: Array
    distance_to_surface: Array


def _lateral_ventricle(g: HeadGrid, p: _Person, side: float, index: int) -> tuple[Box, Array]:
    """Frontal horn, body, atrium, occipital and temporal horn of one side as a chain of rods."""
    v = p.ventricle * p.ventricle_side[index]
    box = g.box((24 * side, 20, 2), (26, 70, 40))
    xyz = g.within(box)
    spread = 1 + 0.25 * (v - 0.8)
    path = [
        ((7.5 * spread, -31, 2), 2.2),
        ((9.5 * spread, -26, 9), 5.0),
        ((9.0 * spread, -12, 17), 5.6),
        ((10.0 * spread, 8, 22), 5.0),
        ((14.0 * spread, 26, 21), 5.4),
        ((24.0 * spread, 41, 12), 7.4),
    ]
    horns = [
        [((24.0 * spread, 41, 11), 6.5), ((23.5, 60, 6), 3.6), ((20.0, 74, 5), 1.6)],
        [((25.0 * spread, 41, 6), 4.4), ((33.0, 28, -8), 2.4), ((33.0, 8, -19), 2.0), ((31.0, -2, -22), 1.6)],
    ]
    total: Array | None = None
    for chain in [path, *horns]:
        for (a, ra), (b, rb) in zip(chain, chain[1:], strict=False):
            start, end = (a[0] * side, a[1], a[2]), (b[0] * side, b[1], b[2])
            rod = capsule(*xyz, start, end, ra * v - 0.4, rb * v - 0.4)
            total = rod if total is None else smooth_union(total, rod, 3)
    assert total is not None
    # the caudate and the thalamus press in from the side: horns are flat, not round
    total = np.maximum(total, (np.abs(xyz[0]) - (14.5 * spread + np.maximum(xyz[1] - 12, 0) * 1.2)) * 0.9)
    # and the septum keeps the two apart
    return box, np.maximum(total, 1.0 - np.abs(xyz[0])).astype(np.float32)


def _paint_brain(k: _Painter, p: _Person, s: _Surfaces, rng: np.random.Generator) -> _Brain:
    g = k.grid
    x, y, z = g.x, g.y, g.z
    ax = np.abs(x)
    cavity = coverage(s.cavity, 1.0)
    k.put(cavity, p.csf)
    k.put(coverage(np.abs(s.cavity + 0.5) - 0.6, 1.0) * cavity, 32 + 0.2 * p.falx)  # dura along the inner table
    wide, fine = Bumps(rng, 45).at(x, y, z), Bumps(rng, 12).at(x, y, z)
    gap = p.gap * np.clip(1 + 0.45 * wide + 0.6 * np.clip(-y / 60, 0, 1), 0.25, 2.5)
    # cerebrum: inside the cavity, above the tentorium, away from the basal cisterns
    distance = np.maximum(s.cavity + gap, 1.2 - s.infratentorial)
    moat = capsule(x, y, z, (0, 26, -12), (0, 30, -60), 17.5 + 1.8 * p.atrophy, 17)
    suprasellar = np.minimum(
        ellipsoid(x, y, z, (0, 2, -19), (12 + 2 * p.atrophy, 13, 8)),
        ellipsoid(x, y, z, (0, 41, 0), (11 + 2 * p.atrophy, 5 + p.atrophy, 7)),
    )
    distance = np.maximum(distance, -np.minimum(moat, suprasellar))
    # longitudinal fissure with the corpus callosum left whole
    bridge = ellipsoid(x, y, z, (0, 4, 8), (30, 40, 20))
    wobble = 0.8 * Bumps(rng, 40).at(np.zeros_like(x), y, z)
    half_width = 0.25 + 0.28 * p.fissure * (1 + 0.8 * np.clip(-y / 60, 0, 1)) + 0.35 * fine
    fissure = np.abs(x - wobble) - half_width
    fissure = np.maximum(fissure, -bridge)
    # Sylvian fissure: the cleft over the insula and the slit that opens it to the side
    slant = -8 + 0.42 * (y + 12) + 1.5 * wide
    insula = np.maximum(np.abs(ax - (40 + 0.05 * (y - 5) + 1.2 * fine)) - 0.30 * p.fissure, np.abs(y + 2) - 23)
    insula = np.maximum(insula, np.abs(z - 3) - 15)
    slit = np.maximum(np.abs(z - slant) * 0.9 - 0.42 * p.fissure * (1 + 0.5 * np.clip(-y / 25, 0, 1)), 39 - ax)
    slit = np.maximum(slit, np.abs(y - 4) - 32)
    stem = capsule(ax, y, z, (12, -6, -19), (40, -18, -14), 0.7 + 0.42 * p.fissure, 0.9 + 0.5 * p.fissure)
    furrows = np.minimum(np.minimum(fissure, stem), np.minimum(insula, slit))
    distance = np.maximum(distance, -furrows)
    # sulci: zero crossings of a field that hardly changes along the radius, so they cut inward like leaves
    radius = np.sqrt((x / 69) ** 2 + ((y - 17) / 88) ** 2 + ((z - 6) / 71) ** 2) + 1e-3
    shell = [np.float32(75) * (c - o) / (a * radius) for c, o, a in ((x, 0, 69), (y, 17, 88), (z, 6, 71))]
    inward = (1 - radius) * 9
    left_right, both = Bumps(rng, 27, 200), Bumps(rng, 27, 200)
    leaf_field = Bumps.__new__(Bumps)
    leaf_field.step, leaf_field.lattice = both.step, both.lattice
    leaves = leaf_field.as_distance().at(np.abs(shell[0]) + inward, shell[1], shell[2] + inward)
    other = left_right.as_distance().at(shell[0] + inward, shell[1] + inward, shell[2])
    pick = np.clip(0.5 + 3 * Bumps(rng, 70).at(x, y, z), 0, 1)
    leaves = np.abs(leaves * pick + other * (1 - pick))
    surface_depth = np.maximum(-(s.cavity + gap), 0)
    reach = np.clip(12 + 5 * wide + 3 * fine, 4, 22)
    taper = np.clip(1.15 - 0.75 * surface_depth / reach, 0.15, 1.1)
    sulcus = np.maximum(leaves - 0.5 * p.sulcus * taper * np.clip(1 + 0.35 * fine, 0.2, 2), surface_depth - reach)
    sulcus = sulcus.astype(np.float32)
    supra = coverage(distance, 1.2)
    open_sulcus = coverage(sulcus, 1.3)
    cerebrum = supra * (1 - open_sulcus)
    # gray where the nearest CSF is within the cortical ribbon
    to_surface = np.minimum(-distance, np.maximum(leaves - 0.3 * p.sulcus, surface_depth - reach - 1.0))
    ribbon = np.clip(0.5 + (3.3 + 0.5 * fine - to_surface) / 1.6, 0, 1)
    insular = np.clip(0.5 + (2.8 - (np.abs(ax - 40) - 0.3 * p.fissure)) / 1.6, 0, 1) * coverage(
        np.maximum(np.abs(y + 2) - 23, np.abs(z - 3) - 15), 3
    )
    ribbon = np.maximum(ribbon, insular)
    tissue = p.white + (p.gray - p.white) * ribbon + 0.7 * wide
    k.put(cerebrum, tissue)
    _paint_deep_nuclei(k, p)
    # posterior fossa: cerebellum with folia, brainstem with its cisterns
    cerebellum_edge = np.maximum(s.infratentorial + 1.4, s.cavity + 0.8 + 0.5 * gap)
    front = 20 + 0.40 * ax
    cerebellum_edge = np.maximum(cerebellum_edge, front - y)
    cerebellum_edge = np.maximum(cerebellum_edge, -ellipsoid(x, y, z, (0, 84, -50), (13, 11, 16)))
    folia = np.abs(np.sin((z * 0.9 + 0.25 * ax + 3 * wide) * 0.9))
    crease = np.clip(1 - folia / 0.22, 0, 1) * np.clip(1 - (-cerebellum_edge) / 9, 0, 1)
    body = coverage(cerebellum_edge, 1.2)
    bark = np.clip(0.5 + (8 - (-cerebellum_edge)) / 5, 0, 1)
    k.put(body, p.white + 1.5 + (p.gray - p.white - 1) * bark + 0.6 * wide)
    k.put(body * crease * (0.12 + 0.35 * p.atrophy), p.csf)
    stem_brain = np.zeros_like(x)
    for shape in (
        ("e", (0, 25, -12), (15.5, 12.0, 12)),
        ("e", (0, 25, -31), (17.5, 12.0, 14)),
        ("c", (0, 31, -42), (0, 40, -110), 8.5, 6.5),
    ):
        if shape[0] == "e":
            d = ellipsoid(x, y, z, shape[1], shape[2])  # type: ignore[arg-type]
        else:
            d = capsule(x, y, z, *shape[1:])  # type: ignore[arg-type]
        stem_brain = np.maximum(stem_brain, coverage(d, 1.4))
    for side in SIDES:
        d = capsule(x, y, z, (12 * side, 26, -32), (27 * side, 44, -36), 8, 9)
        stem_brain = np.maximum(stem_brain, coverage(d, 1.4))
    notch = coverage(ellipsoid(x, y, z, (0, 12, -14), (4.5, 5.5, 9)), 1.5)
    stem_brain = stem_brain * (1 - notch)
    k.put(stem_brain, p.white + 3.5)
    parenchyma = np.maximum(np.maximum(cerebrum, body), stem_brain)
    ventricles = _paint_ventricles(k, p)
    parenchyma = parenchyma * (1 - ventricles)
    csf = np.clip(cavity - parenchyma - ventricles, 0, 1)
    _paint_membranes(k, p, s, wobble)
    return _Brain(cavity, ventricles, csf, parenchyma, cerebrum, to_surface.astype(np.float32))


def _paint_deep_nuclei(k: _Painter, p: _Person) -> None:
    for s in SIDES:
        k.ellipsoid((15.5 * s, -14, 8), (4.2, 11, 8), p.gray, 2)
        k.capsule((15 * s, -6, 16), (19 * s, 22, 20), 3.0, 2.0, p.gray, 2)
        k.ellipsoid((27 * s, -2, 2), (5.2, 16, 9.5), p.gray + 0.5, 2)
        k.ellipsoid((20.5 * s, 2, 0), (4.5, 8.5, 6), p.gray - 1, 2)
        k.ellipsoid((11 * s, 18, 8), (8.5, 14, 9), p.gray - 0.5, 2.5)
        if p.basal_calcium:
            k.ellipsoid((20 * s, 1, 0), (2.2, 4.0, 2.6), p.gray + p.basal_calcium, 2.5)


def _paint_ventricles(k: _Painter, p: _Person) -> Array:
    g = k.grid
    share = np.zeros(g.shape, np.float32)
    for index, side in enumerate(SIDES):
        box, d = _lateral_ventricle(g, p, side, index)
        if p.leukoaraiosis:
            xyz = g.within(box)
            cap = (
                np.exp(-np.maximum(d, 0) / 5.5)
                * np.clip(0.35 + np.abs(xyz[1] - 8) / 45, 0, 1)
                * np.clip((xyz[2] + 2) / 8, 0, 1)
            )
            k.hu[box] -= p.leukoaraiosis * cap * (k.hu[box] > p.white - 6) * (k.hu[box] < 60)
        share[box] = np.maximum(share[box], coverage(d, 1.2))
    third = 1.1 + 2.3 * (p.ventricle - 0.6)
    for kind, a, b, size in (
        ("e", (0, 9, 1), (max(third, 0.9), 15.0, 9.0), 0.0),
        ("e", (0, 46, -31), (5.5 + 2.5 * p.ventricle, 3.6 + 1.8 * p.ventricle, 10.0), 0.0),
        ("c", (0, 27, -2), (0, 40, -22), 1.0),
    ):
        if kind == "e":
            box = g.box(a, tuple(v + 2 for v in b))  # type: ignore[arg-type]
            d = ellipsoid(*g.within(box), a, b)  # type: ignore[arg-type]
        else:
            box = k.capsule_box(a, b, size + 2)  # type: ignore[arg-type]
            d = capsule(*g.within(box), a, b, size, size)  # type: ignore[arg-type]
        share[box] = np.maximum(share[box], coverage(d, 1.2))
    k.put(share, p.csf - 1)
    for index, side in enumerate(SIDES):
        k.ellipsoid((24 * side, 43, 10), (2.4, 5, 4), 34, 1.5)  # choroid plexus
        if p.choroid[index]:
            r = p.choroid[index]
            k.ellipsoid((24.5 * side, 44, 9 + index), (r, r * 1.3, r), 240 if r > 2.4 else 130, 2)
    if p.pineal:
        k.ellipsoid((0.5, 32, 3), (p.pineal, p.pineal * 1.1, p.pineal), 220, 2)
    return share


def _paint_membranes(k: _Painter, p: _Person, s: _Surfaces, wobble: Array) -> None:
    """Falx, tentorium, venous sinuses, large arteries of the base."""
    g = k.grid
    x, y, z = g.x, g.y, g.z
    inside = coverage(s.cavity, 1.0)
    edge = ellipsoid(np.zeros_like(x), y, z, (0, 8, 4), (50, 52, 34))
    falx = coverage(np.abs(x - wobble) - 0.55, 1.1) * coverage(-edge, 3) * coverage(-s.infratentorial, 2) * inside
    k.put(falx, 42 + p.falx)
    ax = np.abs(x)
    near = np.abs(s.infratentorial) - 0.45
    notch = np.maximum(ellipsoid(x, y, z, (0, 26, -6), (20, 26, 30)), -5 - z * 0)
    k.put(coverage(near, 1.1) * coverage(-notch, 2) * inside * coverage(12 - y, 2), 44 + 0.4 * p.falx)
    # superior sagittal sinus: a triangle on the inner table; transverse sinuses along the tentorium
    k.put(
        coverage(np.maximum(ax - 3.2 - 0.45 * (-s.cavity - 5), -s.cavity - 5.5), 1.4)
        * inside
        * coverage(-14 - z, 4)
        * coverage(20 - y - z * 0.8, 6),
        p.sinus,
    )
    transverse = np.maximum(np.abs(s.infratentorial - 1) - 3.4, -s.cavity - 5)
    k.put(coverage(transverse, 1.4) * inside * coverage(58 - y, 4), p.sinus)
    k.ellipsoid((0, 98, -8), (5, 5, 5), p.sinus, 2)
    vessel = p.sinus - 8
    k.capsule((0, 12, -40), (0, 10, -20), 1.7, 1.6, vessel)
    for side in SIDES:
        k.capsule((8 * side, -4, -26), (9 * side, -6, -17), 2.0, 1.8, vessel)
        k.capsule((9 * side, -6, -17), (38 * side, -17, -14), 1.5, 1.1, vessel)
        k.capsule((2 * side, 10, -20), (16 * side, 24, -16), 1.0, 0.9, vessel)
    k.capsule((0, -10, -15), (0, -30, -2), 1.1, 0.9, vessel)


def _paint_infarct(k: _Painter, p: _Person, brain: _Brain, rng: np.random.Generator) -> None:
    """An old infarct: a wedge or lacune at CSF-like density, with irregular edge."""
    side = float(rng.choice(SIDES))
    places: list[tuple[Point, Point]] = [
        ((25 * side, -4, 6), (4, 6, 4)),
        ((50 * side, 35, 15), (14, 16, 14)),
        ((26 * side, 82, 5), (12, 14, 10)),
        ((28 * side, 62, -42), (14, 10, 7)),
    ]
    centre, semi = places[p.infarct - 1]
    box = k.grid.box(centre, tuple(1.6 * v for v in semi))  # type: ignore[arg-type]
    xyz = k.grid.within(box)
    d = ellipsoid(*xyz, centre, semi) + 2.5 * Bumps(rng, 14).at(*xyz)
    k.put(coverage(d, 4) * brain.parenchyma[box] * 0.85, p.csf + 6, box)


def _grid(p: _Person, warp: list[Bumps], sx: Array, sy: Array, sz: Array, top_mm: float) -> HeadGrid:
    """Scanner millimetres (isocentre, top of the head at `top_mm`) to head coordinates."""
    inverse = _rotation(p.tilt_deg).T
    centre = np.array([0, 17, 6])
    px, py, pz = sx - p.shift[0], sy - p.shift[1], sz
    out = []
    for axis in range(3):
        r = inverse[axis]
        c = (r[0] * px + r[1] * py + r[2] * pz) / p.scale[axis] + centre[axis]
        out.append(c.astype(np.float32))
    x, y, z = out
    moved = [c + np.float32(2.2) * w.at(x, y, z) for c, w in zip(out, warp, strict=True)]
    return HeadGrid(*(m.astype(np.float32) for m in moved))


def _upsample(image: Array, factor: int) -> Array:
    """Linear interpolation in the plane by a whole factor, pixel centres kept in register. Shape: (slice, row, column)."""
    if factor == 1:
        return image
    for axis in (1, 2):
        n = image.shape[axis]
        at = (np.arange(n * factor) + 0.5) / factor - 0.5
        low = np.clip(np.floor(at).astype(int), 0, n - 1)
        high = np.minimum(low + 1, n - 1)
        w = np.clip(at - low, 0, 1).astype(np.float32)
        w = w[None, :, None] if axis == 1 else w[None, None, :]
        image = np.take(image, low, axis=axis) * (1 - w) + np.take(image, high, axis=axis) * w
    return image


def _noise(
    rng: np.random.Generator, shape: tuple[int, int, int], pixel_mm: float, level: Array | float, sharp: float
) -> Array:
    """CT noise: power rises with frequency (filtered back projection) and falls off with the kernel. Unit: HU."""
    n, rows, columns = shape
    fy = fft.fftfreq(rows, pixel_mm)[:, None]
    fx = fft.rfftfreq(columns, pixel_mm)[None, :]
    f = np.sqrt(fx * fx + fy * fy)
    shaping = (np.sqrt(f + 0.02) * np.exp(-((f / (0.42 * sharp)) ** 2))).astype(np.float32)
    out = np.empty(shape, np.float32)
    for i in range(n):
        white = rng.standard_normal((rows, columns), dtype=np.float32)
        colored = fft.irfft2(fft.rfft2(white) * shaping, (rows, columns))
        out[i] = colored / colored.std()
    return out * level


def head(
    anatomy_seed: int,
    noise_seed: int,
    slices: int = 32,
    slice_thickness_mm: float = 5.0,
    *,
    size: int = 512,
    pixel_mm: float | None = None,
    age_years: int | None = None,
    bleeds: tuple[Bleed, ...] = (),
    gantry_tilt_deg: float = 0.0,
    noise_hu: float | None = None,
) -> Phantom:
    """One head CT with truth.

    Volume: int16 HU, (slices, size, size), slice 0 lowest; pixel about 0.45-0.49 mm at 512 (the field of view stays when
    `size` is smaller). UIDs follow from the seeds, so the same call gives the same volume bit for bit.
    """
    if size not in (128, 256, 512):
        raise ValueError(f"size must be 128, 256 or 512, got {size}")
    if slices < 1 or not 0.3 <= slice_thickness_mm <= 10:
        raise ValueError(f"slices must be at least 1 and 0.3-10 mm thick, got {slices} of {slice_thickness_mm} mm")
    rng = np.random.default_rng([anatomy_seed, 0x7EAD])
    p = _person(rng, age_years)
    field_of_view = 512 * (pixel_mm if pixel_mm is not None else float(rng.uniform(0.45, 0.49)))
    fine = min(size, 256)
    step = field_of_view / fine
    sub = max(1, round(slice_thickness_mm / 1.7))
    tilt = np.radians(gantry_tilt_deg)
    warp = [Bumps(rng, 75) for _ in range(3)]
    top = (78 + p.skull + p.scalp) * p.scale[2] + p.shift[2]
    z_step = slice_thickness_mm / np.cos(tilt)
    centre_z = top - (slices - 0.5 - np.arange(slices)) * z_step
    across = ((np.arange(fine) + 0.5) * step - field_of_view / 2).astype(np.float32)
    offset = ((np.arange(sub) + 0.5) / sub - 0.5) * z_step
    z_all = (centre_z[:, None] + offset[None, :]).reshape(-1).astype(np.float32)
    sx = np.broadcast_to(across[None, None, :], (z_all.size, 1, fine))
    sy = (across * np.float32(np.cos(tilt)))[None, :, None]
    sz = z_all[:, None, None] - (across * np.float32(np.sin(tilt)))[None, :, None]
    grid = _grid(p, warp, sx, sy, sz, top)
    k = _Painter(grid)
    s = _surfaces(grid, p, rng)
    _paint_outside(k, p, s, rng)
    brain = _paint_brain(k, p, s, rng)
    if p.infarct:
        _paint_infarct(k, p, brain, rng)

    def averaged(a: Array) -> Array:
        return a.reshape(slices, sub, fine, fine).mean(axis=1)

    factor = size // fine
    hu = _upsample(averaged(k.hu), factor)
    shares = {
        name: _upsample(averaged(getattr(brain, name)), factor)
        for name in ("cavity", "ventricles", "csf", "parenchyma")
    }
    pixel = field_of_view / size
    noise_rng = np.random.default_rng([anatomy_seed, noise_seed, 0x4015E])
    level = noise_hu if noise_hu is not None else float(rng.uniform(2.6, 4.2)) * (5.0 / slice_thickness_mm) ** 0.38
    body = ndimage.uniform_filter((hu > -300).astype(np.float32), (1, size // 16, size // 16))
    bone = ndimage.uniform_filter((hu > 600).astype(np.float32), (1, size // 5, size // 5))
    hu = hu + _noise(noise_rng, hu.shape, pixel, level, 1.0) * (0.45 + 0.55 * body) * (1 + 2.2 * bone)
    hu16 = np.clip(np.round(hu), PADDING, 3071).astype(np.int16)
    key = (
        "phantom",
        str(anatomy_seed),
        str(noise_seed),
        str(slices),
        str(slice_thickness_mm),
        str(size),
        str(gantry_tilt_deg),
        repr(bleeds),
    )
    corner = across[0] * 1.0 - (step - pixel) / 2
    origins = np.stack(
        [np.full(slices, corner), np.full(slices, corner * np.cos(tilt)), centre_z - corner * np.sin(tilt)], axis=1
    ).astype(np.float64)
    volume = Volume(
        hu=hu16,
        origins_mm=origins,
        row_cosine=np.array([1.0, 0.0, 0.0]),
        column_cosine=np.array([0.0, np.cos(tilt), -np.sin(tilt)]),
        pixel_spacing_mm=(pixel, pixel),
        slice_extent_mm=np.full(slices, slice_thickness_mm, np.float64),
        slice_thickness_mm=np.full(slices, slice_thickness_mm, np.float64),
        frame_of_reference_uid=deterministic_uid(*key, "frame"),
        study_instance_uid=deterministic_uid(*key, "study"),
        series_instance_uid=deterministic_uid(*key, "series"),
        sop_instance_uids=tuple(deterministic_uid(*key, "instance", str(i)) for i in range(slices)),
    )
    truth = Truth(
        intracranial=shares["cavity"] > 0.5,
        ventricles=shares["ventricles"] > 0.5,
        csf=shares["csf"] > 0.5,
        brain=shares["parenchyma"] > 0.5,
        bleed=np.zeros(hu16.shape, np.uint8),
    )
    return Phantom(volume, truth, p.age, anatomy_seed, noise_seed)
