"""Blood between brain and skull: subdural crescents and ribbons, epidural lenses."""

from __future__ import annotations

import numpy as np

from triage_node.simulation import surgery
from triage_node.simulation.heads import (
    Array,
    Drawn,
    Head,
    Random,
    cloud,
    filled,
    in_pixels,
    moved,
    shifted_midline,
    softened,
)
from triage_node.simulation.intra_axial import ANY, Wanted, finished

SDH_SUBTYPES: dict[str, float] = {
    "acute": 0.25,
    "thin": 0.19,
    "chronic": 0.12,
    "isodense": 0.09,
    "layered": 0.1,
    "mixed": 0.08,
    "post-operative": 0.07,
    "falx": 0.1,
}
EDH_SUBTYPES: dict[str, float] = {"thick": 0.62, "thin": 0.38}
"""Subtype: how often."""


def _thickness(rng: Random, wanted: Wanted, low: float, high: float) -> float:
    return wanted.thickness_mm or float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _drawn_from(rng: Random, wanted: Wanted, kind: str, subtypes: dict[str, float]) -> str:
    sub = wanted.subtype or str(rng.choice(list(subtypes), p=list(subtypes.values())))
    if sub not in subtypes:
        raise ValueError(f"subtype of {kind} must be one of {', '.join(subtypes)}, got {sub!r}")
    return sub


# ---- the shape under the table -----------------------------------------------------------------------------------------


def _folded(head: Head, side: float) -> Array:
    """Angle of the nearest table on one side of the midline: -pi/2 in front, 0 at the side, pi/2 at the back. Shape: as hu."""
    at = head.table_angle
    return np.arctan2(np.sin(at), np.cos(at) * side).astype(np.float32)


def _lens(
    head: Head,
    rng: Random,
    mm: float,
    off: Array,
    halves: tuple[float, float],
    z0: float,
    tall_mm: float,
    power: float,
) -> Array:
    """Thickness in mm by direction and height: `mm` where `off` is 0, none beyond `halves` and `tall_mm`.

    Shape: (3, slice, row, column): at three heights within each slice, whose blood is averaged.
    """
    part = np.where(off < 0, off / halves[0], off / halves[1])
    shape = np.clip(1 - part**2, 0, 1) ** power
    height = (np.arange(len(head.hu))[None] + np.array([-1 / 3, 0, 1 / 3])[:, None] - z0) * head.slice_mm
    along = np.clip(1 - (height / tall_mm) ** 2, 0, 1) ** 0.6
    rough = np.clip(1 + 0.1 * cloud(rng, head.hu.shape, 16) + 0.05 * cloud(rng, head.hu.shape, 5), 0.5, 1.5)
    t = mm * (shape * rough * head.vault)[None] * along[:, :, None, None]
    return np.minimum(t, 0.6 * head.depth_mm.max(axis=(1, 2))[:, None, None]).astype(np.float32)


def _under_table(head: Head, t: Array) -> Array:
    """Share of each pixel that lies within `t` mm of the table. Shape: t (3, slice, row, column) -> as hu."""
    edge = (t - head.depth_mm[None] + 0.5 * head.pixel_mm) / head.pixel_mm + 0.5
    share = np.where(t > 0.4, np.clip(edge, 0, 1), 0).mean(axis=0) * head.intracranial
    return softened(share, 0.35) * head.intracranial


def _pressed(head: Head, rng: Random, t: Array, z0: float, side: float, tall_mm: float) -> Array:
    """The brain moves inward by t at the table and by nothing deep below, so that no cortex is cut; the midline gives way."""
    t = t.mean(axis=0)
    thickest = float(t.max())
    if thickest < 1.2:
        return head.hu
    reach = float(np.clip(2.6 * thickest, 36, 66))
    depth = head.depth_mm
    smooth = softened(depth, 2)
    dy, dx = np.gradient(smooth, axis=(1, 2))
    length = np.hypot(dy, dx) + 1e-3
    # nothing is taken from within 2 mm of the table, where the bone shines through
    earlier = np.maximum((depth - t) * reach / np.maximum(reach - t, 1), np.minimum(depth, 2.2 * head.pixel_mm))
    move = np.where(depth < reach, earlier - depth, 0) / head.pixel_mm * np.minimum(length, 1)
    rows, columns = move * dy / length, move * dx / length
    if thickest > 6 and side:
        shift = float(np.clip((thickest - 5) * rng.uniform(0.1, 0.8), 0, 11))
        more = shifted_midline(head, z0, side, shift, 1.3 * tall_mm)
        rows, columns = rows + more[0], columns + more[1]
    return moved(head, rows.astype(np.float32), columns.astype(np.float32))


