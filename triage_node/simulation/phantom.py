"""A procedural adult head CT: numpy and scipy only, the same bytes for the same seeds.

`anatomy_seed` decides the head (shape, age, ventricles, sulci, calcifications, old infarct, how it lies in the scanner),
`noise_seed` the quantum noise of one exposure. Training uses anatomy seeds below FIRST_DEMO_SEED; the demo's heads use seeds
from there on, so that no training ever saw them. Everything here is simulated: no figure obtained with it says anything about
patients (evidence level E0, DESIGN.md section 4).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from triage_node.domain.identifiers import deterministic_uid
from triage_node.domain.volume import Volume
from triage_node.simulation import anatomy, phantom_bleeds
from triage_node.simulation.ct_noise import enlarged, noisy
from triage_node.simulation.person import Person, draw, rotation
from triage_node.simulation.phantom_bleeds import Bleed
from triage_node.simulation.shapes import Array, Points, bumps_by_name, coverage

FIRST_DEMO_SEED = 9000
LOWEST_HU, HIGHEST_HU = -1024, 3071
FINE_SLICE_MM = 1.7
REST_RADIUS_MM, REST_FOAM_MM = 120.0, 9.0
COARSE = 4
"""The search for the head looks at every fourth voxel in the plane."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What the phantom knows about itself. Masks have the shape of the volume; a voxel counts from half coverage on.

    intracranial: inside the inner table. ventricles: the ventricular system. csf: cisterns, fissures and sulci.
    brain: parenchyma. bleed: 0, or 1 + index into `kinds`. volumes_ml: blood per kind, partial voxels included.
    """

    intracranial: NDArray[np.bool_]
    ventricles: NDArray[np.bool_]
    csf: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    bleed: NDArray[np.uint8]
    kinds: tuple[str, ...] = ()
    volumes_ml: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Phantom:
    volume: Volume
    truth: Truth
    age_years: int
    anatomy_seed: int
    noise_seed: int


@dataclass(frozen=True)
class _Scan:
    """The fine grid of a scan: `sub` thin planes for each slice, `fine` pixels across. Millimetres of the scanner (LPS)."""

    person: Person
    slices: int
    thickness_mm: float
    fine: int
    sub: int
    tilt: float
    step: float
    bottom_mm: float

    @property
    def z_step(self) -> float:
        return self.thickness_mm / float(np.cos(self.tilt))

    @property
    def across(self) -> Array:
        return ((np.arange(self.fine) + 0.5) * self.step - self.fine * self.step / 2).astype(np.float32)

    @property
    def slice_z(self) -> NDArray[np.float64]:
        return self.bottom_mm + (np.arange(self.slices) + 0.5) * self.z_step

    def planes(self) -> NDArray[np.float64]:
        offset = ((np.arange(self.sub) + 0.5) / self.sub - 0.5) * self.z_step
        return (self.slice_z[:, None] + offset[None, :]).reshape(-1)


def _head_points(p: Person, bumps: anatomy.BumpsByName, sx: Array, sy: Array, sz: Array) -> Points:
    """Scanner millimetres to head coordinates: how the head lies, how large it is, and that no head is symmetric."""
    inverse = rotation(p.tilt_deg).T
    px, py = sx - p.shift[0], sy - p.shift[1]
    placed = []
    for axis, origin in enumerate(phantom_bleeds.BRAIN_CENTRE):
        a, b, c = inverse[axis] / p.scale[axis]
        placed.append((a * px + b * py + c * sz + origin).astype(np.float32))
    return Points(*(c + 2.0 * bumps(f"warp {i}", 85).at(*placed) for i, c in enumerate(placed)))


def _top_of_head(p: Person, bumps: anatomy.BumpsByName) -> float:
    """Highest scanner z of the skin, in mm, to about 2 mm."""
    z = np.arange(60, 140, 2, dtype=np.float32)
    flat = np.arange(-70, 71, 7, dtype=np.float32)
    sz, sy, sx = (a.ravel() for a in np.meshgrid(z, flat, flat, indexing="ij"))
    skin = anatomy.surfaces(_head_points(p, bumps, sx, sy, sz), p, bumps).head
    return float(sz[skin < 0].max(initial=60.0))


def _voxels_of_head(scan: _Scan, bumps: anatomy.BumpsByName) -> NDArray[np.intp]:
    """Flat indices into the fine grid of every voxel within a few mm of the head."""
    across = scan.across.reshape(-1, COARSE).mean(axis=1)
    sz, sy, sx = np.meshgrid(scan.planes().astype(np.float32), across, across, indexing="ij")
    y, z = sy * np.cos(scan.tilt), sz - sy * np.sin(scan.tilt)
    at = _head_points(scan.person, bumps, sx.ravel(), y.ravel(), z.ravel())
    near = anatomy.surfaces(at, scan.person, bumps).head.reshape(sx.shape) < COARSE * scan.step
    return np.flatnonzero(near.repeat(COARSE, axis=1).repeat(COARSE, axis=2))


def _scanner_mm(scan: _Scan, voxels: NDArray[np.intp]) -> tuple[Array, Array, Array]:
    plane, row, column = np.unravel_index(voxels, (scan.slices * scan.sub, scan.fine, scan.fine))
    across = scan.across
    v = across[row]
    z = scan.planes().astype(np.float32)[plane] - v * np.float32(np.sin(scan.tilt))
    return across[column], v * np.float32(np.cos(scan.tilt)), z


@dataclass(frozen=True)
class _Densities:
    """What was painted, on the fine grid's voxels `voxels` (all others are air)."""

    voxels: NDArray[np.intp]
    hu: Array
    inside: NDArray[np.intp]
    shares: dict[str, Array]


