"""Simulated studies of a named kind, for tests by subtype, thickness and volume. Everything here is evidence level E0.

    simulated_study(head, SPECS["sdh thin"], seed=7)

The same head, spec and seed give the same study bit for bit. Heads of patients that a model was trained on make no test.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from triage_node.domain.case import Case, HeadVolume, LabelMask, Labels
from triage_node.simulation.bleeds import KINDS, SUBTYPES, Drawn, Head, Wanted, draw
from triage_node.simulation.mimics import dress
from triage_node.simulation.scanners import Scan, scanned

LEAST_MM2 = 12.0
"""A slice counts as positive from so much blood on; with less it is not scored."""
TRIES = 12


@dataclass(frozen=True)
class Spec:
    """What a study is to hold. `kind` "" is a head without blood; ranges are of the facts that are measured afterwards.

    `also`: further kinds that are drawn before it where the head has place for them, as after an accident.
    """

    kind: str = ""
    subtype: str | None = None
    thickness_mm: tuple[float, float] | None = None
    volume_ml: tuple[float, float] | None = None
    also: tuple[str, ...] = ()
    dressed: bool = True
    scan: Scan = field(default_factory=Scan)

    def __post_init__(self) -> None:
        if self.kind and self.kind not in KINDS:
            raise ValueError(f"kind must be empty or one of {', '.join(KINDS)}, got {self.kind!r}")
        if any(k not in KINDS for k in self.also) or (self.also and not self.kind):
            raise ValueError(f"also holds kinds beside a kind, got {self.also!r} beside {self.kind!r}")
        if self.subtype is not None and self.subtype not in SUBTYPES.get(self.kind, ()):
            raise ValueError(f"{self.kind or 'a head without blood'} has no subtype {self.subtype!r}")
        if self.thickness_mm and self.kind not in ("sdh", "edh"):
            raise ValueError(f"only sdh and edh have a thickness, not {self.kind!r}")
        for low, high in filter(None, (self.thickness_mm, self.volume_ml)):
            if not 0 < low < high:
                raise ValueError(f"a range grows from above 0, got {low} to {high}")


SPECS: dict[str, Spec] = {
    "none": Spec(dressed=False),
    "none, mimics": Spec(),
    **{kind: Spec(kind) for kind in KINDS},
    **{f"{kind} {sub}": Spec(kind, sub) for kind, subs in SUBTYPES.items() for sub in subs},
    "sdh under 5 mm": Spec("sdh", "thin", thickness_mm=(1.8, 5.0)),
    "edh under 5 mm": Spec("edh", "thin", thickness_mm=(1.8, 5.0)),
    "sdh acute 5-10 mm": Spec("sdh", "acute", thickness_mm=(5.0, 10.0)),
    "sdh acute over 10 mm": Spec("sdh", "acute", thickness_mm=(10.0, 25.0)),
    "iph under 1 mL": Spec("iph", volume_ml=(0.1, 1.0)),
    "iph 1-5 mL": Spec("iph", volume_ml=(1.0, 5.0)),
    "iph over 5 mL": Spec("iph", volume_ml=(5.0, 80.0)),
    "sah under 1 mL": Spec("sah", "focal", volume_ml=(0.05, 1.0)),
    "sah 1-5 mL": Spec("sah", volume_ml=(1.0, 5.0)),
    "trauma": Spec("sdh", "acute", also=("sah", "iph")),
    "trauma, all five": Spec("edh", also=("iph", "ivh", "sah", "sdh")),
    "ivh under 1 mL": Spec("ivh", "trace", volume_ml=(0.05, 1.0)),
}
"""The strata that a report keeps apart."""


@dataclass(frozen=True)
class SimulatedStudy:
    """head: the picture as it came out. label (slice, row, column): 0 no blood, else 1 + position in KINDS.

    facts: as `Drawn.facts`, empty without blood; `slice_labels`: 1 blood, 0 none, None too little to say.
    """

    head: Head
    label: NDArray[np.uint8]
    kind: str
    facts: dict[str, float | str]
    mimics: tuple[str, ...]
    seed: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of which anything is left in the picture."""
        return tuple(kind for i, kind in enumerate(KINDS) if (self.label == 1 + i).any())

    @property
    def slice_labels(self) -> tuple[int | None, ...]:
        area = (self.label > 0).sum(axis=(1, 2)) * self.head.pixel_mm**2
        return tuple(1 if a >= LEAST_MM2 else None if a else 0 for a in area)


