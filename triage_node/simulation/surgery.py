"""What a neurosurgeon leaves behind: holes in the skull, air under it, clips, a drain. On heads with blood and without."""

from __future__ import annotations

import numpy as np

from triage_node.simulation.heads import BONE_HU, Array, Head, Random, cloud, softened

AIR_HU = -1000.0


def around(head: Head) -> tuple[Array, float]:
    """Angle of each pixel around the brain's centre (0 to the picture's right, growing to the back), and mean radius, mm."""
    x, y = head.grid_mm
    return np.arctan2(y, x), float(np.mean(head.half_mm))


def _over_table(head: Head, angle: float, z0: float) -> tuple[Array, Array]:
    """Distance along the table and in height from a place on it, mm. Shape: (row, column) and (slice, 1, 1)."""
    turn, _ = around(head)
    x, y = head.grid_mm
    off = np.angle(np.exp(1j * (turn - angle))).astype(np.float32)
    return off * np.hypot(x, y), ((np.arange(len(head.hu)) - z0) * head.slice_mm).astype(np.float32)[:, None, None]


def _skull(head: Head) -> Array:
    """1 in the bone that lies next to the inside of the skull, soft at its edge."""
    bone = (head.hu >= BONE_HU - 12) & (head.outside_mm > 0) & (head.outside_mm < 16)
    return softened(bone, 0.5)


def burr_hole(head: Head, rng: Random, angle: float, z0: float) -> Array:
    """A round hole of 10 to 15 mm through the skull, filled with soft tissue, fluid or air."""
    along, height = _over_table(head, angle, z0)
    hole = 1 / (1 + np.exp((np.hypot(along[None], height) - rng.uniform(5, 7.5)) / 0.7))
    content = float(rng.choice([rng.uniform(15, 45), rng.uniform(0, 15), -300.0], p=[0.55, 0.3, 0.15]))
    share = hole * _skull(head)
    return (head.hu * (1 - share) + share * (content + head.table_grain)).astype(np.float32)


def craniotomy(head: Head, rng: Random, angle: float, z0: float) -> Array:
    """A flap of bone between two thin gaps, sometimes missing altogether."""
    along, height = _over_table(head, angle, z0)
    half, tall = rng.uniform(18, 42), rng.uniform(12, 40)
    within = 1 / (1 + np.exp((np.abs(height) - tall) / 1.5))
    if rng.random() < 0.12:  # decompressed: the bone is out
        gap = 1 / (1 + np.exp((np.abs(along)[None] - half) / 1.0))
    else:
        gap = np.exp(-(((np.abs(along)[None] - half) / rng.uniform(0.6, 1.4)) ** 2))
    share = gap * within * _skull(head)
    return (head.hu * (1 - share) + share * (rng.uniform(10, 45) + head.table_grain)).astype(np.float32)


def air_share(head: Head, rng: Random, space: Array, amount: float) -> Array:
    """Air in a space: it rises to the front, as the patient lies on the back; a few bubbles elsewhere. Shape: as hu, 0 to 1."""
    _, y = head.grid_mm
    where = space > 0.5
    if not where.any():
        return np.zeros_like(space)
    rows = np.broadcast_to(y, space.shape)[where]
    level = float(np.quantile(rows, amount)) + rng.uniform(-2, 2)
    pocket = space / (1 + np.exp((y - level) / 0.8))
    bubbles = space * (cloud(rng, space.shape, 4) > rng.uniform(2.1, 2.8))
    return np.clip(np.maximum(pocket, softened(bubbles, 0.5)), 0, 1).astype(np.float32)


def frontal_air(head: Head, rng: Random) -> Array:
    """Air under the frontal table in front of the brain, and bubbles in a few sulci."""
    x, y = head.grid_mm
    width, length = head.half_mm
    z0 = float(rng.choice(head.between(0.4, 0.95)))
    side = float(rng.choice([-1, 1, 0]))
    thick = rng.uniform(1.5, 12) * np.exp(
        -((x - side * 0.3 * width) ** 2) / (2 * (rng.uniform(0.15, 0.4) * width) ** 2)
    )
    along = np.exp(-((((np.arange(len(head.hu)) - z0) * head.slice_mm) / rng.uniform(6, 30)) ** 2))[:, None, None]
    front = 1 / (1 + np.exp((y + 0.35 * length) / 4))
    share = np.clip((thick * along * front - head.depth_mm) / head.pixel_mm + 0.5, 0, 1) * head.intracranial
    share = np.where(thick * along * front > 0.6, share, 0)
    bubble = (cloud(rng, head.hu.shape, 2) > 2.7) & (head.depth_mm < 22) & head.intracranial & (along > 0.3)
    share = np.maximum(share, softened(bubble, 0.4))
    return (head.hu * (1 - share) + share * AIR_HU).astype(np.float32)


