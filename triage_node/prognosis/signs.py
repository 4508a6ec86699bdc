"""Signs of a growing hematoma on non-contrast CT, from native HU and the mask of the blood (PAPERS.md 5.10).

Each is present, absent, or not definable here, with the reason. Published contrasts are kept: 18 HU for blend, 28 HU for black
hole. What the definitions leave to the eye (sharp, round, any) is a number below and a choice of ours: no reader has checked
these answers, and nothing is said of them but "computed".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from triage_node.domain.finding import Detection
from triage_node.domain.volume import Volume

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]

VERSION = "1.1.0"
BY_COMPUTER = "Signs are computed from HU; no reader has confirmed them."
NAMES = ("swirl", "hypodensity", "blend", "black_hole", "island", "satellite", "fluid_level")
LEAST_ML = 1.0
"""Smaller clots are edge and partial volume."""
SMOOTH_MM = 2.0
"""Averaged over so much in the plane, never across slices, against noise; native HU otherwise."""
EDGE_MM = 2.0
"""Partial volume: so much of the rim is not read."""
LEAST_AREA_MM2 = 20.0
DARKER_HU = 12.0
"""Hypodense or isodense beside the clot's median; our choice, the papers say "any"."""
BLEND_HU, BLACK_HOLE_HU, LEVEL_HU = 18.0, 28.0, 12.0
LEAST_PART = 0.15
SATELLITE_MM, NEAR_MM = 10.0, (1.0, 20.0)
ISLANDS = 3
SPOT_MM, ROUND, STOUT = 3.0, 0.7, 1 / 3
"""A small clot, on its largest slice: at least the area of a disc this wide; round or oval, as Li 2017 draws islands.

The papers give no smallest size; readers look at slices of 5 mm, where less than EDGE_MM of rim on both sides is noise and
partial volume. ROUND: area over that of the ellipse with the same moments, 1 for any filled ellipse. STOUT: short over long axis.
"""
SWIRL_MM = 7.5
"""On two contiguous slices of 5 mm: so far apart are the outer ends at least."""
_MARGIN = (0, 6, 6)
"""Slices, rows and columns around a clot that are smoothed with it."""
SHARP = 0.70
"""Share of the variance that two densities explain where the border is sharp."""


@dataclass(frozen=True, slots=True)
class Clot:
    """The largest parenchymal bleed, slice by slice. Shape: (slice, row, column). hu is smoothed in the plane."""

    hu: Floats
    filled: Bools
    core: Bools
    median: float


def measure(volume: Volume, detection: Detection) -> dict[str, Any]:
    """JSON: each of NAMES as true, false or null, `reasons` for null, and `hu_variation`: standard deviation over mean."""
    labels = [c.label for c in detection.components if c.subtype == "iph"]
    if detection.mask.shape != volume.hu.shape:
        return _nothing("the mask does not fit the images")
    blood = np.isin(detection.mask, labels) if labels else np.zeros(volume.hu.shape, bool)
    return of_mask(volume.hu, blood, volume.pixel_spacing_mm, volume.slice_extent_mm, volume.column_cosine)


def present(measured: Mapping[str, Any], sign: str) -> bool | None:
    value = measured.get(sign)
    return value if isinstance(value, bool) else None


