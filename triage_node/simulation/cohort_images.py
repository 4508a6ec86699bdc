"""The head CT of a virtual patient: coarse, quick, and with everything in it that the cohort says is in it.

24 slices of 96 x 96, 6 mm and 2.2 mm. The head follows `anatomy_seed` (shape, how it lies, skull, ventricles), sulci and
ventricles widen with age, the bleed has the volume and place that the facts name, and signs are drawn into it. The label is
not read: it was thrown after the facts, and nothing here knows it.

Positions in mm in head coordinates: x to the picture's right, y to the back, z up; row 0 is in front, slice 0 lowest.
Level E0: simulated. Source: ML.md 9, PAPERS.md 5.10 (signs).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from triage_node.simulation.cohort import BleedFacts, VirtualPatient

Array = NDArray[np.float32]
Bools = NDArray[np.bool_]
Random = np.random.Generator
SHAPE = (24, 96, 96)
SPACING_MM = (6.0, 2.2, 2.2)
VOXEL_ML = SPACING_MM[0] * SPACING_MM[1] * SPACING_MM[2] / 1000
LOWEST_Z_MM = -62.0
AIR, BONE, SCALP, CSF, GRAY, WHITE = -1000.0, 900.0, 30.0, 7.0, 38.0, 29.0


@dataclass(frozen=True, slots=True)
class CohortImage:
    """Shape of all: (slice, row, column). hu: int16. blood: parenchymal; in_ventricles: blood there; inside: the skull's inside."""

    hu: NDArray[np.int16]
    blood: Bools
    in_ventricles: Bools
    inside: Bools
    spacing_mm: tuple[float, float, float] = SPACING_MM

    @property
    def blood_mask(self) -> Bools:
        """All blood, parenchymal and in ventricles."""
        return self.blood | self.in_ventricles


def render(patient: VirtualPatient, seed: int) -> CohortImage:
    """The picture of a patient; another seed is another exposure and another drawing of the same bleed."""
    rng = np.random.default_rng([patient.seed, seed, 0x1AA6E])
    head = _Head(patient.anatomy_seed, patient.truth.age_years or 70, rng)
    distance = _bleed_distance(head, patient.bleed, rng)
    head.press(patient.bleed, rng)
    hu, ventricles = head.paint()
    blood = _nearest(distance, head.brain & ~ventricles, patient.bleed.volume_ml)
    share = ndimage.uniform_filter(blood.astype(np.float32), (1, 2, 2)) * 0.5 + blood * np.float32(0.5)
    hours = patient.truth.onset_to_ct_h or 3.0
    _oedema(hu, distance, blood, head.brain & ~ventricles, hours)
    density = _densities(head, patient, distance, blood, rng)
    hu += share * (density - hu)
    in_ventricles = _ventricular_blood(head, ventricles & ~blood, patient.bleed, rng)
    hu[in_ventricles] = rng.normal(56, 3) + 2 * head.grain[in_ventricles]
    noise = rng.standard_normal(SHAPE, np.float32)
    noise = noise + ndimage.uniform_filter(noise, (0, 3, 3)) * np.float32(1.5)
    hu += np.float32(rng.uniform(1.4, 2.4)) * noise
    return CohortImage(np.clip(np.round(hu), -1024, 3071).astype(np.int16), blood, in_ventricles, head.inside)


