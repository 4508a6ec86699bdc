"""One study: its page, its pictures, its clinical facts.

GET /studies/{uid}                  one study
POST /studies/{uid}/clinical        clinical facts from the form of that page
GET /studies/{uid}/pictures/{sop}   a picture that the node built, as PNG
GET /fragments/studies/{uid}/prognosis   its prognosis, for the page's own script
GET /api/studies/{uid}              one study as JSON
GET /api/studies/{uid}/timeline
GET, POST /api/studies/{uid}/clinical
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from triage_node.console import clinical, json_views
from triage_node.console.deps import ConsoleDeps, StudyDetails
from triage_node.console.pages import Pages, media_type, needs, study_of, told_more
from triage_node.console.pictures import picture
from triage_node.console.rows import study_head
from triage_node.console.security import known_of
from triage_node.console.texts import state_shown
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import StatementConflict, StatementRefused
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.identifiers import is_uid
from triage_node.domain.person import Role
from triage_node.domain.priority import Mode
from triage_node.domain.study import Moment, TimelineEntry

_STATES_FACTS = (Role.READER, Role.RADIOLOGIST, Role.ADMINISTRATOR)
_NEUTRAL_MOMENTS = frozenset(
    {Moment.FIRST_BYTE, Moment.LAST_SLICE, Moment.COMPLETE, Moment.CLAIMED, Moment.DECLINED, Moment.FAILED}
)


def routes(deps: ConsoleDeps, pages: Pages) -> APIRouter:
    router = APIRouter()

    def study_page(
        request: Request, uid: str, status: int = 200, typed: dict[str, str] | None = None, wrong: tuple[str, ...] = ()
    ) -> HTMLResponse:
        mode = deps.mode()
        details = as_due(deps, request, study_of(deps, uid))
        shows_result = may_show(deps, request, mode, details)
        summaries = [built for built, _ in details.objects if built.kind is ObjectKind.SUMMARY_SC]
        picture_uid = summaries[-1].sop_instance_uid if summaries else ""
        statements = details.statements
        return pages.draw(
            request,
            "study.html",
            status,
            details=details,
            head=study_head(details, shows_result),
            shows_result=shows_result,
            state=state_shown(details.about.state, shows_result),
            picture=picture_uid if picture_uid and deps.object_file(picture_uid) is not None else "",
            timeline=_as_seen(deps.timeline(uid) or [], shows_result),
            statements=clinical.shown(statements, deps.time_zone),
            stated_revision=statements[-1][0].revision if statements else 0,
            typed=clinical.prefilled(statements, deps.time_zone) if typed is None else typed,
            wrong=wrong,
            zone_name=deps.now().astimezone(deps.time_zone).tzname(),
        )

    @router.get("/studies/{study_instance_uid}", response_class=HTMLResponse)
    def show_study(request: Request, study_instance_uid: str) -> HTMLResponse:
        study_of(deps, study_instance_uid)
        deps.viewed(study_instance_uid, deps.person_of(request).name)
        return study_page(request, study_instance_uid)

    @router.get(
        "/fragments/studies/{study_instance_uid}/prognosis", response_class=HTMLResponse, include_in_schema=False
    )
    def show_prognosis(request: Request, study_instance_uid: str) -> HTMLResponse:
        details = as_due(deps, request, study_of(deps, study_instance_uid))
        shows_result = may_show(deps, request, deps.mode(), details)
        return pages.draw(request, "_prognosis.html", details=details, shows_result=shows_result)

    @router.post("/studies/{study_instance_uid}/clinical", response_class=HTMLResponse, include_in_schema=False)
    def state_by_form(
        request: Request, study_instance_uid: str, body: Annotated[bytes, Depends(clinical.limited_body)]
    ) -> Response:
        needs(deps, request, *_STATES_FACTS)
        if media_type(request) != "application/x-www-form-urlencoded":
            raise HTTPException(415, "That is not what the form sends.")
        study_of(deps, study_instance_uid)
        statement, typed, wrong = clinical.from_form(body, deps.time_zone)
        if statement is None:
            return study_page(request, study_instance_uid, 422, typed, wrong)
        try:
            deps.state_facts(
                study_instance_uid,
                statement.entry(),
                _signed(request, statement.entered_by),
                "form",
                statement.seen_revision,
            )
        except StatementRefused as refused:
            status = 409 if isinstance(refused, StatementConflict) else 422
            return study_page(request, study_instance_uid, status, typed, refused.problems)
        return RedirectResponse(f"/studies/{study_instance_uid}#clinical", 303)

    @router.get("/studies/{study_instance_uid}/pictures/{sop_instance_uid}", response_class=Response)
    def show_picture(request: Request, study_instance_uid: str, sop_instance_uid: str) -> Response:
        details = study_of(deps, study_instance_uid)
        ours = any(built.sop_instance_uid == sop_instance_uid for built, _ in details.objects)
        mode = deps.mode()
        file = deps.object_file(sop_instance_uid) if ours and may_show(deps, request, mode, details) else None
        png = picture(file) if file is not None else None
        if png is None:
            raise HTTPException(404, "There is no such picture.")
        return Response(png, media_type="image/png")

    @router.get("/api/studies/{study_instance_uid}")
    def api_study(request: Request, study_instance_uid: str) -> dict[str, Any]:
        details = as_due(deps, request, study_of(deps, study_instance_uid))
        deps.told(study_instance_uid, deps.person_of(request).name)
        mode = deps.mode()
        return json_views.study(details, mode, deps.simulation, may_show(deps, request, mode, details))

    @router.get("/api/studies/{study_instance_uid}/timeline")
    def api_timeline(request: Request, study_instance_uid: str) -> list[dict[str, Any]]:
        entries = deps.timeline(study_instance_uid) if is_uid(study_instance_uid) else None
        if entries is None:
            raise HTTPException(404, "There is no such study.")
        details = study_of(deps, study_instance_uid)
        deps.told(study_instance_uid, deps.person_of(request).name)
        return json_views.timeline(_as_seen(entries, may_show(deps, request, deps.mode(), details)))

    @router.get("/api/studies/{study_instance_uid}/clinical")
    def api_facts(request: Request, study_instance_uid: str) -> dict[str, Any]:
        details = study_of(deps, study_instance_uid)
        deps.told(study_instance_uid, deps.person_of(request).name)
        return clinical.as_json(details.statements)

    @router.post("/api/studies/{study_instance_uid}/clinical", status_code=201)
    def api_state_facts(
        request: Request, study_instance_uid: str, body: Annotated[bytes, Depends(clinical.limited_body)]
    ) -> Any:
        needs(deps, request, *_STATES_FACTS)
        if media_type(request) != "application/json":
            raise HTTPException(415, "Clinical facts are JSON.")
        study_of(deps, study_instance_uid)
        try:
            said = clinical.from_json(body)
            by = _signed(request, said.entered_by)
            deps.state_facts(study_instance_uid, said.entry(), by, "REST", said.seen_revision)
        except StatementRefused as refused:
            status = 409 if isinstance(refused, StatementConflict) else 422
            return JSONResponse({"error": str(refused), "problems": list(refused.problems)}, status_code=status)
        return clinical.as_json(study_of(deps, study_instance_uid).statements)

    return router


def _signed(request: Request, typed: str) -> str:
    """The name that was typed, with the account behind it: anybody can type a colleague's name."""
    known = known_of(request)
    return typed if known is None or known.person.name == typed else f"{typed[:58]} ({known.person.name[:64]})"