def metal(head: Head, rng: Random) -> Array:
    """One to three clips, far denser than bone, with dark and bright rays from each in its slice."""
    hu = head.hu.copy()
    x, y = head.grid_mm
    for _ in range(int(rng.integers(1, 4))):
        z = int(rng.choice(head.slices))
        rows, columns = np.nonzero(head.depth_mm[z] > 2)
        if not len(rows):
            continue
        pick = int(rng.integers(len(rows)))
        dx, dy = x - x[rows[pick], columns[pick]], y - y[rows[pick], columns[pick]]
        far, turn = np.hypot(dx, dy), np.arctan2(dy, dx)
        rays = np.cos(turn * int(rng.integers(1, 4)) * 2 + rng.uniform(0, 6)) ** 3 + 0.5 * np.cos(
            turn * int(rng.integers(7, 15)) + rng.uniform(0, 6)
        )
        hu[z] += rays * rng.uniform(10, 60) * np.exp(-far / rng.uniform(8, 35))
        lies = rng.uniform(0, np.pi)
        along, across = dx * np.cos(lies) + dy * np.sin(lies), dy * np.cos(lies) - dx * np.sin(lies)
        body = np.exp(-((along / rng.uniform(1.5, 4.5)) ** 2) - ((across / rng.uniform(0.9, 1.8)) ** 2))
        hu[z] += body * 2500
    return hu


def drain(head: Head, rng: Random) -> Array:
    """A ventricular catheter: a thin bright line with a dark bore from the table to the middle, over one to three slices."""
    hu = head.hu.copy()
    x, y = head.grid_mm
    side, front = float(rng.choice([-1, 1])), bool(rng.random() < 0.7)
    width, length = head.half_mm
    z0 = int(rng.choice(head.between(0.5, 0.72)))
    start = (side * rng.uniform(0.25, 0.5) * width, (-0.8 if front else 0.75) * length)
    end = (side * rng.uniform(0.03, 0.12) * width, rng.uniform(-0.25, 0.1) * length)
    steps = int(rng.integers(1, 4))
    for k in range(steps):
        a, b = k / steps, (k + 1) / steps
        z = z0 - k
        if not head.intracranial[max(z, 0)].any() or z < 0:
            continue
        p = [s + (e - s) * a for s, e in zip(start, end, strict=True)]
        q = [s + (e - s) * b for s, e in zip(start, end, strict=True)]
        v = (q[0] - p[0], q[1] - p[1])
        t = np.clip(((x - p[0]) * v[0] + (y - p[1]) * v[1]) / (v[0] ** 2 + v[1] ** 2), 0, 1)
        far = np.hypot(x - p[0] - t * v[0], y - p[1] - t * v[1])
        hu[z] += np.exp(-((far / 1.3) ** 2)) * rng.uniform(60, 220) * head.intracranial[z]
    return hu


def fracture(head: Head, rng: Random, angle: float, z0: float) -> Array:
    """A thin gap through the skull, and the swollen scalp over it."""
    along, height = _over_table(head, angle + rng.uniform(-0.15, 0.15), z0)
    line = np.exp(-(((along[None] + height * rng.uniform(-0.6, 0.6)) / 0.9) ** 2)) * (
        np.abs(height) < rng.uniform(8, 25)
    )
    share = line * _skull(head) * rng.uniform(0.4, 0.9)
    return scalp_swelling(head.with_hu(head.hu * (1 - share) + share * 40), rng, angle, z0)


def scalp_swelling(head: Head, rng: Random, angle: float, z0: float) -> Array:
    """Blood in the scalp: outside the skull, where it is no intracranial bleed."""
    along, height = _over_table(head, angle, z0)
    patch = np.exp(-((np.hypot(along[None], height) / rng.uniform(12, 35)) ** 4))
    soft = (head.hu > 1) & (head.hu < BONE_HU - 12) & (head.outside_mm > 5) & (head.outside_mm < 30)
    share = softened(soft, 0.5) * patch * rng.uniform(0.4, 1)
    return (head.hu * (1 - share) + share * (rng.uniform(40, 68) + head.table_grain)).astype(np.float32)
