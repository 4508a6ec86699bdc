"""Shadow models: a second bundle for the same finding, compared with the one that acts.

GET /shadow       agreement, alarms and disputed cases
GET /api/shadow

The second model's answers are in no list, message or object; only this page shows them, to whoever may know what models say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from triage_node.console.deps import ConsoleDeps
from triage_node.console.pages import Link, Pages, Room, needs
from triage_node.domain.person import Role
from triage_node.domain.trial import ShadowReading

_WATCHES = (Role.ADMINISTRATOR, Role.AUDITOR)
SIDE = 240.0
"""Width and height of the plot's area."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts of studies that both have read. `kappa` with its 95 % interval, None where it is not defined; `days` at least 1."""

    both_flag: int
    only_first: int
    only_second: int
    neither: int
    kappa: float | None
    interval: tuple[float, float] | None
    days: float
    few: bool

    @property
    def studies(self) -> int:
        return self.both_flag + self.only_first + self.only_second + self.neither


@dataclass(frozen=True, slots=True)
class Comparison:
    """`second`: the shadow model, empty where none runs; `why`: why it does not although it is configured.

    `since`: from when studies count. `readings`: oldest first; `labels`: study -> its name on pages.
    """

    configured: str
    first: str
    second: str
    why: str
    second_raise: float | None
    first_raise: float | None
    since: datetime
    agreement: Agreement
    readings: tuple[ShadowReading, ...]
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class ShadowDeps:
    comparison: Callable[[], Comparison]
    is_on: bool


@dataclass(frozen=True, slots=True)
class Dot:
    """One study in the plot; x: the first model, y: the second."""

    x: float
    y: float
    is_disputed: bool


def room(shadows: ShadowDeps) -> Room:
    """The page; its link stands in the bar where a second model is configured."""

    def routes(deps: ConsoleDeps, pages: Pages) -> APIRouter:
        router = APIRouter()

        @router.get("/shadow", response_class=HTMLResponse)
        def show_shadow(request: Request) -> HTMLResponse:
            needs(deps, request, *_WATCHES)
            found = shadows.comparison()
            return pages.draw(
                request,
                "shadow.html",
                found=found,
                dots=dots(found.readings),
                side=SIDE,
                disputed=disputed(found.readings),
                silent=[r for r in found.readings if r.why_not],
            )

        @router.get("/api/shadow")
        def api_shadow(request: Request) -> dict[str, Any]:
            needs(deps, request, *_WATCHES)
            found = shadows.comparison()
            return {
                "first": found.first,
                "second": found.second,
                "why": found.why,
                "since": found.since.isoformat(),
                "agreement": asdict(found.agreement),
                "disputed": [r.study_instance_uid for r in disputed(found.readings)],
                "not_read": len([r for r in found.readings if r.why_not]),
            }

        return router

    links = (Link("/shadow", "Shadow", frozenset(_WATCHES)),) if shadows.is_on else ()
    return Room(routes, links)


def disputed(readings: tuple[ShadowReading, ...]) -> list[ShadowReading]:
    """Where one would flag and the other would not, newest first."""
    return [r for r in reversed(readings) if r.shadow_flagged is not None and r.shadow_flagged is not r.flagged]


def dots(readings: tuple[ShadowReading, ...]) -> list[Dot]:
    return [
        Dot(
            round(r.probability * SIDE, 1),
            round((1 - r.shadow_probability) * SIDE, 1),
            r.shadow_flagged is not r.flagged,
        )
        for r in readings
        if r.shadow_probability is not None
    ]
