"""Another pose, scanner, dose and, for half of the samples, another hospital's export to pictures.

A sample stays HU, as the node reads DICOM, or becomes an 8-bit picture of unknown window that was read back as
detection/pictures.py reads it: grey 0 to 255 taken for 0 to 80 HU. All ranges are wide and drawn anew for every sample.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from triage_node.detection import preprocess
from triage_node.detection.pictures import PICTURE_HU, WHITE
from triage_node.detection.preprocess import CLIP_HU, GRID

Random = np.random.Generator
Array = NDArray[np.float32]

KERNEL = torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 1.0]))[None, None] / 16


def blurred(x: Tensor) -> Tensor:
    flat = x.reshape(-1, 1, *x.shape[-2:])
    return functional.conv2d(functional.pad(flat, (1, 1, 1, 1), mode="replicate"), KERNEL).reshape(x.shape)


def augmented(hu: Tensor, label: Tensor, tissue: Array, rng: Random, pictures: float) -> tuple[Tensor, Tensor, Array]:
    """HU, labels and tissue density after all of it; a share of `pictures` went through an 8-bit picture.

    Shape: hu (n, 3, GRID, GRID), label (n, GRID, GRID), tissue (n,).
    """
    as_picture = rng.random(len(hu)) < pictures
    single = as_picture & (rng.random(len(hu)) < 0.75)
    hu = torch.where(torch.from_numpy(single)[:, None, None, None], hu[:, 1:2], hu)
    hu, label = posed(hu, label, single, rng)
    hu, tissue = scanned(hu, tissue, rng)
    if as_picture.any():
        values = hu.numpy()
        for i in np.flatnonzero(as_picture):
            values[i], tissue[i] = exported(values[i], float(tissue[i]), bool(single[i]), rng)
    return hu, label, tissue


def posed(hu: Tensor, label: Tensor, single: NDArray[np.bool_], rng: Random) -> tuple[Tensor, Tensor]:
    """Turned, flipped, stretched, shifted; single slices are cropped to their own head, some cut."""
    n = len(hu)
    turn = np.deg2rad(rng.uniform(-25, 25, n) + 90 * rng.integers(0, 4, n) * (rng.random(n) < 0.12))
    scale, aspect = rng.uniform(0.85, 1.15, n), np.exp(rng.normal(0, 0.06, n))
    flip = rng.choice([-1.0, 1.0], n)
    centre = np.zeros((n, 2))
    for i in np.flatnonzero(single | (rng.random(n) < 0.08)):
        centre[i], side = own_box(hu[i, 1].numpy())
        scale[i] = side / rng.uniform(0.86, 1.0)
    cut = rng.random(n) < 0.08
    scale = np.where(cut, scale * rng.uniform(0.6, 0.85, n), scale)
    theta = np.zeros((n, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = np.cos(turn) * aspect * flip, -np.sin(turn) / aspect
    theta[:, 1, 0], theta[:, 1, 1] = np.sin(turn) * aspect * flip, np.cos(turn) / aspect
    theta[:, :, :2] *= scale[:, None, None]
    theta[:, :, 2] = centre + rng.uniform(-0.05, 0.05, (n, 2)) + cut[:, None] * rng.uniform(-0.2, 0.2, (n, 2))
    grid = functional.affine_grid(torch.from_numpy(theta), [n, 1, GRID, GRID], align_corners=False)
    hu = functional.grid_sample(hu, grid, align_corners=False)
    label = functional.grid_sample(label[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0].byte()
    return hu, label


def own_box(image: Array) -> tuple[NDArray[np.float64], float]:
    """Centre (x, y) of what is not air, in -1..1, and its longer side as a share of the picture."""
    seen = image > 14
    rows, columns = (np.flatnonzero(seen.sum(axis=a) > 4) for a in (1, 0))
    if len(rows) < 20 or len(columns) < 20:
        return np.zeros(2), 1.0
    middle = np.array([columns[0] + columns[-1] + 1, rows[0] + rows[-1] + 1]) / GRID - 1
    return middle, max(rows[-1] - rows[0], columns[-1] - columns[0]) / GRID


def scanned(hu: Tensor, tissue: Array, rng: Random) -> tuple[Tensor, Array]:
    """Another kernel, calibration, dose and beam hardening. The tissue's density moves with the calibration."""
    n = len(hu)

    def uniform(low: float, high: float, chance: float = 1.0) -> Tensor:
        values = rng.uniform(low, high, (n, 1, 1, 1)) * (rng.random((n, 1, 1, 1)) < chance)
        return torch.from_numpy(values.astype(np.float32))

    air, bone = hu < 0.5, hu > 96
    soft = blurred(hu)
    coarse = functional.avg_pool2d(functional.pad(hu.clamp(max=70), (3, 3, 3, 3), mode="replicate"), 7, stride=1)
    hu = hu + uniform(-1.5, 0.9, 0.65) * (soft - hu) + uniform(0, 0.6, 0.25) * (hu.clamp(max=70) - coarse)
    if rng.random() < 0.25:
        side = int(GRID * rng.uniform(0.45, 0.9))
        hu = functional.interpolate(functional.interpolate(hu, size=side, mode="area"), size=GRID, mode="bilinear")
    slope, offset = rng.uniform(0.93, 1.08, n), rng.uniform(-6, 6, n)
    tissue = ((tissue - 30) * slope + 30 + offset + rng.normal(0, 1.2, n)).astype(np.float32)
    astray = rng.random(n) < 0.15
    tissue = np.where(astray, tissue + rng.uniform(-5, 5, n), tissue).astype(np.float32)
    hu = (hu - 30) * column(slope) + 30 + column(offset)
    shade = torch.from_numpy(rng.standard_normal((n, 1, 4, 4)).astype(np.float32))
    hu = hu + functional.interpolate(shade, size=GRID, mode="bilinear") * uniform(0, 2, 0.5)
    white = torch.from_numpy(rng.standard_normal(hu.shape, dtype=np.float32))
    low = blurred(white) * 2
    part, sharp = uniform(0, 1), uniform(0, 1, 0.4)
    noise = (white * part + low * (1 - part)) * (1 - sharp) + (white - blurred(white)) * 1.15 * sharp
    hu = hu + noise * uniform(0, 6.5, 0.75)
    hu = torch.where(bone, hu.clamp(min=90), hu)
    return torch.where(air, hu.clamp(0, 3), hu.clamp(*CLIP_HU)), tissue


