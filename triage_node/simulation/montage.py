"""Look at what the simulator draws: one PNG for each type of bleed, each mimic and each scanner.

    python -m triage_node.simulation.montage --out DIR [--heads FOLDER] [--only sdh] [--cases 4] [--seed 1]

Rows are cases: before, after, and after with the outline of the mask; for mimics before and after. Heads are procedural, or
those of `--heads`: npz files with hu, intracranial, tissue_hu, pixel_mm and slice_mm, as `Head` has them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from triage_node.simulation import mimics, phantom
from triage_node.simulation.bleeds import SUBTYPES, Array, Bools, Head
from triage_node.simulation.scanners import SCANS
from triage_node.simulation.sets import Spec, simulated_study

Picture = NDArray[np.uint8]
SIDE = 384
WINDOW = (0.0, 80.0)
FIRST_ANATOMY = 700
"""Anatomy seeds of the procedural heads: neither trained on nor tested with."""


def procedural_head(seed: int) -> Head:
    made = phantom.head(seed, 1, 30, 5.0, size=256)
    hu = np.clip(made.volume.hu, -20, 100).astype(np.float32)
    inside = made.truth.intracranial
    tissue = float(np.median(hu[made.truth.brain]))
    return Head(hu, inside, tissue, made.volume.pixel_spacing_mm[0], 5.0)


def heads_of(folder: Path) -> list[Head]:
    """Raises: FileNotFoundError when the folder holds no npz file, KeyError when one lacks an array."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise FileNotFoundError(f"no npz files in {folder}")
    made = []
    for path in files:
        with np.load(path) as kept:
            numbers = [float(kept[name]) for name in ("tissue_hu", "pixel_mm", "slice_mm")]
            made.append(Head(kept["hu"].astype(np.float32), kept["intracranial"].astype(bool), *numbers))
    return made


def tile(image: Array, mask: Bools | None = None, text: str = "") -> Picture:
    """One slice in the brain window, with the mask's outline and a line of text. Shape: (SIDE, SIDE, 3)."""
    low, high = WINDOW
    grey = np.clip((image - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    picture = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")
    if mask is not None and mask.any():
        large = np.asarray(Image.fromarray(mask).resize((SIDE, SIDE), Image.Resampling.NEAREST))
        pixels = np.array(picture)
        pixels[large ^ ndimage.binary_erosion(large)] = (255, 60, 60)
        picture = Image.fromarray(pixels)
    ImageDraw.Draw(picture).text((4, 4), text, fill=(255, 255, 0))
    return np.asarray(picture)


def _square(head: Head, image: Array) -> tuple[slice, slice]:
    """The part of the picture that shows the head: the mask's box and a margin."""
    rows, columns = np.nonzero(head.intracranial.any(axis=0))
    margin = int(22 / head.pixel_mm)
    low = max(min(rows.min(), columns.min()) - margin, 0)
    high = min(max(rows.max(), columns.max()) + margin, *image.shape)
    return slice(low, high), slice(low, high)


def bleed_row(head: Head, spec: Spec, seed: int) -> Picture | None:
    study = simulated_study(head, spec, seed)
    if study is None:
        return None
    z = int((study.label > 0).sum(axis=(1, 2)).argmax())
    box = _square(head, head.hu[z])
    mask = study.label[z][box] > 0
    facts = " ".join(f"{k}={v}" for k, v in study.facts.items())
    after = study.head.hu[z][box]
    return np.concatenate([tile(head.hu[z][box], text=facts), tile(after), tile(after, mask)], axis=1)


def mimic_row(head: Head, name: str, seed: int) -> Picture:
    rng = np.random.default_rng([seed, 0xA117])
    hu = mimics.plastic_phantom(head, rng).hu if name == "plastic phantom" else mimics.MIMICS[name][1](head, rng)
    z = int(np.clip(np.abs(hu - head.hu), 0, 40).sum(axis=(1, 2)).argmax())
    box = _square(head, head.hu[z])
    return np.concatenate([tile(head.hu[z][box], text=name), tile(hu[z][box])], axis=1)


def scan_row(head: Head, seed: int) -> Picture:
    tiles = []
    for name, scan in SCANS.items():
        study = simulated_study(head, Spec(dressed=False, scan=scan), seed)
        if study is not None:
            image = study.head.hu[round(len(study.head.hu) * 0.55)]
            tiles.append(tile(image, text=name))
    return np.concatenate(tiles, axis=1)


def _write(path: Path, rows: Iterable[Picture | None]) -> None:
    kept = [r for r in rows if r is not None]
    if kept:
        Image.fromarray(np.concatenate(kept, axis=0)).save(path)
        print(path)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m triage_node.simulation.montage", description="Look at the simulator."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNGs")
    parser.add_argument("--heads", type=Path, help="folder of npz heads; procedural ones without it")
    parser.add_argument("--only", default="", help="write only what starts with this, e.g. sdh, mimic or scanners")
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    if chosen.cases < 1:
        parser.error("--cases must be at least 1")
    try:
        heads = (
            heads_of(chosen.heads)
            if chosen.heads
            else [procedural_head(FIRST_ANATOMY + i) for i in range(min(chosen.cases, 4))]
        )
    except (FileNotFoundError, KeyError, ValueError, OSError) as error:
        print(f"heads cannot be read: {error}", file=sys.stderr)
        return 2
    chosen.out.mkdir(parents=True, exist_ok=True)
    cases = [(heads[i % len(heads)], chosen.seed + i) for i in range(chosen.cases)]
    for kind, subtypes in SUBTYPES.items():
        for sub in subtypes:
            name = f"{kind}-{sub}"
            if name.startswith(chosen.only):
                spec = Spec(kind, sub, dressed=False)
                _write(chosen.out / f"{name}.png", (bleed_row(head, spec, seed) for head, seed in cases))
    for mimic in (*mimics.MIMICS, "plastic phantom"):
        name = f"mimic-{mimic.replace(' ', '-')}"
        if name.startswith(chosen.only):
            _write(chosen.out / f"{name}.png", (mimic_row(head, mimic, seed) for head, seed in cases))
    if "scanners".startswith(chosen.only):
        _write(chosen.out / "scanners.png", (scan_row(head, seed) for head, seed in cases[:2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
