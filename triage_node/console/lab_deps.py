"""What the threshold lab asks of the rest of the node; `processes/console/lab.py` fills it from the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from triage_node.domain.finding import OperatingPoint
from triage_node.domain.policy import Policy, PolicyDraft, Scope
from triage_node.domain.replay import Queue, Replay

LEAST, MOST = 0.001, 0.999
"""Range of every threshold; a probability of 0 or 1 would be reached always or never."""


@dataclass(frozen=True, slots=True)
class Question:
    """Thresholds to try, for one scope, and what is assumed beside them.

    `points`: finding -> point in the place of what stands for `scope`; a finding left out has no point there. `prevalence` and
    `reading_min` None: as measured.
    """

    scope: Scope
    points: Mapping[str, OperatingPoint]
    days: int = 90
    readers: int = 2
    reading_min: float | None = None
    other_per_hour: float = 0.0
    prevalence: float | None = None


@dataclass(frozen=True, slots=True)
class Basis:
    """Where a trial starts from. `default`: the bundle's own points; `scored`: findings that the model scores by themselves."""

    in_force: Policy
    default: Mapping[str, OperatingPoint]
    scored: tuple[str, ...]
    scopes: tuple[Scope, ...]
    drafts: tuple[PolicyDraft, ...]
    versions: tuple[Policy, ...]
    former: Policy | None
    model: str


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What a draft said beside the policy in force. `apart`: (study, answer in force, answer of the draft, at)."""

    judged: int
    flags_in_force: int
    flags: int
    apart: tuple[tuple[str, str, str, datetime], ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """`problems`: sentences; nothing is stored when there is one."""

    stored: int = 0
    positive: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TruthSource:
    source: str
    covers_unflagged: bool
    studies: int
    positive: int


@dataclass(frozen=True, slots=True)
class LabDeps:
    """Each change names who makes it and raises StoreError when it cannot be. `consequence`: of thresholds, for the node."""

    basis: Callable[[], Basis]
    replay: Callable[[Question], Replay]
    queue: Callable[[Question], Queue]
    candidate: Callable[[Question], Policy]
    consequence: Callable[[Policy], tuple[str, ...]]
    draft: Callable[[Question, str, str, int], int]
    shadow: Callable[[int, bool, str], None]
    approve: Callable[[int, str, datetime], None]
    withdraw: Callable[[int, str], None]
    roll_back: Callable[[str, int], int]
    shadow_report: Callable[[int], ShadowReport]
    import_truth: Callable[[str, str, bool, str], Imported]
    truths: Callable[[], tuple[TruthSource, ...]] = field(default=tuple)