def column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None, None]


def exported(hu: Array, tissue: float, single: bool, rng: Random) -> tuple[Array, float]:
    """Windowed, bent, compressed, written on, and read back as if grey were HU. Shape: hu (3, GRID, GRID)."""
    low, high = window(rng)
    bone, air = hu > 93, hu < 3.5
    faces = hu[:1] if single else hu
    grey = np.clip((faces - low) / (high - low), 0, 1)
    level = np.clip((tissue - low) / (high - low), 0, 1)
    whole = bone[: len(faces)]
    grey[whole] = 1.0
    if rng.random() < 0.5:
        power = float(np.exp(rng.uniform(-0.45, 0.45)))
        grey, level = grey**power, level**power
    if rng.random() < 0.15:
        grey[whole] = rng.uniform(0.6, 1.0)
    if rng.random() < 0.3:
        gain, black = rng.uniform(0.7, 1.05), rng.uniform(0, 0.12)
        grey, level = np.clip(grey * gain + black, 0, 1), np.clip(level * gain + black, 0, 1)
    if rng.random() < 0.9:  # else the scan's low end is not black outside the head
        grey[air[: len(faces)]] = 0
    if rng.random() < 0.15:
        soft = blurred(torch.from_numpy(grey)).numpy()
        grey = np.clip(grey + rng.uniform(0.5, 2.5) * (grey - soft), 0, 1)
    if rng.random() < 0.3:
        grain = rng.standard_normal(grey.shape, np.float32)
        grey = np.clip(grey + grain * rng.uniform(0, 0.045), 0, 1)
    if rng.random() < 0.05:
        inside = preprocess.intracranial(hu[1:2])[0]
        grey = grey * inside if inside.any() else grey
    if rng.random() < 0.2:
        steps = int(rng.choice([31, 63, 127]))
        grey = np.round(grey * steps) / steps
    if rng.random() < 0.25:
        written(grey, rng)
    if rng.random() < 0.35:
        grey = np.stack([compressed(face, int(rng.integers(25, 93))) for face in grey])
    read = np.where(grey >= WHITE, CLIP_HU[1], grey * PICTURE_HU)
    measured = level * PICTURE_HU + rng.normal(0, 1.5) + (rng.uniform(-8, 8) if rng.random() < 0.1 else 0.0)
    return np.broadcast_to(read, hu.shape).astype(np.float32), float(measured)


def window(rng: Random) -> tuple[float, float]:
    """Ends in HU of a window in which brain is neither black nor white; a quarter are the usual 80/40."""
    if rng.random() < 0.25:
        return 0.0, 80.0
    while True:
        width = float(np.exp(rng.uniform(np.log(45), np.log(400 if rng.random() < 0.12 else 200))))
        centre = rng.uniform(24, 62)
        low, high = centre - width / 2, centre + width / 2
        if low <= 20 and high >= 52:
            return low, high


def written(grey: Array, rng: Random) -> None:
    """Bright blocks where pictures carry text and scales."""
    for _ in range(int(rng.integers(1, 5))):
        high, wide = int(rng.integers(3, 8)), int(rng.integers(6, 44))
        row = int(rng.choice([rng.integers(0, 24), rng.integers(GRID - 28, GRID - 8)]))
        at = int(rng.integers(0, GRID - wide))
        block = rng.random((high, wide)) < rng.uniform(0.35, 1)
        grey[:, row : row + high, at : at + wide][:, block] = rng.uniform(0.6, 1)


def compressed(grey: Array, quality: int) -> Array:
    file = io.BytesIO()
    Image.fromarray(np.round(grey * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), np.float32) / 255
