"""Where heads come from: real patients with a bleed, their mirrored halves without, a template, procedural heads.

All of them leave here on the network's working grid as a `Sample`. The GE study is not among them, on purpose.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from models.bloodnet.pool import IGNORE, LABEL, LEAST_PIXELS
from triage_node.detection import preprocess
from triage_node.detection.preprocess import CLIP_HU, GridStudy, grid_study, on_grid
from triage_node.simulation import ct_noise, phantom
from triage_node.simulation.bleeds import Array, Bools, Head
from triage_node.simulation.phantom_bleeds import Bleed

VALIDATION_DIGITS = ("3", "8")
VALIDATION_ANATOMY = range(8000, 8100)


@dataclass(frozen=True)
class Sample:
    """One study on the grid. label (slice, row, column): LABEL or IGNORE. sure (slice,): the slice's class is known.

    origin: real, mirrored, template or procedural. dressed: with mimics. patient: never split across sets.
    """

    patient: str
    origin: str
    dressed: bool
    kinds: tuple[str, ...]
    hu: Array
    label: NDArray[np.uint8]
    sure: Bools
    tissue_hu: float
    facts: str = ""


def is_validation(patient: str) -> bool:
    return patient.endswith(VALIDATION_DIGITS)


def sure_slices(label: NDArray[np.uint8]) -> Bools:
    """A slice is sure when it holds no blood at all or at least LEAST_PIXELS of it."""
    pixels = ((label > 0) & (label != IGNORE)).sum(axis=(1, 2))
    ignored = (label == IGNORE).sum(axis=(1, 2))
    return (pixels >= LEAST_PIXELS) | ((pixels == 0) & (ignored < LEAST_PIXELS))


# ---- real patients: phe_sich ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Patient:
    name: str
    study: GridStudy
    clot: Bools
    oedema: Bools
    unexplained: Bools


def patient_names(data: Path) -> list[str]:
    with (data / "phe_sich" / "patients.csv").open(newline="") as file:
        return [row["patient"] for row in csv.DictReader(file)]


def patient(data: Path, name: str) -> Patient:
    """One patient on the grid. The mask's value 2 (clot, derived by threshold) is the target, 1 the oedema ring."""
    folder = data / "phe_sich"
    with (folder / "patients.csv").open(newline="") as file:
        row = next(r for r in csv.DictReader(file) if r["patient"] == name)
    n, low = int(row["slices"]), float(row["hu_low"])
    hu = _tiles(folder / "vol256" / f"{name}.webp", 256, n).astype(np.float32) + low
    top = low + float(row["window_width"])
    if top < CLIP_HU[1]:
        hu[hu >= top] = CLIP_HU[1]  # where only 0..80 HU is known, the end of the window is bone
    hu = np.clip(hu, *CLIP_HU)
    hu[_tiles(folder / "vol256" / f"{name}.webp", 256, n) == 0] = 0
    study = grid_study(hu)
    masks = _tiles(folder / "mask512" / f"{name}.png", 512, n).reshape(n, 256, 2, 256, 2)
    clot = _mask_on_grid((masks == 2).mean(axis=(2, 4)), study)
    oedema = _mask_on_grid((masks == 1).mean(axis=(2, 4)), study)
    return Patient(name, study, clot, oedema, _unexplained(study, clot))


def _tiles(path: Path, side: int, n: int) -> NDArray[np.uint8]:
    picture = np.array(Image.open(path))
    picture = picture[..., 0] if picture.ndim == 3 else picture
    rows = picture.shape[0] // side
    return picture.reshape(rows, side, 8, side).transpose(0, 2, 1, 3).reshape(rows * 8, side, side)[:n]


def _mask_on_grid(share: NDArray[np.floating], study: GridStudy) -> Bools:
    rows = preprocess._averaging(share.shape[1], study.square.row, study.square.side)
    columns = preprocess._averaging(share.shape[2], study.square.column, study.square.side)
    return np.stack([rows @ s.astype(np.float32) @ columns.T for s in share]) > 0.5


