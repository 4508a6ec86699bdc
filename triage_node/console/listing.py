"""The reading list, its stream of changes, and the node's health.

GET /                   the reading list          ?view=would-move   for administrators and auditors
                                                  ?state= &class= &ae= &q=   narrow what is drawn
GET /fragments/list     its changing part, for the page's own script
GET /events             server-sent events
GET /api/worklist       the list as JSON          ?view=would-move
GET /api/feeds          how the senders stand     for administrators
GET /health             200, or 503 when the list cannot be trusted; details for whoever is logged in
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse

from triage_node.console import json_views
from triage_node.console.deps import ConsoleDeps, ReadingList
from triage_node.console.events import Events
from triage_node.console.pages import Pages, needs, somebody, stale, stale_from, told_more
from triage_node.console.rows import Filter, Wanted, list_view
from triage_node.domain.person import Role

View = Literal["list", "would-move"]
_STATES = [(wanted.value, wanted.value or "all") for wanted in Wanted]


def _shown(
    state: Annotated[Wanted, Query()] = Wanted.ALL,
    order_class: Annotated[Literal["", "STAT", "URGENT", "ROUTINE"], Query(alias="class")] = "",
    ae: Annotated[str, Query(max_length=16)] = "",
    q: Annotated[str, Query(max_length=64)] = "",
) -> Filter:
    return Filter(state, order_class, ae, q)


Shown = Annotated[Filter, Depends(_shown)]


def routes(deps: ConsoleDeps, pages: Pages, events: Events) -> APIRouter:
    router = APIRouter()

    def reading_list(request: Request, view: View, now: datetime) -> ReadingList:
        if view == "would-move" and not told_more(deps, request):
            raise HTTPException(403, "What would move is shown to administrators.")
        return deps.reading_list(now, view == "would-move")

    def list_content(request: Request, view: View, shown: Filter) -> dict[str, Any]:
        now = deps.now()
        reading = reading_list(request, view, now)
        return {
            "reading": reading,
            "view": view,
            "version": reading.version,
            "list": list_view(reading, now, shown),
            "about": reading.about,
            "filter": shown,
            "filter_states": _STATES,
            "may_see_would_move": told_more(deps, request),
            "escalation": deps.escalation() if deps.person_of(request).has(Role.ADMINISTRATOR) else "",
        }

    @router.get("/", response_class=HTMLResponse)
    def show_list(request: Request, shown: Shown, view: View = "list") -> HTMLResponse:
        return pages.draw(request, "list.html", **list_content(request, view, shown))

    @router.get("/fragments/list", response_class=HTMLResponse, include_in_schema=False)
    def show_list_fragment(request: Request, shown: Shown, view: View = "list") -> HTMLResponse:
        return pages.draw(request, "_list.html", **list_content(request, view, shown))

    @router.get("/events", include_in_schema=False)
    async def stream_events() -> StreamingResponse:
        if events.is_full:
            raise HTTPException(503, "Too many pages are open.", headers={"Retry-After": "10"})
        return StreamingResponse(events.stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @router.get("/api/worklist")
    def api_worklist(request: Request, view: Annotated[View, Query()] = "list") -> dict[str, Any]:
        now = deps.now()
        return json_views.worklist(reading_list(request, view, now), now, deps.simulation, stale(deps, now))

    @router.get("/api/feeds")
    def api_feeds(request: Request) -> dict[str, Any]:
        needs(deps, request, Role.ADMINISTRATOR, Role.AUDITOR)
        return dict(deps.feeds())

    @router.get("/health")
    def health(request: Request) -> JSONResponse:
        now = deps.now()
        beats = deps.heartbeats()
        lagging = stale_from(deps, beats, now)
        status = 200 if lagging is None else 503
        if somebody(deps, request) is None:  # for a monitor: which part stands still is nobody else's business
            return JSONResponse({"status": "ok" if lagging is None else "not current"}, status_code=status)
        reading = deps.reading_list(now, False)
        body = {
            "status": "ok" if lagging is None else "not current",
            "why": "" if lagging is None else lagging.why,
            "simulation": deps.simulation,
            "alarms": list(reading.alarms),
            "feed_alarms": list(reading.feed_alarms),
            "node_alarms": list(deps.node_alarms()),
            "roles": {role: at.isoformat() for role, at in sorted(beats.items())},
        }
        return JSONResponse(body, status_code=status)

    return router