def _filled(head: Head, hu: Array, share: Array, inner: Array) -> Array:
    """Blood under the table; the bone that the outermost pixels share stays in them."""
    bone = np.clip(head.hu - head.tissue_hu - 5, 0, None) * (head.depth_mm < 2.4 * head.pixel_mm)
    return filled(hu, share, inner + bone, head.table_grain)


def _measured_mm(share: Array, t: Array) -> float:
    """Largest thickness that is really there, mm."""
    inside = share >= 0.5
    return round(float(t.mean(axis=0)[inside].max()), 2) if inside.any() else 0.0


# ---- subdural ----------------------------------------------------------------------------------------------------------


def subdural(head: Head, rng: Random, wanted: Wanted = ANY) -> Drawn | None:
    """A crescent under the inner table that presses the brain inward, or a ribbon along the falx."""
    sub = _drawn_from(rng, wanted, "sdh", SDH_SUBTYPES)
    if sub == "falx":
        return _along_falx(head, rng, wanted)
    low, high = {"acute": (4, 20), "thin": (2, 5), "mixed": (5, 22), "post-operative": (4, 18)}.get(sub, (5, 24))
    thickness = _thickness(rng, wanted, low, high)
    side = float(rng.choice([-1, 1]))
    z0 = float(rng.choice(head.between(0.3, 0.9)) + rng.uniform(-0.5, 0.5))
    tall = max(float(rng.uniform(9, 42)), 1.2 * thickness, 0.9 * head.slice_mm)
    old = sub in ("chronic", "isodense", "layered", "post-operative")
    power = float(rng.uniform(0.55, 0.85) if old else rng.uniform(0.45, 0.65))
    centre = float(rng.uniform(-0.75, 0.85))
    halves = (float(rng.uniform(0.35, 1.4)), float(rng.uniform(0.35, 1.4)))
    t = _crescent(head, rng, thickness, side, centre, halves, z0, tall, power)
    both = bool(rng.random() < (0.22 if old and sub != "post-operative" else 0.06))
    if both:
        other = thickness * rng.uniform(0.3, 1)
        t = np.maximum(t, _crescent(head, rng, other, -side, centre + rng.uniform(-0.3, 0.3), halves, z0, tall, power))
    share = _under_table(head, t)
    if _measured_mm(share, t) < 0.6 * thickness:
        return None
    inner = _subdural_blood(head, rng, sub, share, t)
    hu = _pressed(head, rng, t, z0, 0.0 if both else side, tall)
    hu = _filled(head, hu, share, inner)
    facts: dict[str, float | str] = {
        "subtype": sub,
        "place": "both" if both else "left" if side > 0 else "right",
        "thickness_mm": _measured_mm(share, t),
    }
    if sub == "post-operative":
        turn = float(centre if side > 0 else np.pi - centre)
        air = (
            surgery.air_share(head, rng, share, rng.uniform(0.03, 0.35))
            if rng.random() < 0.85
            else np.zeros_like(share)
        )
        hu = hu * (1 - air) + air * surgery.AIR_HU
        opened = head.with_hu(hu)
        if rng.random() < 0.6:
            for at in (turn, turn + rng.uniform(-0.7, 0.7))[: int(rng.integers(1, 3))]:
                opened = opened.with_hu(surgery.burr_hole(opened, rng, at, z0 + rng.uniform(-1, 1)))
        else:
            opened = opened.with_hu(surgery.craniotomy(opened, rng, turn, z0))
        hu, share = opened.hu, share * (1 - air)
    return finished(head, hu.astype(np.float32), share, "sdh", facts)


def _crescent(
    head: Head,
    rng: Random,
    mm: float,
    side: float,
    centre: float,
    halves: tuple[float, float],
    z0: float,
    tall: float,
    power: float,
) -> Array:
    """A lens that ends at the falx, as the dura's fold holds it."""
    x, _ = head.grid_mm
    t = _lens(head, rng, mm, _folded(head, side) - centre, halves, z0, tall, power)
    return (t * np.clip((x * side - 1) / 4, 0, 1)).astype(np.float32)