def _unexplained(study: GridStudy, clot: Bools) -> Bools:
    """Dense pixels deep inside the skull and away from the clot: perhaps unlabelled ventricular blood, perhaps calcium."""
    smooth = ndimage.gaussian_filter(study.hu, (0, 1, 1))
    inner = ndimage.binary_erosion(study.intracranial, np.ones((1, 3, 3)), iterations=4)
    dense = (smooth > study.tissue_hu + 15) & inner & ~ndimage.binary_dilation(clot, np.ones((1, 3, 3)), iterations=2)
    labels, n = ndimage.label(dense, np.array([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))]))
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    sizes[0] = 0
    return np.isin(labels, np.flatnonzero(sizes >= 25))


def real_sample(p: Patient) -> Sample:
    """The patient as scanned. Slices beside a positive one, with oedema only, or with much unexplained density are unsure."""
    label = np.where(p.clot, LABEL["iph"], 0).astype(np.uint8)
    label[p.unexplained] = IGNORE
    pixels = p.clot.sum(axis=(1, 2))
    near = ndimage.maximum_filter1d((pixels > 0) | p.oedema.any(axis=(1, 2)), 3)
    unsure = (pixels < LEAST_PIXELS) & (near | (p.unexplained.sum(axis=(1, 2)) >= 40))
    label[unsure] = IGNORE
    return Sample(p.name, "real", False, ("iph",), p.study.hu, label, ~unsure, p.study.tissue_hu)


def mirrored(p: Patient) -> Head | None:
    """The half without blood on both sides; None when blood or unexplained density is in it or no axis was found."""
    turn, shift = _axis(p.study.hu)
    if abs(turn) > 33:
        return None

    def upright(stack: Array | Bools, order: int) -> Array:
        turned = [ndimage.rotate(s.astype(np.float32), turn, reshape=False, order=order) for s in stack]
        return ndimage.shift(np.stack(turned), (0, 0, shift), order=order)

    blood = upright(p.clot, 1) > 0.3
    other = upright(p.unexplained, 1) > 0.5
    middle = blood.shape[2] // 2
    left, right = blood[:, :, : middle - 5].sum(), blood[:, :, middle + 5 :].sum()
    if min(left, right) > 12 or blood[:, :, middle - 5 : middle + 5].sum() > 160:
        return None
    flip = slice(None, None, -1) if right < left else slice(None)
    if other[:, :, flip][:, :, : middle - 6].sum(axis=(1, 2)).max() > 80:
        return None
    good = upright(p.study.hu, 1)[:, :, flip]
    ramp = np.clip((np.arange(good.shape[2]) - (middle - 3)) / 6, 0, 1)
    hu = (good * (1 - ramp) + good[:, :, ::-1] * ramp).astype(np.float32)
    return Head(hu, preprocess.intracranial(hu), p.study.tissue_hu)


def _axis(hu: Array) -> tuple[float, float]:
    """Turn in degrees and shift in pixels that make the head most alike its mirror image, by skull and outline."""
    outline = (hu > 85).astype(np.float32).mean(axis=0) + 0.5 * (hu > 12).astype(np.float32).mean(axis=0)
    small = ndimage.gaussian_filter(outline, 2)[::3, ::3]

    def unlike(turn: float) -> tuple[float, int]:
        r = ndimage.rotate(small, turn, reshape=False, order=1)
        return min((float(((r - np.roll(r[:, ::-1], d, 1)) ** 2).sum()), d) for d in range(-10, 11))

    best = min((*unlike(a), float(a)) for a in range(-35, 36, 3))
    best = min((*unlike(best[2] + a), best[2] + a) for a in (-2, -1, 0, 1, 2))
    return best[2], -best[1] * 3 / 2


# ---- template of healthy older adults ---------------------------------------------------------------------------------


def template(data: Path) -> Array:
    """ct_template/scct_hu.nii.gz as HU. Shape: (z upward, y backward, x to the left), 2 mm."""
    raw = gzip.decompress((data / "ct_template" / "scct_hu.nii.gz").read_bytes())
    sizes = np.frombuffer(raw, "<i2", 4, 40)[1:]
    start = int(np.frombuffer(raw, "<f4", 1, 108)[0])
    voxels = np.frombuffer(raw, "<i2", int(np.prod(sizes.astype(int))), start).reshape(sizes, order="F")
    return voxels.transpose(2, 1, 0)[:, ::-1].astype(np.float32)