def simulated_study(head: Head, spec: Spec, seed: int) -> SimulatedStudy | None:
    """Draw mimics, then the bleed, then the scanner. None when the head has no place for such a bleed.

    `head` must hold no blood. Densities stay within the range that the head's source knows.
    """
    rng = np.random.default_rng([seed, zlib.crc32(repr(spec).encode())])
    low, high = float(head.hu.min()), float(head.hu.max())
    names: tuple[str, ...] = ()
    if spec.dressed:
        dressed, names = dress(head, rng)
        if spec.kind:
            while dressed.plastic:
                dressed, names = dress(head, rng)
        head = dressed
    label = np.zeros(head.hu.shape, np.uint8)
    facts: dict[str, float | str] = {}
    for kind in spec.also:
        other = draw(kind, head, rng)
        if other is not None:
            head = head.with_hu(np.clip(other.hu, low, high))
            label[other.mask] = 1 + KINDS.index(kind)
    if spec.kind:
        drawn = _bleed(head, spec, rng)
        if drawn is None:
            return None
        head, facts = head.with_hu(drawn.hu), drawn.facts
        label[drawn.mask] = 1 + KINDS.index(spec.kind)
    made = head.with_hu(np.clip(head.hu, low, high))
    if spec.scan != Scan():
        made, label = _shown(made, label, spec.scan, rng)
    return SimulatedStudy(made, label, spec.kind, facts, names, seed)


def _bleed(head: Head, spec: Spec, rng: np.random.Generator) -> Drawn | None:
    """Draw until the measured facts lie in the ranges that were asked for."""
    for _ in range(TRIES):
        size = {
            name: float(np.exp(rng.uniform(*np.log(limits))))
            for name, limits in (("thickness_mm", spec.thickness_mm), ("volume_ml", spec.volume_ml))
            if limits
        }
        drawn = draw(
            spec.kind, head, rng, tries=2, wanted=Wanted(spec.subtype, size.get("volume_ml"), size.get("thickness_mm"))
        )
        if drawn is None:
            continue
        within = [
            limits is None or limits[0] <= float(drawn.facts[name]) <= limits[1]
            for name, limits in (("thickness_mm", spec.thickness_mm), ("volume_ml", spec.volume_ml))
        ]
        if all(within):
            return drawn
    return None


def _shown(
    head: Head, label: NDArray[np.uint8], scan: Scan, rng: np.random.Generator
) -> tuple[Head, NDArray[np.uint8]]:
    inside = np.uint8(8)
    both = label + inside * head.cavity.astype(np.uint8)
    hu, both, slice_mm = scanned(head.hu, both, head.pixel_mm, head.slice_mm, scan, rng)
    tissue = float(head.tissue_hu * scan.slope + scan.offset_hu)
    made = Head(hu, both >= inside, tissue, head.pixel_mm, slice_mm, head.plastic)
    return made, both % inside


def case_of(study: SimulatedStudy, patient_id: str, study_id: str) -> Case:
    """The study as every data set gives its cases. It is marked as simulated, and its facts stand under `clinical`."""
    head, n = study.head, len(study.head.hu)
    volume = HeadVolume(
        is_hu=True,
        hu=head.hu,
        pixel_spacing_mm=(head.pixel_mm, head.pixel_mm),
        positions_mm=np.arange(n) * float(head.slice_mm),
        thickness_mm=np.full(n, float(head.slice_mm)),
        hu_range=(float(head.hu.min()), float(head.hu.max())),
    )
    mask = LabelMask({1 + i: kind for i, kind in enumerate(KINDS)}, lambda: tuple(study.label))
    labels = Labels(
        slice_labels=study.slice_labels,
        study_label=int(bool(study.kind)),
        study_subtypes={kind: int(kind in study.kinds) for kind in KINDS},
        mask=mask,
        volume_ml=round(float((study.label > 0).sum()) * head.voxel_ml, 3) if study.kind else None,
        clinical={f"simulated {name}": value for name, value in study.facts.items()},
    )
    return Case(
        source="simulated",
        patient_id=patient_id,
        study_id=study_id,
        slice_ids=tuple(f"{study_id}/{i}" for i in range(n)),
        labels=labels,
        load=lambda: volume,
        thickness_mm=float(head.slice_mm),
        simulated=True,
    )


def shown_by(spec: Spec, scan: Scan) -> Spec:
    """The same study from another scanner."""
    return replace(spec, scan=scan)
