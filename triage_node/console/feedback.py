"""What a person says of a study: of the result, of the reading, and that an image was shown to them.

POST /studies/{uid}/feedback          from the form of the study's page; `said=undo` takes the last one back
POST /studies/{uid}/shown             by the page's script, once a slice was drawn
GET /fragments/studies/{uid}/feedback the form as it stands now, for the page's own script
GET, POST, DELETE /api/studies/{uid}/feedback

Disagreeing needs an image to have been shown. The page tells so itself once one was drawn, of the revision that it shows: loading
a page, a picture or a slice counts for nothing, since programs and browsers do that ahead and by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from triage_node.console.clinical import limited_body
from triage_node.console.deps import ConsoleDeps, StudyDetails
from triage_node.console.forms import Form
from triage_node.console.pages import Pages, Room, media_type, needs, study_of
from triage_node.console.study import may_show
from triage_node.console.texts import displayable
from triage_node.domain.errors import RefusedAction
from triage_node.domain.feedback import LONGEST_TEXT, UNDO_FOR, VERDICTS, Feedback, Said
from triage_node.domain.finding import FINDINGS
from triage_node.domain.person import Person, Role
from triage_node.domain.priority import ON_THE_LIST, ReadingState

READERS = (Role.READER, Role.RADIOLOGIST)
_UNDO = "undo"


@dataclass(frozen=True, slots=True)
class Saying:
    """`revision`: of the study, that the person saw. `subtype`: a key of FINDINGS, or empty."""

    said: Said
    revision: int
    subtype: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class FeedbackDeps:
    """`say` and `undo` raise: RefusedAction."""

    of_study: Callable[[str], list[Feedback]]
    say: Callable[[str, Person, Saying], None]
    undo: Callable[[str, Person], None]
    image_was_shown: Callable[[str, int, Person], None]
    was_image_shown: Callable[[str, int, Person], bool]


@dataclass(frozen=True, slots=True)
class FeedbackView:
    """What stands on the page for this person. `verdicts`: whether a result is shown that one can agree with."""

    uid: str
    revision: int
    may_act: bool
    verdicts: bool
    may_disagree: bool
    image_shown: bool
    is_flagged: bool
    state: str
    read_by: str
    is_mine: bool
    pinned: bool
    late: bool
    on_list: bool
    mine: str
    said: tuple[Feedback, ...]
    undo: Feedback | None
    undo_seconds: int


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    said: Literal["agree", "disagree", "uncertain", "being read", "released", "read", "pinned", "unpinned", "raised"]
    revision: int = Field(ge=0, le=1_000_000)
    subtype: str = Field("", max_length=16)
    text: str = Field("", max_length=LONGEST_TEXT)


class _Shown(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    revision: int = Field(ge=0, le=1_000_000)


def room(feedback: FeedbackDeps) -> Room:
    """The part on the study's page."""

    def routes(deps: ConsoleDeps, pages: Pages) -> APIRouter:
        router = APIRouter()

        def view_of(request: Request, details: StudyDetails) -> FeedbackView:
            person, now = deps.person_of(request), deps.now()
            shows = may_show(deps, request, deps.mode(), details)
            return _view(feedback, details, person, shows, now)

        pages.environment.globals |= {"feedback_of": view_of, "findings": FINDINGS, "longest_text": LONGEST_TEXT}

        def say(request: Request, uid: str, saying: Saying) -> None:
            person = needs(deps, request, *READERS)
            details = study_of(deps, uid)
            # the same words whatever was found: a refusal must not betray a flag
            if saying.said in VERDICTS and not may_show(deps, request, deps.mode(), details):
                raise HTTPException(409, "In observe mode no result is shown that one could agree or disagree with.")
            if saying.subtype and saying.subtype not in FINDINGS:
                raise HTTPException(422, "There is no such kind of bleed.")
            if saying.said is Said.DISAGREE and not person.has(Role.RADIOLOGIST):
                raise HTTPException(403, "Only a radiologist may disagree.")
            try:
                feedback.say(uid, person, saying)
            except RefusedAction as refused:
                raise HTTPException(409, str(refused)) from refused

        def undo(request: Request, uid: str) -> None:
            person = needs(deps, request, *READERS)
            study_of(deps, uid)
            try:
                feedback.undo(uid, person)
            except RefusedAction as refused:
                raise HTTPException(409, str(refused)) from refused

        def drawn(request: Request, uid: str) -> HTMLResponse:
            return pages.draw(request, "_feedback.html", details=study_of(deps, uid))

        @router.get("/fragments/studies/{study_instance_uid}/feedback", include_in_schema=False)
        def show_form(request: Request, study_instance_uid: str) -> HTMLResponse:
            return drawn(request, study_instance_uid)

        @router.post("/studies/{study_instance_uid}/feedback", include_in_schema=False)
        def say_by_form(request: Request, study_instance_uid: str, form: Form) -> Response:
            needs(deps, request, *READERS)
            if form.one("said") == _UNDO:
                undo(request, study_instance_uid)
            else:
                revision = form.one("revision", 7)
                if not revision.isdecimal():
                    raise HTTPException(422, "The form cannot be read.")
                typed = {
                    "said": form.one("said", 16),
                    "revision": int(revision),
                    "subtype": form.one("subtype", 16),
                    "text": form.one("text", LONGEST_TEXT),
                }
                say(request, study_instance_uid, _saying(typed))
            return RedirectResponse(f"/studies/{study_instance_uid}#feedback", 303)

        @router.post("/studies/{study_instance_uid}/shown", status_code=204, include_in_schema=False)
        def image_was_shown(
            request: Request, study_instance_uid: str, body: Annotated[bytes, Depends(limited_body)]
        ) -> Response:
            person = needs(deps, request, *READERS)
            details = study_of(deps, study_instance_uid)
            try:
                revision = _Shown.model_validate_json(body).revision
            except ValidationError:
                raise HTTPException(422, "That is not what the page sends.") from None
            if revision != details.about.revision:
                raise HTTPException(409, "There is a newer result of this study. Look at it first.")
            feedback.image_was_shown(study_instance_uid, revision, person)
            return Response(status_code=204)

        def said_of(request: Request, study_instance_uid: str) -> list[dict[str, Any]]:
            details = study_of(deps, study_instance_uid)
            shows = may_show(deps, request, deps.mode(), details)
            return [_as_json(f) for f in feedback.of_study(study_instance_uid) if shows or f.said not in VERDICTS]

        @router.get("/api/studies/{study_instance_uid}/feedback")
        def api_feedback(request: Request, study_instance_uid: str) -> list[dict[str, Any]]:
            found = said_of(request, study_instance_uid)
            deps.told(study_instance_uid, deps.person_of(request).name)
            return found

        @router.post("/api/studies/{study_instance_uid}/feedback", status_code=201)
        def api_say(
            request: Request, study_instance_uid: str, body: Annotated[bytes, Depends(limited_body)]
        ) -> list[dict[str, Any]]:
            needs(deps, request, *READERS)
            if media_type(request) != "application/json":
                raise HTTPException(415, "Feedback is JSON.")
            say(request, study_instance_uid, _saying(body))
            return said_of(request, study_instance_uid)

        @router.delete("/api/studies/{study_instance_uid}/feedback")
        def api_undo(request: Request, study_instance_uid: str) -> list[dict[str, Any]]:
            undo(request, study_instance_uid)
            return said_of(request, study_instance_uid)

        return router

    return Room(routes)