class _Observable(Protocol):
    @property
    def apart(self) -> str | bool: ...


def may_show(deps: ConsoleDeps, request: Request, mode: Mode, details: _Observable) -> bool:
    """Readers see what was found only in active mode, and not of a study that is observed apart (DESIGN.md section 4)."""
    return (mode is Mode.ACTIVE and not details.apart) or told_more(deps, request)


def as_due(deps: ConsoleDeps, request: Request, details: StudyDetails) -> StudyDetails:
    """What this reader may see of a result: below this site's own evaluation (E2) a figure is for administrators, output by
    output (DESIGN.md section 4). Simulated patients cannot be harmed.
    """
    return replace(
        details,
        outputs=tuple(o for o in details.outputs if is_due(deps, request, o.evidence[:2])),
        # an abstention without a level comes from facts and geometry; one with a level tells what a model found
        predictions=tuple(
            p for p in details.predictions if (p.abstained and not p.evidence) or is_due(deps, request, p.evidence)
        ),
    )


def is_due(deps: ConsoleDeps, request: Request, evidence: str) -> bool:
    return deps.simulation or evidence >= EvidenceLevel.E2 or told_more(deps, request)


def _as_seen(entries: list[TimelineEntry], shows_result: bool) -> list[TimelineEntry]:
    """The timeline without what would betray a flag: a flagged study has moments and objects that others have not."""
    if shows_result:
        return entries
    return [entry for entry in entries if entry.moment in _NEUTRAL_MOMENTS]
