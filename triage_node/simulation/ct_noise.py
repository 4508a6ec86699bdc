"""What the scanner adds to the densities: sampling in the plane and quantum noise with a CT's spectrum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from triage_node.simulation.shapes import Array


def enlarged(image: Array, factor: int) -> Array:
    """Linear interpolation in the plane by a whole factor, pixel centres in register. Shape: (slice, row, column)."""
    if factor == 1:
        return image
    slices, rows, columns = image.shape
    out = np.empty((slices, rows * factor, columns * factor), np.float32)
    (r0, r1, wr), (c0, c1, wc) = _neighbours(rows, factor), _neighbours(columns, factor)
    for i, plane in enumerate(image):  # one slice at a time stays in the cache
        across = plane[:, c0] + (plane[:, c1] - plane[:, c0]) * wc
        out[i] = across[r0] + (across[r1] - across[r0]) * wr[:, None]
    return out


def _neighbours(n: int, factor: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    at = (np.arange(n * factor) + 0.5) / factor - 0.5
    low = np.clip(np.floor(at).astype(np.intp), 0, n - 1)
    return low, np.minimum(low + 1, n - 1), np.clip(at - low, 0, 1).astype(np.float32)


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
    strength = ((0.45 + 0.55 * body) * (1 + 2.2 * bone) * level_hu).astype(np.float32)
    out = correlated(rng, hu.shape, pixel_mm, cutoff_per_mm)
    for i, plane in enumerate(out):
        plane *= enlarged(strength[i : i + 1], 4)[0]
        plane += hu[i]
    return out
