"""Operations: what is wrong first, then what stands where; and what machines ask: metrics, alive, ready.

GET  /operations            for administrators and auditors
GET  /fragments/operations  its changing part, for the page's own script
POST /operations/retry      a parked delivery is tried again             (administrator)
POST /operations/baseline   a scanner's change is meant to stay          (administrator)
GET  /api/operations        what is wrong, as JSON
GET  /metrics               for Prometheus: a token with scope monitor, an administrator or an auditor; nothing of any patient
GET  /health/live           200 while this process answers
GET  /health/ready          200 while the node takes studies and works on them, else 503
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from triage_node.console import operations_plots
from triage_node.console.deps import ConsoleDeps
from triage_node.console.forms import Form
from triage_node.console.operations_deps import OperationsDeps
from triage_node.console.pages import Link, Pages, Room, needs
from triage_node.console.security import known_of
from triage_node.console.texts import displayable
from triage_node.domain.account import Scope
from triage_node.domain.durations import ago, in_words
from triage_node.domain.errors import RefusedAction
from triage_node.domain.person import Role

WATCHING = (Role.ADMINISTRATOR, Role.AUDITOR)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LONGEST_SCANNER = 160


def room(operations: OperationsDeps) -> Room:
    def routes(deps: ConsoleDeps, pages: Pages) -> APIRouter:
        router = APIRouter()
        pages.environment.globals |= {
            "spark": operations_plots.spark,
            "control": operations_plots.control,
            "seconds": seconds,
            "ago": lambda at, now: ago(now - at),
            "length": in_words,
            "displayable": displayable,
        }

        def content(request: Request) -> dict[str, Any]:
            person = needs(deps, request, *WATCHING)
            return {"standing": operations.standing(), "may_change": person.has(Role.ADMINISTRATOR)}

        @router.get("/operations", response_class=HTMLResponse)
        def show_operations(request: Request) -> HTMLResponse:
            return pages.draw(request, "operations.html", **content(request))

        @router.get("/fragments/operations", response_class=HTMLResponse, include_in_schema=False)
        def show_operations_fragment(request: Request) -> HTMLResponse:
            return pages.draw(request, "_operations.html", **content(request))

        @router.post("/operations/retry", include_in_schema=False)
        def retry(request: Request, form: Form) -> Response:
            person = needs(deps, request, Role.ADMINISTRATOR)
            try:
                operations.retry(form.one("key", 64), person)
            except RefusedAction as refused:
                raise HTTPException(409, str(refused)) from refused
            return RedirectResponse("/operations#parked", 303)

        @router.post("/operations/baseline", include_in_schema=False)
        def accept(request: Request, form: Form) -> Response:
            person = needs(deps, request, Role.ADMINISTRATOR)
            try:
                operations.accept(form.one("scanner", _LONGEST_SCANNER), person)
            except RefusedAction as refused:
                raise HTTPException(409, str(refused)) from refused
            return RedirectResponse("/operations#drift", 303)

        @router.get("/api/operations")
        def api_operations(request: Request) -> dict[str, Any]:
            needs(deps, request, *WATCHING)
            standing = operations.standing()
            return {
                "problems": [{"what": p.what, "todo": p.todo, "urgent": p.is_urgent} for p in standing.problems],
                "stages": [
                    {"name": s.name, "depth": s.depth, "p50_s": s.p50_s, "p95_s": s.p95_s, "alarm": s.is_slow}
                    for s in standing.stages
                ],
                "parked": len(standing.parked),
                "heartbeat": {
                    "last_success_at": _iso(standing.heart.last_success_at),
                    "overdue": standing.heart.is_overdue,
                },
            }

        @router.get("/metrics", include_in_schema=False)
        def metrics(request: Request) -> Response:
            known = known_of(request)
            if known is None or known.scopes is None or Scope.MONITOR not in known.scopes:
                needs(deps, request, *WATCHING)
            return Response(operations.metrics(), media_type=METRICS_TYPE)

        @router.get("/health/live")
        def live() -> dict[str, str]:
            return {"status": "alive"}

        @router.get("/health/ready")
        def ready() -> JSONResponse:
            # the reason stands on the page and in /health for whoever is logged in
            is_ready = not operations.why_not_ready()
            return JSONResponse({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)

        return router

    return Room(routes, (Link("/operations", "Operations", frozenset(WATCHING)),))


def seconds(value: float | None) -> str:
    """A latency as a person reads it."""
    if value is None:
        return "–"
    if value < 9.95:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 600 else in_words(timedelta(seconds=value))


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