def _saying(typed: dict[str, Any] | bytes) -> Saying:
    """Raises: HTTPException 422, which never repeats the input."""
    try:
        said = _Said.model_validate_json(typed) if isinstance(typed, bytes) else _Said.model_validate(typed)
    except ValidationError as error:
        names = sorted({str(e["loc"][0]) for e in error.errors() if e["loc"]} & _Said.model_fields.keys())
        raise HTTPException(422, f"What was said cannot be read{': ' if names else ''}{', '.join(names)}.") from None
    return Saying(Said(said.said), said.revision, said.subtype, displayable(said.text, LONGEST_TEXT))


def _view(feedback: FeedbackDeps, details: StudyDetails, person: Person, shows: bool, now: datetime) -> FeedbackView:
    uid, row, revision = details.study_instance_uid, details.row, details.about.revision
    if row is not None and row.reading_state is ReadingState.NOT_CONFIRMED and not shows:
        row = None  # without a flag it would have left the list
    told = [f for f in feedback.of_study(uid) if shows or f.said not in VERDICTS]
    standing = [f for f in told if f.undone_at is None]
    last_own = next((f for f in reversed(standing) if f.by == person.name), None)
    undo = last_own if last_own is not None and last_own.may_be_undone(person.name, now) else None
    mine = next((f.said.value for f in reversed(standing) if f.by == person.name and f.said in VERDICTS), "")
    claimed = row is not None and row.reading_state is ReadingState.BEING_READ
    return FeedbackView(
        uid=uid,
        revision=revision,
        may_act=person.has(*READERS),
        verdicts=shows and revision > 0,
        may_disagree=person.has(Role.RADIOLOGIST),
        image_shown=feedback.was_image_shown(uid, revision, person),
        is_flagged=row is not None and row.flag is not None,
        state=row.reading_state.value if row is not None else "not on the list",
        read_by=(displayable(row.claimed_by) or "somebody") if row is not None and claimed else "",
        is_mine=row is not None and claimed and row.claimed_by == person.name,
        pinned=row is not None and row.pinned_at is not None,
        late=shows and row is not None and row.flag is not None and not row.live,
        on_list=row is not None and row.reading_state in ON_THE_LIST,
        mine=mine,
        said=tuple(told),
        undo=undo,
        undo_seconds=int((undo.at + UNDO_FOR - now).total_seconds()) if undo is not None else 0,
    )


def _as_json(said: Feedback) -> dict[str, Any]:
    return {
        "said": said.said.value,
        "by": said.by,
        "at": said.at.isoformat(),
        "revision": said.revision,
        "subtype": said.subtype,
        "text": said.text,
        "taken_back_at": None if said.undone_at is None else said.undone_at.isoformat(),
    }
