"""What a detector says, and the table of findings that report, worklist and console read.

A new finding is one entry in FINDINGS (ARCHITECTURE.md, "How to add a finding").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class EvidenceLevel(StrEnum):
    """DESIGN.md section 4."""

    E0 = "E0"
    E1 = "E1"
    E2 = "E2"
    E3 = "E3"

    @property
    def in_words(self) -> str:
        return {
            "E0": "simulated data only",
            "E1": "public real data, held-out patients",
            "E2": "this site's own evaluation",
            "E3": "prospective at this site",
        }[self.value]


class Location(StrEnum):
    LOBAR = "lobar"
    DEEP = "deep"
    INFRATENTORIAL = "infratentorial"
    VENTRICULAR = "ventricular"
    EXTRA_AXIAL = "extra-axial"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FindingType:
    """key: stable name in rows and messages; short: as a radiologist abbreviates it; code: (value, scheme, meaning)."""

    key: str
    short: str
    name: str
    code: tuple[str, str, str]
    parent: str | None = None


FINDINGS: dict[str, FindingType] = {
    f.key: f
    for f in (
        FindingType("ich", "ICH", "intracranial hemorrhage", ("1386000", "SCT", "Intracranial hemorrhage")),
        FindingType("iph", "IPH", "intraparenchymal hemorrhage", ("274100004", "SCT", "Cerebral hemorrhage"), "ich"),
        FindingType(
            "ivh", "IVH", "intraventricular hemorrhage", ("23276006", "SCT", "Intraventricular hemorrhage"), "ich"
        ),
        FindingType("sah", "SAH", "subarachnoid hemorrhage", ("21454007", "SCT", "Subarachnoid hemorrhage"), "ich"),
        FindingType("sdh", "SDH", "subdural hemorrhage", ("35486000", "SCT", "Subdural hemorrhage"), "ich"),
        FindingType(
            "edh", "EDH", "epidural hemorrhage", ("68752002", "SCT", "Nontraumatic extradural hemorrhage"), "ich"
        ),
    )
}
VOLUME_OUTPUT, LOCATION_OUTPUT, CHRONIC_OUTPUT = "hematoma_volume_ml", "location", "chronic"
PROGNOSIS_OUTPUTS = frozenset({"expansion", "outcome", "gcs", "age", "volume"})
"""What a prognosis bundle may say; each with an evidence level of its own."""
"""Outputs of a model that are no finding, under the names by which a bundle states their evidence."""
SUBTYPES = tuple(f.key for f in FINDINGS.values() if f.parent == "ich")


@dataclass(frozen=True, slots=True)
class BundleIdentity:
    """Which model spoke. `digest` is SHA-256 over manifest and weights; `evidence` maps an output to its level."""

    name: str
    version: str
    digest: str
    runtime: str
    evidence: dict[str, EvidenceLevel] = field(default_factory=dict)

    def level(self, output: str) -> EvidenceLevel:
        return self.evidence.get(output, EvidenceLevel.E0)


@dataclass(frozen=True, slots=True)
class Component:
    """One connected bleed. Index order (slice, row, column); centroid in LPS mm. `subtype` is empty where no type fits."""

    label: int
    volume_ml: float
    subtype: str
    location: Location
    key_slice_index: int
    centroid_mm: tuple[float, float, float]
    probability: float
    chronic_looking: bool = False


@dataclass(frozen=True, slots=True)
class Detection:
    """Everything one detector says about one volume.

    Shape: mask and heat like Volume.hu; mask uint8 (0 none, else Component.label), heat uint8 (255 = probability 1);
    slice_probabilities (slice,) float32 in [0, 1]. `study_probability` is what the operating points compare with.
    """

    study_probability: float
    slice_probabilities: NDArray[np.float32]
    subtype_probabilities: dict[str, float]
    mask: NDArray[np.uint8]
    heat: NDArray[np.uint8]
    hematoma_volume_ml: float
    components: tuple[Component, ...]
    key_slice_index: int
    bundle: BundleIdentity


class Answer(StrEnum):
    """What an operating point says of a probability. "not raised" is no statement that there is no bleed."""

    NOT_RAISED = "not raised"
    NOT_SURE = "not sure"
    RAISED = "raised"
    NOTIFIED = "notified"

    @property
    def is_flag(self) -> bool:
        return self in (Answer.RAISED, Answer.NOTIFIED)

    @property
    def rank(self) -> int:
        return list(Answer).index(self)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Thresholds in force for one finding; `raise_probability` <= `notify_probability`. `version` names the policy row.

    From `unsure_from` up to `raise_probability` the answer is "not sure", which is no negative; None: there is no such answer.
    """

    finding: str
    raise_probability: float
    notify_probability: float
    version: int
    unsure_from: float | None = None

    def answer(self, probability: float) -> Answer:
        """A probability that is no number is not raised."""
        if probability >= self.raise_probability:
            return Answer.NOTIFIED if probability >= self.notify_probability else Answer.RAISED
        is_unsure = self.unsure_from is not None and probability >= self.unsure_from
        return Answer.NOT_SURE if is_unsure else Answer.NOT_RAISED


@dataclass(frozen=True, slots=True)
class FindingDecision:
    """Probability, operating point and decision, all three kept (DESIGN.md invariant 7).

    `finding` is the most specific finding whose output has the evidence level that the action needs, else "ich".
    `unsure`: not flagged and not silent either; it must never be shown as if the model had said no.
    """

    flagged: bool
    finding: str
    probability: float
    operating_point: OperatingPoint
    hematoma_volume_ml: float
    subtypes: tuple[str, ...]
    locations: tuple[Location, ...]
    bundle: BundleIdentity
    evidence: EvidenceLevel
    unsure: bool = False

    @property
    def answer(self) -> str:
        """The three answers; "not raised" is no statement that there is no bleed."""
        return "raised" if self.flagged else "not sure" if self.unsure else "not raised"
