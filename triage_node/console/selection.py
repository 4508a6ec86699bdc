"""The selection lab: a folder of DICOM files, which series of it would be read and why not the others, and what would be found.

GET /selection                              the page
POST /selection                             begin: a name for the folder, of ours
POST /selection/{name}/files                one file as it is; its name is not sent
POST /selection/{name}/judge                everything is there
GET /fragments/selection/{name}             what came of it
GET /selection/{name}/pictures/{study}      the key slice of a study
POST /selection/{name}/left                 nobody looks at it any more: erase it

Nothing of it becomes a study, a result or a row of the list. This role never reads what is in the files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.requests import ClientDisconnect

from triage_node.console.deps import ConsoleDeps
from triage_node.console.pages import Link, Pages, Room, media_type, needs
from triage_node.domain.errors import RefusedAction
from triage_node.domain.finding import FINDINGS
from triage_node.domain.person import Person, Role
from triage_node.domain.selection import FolderTrial
from triage_node.domain.trial import TrialState

_TRIES = (Role.ADMINISTRATOR,)
_AT_ONCE = 1 << 20
"""Bytes that are gathered before a thread writes them."""


class SelectionRefused(RefusedAction):
    """Refused with the status of the answer."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one folder; `file_mb` of one file, `total_mb` of all."""

    files: int
    file_mb: int
    total_mb: int


class Sink(Protocol):
    """A file that comes. `write` raises: SelectionRefused. `close` is called whatever happens: what is not whole goes."""

    def write(self, part: bytes) -> None: ...

    def close(self, is_whole: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class SelectionDeps:
    """All but `limits` raise: SelectionRefused; for a name that is not this person's, as for none."""

    limits: Limits
    begin: Callable[[Person], str]
    file: Callable[[str, Person], Sink]
    judge: Callable[[str, Person], None]
    outcome: Callable[[str, Person], FolderTrial]
    picture: Callable[[str, Person, int], bytes]
    left: Callable[[str, Person], None]


def room(selection: SelectionDeps) -> Room:
    """The page, and its link for administrators."""

    def routes(deps: ConsoleDeps, pages: Pages) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        pages.environment.globals["finding_name"] = lambda code: FINDINGS[code].name if code in FINDINGS else code

        def person_of(request: Request) -> Person:
            return needs(deps, request, *_TRIES)

        def answered(act: Callable[[], dict[str, str] | None]) -> Response:
            """For the page's own script."""
            try:
                return JSONResponse(act() or {})
            except RefusedAction as refused:
                return _refusal(refused)

        @router.get("/selection", response_class=HTMLResponse)
        def show_selection(request: Request) -> HTMLResponse:
            person_of(request)
            return pages.draw(request, "selection.html", limits=selection.limits)

        @router.post("/selection")
        def begin(request: Request) -> Response:
            person = person_of(request)
            return answered(lambda: {"name": selection.begin(person)})

        @router.post("/selection/{name}/files")
        async def take_file(request: Request, name: str) -> Response:
            person = await to_thread.run_sync(person_of, request)
            if media_type(request) != "application/octet-stream":
                return JSONResponse({"error": "A file is sent as it is."}, 415)
            told = request.headers.get("content-length", "")
            if told.isdigit() and int(told) > selection.limits.file_mb << 20:
                words = f"A file is larger than {selection.limits.file_mb} MB, the most that is taken."
                return JSONResponse({"error": words}, 413)
            try:
                sink = await to_thread.run_sync(selection.file, name, person)
                is_whole = False
                try:
                    await _pour(request, sink)
                    is_whole = True
                finally:
                    await to_thread.run_sync(sink.close, is_whole)
            except ClientDisconnect:
                return Response(status_code=400)
            except RefusedAction as refused:
                return _refusal(refused)
            return JSONResponse({})

        @router.post("/selection/{name}/judge")
        def judge(request: Request, name: str) -> Response:
            person = person_of(request)
            return answered(lambda: selection.judge(name, person))

        @router.post("/selection/{name}/left")
        def left(request: Request, name: str) -> Response:
            person = person_of(request)
            return answered(lambda: selection.left(name, person))

        @router.get("/fragments/selection/{name}", response_class=HTMLResponse)
        def show_outcome(request: Request, name: str) -> Response:
            person = person_of(request)
            try:
                trial = selection.outcome(name, person)
            except RefusedAction as refused:
                return _refusal(refused)
            is_open = trial.state in (TrialState.WAITING, TrialState.RUNNING)
            return pages.draw(request, "_selection.html", folder=name, trial=trial, is_open=is_open)

        @router.get("/selection/{name}/pictures/{study}")
        def show_picture(request: Request, name: str, study: int) -> Response:
            person = person_of(request)
            try:
                return Response(selection.picture(name, person, study), media_type="image/png")
            except RefusedAction as refused:
                return _refusal(refused)

        return router

    return Room(routes, (Link("/selection", "Selection", frozenset(_TRIES)),))


async def _pour(request: Request, sink: Sink) -> None:
    """The body into a file, by a thread: the event loop serves everybody. Raises: SelectionRefused, ClientDisconnect."""
    gathered = bytearray()
    async for part in request.stream():
        gathered += part
        if len(gathered) >= _AT_ONCE:
            await to_thread.run_sync(sink.write, bytes(gathered))
            gathered.clear()
    if gathered:
        await to_thread.run_sync(sink.write, bytes(gathered))


def _refusal(refused: RefusedAction) -> JSONResponse:
    return JSONResponse({"error": str(refused)}, refused.status if isinstance(refused, SelectionRefused) else 409)