class _Head:
    """Coordinates of every voxel in the head's frame, and the head's person."""

    def __init__(self, anatomy_seed: int, age: int, rng: Random) -> None:
        own = np.random.default_rng([anatomy_seed, 0x5EED])
        self.axes = np.array([66, 85, 72]) * own.normal(1, 0.035, 3) * own.normal(1, 0.02)
        self.bone_mm, self.scalp_mm = own.uniform(4.5, 8), own.uniform(5, 9)
        self.atrophy = float(np.clip((age - 40) / 45 + own.normal(0, 0.18), 0, 1.25))
        self.ventricle = 0.75 + 0.6 * self.atrophy + own.normal(0, 0.06)
        self.sides = own.normal(1, 0.07, 2)
        bump_phase, bump_size = own.uniform(0, 6.28, 6), own.normal(0, 0.014, 6)
        self._fold_phase = own.uniform(0, 6.28, 8)
        self._fold_wave = own.normal(0, 1, (8, 3))
        self._shift_mm = 0.0
        z, y, x = (np.arange(n, dtype=np.float32) for n in SHAPE)
        offset = rng.normal(0, (2.0, 3.0, 3.0))
        z = LOWEST_Z_MM + SPACING_MM[0] * z[:, None, None] + np.float32(offset[0])
        y = (y[:, None] - 47.5) * np.float32(SPACING_MM[1]) + np.float32(offset[1])
        x = (x - 47.5) * np.float32(SPACING_MM[2]) + np.float32(offset[2])
        turn, pitch, roll = (np.float32(np.radians(a)) for a in rng.normal(0, (4, 5, 2)))
        self.x = x - y * turn + z * roll
        self.y = y + x * turn - z * pitch
        self.z = z + y * pitch - x * roll
        a, b, c = (np.float32(v) for v in self.axes)
        # the lower half narrows towards the base
        narrow = 1 + np.float32(0.22) * np.clip(-self.z / 60, 0, 1) ** 2
        u, v, w = self.x * narrow / a, (self.y - 4) * narrow / b, self.z / c
        rho = np.sqrt(u * u + v * v + w * w) + np.float32(1e-3)
        angle = np.arctan2(v, u)
        bump = np.zeros(SHAPE, np.float32)
        for k in range(3):
            bump += np.float32(bump_size[k]) * np.cos((k + 2) * angle + np.float32(bump_phase[k]) + w)
        self.vault = (1 + bump - rho) * np.float32(70)
        """mm under the inner table of the vault; negative outside."""
        floor = self.z + 20 + np.float32(1.2) * np.maximum(self.y + 6, 0)
        self.depth = np.minimum(self.vault, np.where(self.y < 30, floor, np.float32(99)))
        """As `vault`, with the floor of the front and middle fossae."""
        self.inside = self.depth > 0
        self.brain = self.depth > 1.0 + 2.2 * self.atrophy
        self.grain = ndimage.uniform_filter(rng.standard_normal(SHAPE, np.float32), (2, 3, 3)) * np.float32(4)

    def press(self, bleed: BleedFacts, rng: Random) -> None:
        """The midline gives way, more for a large clot."""
        if bleed.place in ("lobar", "deep"):
            self._shift_mm = -bleed.side * min(14.0, 0.09 * bleed.volume_ml * float(rng.uniform(0.6, 1.3)))

    def paint(self) -> tuple[Array, Bools]:
        """HU without blood, and the ventricles."""
        hu = np.full(SHAPE, AIR, np.float32)
        hu[self.vault > -(self.bone_mm + self.scalp_mm)] = SCALP
        hu[(self.depth > -self.bone_mm) & (self.depth <= 0)] = BONE
        hu[self.inside] = CSF
        folds = np.zeros(SHAPE, np.float32)
        for (p, q, r), phase in zip(self._fold_wave, self._fold_phase, strict=True):
            wave = np.float32(p) * self.x + np.float32(q) * self.y + np.float32(r) * self.z
            folds += np.sin(wave * np.float32(0.13) + np.float32(phase))
        open_sulcus = np.abs(folds) < 0.12 + 0.55 * self.atrophy
        sulcal = open_sulcus & (self.vault < 9 + 9 * self.atrophy)
        tissue = self.brain & ~sulcal
        cortex = self.vault < 10
        hu[tissue] = np.where(cortex[tissue], GRAY, WHITE) + self.grain[tissue]
        for side in (-1, 1):  # deep nuclei
            hu[tissue & (self._ellipsoid((side * 24, 2, 4), (9, 17, 14)) < 1)] = GRAY
            hu[tissue & (self._ellipsoid((side * 11, 14, 8), (8, 12, 9)) < 1)] = GRAY
        ventricles = self._ventricles() & self.brain
        hu[ventricles] = CSF
        return hu, ventricles

    def _ellipsoid(self, centre: tuple[float, float, float], semi: tuple[float, float, float]) -> Array:
        x, y, z = (
            (a - np.float32(c)) / np.float32(s) for a, c, s in zip((self.x, self.y, self.z), centre, semi, strict=True)
        )
        return x * x + y * y + z * z

    def _ventricles(self) -> Bools:
        found = np.zeros(SHAPE, bool)
        wide, pushed = self.ventricle, self._shift_mm
        for side, own in zip((-1, 1), self.sides, strict=True):
            squeeze = 0.6 if pushed * side < -5 else 1.0
            x = side * 12 * wide + pushed
            semi = (7.5 * wide * own * squeeze, 34, 9 * wide)
            found |= self._ellipsoid((x, 2, 20), semi) < 1
            found |= self._ellipsoid((x + side * 9, 34, 10), (6 * wide * own * squeeze, 14, 9 * wide)) < 1
        found |= self._ellipsoid((pushed * 0.8, 8, 2), (2.6 * wide, 13, 10)) < 1
        found |= self._ellipsoid((0, 42, -30), (6 * wide, 5 * wide, 9)) < 1
        return found


