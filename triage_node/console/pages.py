"""How every page is drawn: the templates, what stands on each page, and who may see what.

A part of the console is a `Room`: routes, and the links to it in the bar of every page. `create_app` takes any number of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from triage_node.console.deps import ConsoleDeps, ReadingList, StudyDetails
from triage_node.console.freshness import Staleness, staleness
from triage_node.console.texts import NOT_FOR_DIAGNOSIS, SILENCE, clock, figure, level_words, since, size
from triage_node.domain.identifiers import is_uid
from triage_node.domain.person import Person, Role
from triage_node.domain.viewer_link import viewer_link

_STATIC = resources.files("triage_node.console") / "static"
_TOLD_MORE = (Role.ADMINISTRATOR, Role.AUDITOR)


@dataclass(frozen=True, slots=True)
class Link:
    """A link in the bar, drawn for people who have one of these roles."""

    address: str
    label: str
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class Room:
    """A part of the console. `routes` gets what all parts share."""

    routes: Callable[[ConsoleDeps, Pages], APIRouter]
    links: tuple[Link, ...] = ()


class Pages:
    """Draws templates with what stands on every page. `environment` takes further filters and globals of a room."""

    def __init__(self, deps: ConsoleDeps, links: tuple[Link, ...] = ()) -> None:
        self._deps = deps
        self._links = links
        self.environment = _environment(deps)

    def draw(
        self, request: Request, name: str, status: int = 200, reading: ReadingList | None = None, **content: Any
    ) -> HTMLResponse:
        """The page `name`. `reading`: the list where the caller has read it already."""
        now = self._deps.now()
        reading = reading or self._deps.reading_list(now, False)
        person = self._deps.person_of(request)
        # what stands apart from the order is counted on every page (DESIGN.md section 2, Leaving)
        base = {
            "request": request,
            "now": now,
            "stale": stale(self._deps, now),
            "simulation": self._deps.simulation,
            "mode": self._deps.mode(),
            "late_count": len(reading.late),
            "not_confirmed_count": len(reading.not_confirmed),
            "alarms": reading.alarms,
            "feed_alarms": reading.feed_alarms,
            "node_alarms": self._deps.node_alarms(),
            "person": person,
            "has_login": self._deps.identify is not None,
            "links": [link for link in self._links if person.has(*link.roles)],
            "here": request.url.path,
        }
        return HTMLResponse(self.environment.get_template(name).render(base | content), status_code=status)

    def draw_outside(self, name: str, status: int = 200, **content: Any) -> HTMLResponse:
        """The page `name` for somebody who is not logged in: nothing that the node knows stands on it."""
        base = {"simulation": self._deps.simulation}
        return HTMLResponse(self.environment.get_template(name).render(base | content), status_code=status)


def needs(deps: ConsoleDeps, request: Request, *roles: Role) -> Person:
    """The person who asks, who has one of these roles. Raises: HTTPException 403."""
    person = deps.person_of(request)
    if not person.has(*roles):
        raise HTTPException(403, f"This is for: {', '.join(roles)}.")
    return person


def somebody(deps: ConsoleDeps, request: Request) -> Person | None:
    """The person who asks, where everybody may."""
    try:
        return deps.person_of(request)
    except HTTPException:
        return None


def told_more(deps: ConsoleDeps, request: Request) -> bool:
    """Whether this person sees what the model says of studies on which it may not act yet (DESIGN.md section 4)."""
    return deps.would_move_for_readers or deps.person_of(request).has(*_TOLD_MORE)


def study_of(deps: ConsoleDeps, study_instance_uid: str) -> StudyDetails:
    """Raises: HTTPException 404."""
    details = deps.study(study_instance_uid) if is_uid(study_instance_uid) else None
    if details is None:
        raise HTTPException(404, "There is no such study.")
    return details


def stale(deps: ConsoleDeps, now: datetime) -> Staleness | None:
    return stale_from(deps, deps.heartbeats(), now)


def stale_from(deps: ConsoleDeps, beats: Mapping[str, datetime], now: datetime) -> Staleness | None:
    return staleness(beats, deps.required_roles, now)


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _environment(deps: ConsoleDeps) -> Environment:
    environment = Environment(
        loader=PackageLoader("triage_node.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "not_for_diagnosis": NOT_FOR_DIAGNOSIS,
        "silence": SILENCE,
        "asset": _asset,
        "clock": lambda at, now: clock(at, now, deps.time_zone),
        "clock_s": lambda at: at.astimezone(deps.time_zone).strftime("%H:%M:%S"),
        "since": since,
        "size": size,
        "figure": figure,
        "level_words": level_words,
        "items_used": lambda p: [(i.name, i.value) for i in p.items if i.known],
        "study_link": lambda uid, about: viewer_link(deps.study_link, uid, about.accession_number, about.patient_id),
    }
    return environment


@cache
def _asset(name: str) -> str:
    """Address of a file of ours that changes with its content, so that a browser never shows an old one."""
    digest = hashlib.sha256((_STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?{digest}"
