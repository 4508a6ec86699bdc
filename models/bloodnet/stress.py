"""The stress test of a bundle on held-out heads: other scanners, other hospitals' pictures; rows `stress_*` of metadata.json.

    python -m models.bloodnet.stress --pool=build/bloodnet2

Real held-out patients against their mirrored halves with mimics; thresholds as stored. Nothing is chosen here.
Rows of the levels that were not asked for stay.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.bloodnet.export import write_manifest
from models.bloodnet.pool import PIXEL_MM, SLICE_MM, Pool
from models.bloodnet.settings import from_command_line
from triage_node.bundle.load import load_bundle
from triage_node.detection.ich import BloodNetDetector
from triage_node.detection.preprocess import CLIP_HU
from triage_node.evaluation.stress import StressHead, Thresholds, figures, markdown, stress


@dataclass(frozen=True)
class Settings:
    bundle: str = str(Path(__file__).parent)
    pool: str = "build/bloodnet"
    out: str = "build/bloodnet/stress"
    levels: str = "hu,picture"
    singles: int = 6
    silent_per_patient: int = 2


def heads(pool: Pool, silent_per_patient: int) -> list[StressHead]:
    """Every real patient, and so many mirrored halves with mimics of each."""
    found, taken = [], dict[str, int]()
    for s in pool.studies:
        real = s["origin"] == "real" and not s["dressed"]
        silent = s["origin"] == "mirrored" and s["dressed"] and not s["kinds"]
        if silent:
            taken[s["patient"]] = taken.get(s["patient"], 0) + 1
        if real or (silent and taken[s["patient"]] <= silent_per_patient):
            here = range(s["start"], s["stop"])
            labels = tuple(1 if pool.positive[i] else 0 if pool.negative[i] else None for i in here)
            found.append(StressHead(s["patient"], pool.hu(s), real, labels, PIXEL_MM, SLICE_MM, CLIP_HU))
    return found


if __name__ == "__main__":
    settings = from_command_line(Settings(), sys.argv[1:])
    levels = settings.levels.split(",")
    bundle = load_bundle(Path(settings.bundle))
    point = bundle.manifest.operating_points["ich"]
    of_slice = point.raise_probability if point.slice_probability is None else point.slice_probability
    chosen = heads(Pool.read(Path(settings.pool) / "validation"), settings.silent_per_patient)
    report = stress(
        BloodNetDetector(bundle), chosen, Thresholds(point.raise_probability, of_slice),
        levels=levels, singles=settings.singles,
    )  # fmt: skip
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "stress.json").write_text(json.dumps(report, indent=2) + "\n")
    (out / "stress.md").write_text(markdown(report))
    text = (
        "real held-out patients of PHE-SICH against their mirrored halves with mimics, altered; thresholds fixed before"
    )
    rows = figures(report, text, len(np.unique([h.patient for h in chosen])))
    path = Path(settings.bundle) / "configs" / "metadata.json"
    manifest = json.loads(path.read_text())
    own = tuple(f"stress_{level}{after}" for level in levels for after in (",", "_mean_", "_worst_"))
    manifest["evaluation"] = [f for f in manifest["evaluation"] if not f["name"].startswith(own)] + rows
    write_manifest(Path(settings.bundle), manifest)
    print(markdown(report))