def _bleed_distance(head: _Head, bleed: BleedFacts, rng: Random) -> Array:
    """A field that grows from the bleed's centre outward: the nearest voxels will be blood. Satellites lower it elsewhere."""
    radius = (bleed.volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    s = bleed.side
    if bleed.place == "deep":
        near = (s * 25, 4, 5) if rng.random() < 0.65 else (s * 13, 14, 8)
        centre = np.array(near) + rng.normal(0, (2, 4, 3))
    elif bleed.place == "cerebellum":
        centre = np.array((s * 20, 50, -36)) + rng.normal(0, (4, 4, 3))
    elif bleed.place == "brainstem":
        centre = np.array((s * 3, 24, -32)) + rng.normal(0, (2, 2, 3))
    else:
        around, up = rng.uniform(-2.4, 2.4), rng.uniform(-0.05, 0.95)
        out = 1 - (radius + 7) / 66
        level = np.sqrt(1 - (0.75 * up) ** 2)
        direction = np.array((s * abs(np.cos(around / 2 + 0.2)) * 0.95, np.sin(around / 2 + 0.2), 0.0))
        centre = direction * head.axes * max(0.3, out) * level + np.array((0, 4, 58 * up - 4))
        centre[0] = s * max(14.0, abs(centre[0]))
    aspect = np.exp(rng.normal(0, 0.18, 3))
    semi = radius * aspect / np.prod(aspect) ** (1 / 3)
    angle = rng.uniform(0, np.pi)
    x, y, z = (a - np.float32(c) for a, c in zip((head.x, head.y, head.z), centre, strict=True))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = cos * x + sin * y, cos * y - sin * x
    field = np.sqrt(sum((a / np.float32(h)) ** 2 for a, h in zip((x, y, z), semi, strict=True)))
    rough = 0.05 + 0.10 * float(rng.random()) + (0.16 if bleed.island else 0.0)
    waves = rng.normal(0, 2.6 / radius, (4, 3)).astype(np.float32)
    for (p, q, r), phase in zip(waves, rng.uniform(0, 6.28, 4), strict=True):
        field += np.float32(rough) * np.sin(p * x + q * y + r * z + np.float32(phase))
    if bleed.island:
        for _ in range(int(rng.integers(3, 6))):
            away = rng.normal(0, 1, 3)
            away = away / np.linalg.norm(away) * (radius * rng.uniform(1.25, 1.45) + 4)
            small = max(4.0, 0.22 * radius)
            spot = sum((a - np.float32(o)) ** 2 for a, o in zip((x, y, z), away, strict=True))
            field = np.minimum(field, np.sqrt(spot) / np.float32(small))
    return field.astype(np.float32)


def _nearest(field: Array, allowed: Bools, volume_ml: float) -> Bools:
    """The voxels of lowest field that hold the volume, at least one."""
    count = max(1, round(volume_ml / VOXEL_ML))
    values = field[allowed]
    count = min(count, len(values) - 1)
    return allowed & (field < np.partition(values, count)[count])


def _oedema(hu: Array, distance: Array, blood: Bools, brain: Bools, hours: float) -> None:
    """Darker around the clot, wider the older it is."""
    edge = float(distance[blood].max()) if blood.any() else 1.0
    wide = 0.10 + 0.02 * min(hours, 24)
    hu[brain & ~blood & (distance < edge + wide)] -= np.float32(5 + 0.3 * min(hours, 24))


def _densities(head: _Head, patient: VirtualPatient, distance: Array, blood: Bools, rng: Random) -> Array:
    """HU of the clot with the signs that the facts name (PAPERS.md 5.10: 18 HU apart for blend, 28 for black hole)."""
    bleed = patient.bleed
    base = np.float32(rng.normal(61, 3.5) - 4 * bool(patient.truth.on_anticoagulant))
    density = base + np.float32(0.8) * head.grain
    if not blood.any():
        return density
    edge = float(distance[blood].max())
    at = np.argwhere(blood).astype(np.float32) * np.array(SPACING_MM, np.float32)
    size = (bleed.volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    core = np.flatnonzero(distance[blood] < 0.65 * edge)
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) * s for n, s in zip(SHAPE, SPACING_MM, strict=True)), indexing="ij", sparse=True)  # fmt: skip

    def ball(radius_mm: float, flat: float = 1.0) -> Array:
        centre = at[rng.choice(core)] if len(core) else at.mean(axis=0)
        return ((z - centre[0]) / np.float32(flat)) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < radius_mm**2

    if bleed.swirl:  # streaks of fresh blood, iso- to hypodense, over several slices
        wave = rng.normal(0, 1, 3)
        wave = wave / np.linalg.norm(wave[1:]) * 2 * np.pi / max(9.0, 0.9 * size)
        folds = np.sin(
            np.float32(wave[1]) * y + np.float32(wave[2]) * x + np.float32(0.25 * wave[0]) * z + 2 * distance
        )
        density = np.where(
            (folds > 0.45) & (distance < 0.85 * edge), density - np.float32(rng.uniform(14, 22)), density
        )
    if bleed.hypodensity:
        for _ in range(int(rng.integers(1, 4))):
            density = np.where(ball(max(2.6, 0.24 * size)), np.float32(rng.uniform(32, 40)), density)
    if bleed.blend:
        away = rng.normal(0, 1, 2)
        away /= np.linalg.norm(away)
        middle = at.mean(axis=0)
        across = (y - middle[1]) * np.float32(away[0]) + (x - middle[2]) * np.float32(away[1])
        density = np.where(
            across > np.float32(size * rng.uniform(0.1, 0.4)), density - np.float32(rng.uniform(19, 25)), density
        )
    if bleed.black_hole:
        density = np.where(ball(max(3.2, 0.3 * size), 1.6), base - np.float32(rng.uniform(30, 36)), density)
    if bleed.fluid_level:
        level = at[:, 1].mean() + 0.1 * size
        density = np.where(y < level, density - np.float32(rng.uniform(14, 20)), density + 4)
    return density.astype(np.float32)


def _ventricular_blood(head: _Head, free: Bools, bleed: BleedFacts, rng: Random) -> Bools:
    """The drawn volume, lowest places first as the patient lies on the back, on the bleed's side more; at most what fits."""
    if not bleed.ivh or not free.any():
        return np.zeros(SHAPE, bool)
    field = -head.y - np.float32(12 * bleed.side * rng.uniform(0.2, 1)) * np.sign(head.x) + head.grain * 3
    return _nearest(field, free, bleed.ivh_ml)