def _subdural_blood(head: Head, rng: Random, sub: str, share: Array, t: Array) -> Array:
    """The density of each pixel: by age of the blood, with levels, membranes, fresh spots."""
    x, y = head.grid_mm
    texture = cloud(rng, head.hu.shape, 8)
    tissue = head.tissue_hu
    if sub == "isodense":  # as dense as the grey matter beside it: only the pushed cortex shows it
        density = float(tissue + rng.uniform(-2, 7))
    else:
        ranges = {"chronic": (8, 24), "mixed": (40, 58), "post-operative": (8, 32), "layered": (30, 42)}
        low, high = ranges.get(sub, (52, 74))
        density = float(rng.uniform(low, high)) + head.offset_hu
    inner = density + texture * (rng.uniform(0.5, 4) if sub in ("acute", "thin") else rng.uniform(0.3, 1.8))
    if sub == "acute" and rng.random() < 0.2:  # swirl: blood that has not clotted
        inner = inner - np.clip(cloud(rng, head.hu.shape, 6) - 0.3, 0, 1) * rng.uniform(10, 25)
    if sub == "layered":
        upper, lower = rng.uniform(10, 30) + head.offset_hu, rng.uniform(45, 66) + head.offset_hu
        inside = share > 0.5
        rows = np.broadcast_to(y, share.shape)[inside]
        level = np.quantile(rows, rng.uniform(0.3, 0.75)) if rows.size else 0.0
        level = level + rng.uniform(-0.2, 0.2) * x + 1.5 * texture
        inner = upper + (lower - upper) / (1 + np.exp(-(y - level) / rng.uniform(1.0, 7)))
    elif sub == "mixed":
        old = rng.uniform(12, 34) + head.offset_hu
        inner = old + (density + 8 - old) / (1 + np.exp(-(texture - rng.uniform(-0.5, 0.5)) / 0.4))
    elif sub == "post-operative":
        fresh = np.clip((cloud(rng, head.hu.shape, 5) - rng.uniform(0.7, 1.6)) / 0.4, 0, 1)
        inner = inner + fresh * (rng.uniform(50, 66) - density)
    if sub in ("chronic", "isodense", "mixed") and rng.random() < 0.45:  # the membrane at the brain, and septa
        skin = np.exp(-(((head.depth_mm - t.mean(axis=0) + 0.8) / 0.9) ** 2))
        inner = inner + skin * rng.uniform(4, 16)
        if rng.random() < 0.4:
            inner = inner + np.exp(-((cloud(rng, head.hu.shape, 9) / 0.12) ** 2)) * rng.uniform(4, 14)
    return np.asarray(inner, np.float32)


def _along_falx(head: Head, rng: Random, wanted: Wanted) -> Drawn | None:
    """A ribbon on one side of the falx, in front, behind, or all along it."""
    x, y = head.grid_mm
    _, length = head.half_mm
    thickness = _thickness(rng, wanted, 2.2, 8)
    side = float(rng.choice([-1, 1]))
    z0 = float(rng.choice(head.between(0.4, 0.92)) + rng.uniform(-0.5, 0.5))
    tall = max(float(rng.uniform(8, 34)), 0.9 * head.slice_mm)
    place = str(rng.choice(["front", "back", "whole"], p=[0.4, 0.4, 0.2]))
    low, high = {"front": (-1.0, -rng.uniform(0.34, 0.6)), "back": (rng.uniform(0.28, 0.5), 1.0), "whole": (-1.0, 1.0)}[
        place
    ]
    ends = np.clip((y / length - low) / 0.12, 0, 1) * np.clip((high - y / length) / 0.12, 0, 1)
    height = ((np.arange(len(head.hu)) - z0) * head.slice_mm)[:, None, None]
    along = np.clip(1 - (height / tall) ** 2, 0, 1) ** 0.5
    t = thickness * ends * along * np.clip(1 + 0.3 * cloud(rng, head.hu.shape, 12), 0.4, 1.5)
    if place == "whole":  # around the corpus callosum there is no falx
        t = t * np.clip((head.level[:, None, None] - 0.7) / 0.05, 0, 1)
    bend = rng.uniform(-1, 1) + 0.6 * cloud(rng, head.hu.shape, 9)
    from_falx = (x[None] - bend) * side
    share = np.clip((t - from_falx) / head.pixel_mm + 0.5, 0, 1) * np.clip(
        (from_falx + 1.0) / head.pixel_mm + 0.5, 0, 1
    )
    share = np.where(t > 0.5, share, 0) * head.intracranial * np.clip((head.depth_mm - 0.4) / 1.2, 0, 1)
    share = softened(share, 0.4) * head.intracranial
    density = float(rng.uniform(50, 72)) + head.offset_hu
    push = np.clip(1 - np.abs(from_falx) / 26, 0, 1) * np.where(from_falx > 0, 1.0, 0.0) * t * 0.8
    right = (-side * push * np.clip(head.depth_mm / 10, 0, 1)).astype(np.float32)
    hu = moved(head, *in_pixels(head, right, np.zeros_like(right)))
    hu = filled(hu, share, density + cloud(rng, head.hu.shape, 8) * rng.uniform(0.5, 3), head.table_grain)
    inside = share >= 0.5
    thick = round(float(t[inside].max()), 2) if inside.any() else 0.0
    facts: dict[str, float | str] = {"subtype": "falx", "place": place, "thickness_mm": thick}
    return finished(head, hu, share, "sdh", facts)


