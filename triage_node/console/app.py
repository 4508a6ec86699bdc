"""The application: the list, studies, and whatever further rooms it is given, behind one guard.

Every route stands in the module of its part: `listing`, `study`, and one module per room (`pages.Room`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp

from triage_node.console import listing, study
from triage_node.console.deps import ConsoleDeps
from triage_node.console.events import Events
from triage_node.console.pages import Pages, Room, somebody
from triage_node.console.security import Secured
from triage_node.domain.errors import StoreError

NO_DATABASE = (
    "The node's database takes or gives nothing now, so this page cannot be shown: use your own list. "
    "`triage-node check` on the node's machine says why."
)
_FOR_PROGRAMS = ("/api/", "/events", "/health")

log = logging.getLogger(__name__)


class Console(FastAPI):
    """The application with its streams, which whoever runs it must close before it stops."""

    events: Events
    guarded: ASGIApp


def create_app(deps: ConsoleDeps, rooms: Sequence[Room] = ()) -> Console:
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
    app.guarded = Secured(app, deps.hosts, deps.identify, deps.is_tls)
    app.mount("/static", StaticFiles(packages=[("triage_node.console", "static")]), name="static")
    pages = Pages(deps, tuple(link for room in rooms for link in room.links))
    app.include_router(listing.routes(deps, pages, events))
    app.include_router(study.routes(deps, pages))
    for room in rooms:
        app.include_router(room.routes(deps, pages))

    def problem_outside(request: Request, status: int, words: str) -> Response:
        if request.url.path.startswith(_FOR_PROGRAMS):
            return JSONResponse({"error": words}, status_code=status)
        return pages.draw_outside("refused.html", status, words=words)

    def problem(request: Request, status: int, words: str, headers: Mapping[str, str] | None = None) -> Response:
        if request.url.path.startswith(_FOR_PROGRAMS) or somebody(deps, request) is None:
            answer = problem_outside(request, status, words)
        else:
            answer = pages.draw(request, "problem.html", status, words=words)
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

    @app.exception_handler(StoreError)
    def no_database(request: Request, error: StoreError) -> Response:
        log.error("event=database_refused path=%r", request.url.path[:200], exc_info=error)
        try:
            return problem(request, 503, " ".join((NO_DATABASE, *deps.node_alarms())))
        except StoreError:  # it does not even tell who asks
            return problem_outside(request, 503, NO_DATABASE)

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> Response:
        log.error("event=request_failed path=%r", request.url.path[:200], exc_info=error)
        return JSONResponse({"error": "The node could not answer; its log says why."}, status_code=500)

    return app
