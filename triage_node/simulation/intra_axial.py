"""Blood in the brain and in its fluid: parenchymal clots, ventricles, cisterns and sulci."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from triage_node.simulation.heads import (
    Array,
    Drawn,
    Head,
    Random,
    cloud,
    csf_share,
    filled,
    in_pixels,
    moved,
    shifted_midline,
    softened,
    sulci_mm,
    ventricles,
)

LEAST_VOXELS = 7


@dataclass(frozen=True)
class Wanted:
    """What a bleed is to be; None leaves it to the draw. `volume_ml` is for iph, `thickness_mm` for sdh and edh."""

    subtype: str | None = None
    volume_ml: float | None = None
    thickness_mm: float | None = None


ANY = Wanted()


def finished(
    head: Head, hu: Array, share: Array, kind: str, facts: dict[str, float | str], level: float = 0.5
) -> Drawn | None:
    """The bleed with its mask (pixels of which `level` is blood), its measured volume and density; None when hardly any is left."""
    mask = (share >= level) & head.intracranial
    if int(mask.sum()) < LEAST_VOXELS:
        return None
    pure = mask & (share > 0.9)
    density = float(np.median(hu[pure if pure.any() else mask]))
    measured = {"volume_ml": round(float(mask.sum()) * head.voxel_ml, 3), "hu": round(density, 1)}
    return Drawn(hu, mask, kind, {**facts, **measured})


# ---- parenchymal -------------------------------------------------------------------------------------------------------

IPH_GROUPS = {
    "deep": ("putamen", "thalamus", "caudate"),
    "lobar": ("lobar",),
    "infratentorial": ("cerebellum", "pons"),
    "contusion": ("frontal pole", "temporal pole"),
}
AGES: dict[str, tuple[float, float, float]] = {
    "hyperacute": (48, 62, 0.22),
    "acute": (58, 76, 0.56),
    "subacute": (44, 60, 0.22),
}
"""Age of the blood: lowest and highest HU on a calibrated scanner, and how often."""


def iph_volume(rng: Random) -> float:
    """mL. One in five under 1 mL, one in four up to 5 mL, the rest up to 70 mL."""
    low, high = [(0.15, 1.0), (1.0, 5.0), (5.0, 70.0)][int(rng.choice(3, p=[0.2, 0.27, 0.53]))]
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _iph_centre(head: Head, rng: Random, place: str, radius: float) -> tuple[float, float, float] | None:
    """Slice (with a fraction), right and back, in mm. None when the head has no such place."""
    width, length = head.half_mm
    side = float(rng.choice([-1, 1]))
    low, high = {
        "putamen": (0.4, 0.6),
        "thalamus": (0.43, 0.58),
        "caudate": (0.45, 0.64),
        "lobar": (0.3, 0.95),
        "cerebellum": (0.02, 0.26),
        "pons": (0.1, 0.28),
        "frontal pole": (0.38, 0.6),
        "temporal pole": (0.26, 0.42),
    }[place]
    z0 = float(np.clip(rng.choice(head.between(low, high)) + rng.uniform(-0.5, 0.5), head.slices[0], head.slices[-1]))
    if place in ("lobar", *IPH_GROUPS["contusion"]):
        depth = head.depth_mm[int(round(z0))]
        x, y = head.grid_mm
        wanted = rng.uniform(3, 20) + 0.7 * radius
        allowed = np.abs(x) > 8
        if place != "lobar":  # where the brain strikes the base: near the table
            wanted = rng.uniform(1, 5) + 0.8 * radius
            front = -y / length
            allowed &= (
                (front > 0.5) if place == "frontal pole" else (front > 0.0) & (front < 0.5) & (np.abs(x) > 0.45 * width)
            )
        rows, columns = np.nonzero((np.abs(depth - wanted) < 2.5) & allowed & (depth > 1))
        if len(rows) < 4:
            return None
        pick = int(rng.integers(len(rows)))
        return float(z0), float(x[rows[pick], columns[pick]]), float(y[rows[pick], columns[pick]])
    right, back, spread = {
        "putamen": (0.42, -0.06, 4.5),
        "thalamus": (0.2, 0.12, 3.5),
        "caudate": (0.2, -0.24, 3.0),
        "cerebellum": (rng.uniform(0.05, 0.5), rng.uniform(0.42, 0.68), 3.0),
        "pons": (0.02, 0.14, 3.0),
    }[place]
    return (
        float(z0),
        float(side * right * width + rng.normal(0, spread)),
        float(back * length + rng.normal(0, spread)),
    )


def parenchymal(head: Head, rng: Random, wanted: Wanted = ANY) -> Drawn | None:
    """A clot in the brain with oedema, 0.15 to 70 mL; pushes the tissue and, when large, the midline away."""
    group = wanted.subtype or str(rng.choice(list(IPH_GROUPS), p=[0.33, 0.34, 0.19, 0.14]))
    if group not in IPH_GROUPS:
        raise ValueError(f"subtype of iph must be one of {', '.join(IPH_GROUPS)}, got {group!r}")
    place = str(rng.choice(IPH_GROUPS[group]))
    ml = wanted.volume_ml or iph_volume(rng)
    if place in ("pons", "caudate"):
        ml = min(ml, 12.0)
    if group in ("infratentorial", "contusion"):
        ml = min(ml, 30.0)
    radius = (3000 * ml / (4 * np.pi)) ** (1 / 3)
    found = _iph_centre(head, rng, place, radius)
    if found is None:
        return None
    z0, right, back = found
    x, y = head.grid_mm
    dx, dy = x - right, y - back
    if not head.intracranial[int(round(z0))][np.hypot(dx, dy) < 4].any():
        return None
    age = str(rng.choice(list(AGES), p=[a[2] for a in AGES.values()]))
    axes = np.exp(rng.normal(0, 0.2, 3))
    if place == "putamen":  # along the capsule: longer than wide
        axes[2] *= 1.35
    axes *= radius / axes.prod() ** (1 / 3)
    turn = rng.normal(0.2 * np.sign(right), 0.25) if group == "deep" else rng.uniform(0, np.pi)
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    bumpy = rng.uniform(0.1, 0.26) * cloud(rng, head.hu.shape, max(3, radius / head.pixel_mm / 3.2))
    bumpy = bumpy + rng.uniform(0.02, 0.1) * cloud(rng, head.hu.shape, 3)
    lobes = [(0.0, 0.0, 0.0, 1.0)]
    if radius > 9 and rng.random() < 0.5:
        lobes += [(*rng.uniform(-0.75, 0.75, 2), 0.0, rng.uniform(0.45, 0.75)) for _ in range(rng.integers(1, 3))]
    if group == "contusion":  # several small clots beside each other
        lobes = [(*rng.uniform(-1.1, 1.1, 3), rng.uniform(0.3, 0.62)) for _ in range(rng.integers(2, 8))]
    soft = {"hyperacute": 1.2, "acute": 0.9, "subacute": 1.9}[age] * rng.uniform(0.8, 1.3)
    parts = []
    for part in (-1 / 3, 0.0, 1 / 3):  # a slice is as thick as it is: the blood of its whole height is averaged
        height = ((np.arange(len(head.hu)) + part - z0) * head.slice_mm).astype(np.float32)[:, None, None]
        here = np.full(head.hu.shape, 9.0, np.float32)
        for a, b, c, size in lobes:
            one = np.sqrt((height / axes[0] - c) ** 2 + (along / axes[1] - a) ** 2 + (across / axes[2] - b) ** 2) / size
            here = -0.16 * np.logaddexp(-here / 0.16, -one / 0.16)  # lobes grow together
        parts.append(here + bumpy)
    # lobes and bumps change the volume: back to the one that was drawn
    now = sum(int((here < 1).sum()) for here in parts) / 3 * head.voxel_ml
    parts = [here * float(np.clip((max(now, 1e-3) / ml) ** (1 / 3), 0.6, 1.5)) for here in parts]
    share = sum(np.clip((1 - here) * radius / (soft * 1.6) + 0.5, 0, 1) for here in parts) / np.float32(3)
    rho = np.minimum.reduce(parts)
    share *= head.intracranial * np.clip((head.depth_mm - 0.6) / 1.5, 0, 1)
    low, high, _ = AGES[age]
    density = float(rng.uniform(low, high)) + head.offset_hu
    inner = density + cloud(rng, head.hu.shape, 6) * rng.uniform(0.5, 4)
    if group == "contusion":
        inner = inner - 4 + cloud(rng, head.hu.shape, 3) * rng.uniform(2, 8)
    swirl = rng.random() < (0.35 if age == "hyperacute" else 0.12) and ml > 4
    if swirl:  # blood that has not clotted yet
        inner = inner - np.clip(
            cloud(rng, head.hu.shape, max(5, radius / head.pixel_mm / 2)) - 0.4, 0, 1
        ) * rng.uniform(10, 24)
    level = bool(rng.random() < 0.1)
    if level:
        inner = inner + 4 - rng.uniform(8, 26) / (1 + np.exp((dy + 0.1 * dx) / rng.uniform(0.8, 2.5)))
    hu = _pressed_by_clot(head, rng, z0, (right, back), radius, ml)
    width = {"hyperacute": rng.uniform(0.5, 3), "acute": rng.uniform(1, 7), "subacute": rng.uniform(4, 12)}[age]
    far = np.clip((rho - 1) * radius, 0, None)
    ring = np.exp(-((far / width) ** 2)) * (hu > head.tissue_hu - 12) * head.intracranial
    hu = hu - softened(ring * (share < 0.5), 1.0) * rng.uniform(3, 12)
    hu = filled(hu, share, inner, head.grain)
    facts: dict[str, float | str] = {
        "subtype": group,
        "place": place,
        "age": age,
        "swirl": float(swirl),
        "level": float(level),
    }
    return finished(head, hu, share, "iph", facts)


def _pressed_by_clot(
    head: Head, rng: Random, z0: float, centre: tuple[float, float], radius: float, ml: float
) -> Array:
    """The tissue gives way: each shell moves outward, fading out at the table; a large clot moves the midline too."""
    if ml < 1.5:
        return head.hu
    x, y = head.grid_mm
    dx, dy = x - centre[0], y - centre[1]
    strength = rng.uniform(0.35, 0.75)
    height = ((np.arange(len(head.hu)) - z0) * head.slice_mm).astype(np.float32)[:, None, None]
    rho = np.sqrt(height**2 + dx**2 + dy**2) + 1e-3
    before = np.cbrt(np.maximum(rho**3 - strength * radius**3, (0.3 * rho) ** 3))
    move = (before / rho - 1) * np.clip(head.depth_mm / 15, 0, 1)
    rows, columns = in_pixels(head, dx * move, dy * move)
    if ml > 12:
        shift = float(np.clip((ml - 10) * rng.uniform(0.02, 0.14), 0, 9))
        more = shifted_midline(head, z0, np.sign(centre[0]) or 1.0, shift, 2.2 * radius)
        rows, columns = rows + more[0], columns + more[1]
    return moved(head, rows, columns)


# ---- ventricles --------------------------------------------------------------------------------------------------------

IVH_SUBTYPES = ("level", "cast", "patches", "trace")


def intraventricular(head: Head, rng: Random, wanted: Wanted = ANY) -> Drawn | None:
    """Blood in the ventricles: sunk to the back with a tilted, blurred level, filling them, in patches, or a trace of it."""
    sub = wanted.subtype or str(rng.choice(IVH_SUBTYPES, p=[0.4, 0.2, 0.2, 0.2]))
    if sub not in IVH_SUBTYPES:
        raise ValueError(f"subtype of ivh must be one of {', '.join(IVH_SUBTYPES)}, got {sub!r}")
    x, y = head.grid_mm
    fluid = ventricles(head)
    if fluid.sum() * head.voxel_ml < 0.8:
        return None
    share = np.zeros_like(fluid)
    sides = [-1.0, 1.0]
    if rng.random() < 0.35:
        sides = [float(rng.choice(sides))]
    for side in sides:
        half = fluid / (1 + np.exp(-(side * x + 4.5) / 1.2))  # third and fourth ventricle belong to both
        where = half > 0.5
        if where.sum() < 12:
            continue
        back = np.broadcast_to(y, half.shape)[where]
        if sub in ("level", "trace"):
            kept = rng.uniform(0.5, 0.93) if sub == "level" else rng.uniform(0.9, 0.985)
            top = np.quantile(back, kept) + rng.uniform(-0.2, 0.2) * (x - side * 20) + 1.2 * cloud(rng, half.shape, 8)
            part = half / (1 + np.exp(-(y - top) / rng.uniform(0.8, 2.8)))
        elif sub == "cast":
            part = half * np.clip(0.85 + 0.35 * cloud(rng, half.shape, 12) - rng.uniform(0, 0.3), 0, 1)
        else:
            part = half / (1 + np.exp(-(cloud(rng, half.shape, 9) - rng.uniform(-0.3, 0.9)) / 0.2))
        share = np.maximum(share, part)
    density = float(rng.uniform(44, 74)) * (0.85 if sub == "trace" else 1) + head.offset_hu
    inner = density + cloud(rng, head.hu.shape, 5) * rng.uniform(0.5, 4)
    if sub == "cast" and rng.random() < 0.6:  # a cast widens its ventricle
        wide = np.clip(softened(share, rng.uniform(0.8, 1.8)) * 2.2, 0, 1) * head.intracranial
        share = np.maximum(share, wide)
    hu = filled(head.hu, share, inner, head.grain)
    return finished(head, hu, share, "ivh", {"subtype": sub, "place": "one side" if len(sides) == 1 else "both"})


# ---- subarachnoid ------------------------------------------------------------------------------------------------------

SAH_SUBTYPES = ("basal", "convexity", "focal")


def _cisterns_mm(head: Head, rng: Random) -> Array:
    """Distance to the paths of the basal cisterns less their half width, mm. Shape: (row, column).

    Star over the sella, arms into the Sylvian fissures, the interhemispheric fissure in front, arcs around the midbrain;
    positions as shares of the brain's half width and length, bent by smooth noise.
    """
    width, length = head.half_mm
    wobble = cloud(rng, (2, *head.hu.shape[1:]), 9, 0.01) * rng.uniform(1.2, 2.8)
    x, y = head.grid_mm[0] + wobble[0], head.grid_mm[1] + wobble[1]
    best = np.full(x.shape, 99.0, np.float32)

    def rod(a: tuple[float, float], b: tuple[float, float], thick: float) -> None:
        nonlocal best
        ax, ay, bx, by = a[0] * width, a[1] * length, b[0] * width, b[1] * length
        t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        best = np.minimum(best, np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)) - thick * (1 - 0.5 * t))

    chosen = rng.random(6) < np.array([0.85, 0.7, 0.7, 0.5, 0.6, 0.6])
    if not chosen.any():
        chosen[0] = True
    if chosen[0]:  # suprasellar
        for end in ((0.15, -0.2), (-0.15, -0.2), (0.13, -0.05), (-0.13, -0.05), (0.0, -0.28)):
            rod((0.0, -0.13), end, rng.uniform(0.8, 3))
    for side, on in ((1, chosen[1]), (-1, chosen[2])):
        if on:  # Sylvian: stem, then the cleft over the insula
            rod((side * 0.15, -0.2), (side * 0.46, -0.3), rng.uniform(0.3, 1.4))
            if rng.random() < 0.6:
                rod((side * 0.46, -0.3), (side * 0.55, -0.12), rng.uniform(0.2, 1.1))
    if chosen[3]:
        rod((0.0, -0.28), (0.0, -rng.uniform(0.45, 0.85)), rng.uniform(0.2, 1.2))
    for side, on in ((1, chosen[4]), (-1, chosen[5])):
        if on:  # ambient: around the midbrain to the quadrigeminal plate
            rod((side * 0.13, -0.04), (side * 0.24, 0.08), rng.uniform(0.3, 1.3))
            rod((side * 0.24, 0.08), (side * 0.12, 0.26), rng.uniform(0.3, 1.3))
    return best


def subarachnoid(head: Head, rng: Random, wanted: Wanted = ANY) -> Drawn | None:
    """Blood where the CSF is: in the cisterns of the base, in the sulci of a convexity, or in a few sulci."""
    sub = wanted.subtype or str(rng.choice(SAH_SUBTYPES, p=[0.4, 0.25, 0.35]))
    if sub not in SAH_SUBTYPES:
        raise ValueError(f"subtype of sah must be one of {', '.join(SAH_SUBTYPES)}, got {sub!r}")
    csf = csf_share(head)
    share = _basal(head, rng, csf) if sub == "basal" else _sulcal(head, rng, csf, sub == "focal")
    uneven = np.clip(0.8 + 0.4 * cloud(rng, csf.shape, 9), 0, 1)
    share = softened(np.clip(share * uneven, 0, 1) * head.intracranial, 0.55) * head.intracranial
    share = np.clip((share - 0.12) / 0.7, 0, 1)  # no haze that nobody would mark
    density = float(rng.uniform(50, 74)) + head.offset_hu
    hu = filled(head.hu, share, density, head.table_grain)
    made = finished(head, hu, share, "sah", {"subtype": sub, "place": sub}, level=0.38)
    least_ml = {"basal": 0.8, "convexity": 0.4, "focal": 0.08}[sub]
    return made if made is not None and float(made.facts["volume_ml"]) >= least_ml else None


def _basal(head: Head, rng: Random, csf: Array) -> Array:
    """The cisterns at the height where they are widest; in a tight head thin paths where they would be."""
    x, y = head.grid_mm
    width, length = head.half_mm
    sella = (np.abs(x) < 0.25 * width) & (y > -0.32 * length) & (y < 0.02 * length)
    searched = head.between(0.27, 0.39)
    z0 = float(
        searched[int((csf[searched] * sella * (head.depth_mm[searched] > 14)).sum(axis=(1, 2)).argmax())]
    ) + rng.uniform(-0.8, 0.8)
    tall = rng.uniform(4, 14)
    height = ((np.arange(len(head.hu)) - z0) * head.slice_mm).astype(np.float32)[:, None, None]
    along = np.exp(-((height / tall) ** 2)) * np.clip((0.45 - head.level) / 0.05, 0, 1)[:, None, None]
    near = np.exp(-((np.hypot(x / 1.2, y + 0.08 * length) / (rng.uniform(0.35, 0.85) * width)) ** 4))
    if rng.random() < 0.3:  # more on one side, as from an artery of that side
        near = near / (1 + np.exp(-float(rng.choice([-1, 1])) * (x + rng.uniform(0, 12)) / 5))
    aside = np.clip((np.abs(x) / width - 0.27) / 0.08, 0, 1) * np.clip(y / (0.05 * length), 0, 1)
    horns = ventricles(head) * aside  # the atria are no cistern
    fluid = np.clip(csf * 1.4, 0, 1) * (1 - np.clip(2 * horns, 0, 1)) * near
    fluid = fluid * np.where(along > 0.2, 1, 0) * (head.depth_mm > 1.5)
    path = np.clip((0.8 * along - _cisterns_mm(head, rng)[None] - 0.5) / (1.6 * head.pixel_mm) + 0.5, 0, 1)
    beside = 0.3 + 0.7 * np.clip(softened(csf, 2.5 / head.pixel_mm) * 4, 0, 1)
    path = path * (along > 0.25) * beside * rng.uniform(0.35, 0.95) * near
    return np.maximum(fluid, softened(path, 0.5)).astype(np.float32)


def _sulcal(head: Head, rng: Random, csf: Array, focal: bool) -> Array:
    """The sulci of a sector that has some; in a tight head leaves where sulci would be."""
    x, y = head.grid_mm
    z0 = int(rng.choice(head.between(0.36, 0.96)))
    tall = max(rng.uniform(3, 9) if focal else rng.uniform(7, 25), 0.8 * head.slice_mm)
    height = ((np.arange(len(head.hu)) - z0) * head.slice_mm).astype(np.float32)[:, None, None]
    along = np.exp(-((height / tall) ** 2))
    reach = rng.uniform(9, 26)
    turn = np.arctan2(y, x)
    open_ = (csf[z0] > 0.5) & (head.depth_mm[z0] > 2) & (head.depth_mm[z0] < reach)
    centre = float(rng.choice(turn[open_])) if open_.sum() > 20 and rng.random() < 0.85 else rng.uniform(-np.pi, np.pi)
    off = np.abs(np.angle(np.exp(1j * (turn - centre))))
    half = rng.uniform(0.12, 0.45) if focal else rng.uniform(0.45, 1.4)
    region = np.clip((half - off) / 0.08, 0, 1) * np.clip((reach - head.depth_mm) / 3, 0, 1)
    share = np.clip(csf * 1.5, 0, 1)
    if open_.sum() < 60 or rng.random() < 0.3:
        leaf = sulci_mm(head, rng, rng.uniform(12, 22))
        tight = np.clip((rng.uniform(0.3, 1.1) - leaf) / (1.2 * head.pixel_mm) + 0.5, 0, 1)
        share = np.maximum(share, tight * np.clip(head.depth_mm / 2, 0, 1) * rng.uniform(0.6, 1))
    return (share * region * np.where(along > 0.3, along, 0)).astype(np.float32)