def of_mask(
    hu: NDArray[np.int16],
    blood: Bools,
    pixel_mm: tuple[float, float],
    extent_mm: NDArray[np.float64],
    column_cosine: NDArray[np.float64],
) -> dict[str, Any]:
    """As `measure`, from arrays. `column_cosine` tells where the back is: fluid settles there."""
    box = ndimage.find_objects(blood.view(np.uint8))
    if not box:
        return _nothing("no parenchymal blood")
    # the rest of the head is most of a thin series, and nothing is read there
    part = _with_margin(box[0])
    hu, blood, extent_mm = hu[part], blood[part], extent_mm[part[0]]
    pieces, n = ndimage.label(blood)
    area = pixel_mm[0] * pixel_mm[1]
    pixels = np.stack([np.bincount(p.ravel(), minlength=n + 1)[1:] for p in pieces])  # (slice, piece)
    ml = extent_mm @ pixels * area / 1000
    main = int(np.argmax(ml)) + 1
    if ml[main - 1] < LEAST_ML:
        return _nothing(f"smaller than {LEAST_ML:g} mL")
    around = _with_margin(ndimage.find_objects(pieces)[main - 1])
    clot = _clot(hu[around], (pieces == main)[around], pixel_mm)
    extent = extent_mm[around[0]]
    found: dict[str, Any] = {"reasons": {}}
    if clot.core.sum() * area * float(extent.mean()) / 1000 < LEAST_ML / 4:
        return _nothing("too thin to be read without its edge")
    values = clot.hu[clot.core]
    found["hu_variation"] = round(float(values.std() / max(values.mean(), 1.0)), 4)
    darker = _inner_parts(clot, DARKER_HU, area)
    found["hypodensity"] = bool(darker.any())
    found["black_hole"] = bool(_inner_parts(clot, BLACK_HOLE_HU, area).any())
    found["swirl"] = _contiguous(_parts(clot, DARKER_HU, area), extent)
    back = float(column_cosine[1])
    found["blend"], found["fluid_level"] = _two_parts(clot, area, back)
    if abs(back) < 0.7:
        found["fluid_level"] = None
        found["reasons"]["fluid_level"] = "the slices are not axial"
    others = [k for k in range(1, n + 1) if k != main and _is_small_clot(pieces, k, pixel_mm)]
    apart = [_apart(pieces, main, k, pixel_mm, extent_mm) for k in others]
    found["island"] = sum(NEAR_MM[0] <= d for d, _ in apart) >= ISLANDS
    found["satellite"] = any(NEAR_MM[0] <= d <= NEAR_MM[1] and wide < SATELLITE_MM for d, wide in apart)
    found["reasons"]["island"] = "" if found["island"] else "clots that bud from the main one are not told apart"
    found["reasons"] = {k: v for k, v in found["reasons"].items() if v}
    return found


def _with_margin(box: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(slice(max(0, s.start - m), s.stop + m) for s, m in zip(box, _MARGIN, strict=True))


def _nothing(reason: str) -> dict[str, Any]:
    return {**dict.fromkeys(NAMES), "hu_variation": None, "reasons": dict.fromkeys(NAMES, reason)}


def _clot(hu: NDArray[np.int16], mask: Bools, pixel_mm: tuple[float, float]) -> Clot:
    size = tuple(max(1, round(SMOOTH_MM / mm)) for mm in pixel_mm)
    rounds = max(1, round(EDGE_MM / max(pixel_mm)))
    # a mask that was made by density leaves dark parts out: closed and filled, they belong to the clot
    filled = np.stack(
        [ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(m, rounds), iterations=rounds)) for m in mask]
    )
    filled = filled[:, rounds:-rounds, rounds:-rounds]
    smooth = ndimage.uniform_filter(hu.astype(np.float32), (1, *size))
    core = np.stack([ndimage.binary_erosion(m, iterations=rounds) for m in filled])
    values = smooth[core]
    return Clot(smooth, filled, core, float(np.median(values)) if values.size else 0.0)


def _parts(clot: Clot, under_hu: float, area_mm2: float) -> Bools:
    """Parts of the core, slice by slice, at least so far below the median and large enough."""
    dark = clot.core & (clot.hu <= clot.median - under_hu)
    kept = np.zeros_like(dark)
    for z in range(len(dark)):
        labels, n = ndimage.label(dark[z])
        sizes = np.bincount(labels.ravel(), minlength=n + 1)
        large = [k for k in range(1, n + 1) if sizes[k] * area_mm2 >= LEAST_AREA_MM2]
        kept[z] = np.isin(labels, large)
    return kept


def _inner_parts(clot: Clot, under_hu: float, area_mm2: float) -> Bools:
    """As `_parts`, only what lies wholly inside: nothing of it reaches the rim of the core."""
    dark = _parts(clot, under_hu, area_mm2)
    for z in range(len(dark)):
        labels, n = ndimage.label(dark[z])
        rim = ~ndimage.binary_erosion(clot.core[z]) & clot.core[z]
        touching = set(np.unique(labels[rim]).tolist())
        dark[z] = np.isin(labels, [k for k in range(1, n + 1) if k not in touching])
    return dark


def _contiguous(dark: Bools, extent_mm: NDArray[np.float64]) -> bool:
    """On neighbouring slices, over SWIRL_MM of the head at least."""
    labels, n = ndimage.label(dark)
    for k in range(1, n + 1):
        slices = np.flatnonzero((labels == k).any(axis=(1, 2)))
        if len(slices) >= 2 and extent_mm[slices].sum() >= SWIRL_MM:
            return True
    return False