def template_head(voxels: Array, rng: np.random.Generator) -> tuple[Head, GridStudy]:
    """The template as another person in another scanner: tilted, stretched, warped, sharpened, with noise."""
    n, size, pixel, thick = int(rng.integers(24, 34)), 256, 1.0, float(rng.uniform(4, 6))
    turn = phantom.rotation(tuple(rng.normal(0, (9, 4, 8))))
    scale = rng.normal(1.0, 0.05, 3) * rng.normal(0.97, 0.03)
    z = (np.arange(n * 3) + 0.5) / 3 * thick - n * thick / 2 + rng.uniform(-4, 10)
    across = (np.arange(0, size, 2) + 1.0 - size / 2) * pixel
    at = np.stack(np.meshgrid(z, across, across, indexing="ij"))
    bend = [
        rng.uniform(1, 5)
        * ndimage.zoom(
            ndimage.gaussian_filter(rng.standard_normal((9, 9, 9)), 1) * 3, np.array(at.shape[1:]) / 9, order=1
        )
        for _ in range(3)
    ]
    x, y, up = at[2] + bend[0], at[1] + bend[1], at[0] + bend[2]
    centre = (np.array(voxels.shape) - 1) / 2
    px = [(turn[i, 0] * x + turn[i, 1] * y + turn[i, 2] * up) / scale[i] / 2 for i in range(3)]
    fine = ndimage.map_coordinates(
        voxels, [centre[0] + px[2], centre[1] + px[1], centre[2] + px[0]], order=1, cval=-1000
    )
    hu = fine.reshape(n, 3, *fine.shape[1:]).mean(axis=1)
    hu = ndimage.zoom(hu, (1, 2, 2), order=1).astype(np.float32)
    hu = hu + rng.uniform(0, 1.5) * (hu - ndimage.gaussian_filter(hu, (0, 1.5, 1.5)))
    hu = ct_noise.noisy(hu, rng, pixel, float(rng.uniform(1.5, 6)))
    study = grid_study(np.clip(hu, *CLIP_HU).astype(np.float32))
    return Head(study.hu, study.intracranial, study.tissue_hu), study


# ---- procedural heads -------------------------------------------------------------------------------------------------


def procedural(
    seed: int, rng: np.random.Generator, bleed: bool, contrast: bool = False
) -> tuple[Head, NDArray[np.uint8], tuple[str, ...]]:
    """A procedural head, by wish with blood that fills real cisterns and ventricles. Returns head, label, kinds."""
    bleeds = _phantom_bleeds(rng) if bleed else ()
    thick = float(rng.uniform(3.5, 6.5))
    made = phantom.head(
        seed,
        int(rng.integers(1 << 30)),
        int(150 / thick),
        thick,
        size=256,
        age_years=int(rng.integers(66, 95)) if rng.random() < 0.4 else None,
        bleeds=bleeds,
        contrast=contrast,
        gantry_tilt_deg=float(rng.choice([0, 0, rng.uniform(-20, 20)])),
        noise_hu=float(rng.uniform(1.5, 6)),
    )
    study = on_grid(made.volume)
    label = np.zeros(study.hu.shape, np.uint8)
    for i, kind in enumerate(made.truth.kinds):
        label[_mask_on_grid((made.truth.bleed == i + 1).astype(np.float32), study)] = LABEL[kind]
    return Head(study.hu, study.intracranial, study.tissue_hu), label, made.truth.kinds


def _phantom_bleeds(rng: np.random.Generator) -> tuple[Bleed, ...]:
    kinds = [str(rng.choice(["iph", "sdh", "sah", "ivh"], p=[0.25, 0.25, 0.3, 0.2]))]
    if rng.random() < 0.3:
        kinds = list(dict.fromkeys([*kinds, str(rng.choice(["sah", "ivh"]))]))
    sizes = {
        "iph": lambda: float(np.exp(rng.uniform(np.log(0.8), np.log(45)))),
        "sdh": lambda: float(np.exp(rng.uniform(np.log(3), np.log(18)))),
        "sah": lambda: float(rng.uniform(45, 72)),
        "ivh": lambda: float(rng.uniform(45, 72)),
    }
    side = float(rng.choice([-1, 1]))
    centre = (side * rng.uniform(8, 48), rng.uniform(-40, 55), rng.uniform(-35, 45))
    return tuple(Bleed(k, sizes[k](), centre, float(rng.uniform(48, 74))) for k in kinds)
