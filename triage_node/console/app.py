"""The pages and the API. Every route is in `create_app`; the only ones that write take clinical facts.

    GET /                               the reading list          ?view=would-move   for administrators
    GET /fragments/list                 its changing part, for the page's own script
    GET /studies/{uid}                  one study
    POST /studies/{uid}/clinical        clinical facts from the form of that page
    GET /studies/{uid}/pictures/{sop}   a picture that the node built, as PNG
    GET /events                         server-sent events
    GET /api/worklist                   the list as JSON          ?view=would-move
    GET /api/studies/{uid}              one study as JSON
    GET /api/studies/{uid}/timeline
    GET, POST /api/studies/{uid}/clinical
    GET /api/feeds                      how the senders stand     for administrators
    GET /health                         200, or 503 when the list cannot be trusted

SEAM (issue 10): `deps.role_of` tells who asks; accounts, feedback, claims and thresholds come as further modules.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp

from triage_node.console import clinical, json_views
from triage_node.console.deps import ConsoleDeps, ReadingList, Role, StudyDetails
from triage_node.console.events import Events
from triage_node.console.freshness import Staleness, staleness
from triage_node.console.pictures import picture
from triage_node.console.rows import list_view, study_head
from triage_node.console.security import Secured, is_from_our_page, is_no_foreign_page
from triage_node.console.texts import NOT_FOR_DIAGNOSIS, SILENCE, clock, figure, level_words, since, size
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import StatementConflict, StatementRefused
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.identifiers import is_uid
from triage_node.domain.priority import Mode
from triage_node.domain.study import Moment, TimelineEntry

log = logging.getLogger(__name__)

_NEUTRAL_MOMENTS = frozenset(
    {Moment.FIRST_BYTE, Moment.LAST_SLICE, Moment.COMPLETE, Moment.CLAIMED, Moment.DECLINED, Moment.FAILED}
)

View = Literal["list", "would-move"]
_STATIC = resources.files("triage_node.console") / "static"


class Console(FastAPI):
    """The application with its streams, which whoever runs it must close before it stops."""

    events: Events
    guarded: ASGIApp


def create_app(deps: ConsoleDeps) -> Console:
    """Build the application. Serve `app.guarded`: the application behind host check and security headers."""
    events = Events(deps.list_version)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        events.close()

    app = Console(
        title="Triage Node", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json", lifespan=lifespan
    )
    app.events = events
    app.guarded = Secured(app, deps.hosts)
    app.mount("/static", StaticFiles(packages=[("triage_node.console", "static")]), name="static")
    templates = _templates(deps)

    def page(name: str, status: int = 200, reading: ReadingList | None = None, **content: Any) -> HTMLResponse:
        now = deps.now()
        reading = reading or deps.reading_list(now, False)
        # what stands apart from the order is counted on every page (DESIGN.md section 2, Leaving)
        base = {
            "now": now,
            "stale": _stale(deps, now),
            "simulation": deps.simulation,
            "mode": deps.mode(),
            "late_count": len(reading.late),
            "not_confirmed_count": len(reading.not_confirmed),
            "alarms": reading.alarms,
            "feed_alarms": reading.feed_alarms,
        }
        return HTMLResponse(templates.get_template(name).render(base | content), status_code=status)

    def reading_list(request: Request, view: View, now: datetime) -> ReadingList:
        if view == "would-move" and not _may_see_would_move(deps, request):
            raise HTTPException(403, "What would move is shown to administrators.")
        return deps.reading_list(now, view == "would-move")

    def list_content(request: Request, view: View) -> dict[str, Any]:
        now = deps.now()
        reading = reading_list(request, view, now)
        return {
            "reading": reading,
            "view": view,
            "version": reading.version,
            "list": list_view(reading, now),
            "may_see_would_move": _may_see_would_move(deps, request),
        }

    @app.get("/", response_class=HTMLResponse)
    def show_list(request: Request, view: View = "list") -> HTMLResponse:
        return page("list.html", **list_content(request, view))

    @app.get("/fragments/list", response_class=HTMLResponse, include_in_schema=False)
    def show_list_fragment(request: Request, view: View = "list") -> HTMLResponse:
        return page("_list.html", **list_content(request, view))

    def study_page(
        request: Request, uid: str, status: int = 200, typed: dict[str, str] | None = None, wrong: tuple[str, ...] = ()
    ) -> HTMLResponse:
        mode = deps.mode()
        details = _as_due(deps, request, _study(deps, uid))
        shows_result = _shows_result(deps, request, mode, details)
        summaries = [built for built, _ in details.objects if built.kind is ObjectKind.SUMMARY_SC]
        picture_uid = summaries[-1].sop_instance_uid if summaries else ""
        statements = details.statements
        return page(
            "study.html",
            status,
            details=details,
            head=study_head(details, shows_result),
            shows_result=shows_result,
            picture=picture_uid if picture_uid and deps.object_file(picture_uid) is not None else "",
            timeline=_as_seen(deps.timeline(uid) or [], shows_result),
            statements=clinical.shown(statements, deps.time_zone),
            stated_revision=statements[-1][0].revision if statements else 0,
            typed=clinical.prefilled(statements, deps.time_zone) if typed is None else typed,
            wrong=wrong,
            zone_name=deps.now().astimezone(deps.time_zone).tzname(),
        )

    @app.get("/studies/{study_instance_uid}", response_class=HTMLResponse)
    def show_study(request: Request, study_instance_uid: str) -> HTMLResponse:
        _study(deps, study_instance_uid)
        deps.viewed(study_instance_uid, request.client.host if request.client else "unknown address")
        return study_page(request, study_instance_uid)

    @app.post("/studies/{study_instance_uid}/clinical", response_class=HTMLResponse, include_in_schema=False)
    def state_by_form(
        request: Request, study_instance_uid: str, body: Annotated[bytes, Depends(clinical.limited_body)]
    ) -> Response:
        if not is_from_our_page(request.headers):
            raise HTTPException(403, "Clinical facts are taken from this node's own pages only.")
        if _media_type(request) != "application/x-www-form-urlencoded":
            raise HTTPException(415, "That is not what the form sends.")
        _study(deps, study_instance_uid)
        statement, typed, wrong = clinical.from_form(body, deps.time_zone)
        if statement is None:
            return study_page(request, study_instance_uid, 422, typed, wrong)
        try:
            deps.state_facts(
                study_instance_uid, statement.entry(), statement.entered_by, "form", statement.seen_revision
            )
        except StatementRefused as refused:
            status = 409 if isinstance(refused, StatementConflict) else 422
            return study_page(request, study_instance_uid, status, typed, refused.problems)
        return RedirectResponse(f"/studies/{study_instance_uid}#clinical", 303)

    @app.get("/studies/{study_instance_uid}/pictures/{sop_instance_uid}", response_class=Response)
    def show_picture(request: Request, study_instance_uid: str, sop_instance_uid: str) -> Response:
        details = _study(deps, study_instance_uid)
        ours = any(built.sop_instance_uid == sop_instance_uid for built, _ in details.objects)
        mode = deps.mode()
        file = deps.object_file(sop_instance_uid) if ours and _shows_result(deps, request, mode, details) else None
        png = picture(file) if file is not None else None
        if png is None:
            raise HTTPException(404, "There is no such picture.")
        return Response(png, media_type="image/png")

    @app.get("/events", include_in_schema=False)
    async def stream_events() -> StreamingResponse:
        if events.is_full:
            raise HTTPException(503, "Too many pages are open.", headers={"Retry-After": "10"})
        return StreamingResponse(events.stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @app.get("/api/worklist")
    def api_worklist(request: Request, view: Annotated[View, Query()] = "list") -> dict[str, Any]:
        now = deps.now()
        return json_views.worklist(reading_list(request, view, now), now, deps.simulation, _stale(deps, now))

    @app.get("/api/studies/{study_instance_uid}")
    def api_study(request: Request, study_instance_uid: str) -> dict[str, Any]:
        details = _as_due(deps, request, _study(deps, study_instance_uid))
        mode = deps.mode()
        return json_views.study(details, mode, deps.simulation, _shows_result(deps, request, mode, details))

    @app.get("/api/studies/{study_instance_uid}/timeline")
    def api_timeline(request: Request, study_instance_uid: str) -> list[dict[str, Any]]:
        entries = deps.timeline(study_instance_uid) if is_uid(study_instance_uid) else None
        if entries is None:
            raise HTTPException(404, "There is no such study.")
        details = _study(deps, study_instance_uid)
        return json_views.timeline(_as_seen(entries, _shows_result(deps, request, deps.mode(), details)))

    @app.get("/api/studies/{study_instance_uid}/clinical")
    def api_facts(study_instance_uid: str) -> dict[str, Any]:
        return clinical.as_json(_study(deps, study_instance_uid).statements)

    @app.post("/api/studies/{study_instance_uid}/clinical", status_code=201)
    def api_state_facts(
        request: Request, study_instance_uid: str, body: Annotated[bytes, Depends(clinical.limited_body)]
    ) -> Any:
        if not is_no_foreign_page(request.headers):
            raise HTTPException(403, "Clinical facts are not taken from pages of other sites.")
        if _media_type(request) != "application/json":
            raise HTTPException(415, "Clinical facts are JSON.")
        _study(deps, study_instance_uid)
        try:
            said = clinical.from_json(body)
            deps.state_facts(study_instance_uid, said.entry(), said.entered_by, "REST", said.seen_revision)
        except StatementRefused as refused:
            status = 409 if isinstance(refused, StatementConflict) else 422
            return JSONResponse({"error": str(refused), "problems": list(refused.problems)}, status_code=status)
        return clinical.as_json(_study(deps, study_instance_uid).statements)

    @app.get("/api/feeds")
    def api_feeds(request: Request) -> dict[str, Any]:
        if deps.role_of(request) is not Role.ADMINISTRATOR:
            raise HTTPException(403, "How the feeds stand is shown to administrators.")
        return dict(deps.feeds())

    @app.get("/health")
    def health() -> JSONResponse:
        now = deps.now()
        beats = deps.heartbeats()
        stale = _stale_from(deps, beats, now)
        reading = deps.reading_list(now, False)
        body = {
            "status": "ok" if stale is None else "not current",
            "why": "" if stale is None else stale.why,
            "simulation": deps.simulation,
            "alarms": list(reading.alarms),
            "feed_alarms": list(reading.feed_alarms),
            "roles": {role: at.isoformat() for role, at in sorted(beats.items())},
        }
        return JSONResponse(body, status_code=200 if stale is None else 503)

    def problem(request: Request, status: int, words: str, headers: Mapping[str, str] | None = None) -> Response:
        if request.url.path.startswith(("/api/", "/events", "/health")):
            return JSONResponse({"error": words}, status_code=status, headers=dict(headers or {}))
        answer = page("problem.html", status, words=words)
        answer.headers.update(headers or {})
        return answer

    @app.exception_handler(StarletteHTTPException)
    def refused(request: Request, error: StarletteHTTPException) -> Response:
        words = error.detail if isinstance(error, HTTPException) else "There is no such page."
        return problem(request, error.status_code, words, error.headers)

    @app.exception_handler(RequestValidationError)
    def not_understood(request: Request, error: RequestValidationError) -> Response:
        # the framework's own answer repeats the input, however long it is
        return problem(request, 422, "The address has a part that this page does not know.")

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> Response:
        log.error("event=request_failed path=%r", request.url.path[:200], exc_info=error)
        return JSONResponse({"error": "The node could not answer; its log says why."}, status_code=500)

    return app


def _study(deps: ConsoleDeps, study_instance_uid: str) -> StudyDetails:
    details = deps.study(study_instance_uid) if is_uid(study_instance_uid) else None
    if details is None:
        raise HTTPException(404, "There is no such study.")
    return details


def _may_see_would_move(deps: ConsoleDeps, request: Request) -> bool:
    return deps.would_move_for_readers or deps.role_of(request) is Role.ADMINISTRATOR


def _shows_result(deps: ConsoleDeps, request: Request, mode: Mode, details: StudyDetails) -> bool:
    """Readers see what was found only in active mode, and not of a study that is observed apart (DESIGN.md section 4)."""
    return (mode is Mode.ACTIVE and not details.apart) or _may_see_would_move(deps, request)


def _as_due(deps: ConsoleDeps, request: Request, details: StudyDetails) -> StudyDetails:
    """What this reader may see of a result: below this site's own evaluation (E2) a figure is for administrators, output by
    output (DESIGN.md section 4). Simulated patients cannot be harmed.
    """
    if deps.simulation or _may_see_would_move(deps, request):
        return details
    return replace(
        details,
        outputs=tuple(o for o in details.outputs if o.evidence[:2] >= EvidenceLevel.E2),
        predictions=tuple(p for p in details.predictions if p.evidence >= EvidenceLevel.E2),
    )


def _as_seen(entries: list[TimelineEntry], shows_result: bool) -> list[TimelineEntry]:
    """The timeline without what would betray a flag: a flagged study has moments and objects that others have not."""
    if shows_result:
        return entries
    return [entry for entry in entries if entry.moment in _NEUTRAL_MOMENTS]


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _stale(deps: ConsoleDeps, now: datetime) -> Staleness | None:
    return _stale_from(deps, deps.heartbeats(), now)


def _stale_from(deps: ConsoleDeps, beats: Mapping[str, datetime], now: datetime) -> Staleness | None:
    return staleness(beats, deps.required_roles, now)


def _templates(deps: ConsoleDeps) -> Environment:
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
        "study_link": lambda uid: deps.study_link.replace("{study_instance_uid}", uid) if deps.study_link else "",
    }
    return environment


@cache
def _asset(name: str) -> str:
    """Address of a file of ours that changes with its content, so that a browser never shows an old one."""
    digest = hashlib.sha256((_STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?{digest}"
