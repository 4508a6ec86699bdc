"""Thresholds in force: one version for the whole site, with points of their own for some scanners or senders.

Also the way of a draft of thresholds until it is in force, and what is known of a study's truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from triage_node.domain.finding import OperatingPoint
from triage_node.domain.scan_source import ScanSource

MAIN = "ich"
"""The finding that every policy has a point for."""


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """Which studies a point is for; what is empty is no condition. `scanner`: maker and model as ScanSource has it."""

    scanner: str = ""
    kernel: str = ""
    ae_title: str = ""

    @property
    def is_whole_site(self) -> bool:
        return self == Scope()

    @property
    def words(self) -> str:
        if self.is_whole_site:
            return "whole site"
        told = (self.scanner, self.kernel and f"kernel {self.kernel}", self.ae_title and f"sent by {self.ae_title}")
        return ", ".join(part for part in told if part)

    def holds(self, scan: ScanSource, ae_title: str) -> bool:
        return all(
            not wanted or wanted == found
            for wanted, found in (
                (self.scanner, scan.scanner),
                (self.kernel, scan.kernel),
                (self.ae_title, ae_title),
            )
        )

    @property
    def conditions(self) -> int:
        return sum(bool(part) for part in (self.scanner, self.kernel, self.ae_title))


@dataclass(frozen=True, slots=True)
class ScopedPoint:
    scope: Scope
    point: OperatingPoint


@dataclass(frozen=True, slots=True)
class Policy:
    """One version. `points`: finding -> point of the whole site; `scoped` take its place where their scope holds.

    `bundle_digest`: of the model whose probabilities it judges, and no other's; empty: whichever runs, from before that was kept.
    """

    version: int
    created_at: datetime
    created_by: str
    why: str
    points: Mapping[str, OperatingPoint]
    scoped: tuple[ScopedPoint, ...] = ()
    bundle_digest: str = ""

    def point(self, finding: str, scan: ScanSource | None = None, ae_title: str = "") -> OperatingPoint | None:
        """The point for one study: of the scope with the most conditions that holds, else the site's."""
        fitting = [
            s for s in self.scoped if s.point.finding == finding and scan is not None and s.scope.holds(scan, ae_title)
        ]
        if not fitting:
            return self.points.get(finding)
        return max(fitting, key=lambda s: (s.scope.conditions, s.scope)).point

    def points_for(self, scan: ScanSource | None, ae_title: str) -> tuple[OperatingPoint, tuple[OperatingPoint, ...]]:
        """For one study: the point of hemorrhage of any kind, and those of findings that have one of their own.

        Raises: KeyError for a policy without the first.
        """
        points = {finding: self.point(finding, scan, ae_title) for finding in self.points}
        main = points.pop(MAIN) or self.points[MAIN]
        return main, tuple(p for p in points.values() if p is not None)

    def of_scope(self, scope: Scope) -> dict[str, OperatingPoint]:
        """finding -> the point that stands for exactly this scope."""
        if scope.is_whole_site:
            return dict(self.points)
        return {s.point.finding: s.point for s in self.scoped if s.scope == scope}

    @property
    def scopes(self) -> tuple[Scope, ...]:
        return tuple(sorted({s.scope for s in self.scoped}))


class DraftEvent(StrEnum):
    """What happened to a draft of thresholds; a draft is never changed."""

    DRAFTED = "drafted"
    SHADOW_ON = "shadow on"
    SHADOW_OFF = "shadow off"
    APPROVED = "approved"
    ACTIVATED = "activated"
    LAPSED = "lapsed"
    WITHDRAWN = "withdrawn"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class DraftStep:
    """`active_from` with an approval, `policy_version` with an activation."""

    event: DraftEvent
    at: datetime
    by: str
    words: str = ""
    active_from: datetime | None = None
    policy_version: int | None = None


_ENDS = (DraftEvent.ACTIVATED, DraftEvent.LAPSED, DraftEvent.WITHDRAWN, DraftEvent.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class PolicyDraft:
    """`policy.version` is the version that it would replace: the one it was made against."""

    number: int
    policy: Policy
    steps: tuple[DraftStep, ...] = field(default=())

    @property
    def state(self) -> str:
        """In one word, the last step that matters: draft, shadow, approved, active, lapsed, withdrawn, rolled back."""
        last = next((s for s in reversed(self.steps) if s.event in (DraftEvent.APPROVED, *_ENDS)), None)
        if last is not None:
            return "active" if last.event is DraftEvent.ACTIVATED else last.event.value
        return "shadow" if self.in_shadow else "draft"

    @property
    def is_open(self) -> bool:
        return self.state in ("draft", "shadow", "approved")

    @property
    def in_shadow(self) -> bool:
        """Whether new studies are judged by it beside the policy in force. An approved draft may go on until its day."""
        if any(s.event in _ENDS for s in self.steps):
            return False
        switches = [s.event for s in self.steps if s.event in (DraftEvent.SHADOW_ON, DraftEvent.SHADOW_OFF)]
        return bool(switches) and switches[-1] is DraftEvent.SHADOW_ON

    @property
    def drafted_by(self) -> str:
        return self.policy.created_by

    def step(self, event: DraftEvent) -> DraftStep | None:
        return next((s for s in reversed(self.steps) if s.event == event), None)


@dataclass(frozen=True, slots=True)
class Truth:
    """Whether a study shows a bleed, and who says so. `covers_unflagged`: the source looked at every study, flagged or not."""

    study_instance_uid: str
    positive: bool
    source: str
    covers_unflagged: bool
    at: datetime
