"""Build the pools of slices that train.py and evaluate.py read.

    python -m models.bloodnet.prepare --data=../shared/data --out=build/bloodnet

Splits by patient before anything is simulated; prints the counts and the SHA-256 that docs/README.md repeats.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.bloodnet import sources
from models.bloodnet.pool import LABEL, is_development
from models.bloodnet.settings import from_command_line
from models.bloodnet.sources import Sample, sure_slices
from triage_node.simulation.bleeds import ANY, KINDS, SUBTYPES, Head, Wanted, draw
from triage_node.simulation.mimics import dress


@dataclass(frozen=True)
class Settings:
    data: str = "../shared/data"
    out: str = "build/bloodnet"
    part: str = "all"  # patients, template, procedural or contrast: one part, to build them side by side
    subset: str = "both"  # train, validation or both
    seed: int = 20261121
    bleeds_per_patient: int = 12
    template_heads: int = 45
    procedural_heads: int = 90
    contrast_heads: int = 45


EACH_SUBTYPE = [(kind, Wanted(subtype=sub)) for kind in KINDS for sub in SUBTYPES[kind]]
SMALL = [("iph", Wanted(volume_ml=ml)) for ml in (0.4, 0.8, 2.5)]
OLD_SUBDURAL = ("chronic", "isodense", "layered", "post-operative")
MEASURED = [*EACH_SUBTYPE, *SMALL]
"""What every head bleeds from that measures: each subtype once, and small parenchymal clots."""


def wanted(kind: str, rng: np.random.Generator) -> Wanted:
    """What was missed is drawn more often: extra-axial bleeds of 2 to 6 mm, and subdural ones that are not bright."""
    coin = rng.random()
    if kind == "sdh" and coin < 0.45:
        return Wanted(subtype=str(rng.choice(OLD_SUBDURAL)))
    if kind == "sdh" and coin < 0.8:
        return Wanted(subtype=str(rng.choice(["thin", "acute"])), thickness_mm=float(rng.uniform(2, 6)))
    if kind == "edh" and coin < 0.4:
        return Wanted(thickness_mm=float(rng.uniform(2.5, 6)))
    return ANY


def simulated(
    head: Head, patient: str, origin: str, rng: np.random.Generator, kind: str = "", exactly: Wanted | None = None
) -> Sample | None:
    """A head with one or two bleeds; six of ten are dressed with mimics first."""
    names: tuple[str, ...] = ()
    if rng.random() < 0.6:
        head, names = dress(head, rng)
    kinds = [kind or str(rng.choice(KINDS, p=[0.14, 0.1, 0.22, 0.4, 0.14]))]
    if not kind and rng.random() < 0.2:
        kinds.append(str(rng.choice(KINDS)))
    label = np.zeros(head.hu.shape, np.uint8)
    facts = []
    for k in dict.fromkeys(kinds):
        drawn = draw(k, head, rng, wanted=exactly or wanted(k, rng))
        if drawn is None:
            continue
        head = head.with_hu(np.clip(drawn.hu, 0, 100))
        label[drawn.mask] = LABEL[k]
        facts.append({"kind": k, **drawn.facts})
    if not facts:
        return None
    done = tuple(str(f["kind"]) for f in facts)
    return Sample(
        patient, origin, bool(names), done, head.hu, label, sure_slices(label), head.tissue_hu, json.dumps(facts)
    )


def normal(head: Head, patient: str, origin: str, rng: np.random.Generator, dressed: bool) -> Sample:
    names: tuple[str, ...] = ()
    if dressed:
        head, names = dress(head, rng)
    label = np.zeros(head.hu.shape, np.uint8)
    sure = np.ones(len(label), bool)
    return Sample(patient, origin, dressed, (), np.clip(head.hu, 0, 100), label, sure, head.tissue_hu, ",".join(names))


def patients(settings: Settings, validation: bool) -> Iterator[Sample]:
    """Real, mirrored and bleeding anew. Patients who measure (held out, or for development) bleed from every subtype."""
    data = Path(settings.data)
    for name in sources.patient_names(data):
        if sources.is_validation(name) != validation:
            continue
        rng = np.random.default_rng([settings.seed, int(name)])
        p = sources.patient(data, name)
        measures = validation or is_development(name)
        real = sources.real_sample(p)
        yield real
        if not measures:  # the same bleed in an older head, in a worse scanner
            for _ in range(2):
                dressed, _ = dress(Head(p.study.hu, p.study.intracranial, p.study.tissue_hu), rng)
                if not dressed.plastic:
                    yield Sample(name, "real", True, ("iph",), dressed.hu, real.label, real.sure, real.tissue_hu)
        head = sources.mirrored(p)
        if head is None or len(head.slices) < 8:
            continue
        yield normal(head, name, "mirrored", rng, False)
        for _ in range(5 if measures else 3):
            yield normal(head, name, "mirrored", rng, True)
        plan = MEASURED if measures else [("", None)] * settings.bleeds_per_patient
        yield from filter(None, (simulated(head, name, "mirrored", rng, kind, w) for kind, w in plan))


def templates(settings: Settings, validation: bool) -> Iterator[Sample]:
    voxels = sources.template(Path(settings.data))
    for i in range(0 if validation else settings.template_heads):
        rng = np.random.default_rng([settings.seed, 2, i])
        head, _ = sources.template_head(voxels, rng)
        if len(head.slices) < 8:
            continue
        yield normal(head, f"template {i}", "template", rng, False)
        yield normal(head, f"template {i}", "template", rng, True)
        yield from filter(None, (simulated(head, f"template {i}", "template", rng) for _ in range(3)))


def procedurals(settings: Settings, validation: bool) -> Iterator[Sample]:
    first = sources.VALIDATION_ANATOMY.start
    seeds = range(first, first + 24) if validation else range(1000, 1000 + settings.procedural_heads)
    for seed in seeds:
        rng = np.random.default_rng([settings.seed, 3, seed])
        bleed = (seed + seed // 10) % 2 == 1  # of the seeds that end in a digit every second one
        head, label, kinds = sources.procedural(seed, rng, bleed)
        if len(head.slices) < 8:
            continue
        name = f"procedural {seed}"
        if bleed:
            if label.any():
                sure = sure_slices(label)
                yield Sample(name, "procedural", False, kinds, head.hu, label, sure, head.tissue_hu)
                other, _ = dress(head, rng)
                if not other.plastic:
                    hu = np.clip(other.hu, 0, 100)
                    yield Sample(name, "procedural", True, kinds, hu, label, sure, head.tissue_hu)
        else:
            yield normal(head, name, "procedural", rng, False)
            yield normal(head, name, "procedural", rng, True)
            yield from filter(None, [simulated(head, name, "procedural", rng)])


def contrasts(settings: Settings, validation: bool) -> Iterator[Sample]:
    """Procedural heads after contrast medium, one in three with a bleed: bright vessels, choroid and dura are no blood."""
    first = sources.VALIDATION_ANATOMY.start + 50
    seeds = range(first, first + 9) if validation else range(2000, 2000 + settings.contrast_heads)
    for seed in seeds:
        rng = np.random.default_rng([settings.seed, 4, seed])
        head, label, kinds = sources.procedural(seed, rng, bleed=seed % 3 == 0, contrast=True)
        if len(head.slices) < 8 or (kinds and not label.any()):
            continue
        yield Sample(
            f"contrast {seed}",
            "procedural",
            False,
            kinds,
            head.hu,
            label,
            sure_slices(label),
            head.tissue_hu,
            "contrast",
        )


PARTS = {"patients": patients, "template": templates, "procedural": procedurals, "contrast": contrasts}


def write(samples: Iterator[Sample], folder: Path) -> None:
    """pictures.npy (slice, row, column) uint8 = HU x 2, labels.npy alike, sure.npy, studies.json."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures, labels, sure, studies = [], [], [], []
    start = 0
    for s in samples:
        pictures.append(np.round(np.clip(s.hu, 0, 100) * 2).astype(np.uint8))
        labels.append(s.label)
        sure.append(s.sure)
        studies.append(
            {
                "patient": s.patient, "origin": s.origin, "dressed": s.dressed, "kinds": s.kinds, "facts": s.facts,
                "tissue_hu": s.tissue_hu, "start": start, "stop": start + len(s.hu),
            }
        )  # fmt: skip
        start += len(s.hu)
    if not studies:
        return
    digest = hashlib.sha256()
    for name, arrays in (("pictures", pictures), ("labels", labels), ("sure", sure)):
        whole = np.concatenate(arrays)
        np.save(folder / f"{name}.npy", whole)
        digest.update(whole.tobytes())
    (folder / "studies.json").write_text(json.dumps(studies))
    (folder / "sha256").write_text(digest.hexdigest() + "\n")
    count = Counter((s["origin"], "bleed" if s["kinds"] else "none") for s in studies)
    print(folder, start, "slices", len(studies), "studies", dict(count), "sha256", digest.hexdigest(), flush=True)


if __name__ == "__main__":
    settings = from_command_line(Settings(), sys.argv[1:])
    if settings.part not in (*PARTS, "all") or settings.subset not in ("train", "validation", "both"):
        raise SystemExit(f"--part must be all, {', '.join(PARTS)}; --subset train, validation or both")
    began = time.monotonic()
    for name, part in PARTS.items():
        for subset, validation in (("train", False), ("validation", True)):
            if settings.part in (name, "all") and settings.subset in (subset, "both"):
                write(part(settings, validation), Path(settings.out) / subset / name)
    print(f"{time.monotonic() - began:.0f} s")
