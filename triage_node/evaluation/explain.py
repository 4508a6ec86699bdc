"""Why did the detector say that? One study as pictures: mask, probability and Grad-CAM of its slices, and what decided each.

For a slice, every piece of the mask is painted over with the density of the brain and the network asked again: the piece whose
loss costs most is the one that decided. Nothing here is a diagnosis; a network can be wrong for a good-looking reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from scipy.special import expit

from triage_node.bundle.load import Bundle
from triage_node.detection.gradcam import GradCam
from triage_node.detection.ich import MASK_PROBABILITY, BloodNetDetector
from triage_node.detection.pictures import grey_of, grid_of_pictures
from triage_node.detection.preprocess import GRID, GridStudy, Square, network_input, on_grid
from triage_node.detection.study_score import Scoring
from triage_node.domain.case import Case, HeadVolume
from triage_node.domain.errors import EvaluationError, StudyRejected
from triage_node.domain.finding import SUBTYPES
from triage_node.evaluation.answering import ASSUMED_SPACING_MM, ASSUMED_STEP_MM
from triage_node.evaluation.explain_prognosis import Salient, prognosis_pages
from triage_node.volume.checks import BONE_HU, check_head

WINDOW_HU = (0.0, 80.0)
SHOWN = 6
"""Slices that get a page of their own: the likeliest."""
PIECES = 4
"""Pieces of a slice that are painted over, the largest first."""
LEAST_PIXELS = 4
DECIDED = 0.25
"""Share of the logit above the study's lowest slice that losing a piece must cost for it to have decided."""
SIDE, GAP, TEXT = 384, 8, 62
GROUND, WORDS, QUIET, EDGE = (16, 22, 30), (226, 232, 240), (150, 162, 176), (255, 196, 0)

Array = NDArray[np.float32]
Rgb = NDArray[np.uint8]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Piece:
    """A connected part of a slice's mask. `costs`: logits that the slice loses without it."""

    subtype: str
    pixels: int
    row: int
    column: int
    costs: float


@dataclass(frozen=True, slots=True)
class SliceReason:
    """One slice (of thin ones: one block). `index` counts from 0 in the order of the study; `decided` in words."""

    index: int
    name: str
    probability: float
    logit: float
    subtype: str
    mask_pixels: int
    decided: str
    pieces: tuple[Piece, ...] = ()
    picture: str = ""


@dataclass(frozen=True)
class Explanation:
    """What explanation.json holds. `declined`: why a node would not analyse it.

    `prognosis`: for each prognosis system the file with what it looked at, or why there is none.
    """

    study: str
    bundle: dict[str, str]
    probability: float | None
    threshold: float | None
    aggregation: str
    declined: str
    gradcam: str
    slices: tuple[SliceReason, ...]
    files: tuple[str, ...] = ()
    note: str = "Not for diagnostic use. What is shown is what the network used, not what is true."
    origin: dict[str, Any] = field(default_factory=dict)
    prognosis: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Seen:
    """One slice as the network saw it. Shape: base (SIDE, SIDE) grey, inputs (4, GRID, GRID), share (6, GRID, GRID)."""

    base: Rgb
    inputs: Array
    share: Array
    logits: Array


