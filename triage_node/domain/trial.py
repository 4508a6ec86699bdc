"""Trials: a study is judged again, or by another model, and nothing of it acts on anything (issue 10: Replay, Shadow models)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

FOLDER = "folder-"
"""How the name of a folder on trial begins; it stands where another trial names its study."""


class TrialState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one model says of one study at one version of the thresholds. `why_not`: why it was not analysed, else empty.

    `answer` as FindingDecision gives it; `input_digest` names the pixels that were read.
    """

    bundle_name: str
    bundle_version: str
    bundle_digest: str
    policy_version: int
    why_not: str = ""
    series_instance_uid: str = ""
    input_digest: str = ""
    answer: str = ""
    finding: str = ""
    probability: float = 0.0
    raise_probability: float = 0.0
    notify_probability: float = 0.0
    hematoma_volume_ml: float = 0.0
    key_slice_index: int = 0
    subtypes: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    evidence: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Reading:
        """Raises: TypeError when `stored` is none."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Trial:
    """A study that somebody asked to be judged again. `revision` of the result that it is compared with."""

    id: int
    study_instance_uid: str
    revision: int
    asked_by: str
    asked_at: datetime
    bundle: str
    policy_version: int
    state: TrialState
    reason: str = ""
    finished_at: datetime | None = None
    answer: Reading | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is the selection lab's, whose answer is another (domain/selection.py)."""
        return self.study_instance_uid.startswith(FOLDER)


@dataclass(frozen=True, slots=True)
class ShadowReading:
    """One study by two models. The second one acts on nothing; it is judged at the operating point of its own manifest.

    Probabilities of hemorrhage of any kind, volumes in mL. `why_not`: why the second has no answer, else empty.
    """

    study_instance_uid: str
    revision: int
    at: datetime
    probability: float
    flagged: bool
    hematoma_volume_ml: float
    shadow_name: str
    shadow_version: str
    shadow_digest: str
    shadow_probability: float | None
    shadow_flagged: bool | None
    shadow_volume_ml: float | None
    shadow_raise_probability: float | None
    why_not: str = ""
