"""Small labelled sets: simple heads with and without a clot, as cases in memory or as the plain folder of a stranger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.detection.heads import simple_head
from triage_node.domain.case import Case, HeadVolume, LabelMask, Labels

PIXEL_MM, STEP_MM, SLICES = 0.9, 5.0, 12


def pixels(seed: int, bleeds: bool, slices: int = SLICES) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """A head, and where its clot is. Shape: (slice, 192, 192)."""
    rng = np.random.default_rng(seed)
    hu = simple_head(slices, STEP_MM, 192)
    hu = np.roll(hu, rng.integers(-5, 6, 2), axis=(1, 2)) + np.rint(rng.normal(0, 1.5, hu.shape)).astype(np.int16)
    blood = np.zeros(hu.shape, bool)
    if bleeds:
        z, y, x = np.indices(hu.shape)
        at = (slices // 2, 96 + rng.integers(-20, 21), 96 + rng.integers(-25, 26))
        blood = ((z - at[0]) * STEP_MM) ** 2 + ((y - at[1]) * PIXEL_MM) ** 2 + ((x - at[2]) * PIXEL_MM) ** 2 < 16**2
        hu[blood] += 35
    return hu.astype(np.int16), blood


def case(seed: int, bleeds: bool, **changes: object) -> Case:
    hu, blood = pixels(seed, bleeds)

    def load() -> HeadVolume:
        thick = np.full(len(hu), STEP_MM)
        positions = np.arange(len(hu)) * STEP_MM
        return HeadVolume(True, hu, (), (PIXEL_MM, PIXEL_MM), positions, thick)

    labels = Labels(
        slice_labels=tuple(int(b.any()) for b in blood),
        study_label=int(bleeds),
        study_subtypes={"iph": int(bleeds)},
        mask=LabelMask({1: "ich"}, lambda: tuple(blood.astype(np.uint8)), silver=True),
    )
    known = {
        "source": "made",
        "patient_id": f"p{seed}",
        "study_id": f"s{seed}",
        "slice_ids": tuple(map(str, range(len(hu)))),
        "scanner": f"Maker {seed % 2}",
        "kernel": "SOFT",
        "software": f"v{seed % 2}",
    }
    return Case(**{**known, "labels": labels, "load": load, "simulated": True, **changes})


def plain_pictures(folder: Path, count: int, bleeds: tuple[int, ...] = (0, 1)) -> Path:
    """8-bit pictures, each of its own head; labels run through `bleeds`."""
    folder.mkdir(parents=True)
    rows = ["file,label,subtype"]
    for i in range(count):
        label = bleeds[i % len(bleeds)]
        hu, _ = pixels(i, bool(label))
        grey = np.clip((hu[len(hu) // 2].astype(float)) / 80 * 255, 0, 255).astype(np.uint8)
        name = f"{i}.png" if i % 3 else f"{i}.jpg"
        Image.fromarray(grey).save(folder / name, **({"quality": 90} if name.endswith("jpg") else {}))
        rows.append(f"{name},{label},{'iph' if label else ''}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def plain_volumes(folder: Path, count: int) -> Path:
    """Studies as 16-bit PNG that hold HU + 1024, one row a slice."""
    folder.mkdir(parents=True)
    rows = ["file,label,subtype,study,slice"]
    for i in range(count):
        hu, blood = pixels(100 + i, bool(i % 2))
        for k, (image, of_slice) in enumerate(zip(hu, blood, strict=True)):
            name = f"{i}_{k:02d}.png"
            Image.fromarray((image.astype(np.int32) + 1024).clip(0, 65535).astype(np.uint16)).save(folder / name)
            rows.append(f"{name},{int(of_slice.any())},{'iph' if of_slice.any() else ''},study{i},{k}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder
