"""What is bright or dark in heads that do not bleed: drawn on negatives and on positives alike, so that none is a cue.

Each function changes the picture of a `Head` and draws no blood. `dress` throws a coin for each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from triage_node.simulation.heads import Array, Head, cloud, softened

Random = np.random.Generator


def _spot(head: Head, x0: float, y0: float, wide: float, high: float) -> Array:
    x, y = head.grid_mm
    return np.exp(-(((x - x0) / wide) ** 2) - ((y - y0) / high) ** 2).astype(np.float32)


def _middle(head: Head, rng: Random) -> int:
    n = len(head.slices)
    return int(rng.choice(head.slices[int(n * 0.35) : int(n * 0.72) + 1]))


def choroid_calcium(head: Head, rng: Random) -> Array:
    hu, z = head.hu.copy(), _middle(head, rng)
    apart, y0 = rng.uniform(13, 26), rng.uniform(8, 30)
    for side in (-1, 1) if rng.random() < 0.8 else (rng.choice([-1, 1]),):
        spot = _spot(head, side * apart, y0 + rng.uniform(-3, 3), rng.uniform(1.2, 3.5), rng.uniform(1.5, 5))
        for dz in range(int(rng.integers(1, 4))):
            hu[min(z + dz, len(hu) - 1)] += spot * rng.uniform(20, 130)
    return hu


def pineal_calcium(head: Head, rng: Random) -> Array:
    hu = head.hu.copy()
    hu[_middle(head, rng)] += _spot(head, 0, rng.uniform(4, 16), *rng.uniform(1.2, 3, 2)) * rng.uniform(30, 130)
    return hu


def basal_ganglia_calcium(head: Head, rng: Random) -> Array:
    hu, z = head.hu.copy(), _middle(head, rng)
    apart, y0, size, dense = rng.uniform(14, 24), rng.uniform(-16, 0), rng.uniform(1.2, 4), rng.uniform(12, 90)
    for side in (-1, 1):
        hu[z] += _spot(head, side * apart, y0, size, 1.5 * size) * dense * rng.uniform(0.4, 1.2)
    return hu


def dense_falx(head: Head, rng: Random) -> Array:
    hu = head.hu.copy()
    x, y = head.grid_mm
    z0 = int(rng.choice(head.slices[len(head.slices) // 2 :]))
    ribbon = np.exp(-(((x - rng.uniform(-1, 1)) / rng.uniform(0.7, 1.5)) ** 2))
    where = y < -rng.uniform(5, 20) if rng.random() < 0.55 else y > rng.uniform(10, 25)
    for z in range(max(0, z0 - int(rng.integers(0, 4))), min(len(hu), z0 + int(rng.integers(1, 4)))):
        hu[z] += ribbon * where * head.intracranial[z] * rng.uniform(8, 50)
    return hu


def dense_sinus(head: Head, rng: Random) -> Array:
    """Transverse and superior sagittal sinus, full of blood that moves."""
    x, y = head.grid_mm
    side = rng.choice([-1, 0, 1])
    n = len(head.slices)
    chosen = head.slices if side == 0 else head.slices[: max(2, n // 2)]
    column = np.exp(-(((x - side * rng.uniform(15, 48)) / rng.uniform(3, 14)) ** 2)) * (y > 22)
    hu = head.hu.copy()
    hu[chosen] += column * (head.depth_mm[chosen] < rng.uniform(4, 9)) * head.intracranial[chosen] * rng.uniform(8, 30)
    return hu


def tentorium(head: Head, rng: Random) -> Array:
    """Two thin bright lines that spread backward from the midline in the lower slices."""
    hu = head.hu.copy()
    x, y = head.grid_mm
    n = len(head.slices)
    z0 = int(head.slices[int(n * rng.uniform(0.18, 0.42))])
    open_, dense, thin = rng.uniform(0.5, 1.2), rng.uniform(6, 24), rng.uniform(0.9, 2)
    for k in range(int(rng.integers(1, 4))):
        z = min(z0 + k, len(hu) - 1)
        off = np.abs(x) - (y + 4 + 6 * k) * open_
        hu[z] += np.exp(-((off / thin) ** 2)) * (y > 0) * head.intracranial[z] * dense
    return hu


def cupping(head: Head, rng: Random) -> Array:
    """Beam hardening: brighter towards the table, brightest at the vertex where much bone surrounds little brain."""
    rim = np.exp(-head.depth_mm / rng.uniform(1.5, 6)) * head.intracranial * rng.uniform(2, 14)
    small = 1 + rng.uniform(0, 1.2) * (head.intracranial.mean(axis=(1, 2)) < 0.12)
    return (head.hu + rim * small[:, None, None]).astype(np.float32)


def vertex_partial_volume(head: Head, rng: Random) -> Array:
    """The uppermost slices share their pixels with the bone of the roof."""
    hu = head.hu.copy()
    for z in head.slices[-int(rng.integers(1, 4)) :]:
        blur = ndimage.gaussian_filter(np.where(head.intracranial[z], 0.0, 100.0), rng.uniform(3, 9))
        hu[z] += blur * head.intracranial[z] * rng.uniform(0.1, 0.5)
    return hu


def hardening_band(head: Head, rng: Random) -> Array:
    hu = head.hu.copy()
    _, y = head.grid_mm
    for z in head.slices[: max(2, len(head.slices) // 3)]:
        band = np.exp(-(((y - rng.uniform(-10, 18)) / rng.uniform(3, 10)) ** 2))
        hu[z] += head.intracranial[z] * band * rng.uniform(-14, 14)
    return hu


def streaks(head: Head, rng: Random) -> Array:
    hu, z = head.hu.copy(), int(rng.choice(head.slices))
    x, y = head.grid_mm
    for _ in range(int(rng.integers(2, 10))):
        turn = rng.uniform(0, np.pi)
        off = x * np.cos(turn) + y * np.sin(turn) - rng.uniform(-50, 50)
        hu[z] += np.exp(-((off / rng.uniform(0.7, 2.5)) ** 2)) * rng.uniform(-14, 16)
    return hu


def infarct(head: Head, rng: Random) -> Array:
    """A dark territory from the cortex inward, fresh (faint) or old (nearly CSF), its edge sometimes brighter."""
    z0 = _middle(head, rng)
    x, y = head.grid_mm
    turn = rng.uniform(-np.pi, np.pi)
    x0, y0 = rng.uniform(25, 60) * np.cos(turn), rng.uniform(25, 70) * np.sin(turn)
    wide, high, tall = rng.uniform(7, 26), rng.uniform(7, 26), rng.uniform(1, 4.5)
    dz = ((np.arange(len(head.hu)) - z0) / tall)[:, None, None]
    rho = np.sqrt(dz**2 + ((x - x0) / wide) ** 2 + ((y - y0) / high) ** 2) + 0.25 * cloud(rng, head.hu.shape, 7)
    inside = softened((rho < 1) & head.intracranial, rng.uniform(0.7, 2))
    hu = head.hu - inside * (rng.uniform(4, 12) if rng.random() < 0.5 else rng.uniform(12, 26))
    if rng.random() < 0.5:
        hu = hu + np.exp(-(((rho - 1.12) / 0.12) ** 2)) * head.intracranial * rng.uniform(1, 7)
    return hu.astype(np.float32)


def wide_sulci(head: Head, rng: Random) -> Array:
    """An aged cortex: dark curved furrows from the table inward, a dark rim under it, bright cortex between them."""
    x, y = head.grid_mm
    angle = np.arctan2(y, x)
    furrows = int(rng.integers(26, 60))
    wander = cloud(rng, head.hu.shape, 12, 0.7) * rng.uniform(0.3, 1.1) + cloud(rng, head.hu.shape, 5, 0.5) * 0.25
    wave = np.cos(angle * furrows / 2 + 2.4 * wander + head.depth_mm * rng.uniform(-0.06, 0.06))
    line = np.exp(-((1 - wave) / rng.uniform(0.05, 0.3)))
    reach = rng.uniform(7, 24) * (1 + 0.4 * cloud(rng, head.hu.shape, 14))
    fade = 1 / (1 + np.exp((head.depth_mm - reach) / 1.5))
    amount = np.clip(0.6 + 0.7 * cloud(rng, head.hu.shape, 20), 0, 1)
    dark = line * fade * amount
    dark = np.maximum(dark, np.exp(-((head.depth_mm / rng.uniform(0.6, 3.5)) ** 2)) * amount * rng.uniform(0, 1))
    csf = softened(dark * head.intracranial, 0.5)
    cortex = np.exp(-(((1 - wave) - 0.5) ** 2) / 0.1) * fade * (1 - csf)
    bright = head.hu + softened(cortex * head.intracranial, 0.6) * rng.uniform(0, 8)
    target = head.tissue_hu - rng.uniform(14, 24)
    return (bright - np.clip(csf, 0, 1) * np.maximum(bright - target, 0) * (bright < 60)).astype(np.float32)


def neighbour_partial_volume(head: Head, rng: Random) -> Array:
    hu, z = head.hu.copy(), int(rng.choice(head.slices))
    part = rng.uniform(0.2, 0.5)
    hu[z] = hu[z] * (1 - part) + hu[min(len(hu) - 1, z + 1)] * part
    return hu


def motion(head: Head, rng: Random) -> Array:
    hu, z = head.hu.copy(), int(rng.choice(head.slices))
    turned = ndimage.rotate(hu[z], rng.uniform(-5, 5), reshape=False, order=1, mode="nearest")
    hu[z] = 0.6 * hu[z] + 0.4 * ndimage.shift(turned, rng.uniform(-3, 3, 2), order=1, mode="nearest")
    return hu


MIMICS: dict[str, tuple[float, Callable[[Head, Random], Array]]] = {
    "wide sulci": (0.4, wide_sulci),
    "infarct": (0.3, infarct),
    "choroid calcium": (0.45, choroid_calcium),
    "pineal calcium": (0.4, pineal_calcium),
    "basal ganglia calcium": (0.2, basal_ganglia_calcium),
    "dense falx": (0.4, dense_falx),
    "dense sinus": (0.45, dense_sinus),
    "tentorium": (0.35, tentorium),
    "cupping": (0.5, cupping),
    "vertex partial volume": (0.3, vertex_partial_volume),
    "hardening band": (0.3, hardening_band),
    "streaks": (0.2, streaks),
    "neighbour partial volume": (0.2, neighbour_partial_volume),
    "motion": (0.1, motion),
}
"""Name: (chance of being drawn, how). Order is the order of drawing: anatomy first, then the scanner."""


def dress(head: Head, rng: Random) -> tuple[Head, tuple[str, ...]]:
    """A head with the mimics that the coin chose. Bone stays as it was. Returns the head and the names drawn."""
    if len(head.slices) < 6:
        return head, ()
    chosen = []
    for name, (chance, change) in MIMICS.items():
        if rng.random() < chance:
            head = head.with_hu(change(head, rng))
            chosen.append(name)
    return head, tuple(chosen)