def _paint(scan: _Scan, bumps: anatomy.BumpsByName, bleeds: tuple[Bleed, ...], contrast: bool) -> _Densities:
    p = scan.person
    voxels = _voxels_of_head(scan, bumps)
    at = _head_points(p, bumps, *_scanner_mm(scan, voxels))
    s = anatomy.surfaces(at, p, bumps)
    hu = np.full(voxels.shape, anatomy.AIR, np.float32)
    outer = np.flatnonzero(s.cavity > -1.5)
    shell = anatomy.Painter(at.take(outer), hu[outer], within=coverage(s.head[outer], 1.2))
    anatomy.paint_outside(shell, p, s.take(outer), bumps)
    hu[outer] = shell.hu
    inner = np.flatnonzero(s.cavity < 1.0)
    here, now = at.take(inner), s.take(inner)
    came_from, before = here, now.cavity
    scale = float(np.cbrt(np.prod(p.scale)))
    rough = bumps("bleed", 24)
    for bleed in bleeds:
        came_from, before = phantom_bleeds.pushed(bleed, came_from, before, scale, rough)
    then = now
    if bleeds:
        then = anatomy.surfaces(came_from, p, bumps)
        then = anatomy.Surfaces(before, then.infratentorial, then.head, then.skull_mm)
    brain = anatomy.Painter(came_from, hu[inner])
    parts = anatomy.paint_inside(brain, p, then, now.cavity, bumps, contrast)
    shares = {
        "cavity": parts.cavity,
        "ventricles": parts.ventricles,
        "csf": parts.csf,
        "parenchyma": parts.parenchyma,
    }
    for bleed in bleeds:
        brain.put(0.75 * phantom_bleeds.rim(bleed, here, scale, rough) * parts.parenchyma, p.white - 9)
    for i, bleed in enumerate(bleeds):
        place = here if bleed.kind in ("iph", "sdh") else came_from
        blood = phantom_bleeds.share(bleed, place, now.cavity, parts.csf, parts.ventricles, scale, rough)
        blood = (blood * parts.cavity).astype(np.float32)
        brain.put(blood, bleed.hu + 2.5 * bumps("clot", 9).at(*here.xyz))
        shares[f"bleed {i}"] = blood
    hu[inner] = brain.hu
    return _Densities(voxels, hu, inner, shares)


def _slices(scan: _Scan, voxels: NDArray[np.intp], values: Array, background: float, factor: int) -> Array:
    """Fine voxels averaged into slices and enlarged in the plane. Shape: (slice, row, column)."""
    grid = np.full(scan.slices * scan.sub * scan.fine * scan.fine, background, np.float32)
    grid[voxels] = values
    return enlarged(grid.reshape(scan.slices, scan.sub, scan.fine, scan.fine).mean(axis=1), factor)