def explain(
    bundle: Bundle,
    case: Case,
    out: Path,
    advance: Callable[[int, int], None] = lambda done, of: None,
    prognosis: Sequence[Salient] = (),
) -> Explanation:
    """Write the pictures and explanation.json of one study into `out`; of `prognosis` what each system looked at.

    Raises: BundleError, CaseUnreadable, StudyRejected for what cannot be read, EvaluationError for a folder that cannot be
    written.
    """
    detector = BloodNetDetector(bundle)
    try:
        cam, cam_words = GradCam(bundle), "of the picture head; exact, without gradients"
    except LookupError as error:
        cam, cam_words = None, f"none: {error}"
    head = case.load()
    seen, declined = _read(detector, head)
    logits = np.stack([s.logits for s in seen])
    entry = bundle.manifest.operating_points.get("ich")
    scoring = detector.scoring if head.is_hu else detector.picture_scoring
    order = sorted(range(len(seen)), key=lambda i: -logits[i, 0])[:SHOWN]
    reasons = [_reason(detector, scoring, s, i, _name(case, head, i), float(logits[:, 0].min()), i in order) for i, s in enumerate(seen)]  # fmt: skip
    study = scoring.study(logits[:, 0]) if len(seen) > 1 else None
    files: list[Path] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for done, i in enumerate(sorted(order)):
            heat = None if cam is None else cam(seen[i].inputs[None])[0]
            path = out / f"slice_{i + 1:03d}.png"
            _page(seen[i], reasons[i], heat, declined, cam_words).save(path)
            reasons[i] = SliceReason(**{**asdict(reasons[i]), "pieces": reasons[i].pieces, "picture": path.name})
            files.append(path)
            advance(done + 1, len(order))
        if len(seen) > 1:
            files.insert(0, out / "overview.png")
            _overview(seen, reasons, study, entry.raise_probability if entry else None, declined).save(files[0])
        systems: dict[str, str] = {}
        if why := _no_prognosis(head, declined):
            systems = {p.name: f"none: {why}" for p in prognosis}
        else:
            pages, systems = prognosis_pages(head.as_volume(ASSUMED_SPACING_MM, ASSUMED_STEP_MM), prognosis, out)
            files += pages
        made = Explanation(
            study=case.study_id,
            bundle={"name": bundle.manifest.name, "version": bundle.manifest.version, "digest": bundle.digest},
            probability=study,
            threshold=entry.raise_probability if entry else None,
            aggregation=scoring.aggregation,
            declined=declined,
            gradcam=cam_words,
            slices=tuple(reasons),
            files=tuple(f.name for f in files),
            origin={"hounsfield": head.is_hu, "slices": head.n_slices},
            prognosis=systems,
        )
        (out / "explanation.json").write_text(json.dumps(asdict(made), indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise EvaluationError(f"--out {out}: {error.strerror}; name a folder that this user may write") from error
    return made


def _no_prognosis(head: HeadVolume, declined: str) -> str:
    """Why no prognosis network is asked; a node does not ask either."""
    if head.hu is None:
        return "pictures have no Hounsfield units"
    return declined


def _name(case: Case, head: HeadVolume, index: int) -> str:
    return case.slice_ids[index] if len(case.slice_ids) == head.n_slices and index < len(case.slice_ids) else ""


def _read(detector: BloodNetDetector, head: HeadVolume) -> tuple[list[_Seen], str]:
    """Every slice, or block of thin slices, as the network sees it; and why a node would decline the study."""
    if head.hu is None:
        pictures = list(head.grey)
        groups = [pictures] if head.contiguous else [[p] for p in pictures]
        found = []
        for group in groups:
            grid = grid_of_pictures(group)
            bases = [_cut(grey_of(p), grid.square, 0.0, 1.0) for p in group]
            found += _looked_at(detector, grid, bases)
        return found, "" if len(
            pictures
        ) > 1 else "a picture has no Hounsfield units: a test of the network, no reading"
    if head.n_slices == 1:
        head = _doubled(head)
        found, _ = _read(detector, head)
        return found[:1], "a single slice is no study"
    volume = head.as_volume(ASSUMED_SPACING_MM, ASSUMED_STEP_MM)
    declined = ""
    if head.hu_range is None and int(volume.hu.max()) > BONE_HU:
        try:
            check_head(volume)
        except StudyRejected as refusal:
            declined = refusal.reason
    grid = on_grid(volume)
    middles = [np.flatnonzero(grid.block_of_slice == b) for b in range(len(grid.hu))]
    bases = [_cut(volume.hu[m[len(m) // 2]].astype(np.float32), grid.square, *WINDOW_HU) for m in middles]
    return _looked_at(detector, grid, bases), declined


def _doubled(head: HeadVolume) -> HeadVolume:
    """One slice as its own neighbour, as single slices reach the network."""
    assert head.hu is not None
    spacing = head.pixel_spacing_mm or (ASSUMED_SPACING_MM, ASSUMED_SPACING_MM)
    positions = np.arange(2) * ASSUMED_STEP_MM
    return HeadVolume(True, np.repeat(head.hu, 2, axis=0), pixel_spacing_mm=spacing, positions_mm=positions)


def _looked_at(detector: BloodNetDetector, grid: GridStudy, bases: list[Rgb]) -> list[_Seen]:
    share, logits = detector.read(grid)
    inputs = network_input(grid.hu, grid.tissue_hu)
    return [_Seen(bases[i], inputs[i], share[i], logits[i]) for i in range(len(bases))]


def _reason(
    detector: BloodNetDetector, scoring: Scoring, seen: _Seen, index: int, name: str, lowest: float, look: bool
) -> SliceReason:
    """What decided one slice. Pieces are painted over only where `look` is set: each costs a run of the network."""
    blood = seen.share[0] > MASK_PROBABILITY
    logit, kinds = float(seen.logits[0]), [expit(float(x)) for x in seen.logits[1:]]
    common = {
        "index": index,
        "name": name,
        "probability": float(scoring.slices(seen.logits[:1])[0]),
        "logit": logit,
        "subtype": SUBTYPES[int(np.argmax(kinds))],
        "mask_pixels": int(blood.sum()),
    }
    labels, _ = ndimage.label(blood, np.ones((3, 3), bool))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = [int(i) for i in np.argsort(-sizes)[:PIECES] if sizes[i] >= LEAST_PIXELS]
    if not look:
        return SliceReason(**common, decided="not looked into: other slices are likelier")
    if not kept:
        return SliceReason(**common, decided="no mask: the picture as a whole, see Grad-CAM")
    without = np.stack([_painted(seen.inputs, where) for where in (*(labels == piece for piece in kept), blood)])
    _, after = detector.run(without)
    pieces = []
    grid = detector.preprocessing
    pixel_ml = grid.pixel_mm**2 * grid.slice_mm / 1000  # about: a picture does not tell
    for piece, logits in zip(kept, after[:-1], strict=True):
        where = labels == piece
        row, column = np.argwhere(where).mean(axis=0)
        kind = detector.name(where[None], seen.share[None], seen.logits[None], int(sizes[piece]) * pixel_ml)
        pieces.append(Piece(kind, int(sizes[piece]), round(row), round(column), logit - float(logits[0])))
    most, whole = max(pieces, key=lambda p: p.costs), logit - float(after[-1, 0])
    least = DECIDED * max(logit - lowest, 1.0)
    if most.costs >= least:
        decided = f"piece {pieces.index(most) + 1} ({most.subtype or 'no type'}): without it {logit - most.costs:.1f} instead of {logit:.1f}"
    elif whole >= least:
        decided = f"the mask together, no piece alone: without it {logit - whole:.1f} instead of {logit:.1f}"
    else:
        decided = f"more than the mask: without it still {logit - whole:.1f}, with it {logit:.1f}; see Grad-CAM"
    return SliceReason(**common, decided=decided, pieces=tuple(pieces))


def _painted(inputs: Array, where: Bools) -> Array:
    """The input with a place painted over: the density that lies round it, with the picture's own grain left out."""
    near = ndimage.binary_dilation(where, iterations=2)
    ring = ndimage.binary_dilation(near, iterations=3) & ~near
    out = inputs.copy()
    weight = ndimage.gaussian_filter(near.astype(np.float32), 0.8)
    for channel in out:
        around = float(np.median(channel[ring])) if ring.any() else 0.0
        channel += weight * (around - channel)
    return out


def _cut(image: Array, square: Square, low: float, high: float) -> Rgb:
    """The part of a native picture that the network saw, grey. Shape: (row, column) -> (SIDE, SIDE)."""
    grey = np.clip((image - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    box = (square.column, square.row, square.column + square.side, square.row + square.side)
    cut = Image.fromarray(grey).transform((SIDE, SIDE), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)
    return np.asarray(cut)


def _large(image: Array) -> Array:
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _outlined(base: Rgb, share: Array) -> Rgb:
    """Grey with the outline of the mask, doubled in black so that it is seen on white bone too."""
    rgb = np.repeat(base[:, :, None], 3, axis=2)
    inside = _large(share) > MASK_PROBABILITY
    grown, wide = ndimage.binary_dilation(inside, iterations=2), ndimage.binary_dilation(inside, iterations=3)
    rgb[wide & ~grown] = 0
    rgb[grown & ~inside] = EDGE
    return rgb


def _heated(base: Rgb, heat: Array) -> Rgb:
    """Colours over grey, more opaque where there is more. `heat` from 0 to 1."""
    strength = np.clip(_large(heat), 0, 1)
    colour = np.asarray(matplotlib.colormaps["inferno"](0.25 + 0.75 * strength))[:, :, :3] * 255
    alpha = (0.75 * np.sqrt(strength) * (strength > 0.04))[:, :, None]
    return np.rint(base[:, :, None] * 0.85 * (1 - alpha) + colour * alpha).astype(np.uint8)


def _font(size: int) -> Any:
    return ImageFont.load_default(size=size)


def _page(seen: _Seen, reason: SliceReason, cam: Array | None, declined: str, cam_words: str) -> Image.Image:
    """Four pictures side by side and the reason below."""
    most = 0.0 if cam is None else float(cam.max())
    panels = [
        ("slice", np.repeat(seen.base[:, :, None], 3, axis=2)),
        (f"mask, {reason.mask_pixels} of {GRID * GRID} pixels", _outlined(seen.base, seen.share[0])),
        ("probability of blood, 0.04 to 1", _heated(seen.base, seen.share[0])),
        (
            "Grad-CAM, on its own scale" if most > 0 else "Grad-CAM: nothing speaks for blood" if cam is not None else "no Grad-CAM",
            _heated(seen.base, cam / most if cam is not None and most > 0 else np.zeros((8, 8), np.float32)),
        ),
    ]  # fmt: skip
    page = Image.new("RGB", (len(panels) * (SIDE + GAP) + GAP, SIDE + TEXT + 26), GROUND)
    pen = ImageDraw.Draw(page)
    for i, (words, picture) in enumerate(panels):
        x = GAP + i * (SIDE + GAP)
        pen.text((x, 5), words, fill=QUIET, font=_font(14))
        page.paste(Image.fromarray(picture), (x, 26))
    top = SIDE + 30
    for i, piece in enumerate(reason.pieces):
        x, y = (GAP + SIDE + GAP + int(piece.column * SIDE / GRID), 26 + int(piece.row * SIDE / GRID))
        x, y = min(x + 12, GAP + 2 * SIDE - 8), max(y - 22, 28)
        pen.text((x, y), str(i + 1), fill=EDGE, font=_font(15), stroke_width=2, stroke_fill=(0, 0, 0))
    first = f"slice {reason.index + 1} {reason.name[-48:]}   probability {reason.probability:.3f}   likeliest type {reason.subtype}"
    pen.text((GAP, top), first, fill=WORDS, font=_font(15))
    pen.text((GAP, top + 20), f"decided by {reason.decided}", fill=WORDS, font=_font(15))
    last = "Not for diagnostic use." + (f"  Declined: {declined}." if declined else "")
    last += f"  Grad-CAM {cam_words[:110]}" if cam is None else ""
    pen.text((GAP, top + 39), last, fill=QUIET, font=_font(13))
    return page


def _overview(
    seen: list[_Seen], reasons: list[SliceReason], study: float | None, threshold: float | None, declined: str
) -> Image.Image:
    """All slices with their masks; those that have a page are framed."""
    tile, columns = 160, 8
    rows = -(-len(seen) // columns)
    width = columns * (tile + GAP) + GAP
    page = Image.new("RGB", (width, rows * (tile + 22 + GAP) + 54), GROUND)
    pen = ImageDraw.Draw(page)
    words = "study: no score" if study is None else f"study: probability {study:.3f}"
    if study is not None and threshold is not None:
        words += f", raised from {threshold:.3f}: {'RAISED' if study >= threshold else 'not raised'}"
    pen.text((GAP, 6), words + (f"   declined: {declined}" if declined else ""), fill=WORDS, font=_font(16))
    pen.text((GAP, 28), "framed: has a page of its own   Not for diagnostic use.", fill=QUIET, font=_font(13))
    for i, (one, reason) in enumerate(zip(seen, reasons, strict=True)):
        x, y = GAP + i % columns * (tile + GAP), 50 + i // columns * (tile + 22 + GAP)
        picture = Image.fromarray(_outlined(one.base, one.share[0])).resize((tile, tile), Image.Resampling.LANCZOS)
        page.paste(picture, (x, y))
        if not reason.decided.startswith("not looked"):
            pen.rectangle((x - 2, y - 2, x + tile + 1, y + tile + 1), outline=EDGE, width=2)
        pen.text((x, y + tile + 3), f"{reason.index + 1}   {reason.probability:.3f}", fill=WORDS, font=_font(13))
    return page
