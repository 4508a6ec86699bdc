"""What a report is made from, and what comes out. No I/O but reading the headers that a path names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset

from triage_node.domain.delivery import BuiltObject, ObjectKind
from triage_node.domain.finding import Detection, EvidenceLevel, FindingDecision
from triage_node.domain.identifiers import deterministic_uid
from triage_node.domain.prognosis import Prediction
from triage_node.domain.study import StudyIdentity
from triage_node.domain.volume import Volume


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who writes. `name` is the station name (the AE title is a good one); every text is at most 64 characters."""

    name: str
    institution: str
    software_version: str


@dataclass(frozen=True, slots=True)
class ResultIdentity:
    """Parts of a deterministic UID that one result revision fixes (DESIGN.md section 3, "UIDs")."""

    input_digest: str
    bundle_digest: str
    runtime: str
    policy_version: int
    clinical_inputs_digest: str
    identity_digest: str
    revision: int

    def uid(self, study_instance_uid: str, kind: str, index: str) -> str:
        return deterministic_uid(
            study_instance_uid,
            self.input_digest,
            self.bundle_digest,
            self.runtime,
            str(self.policy_version),
            self.clinical_inputs_digest,
            self.identity_digest,
            kind,
            index,
            str(self.revision),
        )


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """A finished PS3.10 file and what the outbox must know about it."""

    built: BuiltObject
    data: bytes


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """Everything that a report may say.

    `sources`: data sets of the selected series without pixels, or files to read them from; for a study that was not
    analysed one header of the study is enough. `at` is an aware instant that belongs to the result, not to the call: the same
    request gives the same bytes. `predictions` go into the findings SR; leave them empty where prognosis may not leave the node.
    `evidence` is that of the finding; `least_level` what an output needs to be in the objects.
    `predecessor` is the findings SR that this one replaces. `calibrated` says whether a probability may be shown as a number.
    `patient` takes the place of what the sources say, where an identity was corrected without new images.
    `not_analysed_reason` is set instead of volume, detection and decision.
    """

    sources: tuple[Dataset | Path, ...]
    kinds: frozenset[ObjectKind]
    identity: ResultIdentity
    node: NodeIdentity
    at: datetime
    evidence: EvidenceLevel = EvidenceLevel.E0
    least_level: EvidenceLevel = EvidenceLevel.E0
    simulation: bool = False
    volume: Volume | None = None
    detection: Detection | None = None
    decision: FindingDecision | None = None
    predictions: tuple[Prediction, ...] = ()
    predecessor: BuiltFile | Dataset | None = None
    patient: StudyIdentity | None = None
    not_analysed_reason: str = ""
    calibrated: bool = False
    language: str = "en-US"
    outlines_for_ohif: bool = False
