"""What the scanner adds to the densities: sampling in the plane and quantum noise with a CT's spectrum."""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy import fft, ndimage

from triage_node.simulation.shapes import Array


def enlarged(image: Array, factor: int) -> Array:
    """Linear interpolation in the plane by a whole factor, pixel centres in register. Shape: (slice, row, column)."""
    if factor == 1:
        return image
    for axis in (1, 2):
        n = image.shape[axis]
        at = (np.arange(n * factor) + 0.5) / factor - 0.5
        low = np.clip(np.floor(at).astype(int), 0, n - 1)
        high = np.minimum(low + 1, n - 1)
        weight = np.clip(at - low, 0, 1).astype(np.float32)
        weight = weight[None, :, None] if axis == 1 else weight[None, None, :]
        lower = np.take(image, low, axis=axis)
        image = lower + (np.take(image, high, axis=axis) - lower) * weight
    return image


def correlated(rng: np.random.Generator, shape: tuple[int, int, int], pixel_mm: float, cutoff_per_mm: float) -> Array:
    """Noise whose power rises with frequency (filtered back projection) up to the kernel's cutoff; deviation 1."""
    slices, rows, columns = shape
    fy = fft.fftfreq(rows, pixel_mm)[:, None]
    fx = fft.rfftfreq(columns, pixel_mm)[None, :]
    f = np.sqrt(fx * fx + fy * fy)
    spectrum = (np.sqrt(f + 0.02) * np.exp(-((f / cutoff_per_mm) ** 2))).astype(np.float32)
    out = np.empty(shape, np.float32)
    for i in range(slices):
        white = rng.standard_normal((rows, columns), dtype=np.float32)
        colored = fft.irfft2(fft.rfft2(white) * spectrum, (rows, columns))
        out[i] = colored / colored.std()
    return out


def noisy(hu: Array, rng: np.random.Generator, pixel_mm: float, level_hu: float, cutoff_per_mm: float = 0.42) -> Array:
    """Densities with noise: `level_hu` in the brain, less in air, more where much bone lies in the plane."""
    small = hu[:, ::4, ::4]
    width = small.shape[1]
    body = ndimage.uniform_filter((small > -300).astype(np.float32), (0, width // 16, width // 16))
    bone = ndimage.uniform_filter((small > 600).astype(np.float32), (0, width // 5, width // 5))
    strength = enlarged(((0.45 + 0.55 * body) * (1 + 2.2 * bone)).astype(np.float32), 4)
    return cast(Array, hu + correlated(rng, hu.shape, pixel_mm, cutoff_per_mm) * (level_hu * strength))