# ---- epidural ----------------------------------------------------------------------------------------------------------


def epidural(head: Head, rng: Random, wanted: Wanted = ANY) -> Drawn | None:
    """A lens between table and dura: short, biconvex, held by the sutures of its bone."""
    sub = _drawn_from(rng, wanted, "edh", EDH_SUBTYPES)
    thickness = _thickness(rng, wanted, *((2, 5) if sub == "thin" else (5, 30)))
    width, length = head.half_mm
    side = float(rng.choice([-1, 1]))
    z0 = float(rng.choice(head.between(0.12, 0.86)) + rng.uniform(-0.5, 0.5))
    coronal, lambdoid = float(np.arctan2(-0.34 * length, 0.85 * width)), float(np.arctan2(0.62 * length, 0.68 * width))
    bone = str(rng.choice(["temporoparietal", "frontal", "occipital"], p=[0.68, 0.2, 0.12]))
    first, last = {"temporoparietal": (coronal, lambdoid), "frontal": (-1.5, coronal), "occipital": (lambdoid, 1.5)}[
        bone
    ]
    radius = float(np.mean(head.half_mm))
    # biconvex: its chord is 2.4 to 5 times its thickness and ends at the sutures
    half = float(np.clip(thickness * rng.uniform(1.2, 2.5), 10, 52))
    if wanted.thickness_mm is None:
        half = min(half, 0.48 * (last - first) * radius)
        thickness = min(thickness, half / 1.15)
    half /= radius
    inner_first, inner_last = first + 0.7 * half, last - 0.7 * half
    centre = float(rng.uniform(inner_first, inner_last)) if inner_first < inner_last else (first + last) / 2
    halves = (half * float(rng.uniform(0.8, 1.2)), half * float(rng.uniform(0.8, 1.2)))
    tall = max(float(rng.uniform(0.6, 1.1)) * half * radius, 0.8 * head.slice_mm)
    phi = _folded(head, side)
    held = np.clip((phi - first) * radius / 9 + 0.6, 0, 1) * np.clip((last - phi) * radius / 9 + 0.6, 0, 1)
    t = _lens(head, rng, thickness, phi - centre, halves, z0, tall, float(rng.uniform(0.8, 1.15))) * held
    share = _under_table(head, t)
    if _measured_mm(share, t) < 0.6 * thickness:
        return None
    density = float(rng.uniform(54, 74)) + head.offset_hu
    inner = density + cloud(rng, head.hu.shape, 8) * rng.uniform(0.5, 4)
    swirl = bool(rng.random() < 0.25 and thickness > 7)
    if swirl:
        inner = inner - np.clip(cloud(rng, head.hu.shape, 7) - 0.2, 0, 1) * rng.uniform(10, 26)
    hu = _pressed(head, rng, t, z0, side, tall)
    hu = _filled(head, hu, share, inner)
    if rng.random() < 0.5:
        hu = surgery.fracture(head.with_hu(hu), rng, centre if side > 0 else np.pi - centre, z0)
    facts: dict[str, float | str] = {
        "subtype": sub,
        "place": bone,
        "thickness_mm": _measured_mm(share, t),
        "swirl": float(swirl),
    }
    return finished(head, hu, share, "edh", facts)