def head(
    anatomy_seed: int,
    noise_seed: int,
    slices: int = 32,
    slice_thickness_mm: float = 5.0,
    *,
    size: int = 512,
    age_years: int | None = None,
    bleeds: tuple[Bleed, ...] = (),
    contrast: bool = False,
    gantry_tilt_deg: float = 0.0,
    noise_hu: float | None = None,
) -> Phantom:
    """One head CT with truth.

    Volume: int16 HU, (slices, size, size), slice 0 lowest, reaching from a few mm over the skin downward; pixel 0.45-0.49 mm
    at 512 (the field of view stays when `size` is smaller). UIDs follow from the arguments, so the same call gives the same
    volume bit for bit. `noise_hu` is the deviation in the brain; by default the person's scanner decides.
    """
    if size not in (128, 256, 512):
        raise ValueError(f"size must be 128, 256 or 512, got {size}")
    if slices < 1 or not 0.3 <= slice_thickness_mm <= 10:
        raise ValueError(f"slices must be at least 1 and 0.3-10 mm thick, got {slices} of {slice_thickness_mm} mm")
    if age_years is not None and not 18 <= age_years <= 110:
        raise ValueError(f"age_years must be 18 to 110: the phantom is an adult's head, got {age_years}")
    p = draw(anatomy_seed, age_years)
    bumps = bumps_by_name(anatomy_seed)
    fine = min(size, 256)
    tilt = float(np.radians(gantry_tilt_deg))
    top = _top_of_head(p, bumps) + p.shift[2]
    scan = _Scan(
        person=p,
        slices=slices,
        thickness_mm=slice_thickness_mm,
        fine=fine,
        sub=max(1, round(slice_thickness_mm / FINE_SLICE_MM)),
        tilt=tilt,
        step=p.field_of_view / fine,
        bottom_mm=top - slices * slice_thickness_mm / float(np.cos(tilt)),
    )
    painted = _paint(scan, bumps, bleeds, contrast)
    factor = size // fine
    hu = _slices(scan, painted.voxels, painted.hu, anatomy.AIR, factor)
    np.maximum(hu, _head_rest(hu, p.field_of_view / size), out=hu)
    inner = painted.voxels[painted.inside]
    pixel = p.field_of_view / size
    level = noise_hu if noise_hu is not None else p.noise * (5.0 / slice_thickness_mm) ** 0.38
    hu = noisy(hu, np.random.default_rng([anatomy_seed, noise_seed, 0x4015E]), pixel, level)
    volume = _volume(
        scan, np.clip(np.round(hu), LOWEST_HU, HIGHEST_HU).astype(np.int16), pixel, anatomy_seed, noise_seed
    )

    def slices_of(name: str) -> Array:
        return _slices(scan, inner, painted.shares[name], 0.0, factor)

    return Phantom(volume, _truth(slices_of, bleeds, volume), p.age, anatomy_seed, noise_seed)


def _head_rest(hu: Array, pixel_mm: float) -> Array:
    """The cradle under the head: foam in a thin shell, the same in every slice. Shape: (row, column), HU."""
    size = hu.shape[1]
    x, y = np.meshgrid(*(2 * [(np.arange(size, dtype=np.float32) + 0.5 - size / 2) * pixel_mm]))
    rows = np.flatnonzero((hu[:, :, size // 4 : -size // 4] > -300).any(axis=(0, 2)))
    back = float(y[rows[-1], 0]) if rows.size else 90.0
    depth = np.hypot(x, y - (back + REST_FOAM_MM - REST_RADIUS_MM)) - REST_RADIUS_MM  # negative inside the cradle
    cut = np.where(y > back - 45, 0, 50).astype(np.float32)
    foam = coverage(np.maximum(depth, -REST_FOAM_MM - depth) + cut, 1.5)
    shell = coverage(np.abs(depth - 1.5) - 1.5 + cut, 1.5)
    return (anatomy.AIR + foam * 60 + shell * 850).astype(np.float32)


def _volume(scan: _Scan, hu: NDArray[np.int16], pixel: float, *seeds: int) -> Volume:
    digest = deterministic_uid("phantom", *(str(s) for s in seeds), str(hu.shape), str(zlib.crc32(hu.tobytes())))
    corner = pixel / 2 - scan.fine * scan.step / 2
    n = scan.slices
    down = corner * np.cos(scan.tilt)
    origins = np.stack([np.full(n, corner), np.full(n, down), scan.slice_z - corner * np.sin(scan.tilt)], axis=1)
    thickness = np.full(n, scan.thickness_mm, np.float64)
    return Volume(
        hu=hu,
        origins_mm=origins.astype(np.float64),
        row_cosine=np.array([1.0, 0.0, 0.0]),
        column_cosine=np.array([0.0, np.cos(scan.tilt), -np.sin(scan.tilt)]),
        pixel_spacing_mm=(pixel, pixel),
        slice_extent_mm=thickness,
        slice_thickness_mm=thickness.copy(),
        frame_of_reference_uid=deterministic_uid(digest, "frame"),
        study_instance_uid=deterministic_uid(digest, "study"),
        series_instance_uid=deterministic_uid(digest, "series"),
        sop_instance_uids=tuple(deterministic_uid(digest, "instance", str(i)) for i in range(n)),
    )


def _truth(shares: Callable[[str], Array], bleeds: tuple[Bleed, ...], volume: Volume) -> Truth:
    label = np.zeros(volume.hu.shape, np.uint8)
    kinds = tuple(dict.fromkeys(b.kind for b in bleeds))
    volumes = dict.fromkeys(kinds, 0.0)
    for i, bleed in enumerate(bleeds):
        share = shares(f"bleed {i}")
        label[share > 0.5] = 1 + kinds.index(bleed.kind)
        voxel_ml = volume.pixel_area_mm2 * float(volume.slice_extent_mm[0]) / 1000
        volumes[bleed.kind] += float(share.sum(dtype=np.float64)) * voxel_ml
    return Truth(
        intracranial=shares("cavity") > 0.5,
        ventricles=shares("ventricles") > 0.5,
        csf=shares("csf") > 0.5,
        brain=shares("parenchyma") > 0.5,
        bleed=label,
        kinds=kinds,
        volumes_ml=volumes,
    )
