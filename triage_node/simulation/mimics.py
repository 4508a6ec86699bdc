"""What is bright or dark in heads that do not bleed: drawn on negatives and on positives alike, so that none is a cue.

Each function changes the picture of a `Head` and draws no blood. `dress` throws a coin for each. Places are shares of the
brain's half width and length, so that they hold in heads of any size that lie turned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from triage_node.simulation import surgery
from triage_node.simulation.heads import Array, Head, Random, cloud, csf_share, softened, sulci_mm, ventricles


def _spot(head: Head, x0: float, y0: float, wide: float, high: float) -> Array:
    x, y = head.grid_mm
    return np.exp(-(((x - x0) / wide) ** 2) - ((y - y0) / high) ** 2).astype(np.float32)


def _speckled(head: Head, rng: Random, spot: Array) -> Array:
    """A calcification is crumbs, not a smooth ball."""
    return spot * np.clip(0.7 + 0.6 * cloud(rng, (1, *spot.shape), 2)[0], 0, 2)


def _slice_at(head: Head, rng: Random, low: float, high: float) -> int:
    return int(rng.choice(head.between(low, high)))


# ---- anatomy: calcium, dura, sinuses -----------------------------------------------------------------------------------


def choroid_calcium(head: Head, rng: Random) -> Array:
    """In the atria of both lateral ventricles, mostly."""
    hu, z = head.hu.copy(), _slice_at(head, rng, 0.4, 0.6)
    width, length = head.half_mm
    apart, y0 = rng.uniform(0.2, 0.4) * width, rng.uniform(0.1, 0.36) * length
    for side in (-1, 1) if rng.random() < 0.8 else (rng.choice([-1, 1]),):
        spot = _spot(head, side * apart, y0 + rng.uniform(-3, 3), rng.uniform(1.2, 3.5), rng.uniform(1.5, 6))
        dense = rng.uniform(20, 160)
        for dz in range(int(rng.integers(1, 4))):
            hu[min(z + dz, len(hu) - 1)] += _speckled(head, rng, spot) * dense * rng.uniform(0.4, 1)
    return hu


def pineal_calcium(head: Head, rng: Random) -> Array:
    hu = head.hu.copy()
    spot = _spot(head, rng.normal(0, 1), rng.uniform(0.06, 0.22) * head.half_mm[1], *rng.uniform(1.2, 3.2, 2))
    hu[_slice_at(head, rng, 0.35, 0.55)] += _speckled(head, rng, spot) * rng.uniform(30, 160)
    return hu


def basal_ganglia_calcium(head: Head, rng: Random) -> Array:
    """In the pallidum of both sides, faint or dense, rarely quite alike; sometimes in the dentate nuclei too."""
    hu, z = head.hu.copy(), _slice_at(head, rng, 0.42, 0.58)
    width, length = head.half_mm
    size, dense = rng.uniform(1.2, 4.5), rng.uniform(8, 90)
    places = [(rng.uniform(0.24, 0.36) * width, rng.uniform(-0.18, 0.0) * length, z)]
    if rng.random() < 0.25:
        places.append(
            (rng.uniform(0.15, 0.28) * width, rng.uniform(0.4, 0.55) * length, _slice_at(head, rng, 0.08, 0.25))
        )
    for apart, y0, at in places:
        for side in (-1, 1):
            spot = _speckled(head, rng, _spot(head, side * apart, y0, size, 1.6 * size))
            hu[at] += spot * dense * rng.uniform(0.3, 1.2)
            if rng.random() < 0.5:
                hu[min(at + 1, len(hu) - 1)] += spot * dense * rng.uniform(0.2, 0.8)
    return hu


def vessel_calcium(head: Head, rng: Random) -> Array:
    """Plaques of the carotids and vertebral arteries at the base; calcified dots anywhere."""
    hu = head.hu.copy()
    width, length = head.half_mm
    for _ in range(int(rng.integers(1, 4))):
        z = _slice_at(head, rng, 0.08, 0.34)
        for side in (-1, 1) if rng.random() < 0.6 else (rng.choice([-1, 1]),):
            spot = _spot(
                head, side * rng.uniform(0.06, 0.17) * width, rng.uniform(-0.25, 0.05) * length, *rng.uniform(0.8, 2, 2)
            )
            hu[z] += spot * head.intracranial[z] * rng.uniform(30, 250)
    return hu


def dense_falx(head: Head, rng: Random) -> Array:
    """The falx thick, dense, or bony in places; the interhemispheric fold in front or behind."""
    hu = head.hu.copy()
    x, y = head.grid_mm
    z0 = _slice_at(head, rng, 0.5, 0.95)
    bend = 0.7 * cloud(rng, head.hu.shape, 12)
    ribbon = np.exp(-(((x - rng.uniform(-1, 1) - bend) / rng.uniform(0.6, 1.5)) ** 2))
    length = head.half_mm[1]
    where = y < -rng.uniform(0.25, 0.5) * length if rng.random() < 0.55 else y > rng.uniform(0.12, 0.35) * length
    uneven = np.clip(1 + 0.4 * cloud(rng, head.hu.shape, 8), 0, 2)
    for z in range(max(0, z0 - int(rng.integers(0, 4))), min(len(hu), z0 + int(rng.integers(1, 4)))):
        hu[z] += ribbon[z] * uneven[z] * where * head.intracranial[z] * rng.uniform(6, 45)
    if rng.random() < 0.2:  # ossified: as dense as bone, a few mm thick
        plaque = _spot(
            head, rng.uniform(-2, 2), -rng.uniform(0.3, 0.8) * length, rng.uniform(1, 2.5), rng.uniform(2, 7)
        )
        hu[z0] += plaque * rng.uniform(60, 400)
    return hu


def dense_sinus(head: Head, rng: Random) -> Array:
    """Superior sagittal, transverse and straight sinus, full of blood that moves: 50 to 65 HU, more in thick blood."""
    x, y = head.grid_mm
    width, length = head.half_mm
    hu = head.hu.copy()
    dense = rng.uniform(6, 28)
    which = rng.random(3) < (0.6, 0.6, 0.3)
    share = np.zeros(hu.shape, np.float32)
    if which[0] or not which.any():  # a triangle on the table behind, at the midline
        column = np.clip(1 - np.abs(x) / rng.uniform(3, 8), 0, 1) * (y > 0.2 * length)
        upper = (head.level > 0.34)[:, None, None]
        share = np.maximum(share, upper * column * np.clip((rng.uniform(4, 9) - head.depth_mm) / 2, 0, 1))
    if which[1]:  # along the back of the table on one or both sides, low
        z0, side = _slice_at(head, rng, 0.12, 0.34), float(rng.choice([-1, 0, 1]))
        band = (np.abs(x) < 0.8 * width) & (y > 0.3 * length) & ((x * side >= 0) | (side == 0))
        near = np.exp(-(((np.arange(len(hu)) - z0) / max(6 / head.slice_mm, 0.6)) ** 2))[:, None, None]
        share = np.maximum(share, near * band * np.clip((rng.uniform(4, 10) - head.depth_mm) / 2, 0, 1))
    if which[2]:
        z0 = _slice_at(head, rng, 0.36, 0.55)
        line = np.exp(-((x / rng.uniform(1.2, 2.5)) ** 2)) * (y > 0.2 * length)
        share[z0] = np.maximum(share[z0], line)
    return (hu + softened(share, 0.6) * head.intracranial * dense).astype(np.float32)


def tentorium(head: Head, rng: Random) -> Array:
    """Two bright bands that spread backward from the midline; broad where the slice cuts the sheet at a flat angle."""
    hu = head.hu.copy()
    x, y = head.grid_mm
    z0 = _slice_at(head, rng, 0.16, 0.42)
    open_, dense, thin = rng.uniform(0.5, 1.3), rng.uniform(5, 22), rng.uniform(0.8, 3.5)
    bend, lean = cloud(rng, (1, *x.shape), 16)[0] * 1.5, rng.uniform(-0.2, 0.2)
    for k in range(int(rng.integers(1, 4))):
        z = min(z0 + k, len(hu) - 1)
        off = np.abs(x) - (y + 4 + 6 * k) * (open_ + lean * np.sign(x)) + bend
        hu[z] += np.exp(-((off / thin) ** 2)) * (y > 0) * head.intracranial[z] * dense
    return hu


# ---- the ageing brain --------------------------------------------------------------------------------------------------


def wide_sulci(head: Head, rng: Random) -> Array:
    """An aged cortex: open sulci from the table inward, a rim of fluid under it, and between them crowns of gyri, bright
    against the fluid on both sides, that touch the table: what is most easily taken for thin blood."""
    depth = head.depth_mm
    uneven = np.clip(0.7 + 0.45 * cloud(rng, depth.shape, 12), 0.0, 1.3)
    fluid_share = csf_share(head) * (depth < 34)
    mm = rng.uniform(0.6, 1.6)
    wider = np.clip(
        softened(fluid_share, mm / head.pixel_mm) * rng.uniform(1.5, 2.4) - 0.15, 0, 1
    )  # what is open opens more
    spacing = rng.uniform(10, 18)
    leaf = sulci_mm(head, rng, spacing)
    if rng.random() < 0.4:
        leaf = np.minimum(leaf, sulci_mm(head, rng, spacing * rng.uniform(1.2, 2)))
    reach = rng.uniform(6, 19) * np.clip(uneven + 0.3 * cloud(rng, depth.shape, 5), 0.1, 1.5)
    half = rng.uniform(0.1, 1.7) * np.clip(1.3 - 0.9 * depth / (reach + 1), 0.0, 1.3)
    half = half * np.clip(0.8 + 0.5 * cloud(rng, depth.shape, 5), 0, 1.8) - 0.15
    furrow = (
        np.clip((half - leaf) / (1.4 * head.pixel_mm) + 0.5, 0, 1) * np.clip((reach - depth) / 3, 0, 1) * (half > -0.1)
    )
    mouth = rng.uniform(0.8, 2.4) if rng.random() < 0.5 else 0.0  # sulci open like funnels
    rim = rng.uniform(0.0, 4.0) * np.clip(uneven - rng.uniform(0, 0.5), 0, 1.2) + mouth * np.exp(-leaf / 2.5) * uneven
    gap = np.clip((rim - depth) / head.pixel_mm + 0.5, 0, 1) * np.where(depth < 1.2 * head.pixel_mm, 0.5, 1)
    csf = softened(np.maximum(np.maximum(furrow, gap), wider) * head.intracranial, 0.45)
    grey = np.exp(-np.abs(np.minimum(leaf - half, np.maximum(depth - rim, 0)) - 1.2) / 1.6)
    cortex = softened(grey * (depth < reach + 4) * (1 - csf) * head.intracranial, 0.5)
    bright = head.hu + cortex * rng.uniform(0, 10)
    fluid = head.tissue_hu - rng.uniform(15, 25) + 0.8 * head.grain
    share = np.clip(csf, 0, 1) * (head.hu < head.tissue_hu + 30)
    hu = np.where(bright > fluid, bright * (1 - share) + share * fluid, bright)
    if rng.random() < 0.5:  # the table blooms into the crowns
        hu = hu + np.exp(-depth / rng.uniform(0.7, 1.8)) * (1 - csf) * head.intracranial * rng.uniform(3, 28)
    return hu.astype(np.float32)


def atrophy(head: Head, rng: Random) -> Array:
    """Wide ventricles, dark white matter around them, wide sulci and Sylvian fissures, and often a dense old falx."""
    fluid = csf_share(head)
    mm = rng.uniform(0.8, 3.5)
    body = ventricles(head)
    wide = np.clip(softened(body, mm / head.pixel_mm) * 2.4, 0, 1)
    sylvian = (
        softened(np.clip(2 * fluid - 0.9, 0, 1) * (head.depth_mm > 6) * (head.depth_mm < 40), 0.6 * mm / head.pixel_mm)
        * 1.5
    )
    share = np.clip(np.maximum(wide, np.clip(sylvian, 0, 1)), 0, 1) * head.intracranial
    target = head.tissue_hu - rng.uniform(17, 24)
    halo = np.clip(softened(body, rng.uniform(3, 9) / head.pixel_mm) * 2, 0, 1) * (head.depth_mm > 12)
    hu = head.hu - halo * rng.uniform(0, 8)
    share = share * (hu < head.tissue_hu + 14)
    hu = np.minimum(hu, hu * (1 - share) + share * (target + head.grain))
    return wide_sulci(head.with_hu(hu), rng)


def infarct(head: Head, rng: Random) -> Array:
    """A dark territory from the cortex inward, fresh (faint) or old (fluid, with a bright edge), or a few lacunes."""
    x, y = head.grid_mm
    width, length = head.half_mm
    if rng.random() < 0.2:
        hu = head.hu.copy()
        for _ in range(int(rng.integers(1, 6))):
            z = _slice_at(head, rng, 0.36, 0.66)
            spot = _spot(
                head, rng.uniform(-0.45, 0.45) * width, rng.uniform(-0.35, 0.3) * length, *rng.uniform(1.2, 4, 2)
            )
            hu[z] -= spot * rng.uniform(6, 22)
        return hu
    z0 = _slice_at(head, rng, 0.1, 0.85)
    turn = rng.uniform(-np.pi, np.pi)
    x0, y0 = rng.uniform(0.35, 0.9) * width * np.cos(turn), rng.uniform(0.35, 0.85) * length * np.sin(turn)
    wide, high, tall = rng.uniform(7, 28), rng.uniform(7, 28), rng.uniform(6, 26)
    dz = ((np.arange(len(head.hu)) - z0) * head.slice_mm / tall)[:, None, None]
    rho = np.sqrt(dz**2 + ((x - x0) / wide) ** 2 + ((y - y0) / high) ** 2) + 0.25 * cloud(rng, head.hu.shape, 5)
    inside = softened((rho < 1) & head.intracranial, rng.uniform(0.7, 2))
    old = rng.random() < 0.5
    fall = rng.uniform(13, 24) if old else rng.uniform(3, 12)
    hu = head.hu - inside * np.clip(head.smooth - (head.tissue_hu - fall), 0, fall)
    if rng.random() < 0.6:  # spared cortex or gliosis around it
        edge = np.exp(-(((rho - 1.12) / 0.12) ** 2)) * head.intracranial
        hu = hu + edge * rng.uniform(1, 8)
    if not old and rng.random() < 0.25:  # the clot in the artery
        hu[z0] += _spot(head, x0 * 0.5, y0 * 0.5, rng.uniform(3, 7), rng.uniform(0.8, 1.4)) * rng.uniform(8, 22)
    return hu.astype(np.float32)


def meningioma(head: Head, rng: Random) -> Array:
    """A dense or calcified lump on the dura, 8 to 22 mm: bright, round, no blood."""
    z0 = _slice_at(head, rng, 0.3, 0.9)
    depth = head.depth_mm[z0]
    rows, columns = np.nonzero((depth > 3) & (depth < 12))
    if not len(rows):
        return head.hu.copy()
    pick = int(rng.integers(len(rows)))
    x, y = head.grid_mm
    radius = rng.uniform(4, 11)
    dz = ((np.arange(len(head.hu)) - z0) * head.slice_mm)[:, None, None]
    rho = np.sqrt(dz**2 + (x - x[rows[pick], columns[pick]]) ** 2 + (y - y[rows[pick], columns[pick]]) ** 2) / radius
    share = softened((rho + 0.08 * cloud(rng, head.hu.shape, 5) < 1) & head.intracranial, 0.7)
    dense = rng.uniform(4, 16) if rng.random() < 0.6 else rng.uniform(60, 300)
    inner = head.tissue_hu + dense * np.clip(1 + 0.25 * cloud(rng, head.hu.shape, 4), 0.3, 2)
    return (head.hu * (1 - share) + share * (inner + head.grain)).astype(np.float32)


# ---- after surgery and trauma ------------------------------------------------------------------------------------------


def operated(head: Head, rng: Random) -> Array:
    """Burr holes or a flap, air in front, a drain, clips, fluid where a haematoma was: operated, and not bleeding."""
    angle, z0 = float(rng.uniform(-np.pi, np.pi)), float(_slice_at(head, rng, 0.4, 0.9))
    done = head
    chosen = rng.random(5) < (0.55, 0.3, 0.5, 0.25, 0.25)
    if not chosen.any():
        chosen[2] = True
    steps = (
        lambda h: surgery.burr_hole(h, rng, angle, z0),
        lambda h: surgery.craniotomy(h, rng, angle, z0),
        lambda h: surgery.frontal_air(h, rng),
        lambda h: surgery.drain(h, rng),
        lambda h: surgery.metal(h, rng),
    )
    for step, wanted in zip(steps, chosen, strict=True):
        if wanted:
            done = done.with_hu(step(done))
    return done.hu


def scalp(head: Head, rng: Random) -> Array:
    """A bruise outside the skull."""
    return surgery.scalp_swelling(head, rng, float(rng.uniform(-np.pi, np.pi)), float(_slice_at(head, rng, 0.2, 0.95)))


# ---- the scanner and the patient who moves -----------------------------------------------------------------------------


def cupping(head: Head, rng: Random) -> Array:
    """Beam hardening: brighter towards the table, brightest at the vertex where much bone surrounds little brain."""
    rim = np.exp(-head.depth_mm / rng.uniform(1.2, 6)) * head.intracranial * rng.uniform(2, 16)
    small = 1 + rng.uniform(0, 1.2) * (head.intracranial.mean(axis=(1, 2)) < 0.12)
    if rng.random() < 0.3:  # on one side more: the head does not lie in the middle
        x, _ = head.grid_mm
        rim = rim * np.clip(1 + rng.uniform(-1, 1) * x / head.half_mm[0], 0, 2)
    return (head.hu + rim * small[:, None, None]).astype(np.float32)


def vertex_partial_volume(head: Head, rng: Random) -> Array:
    """The uppermost slices share their pixels with the bone of the roof."""
    hu = head.hu.copy()
    for z in head.slices[-int(rng.integers(1, 4)) :]:
        blur = ndimage.gaussian_filter(np.where(head.intracranial[z], 0.0, 100.0), rng.uniform(3, 9))
        hu[z] += blur * head.intracranial[z] * rng.uniform(0.1, 0.5)
    return hu


def base_partial_volume(head: Head, rng: Random) -> Array:
    """A slice over the orbits or the petrous bone shares its pixels with the bone below it."""
    hu = head.hu.copy()
    for _ in range(int(rng.integers(1, 3))):
        z = _slice_at(head, rng, 0.05, 0.4)
        below = np.where(head.cavity[max(z - 1, 0)], head.tissue_hu, np.clip(head.hu[max(z - 1, 0)], 20, 100))
        part = ndimage.gaussian_filter(below, rng.uniform(0.5, 2.5)) - head.tissue_hu
        hu[z] += np.clip(part, 0, None) * head.intracranial[z] * rng.uniform(0.1, 0.55)
    return hu


def hardening_band(head: Head, rng: Random) -> Array:
    """Dark and bright bands between the petrous bones, worst across the pons."""
    hu = head.hu.copy()
    _, y = head.grid_mm
    y0, lean = rng.uniform(-0.15, 0.25) * head.half_mm[1], rng.uniform(-0.1, 0.1)
    x, _ = head.grid_mm
    for z in head.between(-1.0, 0.32):
        for _ in range(int(rng.integers(1, 4))):
            band = np.exp(-(((y - y0 - lean * x - rng.uniform(-12, 12)) / rng.uniform(2, 9)) ** 2))
            hu[z] += head.intracranial[z] * band * rng.uniform(-14, 12)
    return hu


def streaks(head: Head, rng: Random) -> Array:
    """Straight rays across one or two slices, from metal or movement outside of them."""
    hu = head.hu.copy()
    x, y = head.grid_mm
    for z in rng.choice(head.slices, int(rng.integers(1, 3)), replace=False):
        fan = rng.uniform(-70, 70, 2)
        for _ in range(int(rng.integers(2, 12))):
            turn = rng.uniform(0, np.pi)
            off = (x - fan[0]) * np.cos(turn) + (y - fan[1]) * np.sin(turn) - rng.uniform(-6, 6)
            hu[z] += np.exp(-((off / rng.uniform(0.7, 2.5)) ** 2)) * rng.uniform(-14, 16)
    return hu


def neighbour_partial_volume(head: Head, rng: Random) -> Array:
    hu, z = head.hu.copy(), int(rng.choice(head.slices))
    part = rng.uniform(0.2, 0.5)
    hu[z] = hu[z] * (1 - part) + hu[min(len(hu) - 1, z + 1)] * part
    return hu


def motion(head: Head, rng: Random) -> Array:
    """The head turned or slid during one to three slices: doubled edges and rims of bone inside."""
    hu = head.hu.copy()
    first = int(rng.choice(head.slices))
    for z in range(first, min(first + int(rng.integers(1, 4)), len(hu))):
        turned = ndimage.rotate(hu[z], rng.uniform(-6, 6), reshape=False, order=1, mode="nearest")
        other = ndimage.shift(turned, rng.uniform(-4, 4, 2), order=1, mode="nearest")
        part = rng.uniform(0.15, 0.5)
        hu[z] = (1 - part) * hu[z] + part * other
    return hu


def plastic_phantom(head: Head, rng: Random) -> Head:
    """A quality phantom: a uniform inside with round inserts of known density. Nothing bleeds in it."""
    x, y = head.grid_mm
    width, length = head.half_mm
    inside = np.full(head.hu.shape, head.tissue_hu + rng.uniform(-25, 12), np.float32)
    ring, count = rng.uniform(0.3, 0.75), int(rng.integers(3, 9))
    first, last = sorted(rng.uniform(0, 1, 2))
    along = ((head.level >= min(first, 0.6)) & (head.level <= max(last, 0.4)))[:, None, None]
    for k in range(count):
        turn = 2 * np.pi * k / count + rng.uniform(-0.1, 0.1)
        disc = np.hypot(x - ring * width * np.cos(turn), y - ring * length * np.sin(turn)) - rng.uniform(2, 9)
        share = np.clip(0.5 - disc / head.pixel_mm, 0, 1) * along
        inside = inside * (1 - share) + share * float(rng.choice([-100, -60, 0, 20, 50, 70, 100, 130, 340]))
    noise = rng.standard_normal(head.hu.shape, dtype=np.float32) * rng.uniform(0.5, 4)
    hu = np.where(head.cavity, inside + softened(noise, 0.5) * 1.8, head.hu).astype(np.float32)
    return replace(head.with_hu(hu), plastic=True)


MIMICS: dict[str, tuple[float, Callable[[Head, Random], Array]]] = {
    "wide sulci": (0.35, wide_sulci),
    "atrophy": (0.2, atrophy),
    "infarct": (0.28, infarct),
    "meningioma": (0.06, meningioma),
    "choroid calcium": (0.45, choroid_calcium),
    "pineal calcium": (0.4, pineal_calcium),
    "basal ganglia calcium": (0.22, basal_ganglia_calcium),
    "vessel calcium": (0.25, vessel_calcium),
    "dense falx": (0.4, dense_falx),
    "dense sinus": (0.45, dense_sinus),
    "tentorium": (0.35, tentorium),
    "operated": (0.09, operated),
    "scalp": (0.12, scalp),
    "cupping": (0.5, cupping),
    "vertex partial volume": (0.3, vertex_partial_volume),
    "base partial volume": (0.25, base_partial_volume),
    "hardening band": (0.3, hardening_band),
    "streaks": (0.2, streaks),
    "neighbour partial volume": (0.2, neighbour_partial_volume),
    "motion": (0.12, motion),
}
"""Name: (chance of being drawn, how). Order is the order of drawing: anatomy first, then surgery, then the scanner."""
PLASTIC_CHANCE = 0.02


def dress(head: Head, rng: Random) -> tuple[Head, tuple[str, ...]]:
    """A head with the mimics that the coin chose. Returns the head and the names drawn; now and then a plastic phantom."""
    if len(head.slices) < 6:
        return head, ()
    if rng.random() < PLASTIC_CHANCE:
        return plastic_phantom(head, rng), ("plastic phantom",)
    chosen = []
    for name, (chance, change) in MIMICS.items():
        if rng.random() < chance:
            head = head.with_hu(change(head, rng))
            chosen.append(name)
    return head, tuple(chosen)