def _two_parts(clot: Clot, area_mm2: float, back: float) -> tuple[bool, bool]:
    """(blend, fluid level): two densities with a sharp border, the darker one at the edge; level: the border lies flat."""
    blend = level = False
    for z in range(len(clot.core)):
        core = clot.core[z]
        if core.sum() * area_mm2 < 4 * LEAST_AREA_MM2:
            continue
        values = clot.hu[z][core]
        cut = _best_cut(values)
        low = core & (clot.hu[z] <= cut)
        share = low.sum() / core.sum()
        if not LEAST_PART <= share <= 1 - LEAST_PART:
            continue
        labels, _ = ndimage.label(low)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        biggest = labels == int(sizes.argmax())
        rim = ~ndimage.binary_erosion(core) & core
        if sizes.max() < 0.8 * low.sum() or not (biggest & rim).any():
            continue
        bright, dark = clot.hu[z][core & ~low], clot.hu[z][low]
        apart = float(bright.mean() - dark.mean())
        between = share * (1 - share) * apart**2
        if between < SHARP * float(values.var()):
            continue
        rows = np.arange(core.shape[0])[:, None] * np.sign(back)
        flat = low == (core & (rows < _flat_border(low, core, rows)))
        level |= bool(apart >= LEVEL_HU and flat[core].mean() > 0.93)
        blend |= apart >= BLEND_HU
    return bool(blend and not level), level


def _best_cut(values: Floats) -> float:
    """Otsu's threshold: what splits the values into two groups that differ most."""
    ordered = np.sort(values)
    n = np.arange(1, len(ordered))
    below = np.cumsum(ordered)[:-1] / n
    above = (ordered.sum() - np.cumsum(ordered)[:-1]) / (len(ordered) - n)
    k = int(np.argmax(n * (len(ordered) - n) * (above - below) ** 2))
    return float(ordered[k])


def _flat_border(low: Bools, core: Bools, rows: NDArray[np.float64]) -> float:
    """The row that splits the core into as much as is dark, from the front on."""
    ordered = np.sort(np.broadcast_to(rows, core.shape)[core])
    return float(ordered[min(len(ordered) - 1, int(low.sum()))])


def _is_small_clot(pieces: NDArray[np.int32], label: int, pixel_mm: tuple[float, float]) -> bool:
    """Large and compact enough on its largest slice; else a speck of noise or a streak of partial volume."""
    own = pieces == label
    rows, columns = np.nonzero(own[own.sum(axis=(1, 2)).argmax()])
    area = len(rows) * pixel_mm[0] * pixel_mm[1]
    if area < np.pi / 4 * SPOT_MM**2:
        return False
    # a pixel is a square, not a point: its own moments are added
    spread = np.cov(rows * pixel_mm[0], columns * pixel_mm[1], bias=True) + np.diag(np.square(pixel_mm)) / 12
    short, long = np.sqrt(np.linalg.eigvalsh(spread))
    return bool(area >= ROUND * 4 * np.pi * short * long and short >= STOUT * long)


def _apart(
    pieces: NDArray[np.int32], main: int, other: int, pixel_mm: tuple[float, float], extent_mm: NDArray[np.float64]
) -> tuple[float, float]:
    """In-plane distance in mm of two pieces where they share slices, else their gap along the normal; and the other's width."""
    own = pieces == other
    at = np.flatnonzero(own.any(axis=(1, 2)))
    rows, columns = (np.flatnonzero(own.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    wide = max(np.ptp(rows) + 1, 1) * pixel_mm[0], max(np.ptp(columns) + 1, 1) * pixel_mm[1]
    nearest = np.inf
    mains = np.flatnonzero((pieces == main).any(axis=(1, 2)))
    for z in at:
        if z in mains:
            distance = ndimage.distance_transform_edt(pieces[z] != main, sampling=pixel_mm)
            nearest = min(nearest, float(distance[own[z]].min()) - min(pixel_mm))
    if not np.isfinite(nearest):
        steps = int(np.abs(at[:, None] - mains).min()) - 1
        nearest = max(1.0, steps * float(extent_mm.mean()))
    return nearest, float(max(wide))
