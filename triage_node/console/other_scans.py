"""Other scans of the same patient on the page of a study, with the change of volume for those who may see figures.

That there is another scan is no finding, so everybody sees the link; what was made of it follows the rules of results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from fastapi import APIRouter, Request

from triage_node.console.deps import ConsoleDeps, StudyDetails
from triage_node.console.pages import Pages, Room
from triage_node.console.study import is_due, may_show
from triage_node.domain.finding import EvidenceLevel


@dataclass(frozen=True, slots=True)
class Comparison:
    """Volumes of two scans by one model. `why_not`: why there is no change to state; `words`: what the change means."""

    evidence: EvidenceLevel
    before_ml: float = 0.0
    now_ml: float = 0.0
    words: str = ""
    by: str = ""
    why_not: str = ""

    @property
    def change_ml(self) -> float:
        return self.now_ml - self.before_ml

    @property
    def change_percent(self) -> float:
        return 100 * self.change_ml / self.before_ml


@dataclass(frozen=True, slots=True)
class OtherScan:
    """`distance`: how long before or after this scan; `words`: what the node made of it; `apart`: it is only observed."""

    study_instance_uid: str
    scanned_at: datetime
    distance: str
    description: str
    words: str
    apart: bool = False
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class OtherScans:
    """`is_named`: the images say whose they are, so that others could be looked for at all. Newest first."""

    is_named: bool
    scans: tuple[OtherScan, ...] = ()


@dataclass(frozen=True, slots=True)
class OtherScansDeps:
    """`others(uid)`: None where it is not clear whose study it is."""

    others: Callable[[str], OtherScans | None]


def room(held: OtherScansDeps) -> Room:
    def routes(deps: ConsoleDeps, pages: Pages) -> APIRouter:
        def other_scans_of(request: Request, details: StudyDetails) -> OtherScans | None:
            found = held.others(details.study_instance_uid)
            if found is None:
                return None
            mode = deps.mode()
            own_shown = may_show(deps, request, mode, details)

            def as_due(scan: OtherScan) -> OtherScan:
                if not may_show(deps, request, mode, scan):
                    return replace(scan, words="", comparison=None)
                is_told = own_shown and scan.comparison is not None and is_due(deps, request, scan.comparison.evidence)
                return scan if is_told else replace(scan, comparison=None)

            return replace(found, scans=tuple(as_due(scan) for scan in found.scans))

        pages.environment.globals["other_scans_of"] = other_scans_of
        return APIRouter()

    return Room(routes)
