"""Bleeds that are drawn into a phantom while it is built, so that they fill real cisterns and push real ventricles aside.

Kinds, and what each looks like on the day of the bleed:
iph   one clot in the brain, 60-70 HU, with a thin dark rim; displaces what lies around it
sdh   a crescent along one convexity that presses the brain inward
sah   blood in the cisterns of the base and the fissures that open from them
ivh   blood that has sunk to the back of both lateral ventricles, with a level
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from triage_node.simulation.shapes import Array, Bumps, Point, Points, coverage

BRAIN_CENTRE: Point = (0.0, 17.0, 6.0)
KINDS = ("iph", "sdh", "sah", "ivh")


@dataclass(frozen=True, slots=True)
class Bleed:
    """One bleed. `size`: mL for iph, greatest thickness in mm for sdh, HU at the densest place for sah and ivh.

    `centre` is where an iph lies, in head coordinates; for an sdh only the sign of its x (the side) counts.
    """

    kind: str
    size: float
    centre: Point = (0.0, 0.0, 0.0)
    hu: float = 64.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.size <= 0:
            raise ValueError(f"size must be positive, got {self.size}")


def crescent_mm(bleed: Bleed, at: Points, roughness: Bumps) -> Array:
    """Thickness of a subdural at the place of the inner table that lies in the direction of each point. Unit: mm."""
    x, y, z = at.x - BRAIN_CENTRE[0], at.y - BRAIN_CENTRE[1], at.z - BRAIN_CENTRE[2]
    side = np.sign(bleed.centre[0]) or 1.0
    around = np.arctan2(y, x * side)  # 0 at the side of the bleed, growing to the back
    height = (z - 14) / 46
    across = np.abs(around - 0.05) / 1.05
    shape = np.clip(1 - across**2, 0, 1) ** 0.55 * np.clip(1 - height**2, 0, 1) ** 0.6
    return (bleed.size * shape * (1 + 0.12 * roughness.at(at.x, at.y, at.z))).astype(np.float32)


def pushed(bleed: Bleed, at: Points, cavity: Array, scale: float, roughness: Bumps) -> tuple[Points, Array]:
    """Where the tissue at each point came from before the bleed, and its distance to the inner table then.

    The brain does not compress: a clot of radius r moves a shell at rho to (rho^3 + r^3)^(1/3), a crescent of thickness t
    squeezes the first D mm under the table into D - t. Both fade out at the skull, which does not move.
    """
    if bleed.kind == "iph":
        r = (3 * bleed.size * 1000 / (4 * np.pi)) ** (1 / 3) / scale
        offsets = [c - o for c, o in zip(at.xyz, bleed.centre, strict=True)]
        rho = np.sqrt(sum(o * o for o in offsets)) + np.float32(1e-3)
        before = np.cbrt(np.maximum(rho**3 - 0.8 * r**3, (0.25 * rho) ** 3))
        fade = np.clip(-cavity / 14, 0, 1)
        factor = 1 - fade * (1 - before / rho)
        moved = [(o + c * factor).astype(np.float32) for o, c in zip(bleed.centre, offsets, strict=True)]
        return Points(*moved), cavity
    if bleed.kind == "sdh":
        t = crescent_mm(bleed, at, roughness)
        reach = max(42.0, 2.5 * bleed.size)
        depth = -cavity
        earlier = np.where(depth < reach, (depth - t) * reach / np.maximum(reach - t, 1), depth)
        offsets = [(c - o) / a for c, o, a in zip(at.xyz, BRAIN_CENTRE, (69, 88, 71), strict=True)]
        length = np.sqrt(sum(o * o for o in offsets)) + np.float32(1e-3)
        moved = [(c + (depth - earlier) * o / length).astype(np.float32) for c, o in zip(at.xyz, offsets, strict=True)]
        return Points(*moved), (-earlier).astype(np.float32)
    return at, cavity


def share(bleed: Bleed, at: Points, cavity: Array, csf: Array, ventricles: Array, scale: float, bumps: Bumps) -> Array:
    """How much of each voxel is blood, 0 to 1. Shape: as `cavity`. `csf` and `ventricles` are shares as well."""
    x, y, z = at.xyz
    texture = bumps.at(x, y, z)
    if bleed.kind == "iph":
        r = (3 * bleed.size * 1000 / (4 * np.pi)) ** (1 / 3) / scale
        cx, cy, cz = bleed.centre
        rho = np.sqrt(((x - cx) * 1.12) ** 2 + ((y - cy) * 0.9) ** 2 + ((z - cz) * 1.0) ** 2)
        return coverage(rho - r * (1 + 0.13 * texture), 1.8) * coverage(cavity + 3, 2)
    if bleed.kind == "sdh":
        return coverage(-cavity - crescent_mm(bleed, at, bumps), 1.2) * coverage(cavity + 0.4, 1)
    if bleed.kind == "sah":
        fissures = np.exp(-(((np.abs(x) - 36) / 15) ** 2) - (((y + 6) / 26) ** 2) - (((z + 4) / 20) ** 2))
        base = np.exp(-((x / 34) ** 2) - (((y - 10) / 30) ** 2) - (((z + 20) / 17) ** 2))
        front = np.exp(-((x / 10) ** 2) - (((y + 38) / 30) ** 2) - (((z + 2) / 24) ** 2))
        amount = np.clip(1.25 * base + 1.1 * fissures + 0.9 * front + 0.22 * texture - 0.12, 0, 1)
        return (csf * amount * coverage(cavity + 0.8, 1)).astype(np.float32)
    level = 45 + 2.5 * np.sign(x)
    lateral = coverage(level - y, 4) * coverage(-12 - z, 4)
    fourth = 0.75 * coverage(z + 16, 6) * coverage(np.abs(x) - 12, 4)
    return (ventricles * np.maximum(lateral, fourth)).astype(np.float32)


def rim(bleed: Bleed, at: Points, scale: float, bumps: Bumps) -> Array:
    """Oedema around a clot, 0 to 1, nothing for the other kinds."""
    if bleed.kind != "iph":
        return np.zeros_like(at.x)
    r = (3 * bleed.size * 1000 / (4 * np.pi)) ** (1 / 3) / scale
    cx, cy, cz = bleed.centre
    rho = np.sqrt(((at.x - cx) * 1.12) ** 2 + ((at.y - cy) * 0.9) ** 2 + (at.z - cz) ** 2)
    return coverage(rho - r * (1 + 0.13 * bumps.at(*at.xyz)) - (2.0 + 0.09 * r), 3)
