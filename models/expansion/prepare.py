"""Draw the virtual cohort and its pictures once: 0.03 CPU seconds and 0.28 MB a patient.

python -m models.expansion.prepare --n=6000
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.expansion.pool import SPLIT_RULE, packed
from models.expansion.settings import from_command_line
from triage_node.prognosis.expansion import stored
from triage_node.simulation.cohort import virtual_cohort
from triage_node.simulation.cohort_images import SHAPE, render


@dataclass(frozen=True)
class Settings:
    pool: str = "build/expansion"
    n: int = 6000
    seed: int = 2024


def main(settings: Settings) -> None:
    folder = Path(settings.pool)
    folder.mkdir(parents=True, exist_ok=True)
    patients = virtual_cohort(settings.n, settings.seed)
    pictures = np.lib.format.open_memmap(folder / "pictures.npy", "w+", np.uint8, (settings.n, *SHAPE))
    bits = (2, *SHAPE[:2], SHAPE[2] // 8)
    masks = np.lib.format.open_memmap(folder / "masks.npy", "w+", np.uint8, (settings.n, *bits))
    digest = hashlib.sha256()
    began = time.monotonic()
    for i, patient in enumerate(patients):
        image = render(patient, settings.seed)
        pictures[i], masks[i] = stored(image.hu), packed(image)
        digest.update(pictures[i].tobytes())
        digest.update(masks[i].tobytes())
        if i % 500 == 499:
            left = (time.monotonic() - began) / (i + 1) * (settings.n - i - 1)
            print(f"{i + 1} of {settings.n} patients, {left:.0f} s left", flush=True)
    pictures.flush()
    masks.flush()
    about = {"n": settings.n, "seed": settings.seed, "sha256": digest.hexdigest(), "split": SPLIT_RULE}
    (folder / "pool.json").write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main(from_command_line(Settings(), sys.argv[1:]))
