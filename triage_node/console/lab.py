"""The threshold lab: other operating points tried on recent studies, kept as drafts, approved, brought into force, taken back.

GET /lab                              the table, the replay, drafts, truth, versions   ?scope= &ich.raise= ...
GET /fragments/lab/replay, .../queue  the changing parts, for the page's own script
POST /lab/drafts                      keep what is in the form as a draft
GET /lab/drafts/{number}              one draft; POST .../shadow, .../approve, .../withdraw
POST /lab/rollback                    back to the thresholds before
POST /lab/truth                       labels from outside
GET /api/lab, /api/lab/replay, /api/lab/queue, /api/lab/drafts/{number}
POST /api/lab/drafts, /api/lab/drafts/{number}/ACTION, /api/lab/rollback, /api/lab/truth

Administrators change, auditors see. Trying changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from triage_node.console import lab_plots
from triage_node.console.clinical import limited_body
from triage_node.console.deps import ConsoleDeps
from triage_node.console.forms import Form
from triage_node.console.lab_deps import Basis, LabDeps, Question
from triage_node.console.lab_question import ASSUMED, as_fields, question_of, scope_value, settings
from triage_node.console.pages import Link, Pages, Room, media_type, needs
from triage_node.domain.errors import StoreError
from triage_node.domain.finding import FINDINGS, OperatingPoint
from triage_node.domain.person import Role
from triage_node.domain.policy import MAIN, Policy, PolicyDraft, Scope
from triage_node.domain.replay import Share

MAY_SEE = (Role.ADMINISTRATOR, Role.AUDITOR)
LARGEST_TABLE = 5_000_000
_MOST_PARAMETERS = 64
_FURTHEST = timedelta(days=366)

Body = Annotated[bytes, Depends(limited_body)]
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
STEPS = ("shadow", "no-shadow", "approve", "withdraw")


class _Point(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    finding: str = Field(max_length=16)
    raise_probability: float
    notify_probability: float
    unsure_from: float | None = None


class _Draft(BaseModel):
    """The body of POST /api/lab/drafts: the points of one scope, in the place of those that stand for it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    replaces: int = Field(ge=1, le=1_000_000, strict=True)
    why: str = Field(max_length=400)
    scanner: str = Field("", max_length=200)
    kernel: str = Field("", max_length=200)
    ae_title: str = Field("", max_length=16)
    points: list[_Point] = Field(max_length=16)


class _Approval(BaseModel):
    model_config = ConfigDict(extra="forbid")

    active_from: AwareDatetime | None = None


class _RollBack(BaseModel):
    model_config = ConfigDict(extra="forbid")

    in_force: int = Field(ge=1, le=1_000_000, strict=True)


def room(lab: LabDeps) -> Room:
    return Room(lambda deps, pages: _routes(lab, deps, pages), (Link("/lab", "Thresholds", frozenset(MAY_SEE)),))


def _routes(lab: LabDeps, deps: ConsoleDeps, pages: Pages) -> APIRouter:
    router = APIRouter()
    pages.environment.globals |= {
        "share": share_words,
        "rate": rate_words,
        "plots": lab_plots,
        "scope_value": scope_value,
        "short": {key: kind.short for key, kind in FINDINGS.items()},
    }

    def asked(request: Request) -> tuple[Basis, Question]:
        """Raises: HTTPException 422 with the reason."""
        basis = _refusing(lab.basis)
        return basis, _refusing(lambda: question_of(_parameters(request), basis))

    def parts(basis: Basis, question: Question, fast: bool) -> dict[str, Any]:
        tried = _refusing(lambda: lab.candidate(question))
        return {
            "basis": basis,
            "question": question,
            "replay": _refusing(lambda: lab.replay(question)),
            "queue": None if fast else _refusing(lambda: lab.queue(question)),
            "consequence": lab.consequence(tried),
            "is_changed": _differs(tried, basis.in_force),
            "point": question.points.get(MAIN),
        }

    def lab_page(request: Request, status: int = 200, wrong: tuple[str, ...] = (), **more: Any) -> HTMLResponse:
        basis = _refusing(lab.basis)
        try:
            question = question_of(_parameters(request), basis)
            content = parts(basis, question, fast=False)
        except (StoreError, HTTPException) as error:
            status, wrong = 422, (*wrong, str(error.detail if isinstance(error, HTTPException) else error))
            question = question_of({}, basis)
            content = parts(basis, question, fast=False)
        told = _parameters(request)
        return pages.draw(
            request,
            "lab.html",
            status,
            settings=settings(question, basis),
            assumed=[(a, told.get(a.name, "")) for a in ASSUMED],
            fields=as_fields(question),
            truths=lab.truths(),
            wrong=wrong,
            back=lab.consequence(basis.former) if basis.former is not None else (),
            may_change=deps.person_of(request).has(Role.ADMINISTRATOR),
            **content,
            **more,
        )

    def draft_of(number: int) -> PolicyDraft:
        found = next((d for d in _refusing(lab.basis).drafts if d.number == number), None)
        if found is None:
            raise HTTPException(404, "There is no such draft.")
        return found

    def draft_page(request: Request, number: int, status: int = 200, wrong: str = "") -> HTMLResponse:
        draft, basis = draft_of(number), _refusing(lab.basis)
        return pages.draw(
            request,
            "lab_draft.html",
            status,
            draft=draft,
            basis=basis,
            rows=_rows(draft.policy, basis.in_force),
            consequence=lab.consequence(draft.policy),
            report=lab.shadow_report(number),
            wrong=wrong,
            may_change=deps.person_of(request).has(Role.ADMINISTRATOR),
            is_mine=deps.person_of(request).name.casefold() == draft.drafted_by.casefold(),
            earliest=deps.now().astimezone(deps.time_zone).strftime("%Y-%m-%dT%H:%M"),
            zone_name=deps.now().astimezone(deps.time_zone).tzname(),
        )

    def human(request: Request) -> str:
        """The name of an administrator who is a person. Raises: HTTPException 403."""
        person = needs(deps, request, Role.ADMINISTRATOR)
        if person.is_program:
            raise HTTPException(
                403, "People answer for thresholds: a program can neither draft, approve nor take them back."
            )
        return person.name

    def act(request: Request, number: int, step: str, active_from: datetime | None) -> None:
        by = needs(deps, request, Role.ADMINISTRATOR).name
        draft_of(number)
        if step not in STEPS:
            raise HTTPException(404, "There is no such step.")
        if step == "approve":
            lab.approve(number, human(request), _day(active_from, deps.now()))
        elif step == "withdraw":
            lab.withdraw(number, by)
        else:
            lab.shadow(number, step == "shadow", by)

    @router.get("/lab", response_class=HTMLResponse)
    def show_lab(request: Request) -> HTMLResponse:
        needs(deps, request, *MAY_SEE)
        return lab_page(request)

    @router.get("/fragments/lab/replay", response_class=HTMLResponse, include_in_schema=False)
    def show_replay(request: Request) -> HTMLResponse:
        needs(deps, request, *MAY_SEE)
        basis, question = asked(request)
        return pages.draw(request, "_lab_replay.html", **parts(basis, question, fast=True))

    @router.get("/fragments/lab/queue", response_class=HTMLResponse, include_in_schema=False)
    def show_queue(request: Request) -> HTMLResponse:
        needs(deps, request, *MAY_SEE)
        _, question = asked(request)
        return pages.draw(request, "_lab_queue.html", queue=_refusing(lambda: lab.queue(question)))

    @router.post("/lab/drafts", include_in_schema=False)
    def draft_by_form(request: Request, form: Form) -> Response:
        by = human(request)
        basis = _refusing(lab.basis)
        names = ["scope", *(f"{finding}.{action}" for finding in FINDINGS for action in ("unsure", "raise", "notify"))]
        told = {name: form.one(name, 1200) for name in names}
        replaces = form.one("replaces", 7)
        if not replaces.isdecimal():
            raise HTTPException(422, "The form cannot be read.")
        try:
            number = lab.draft(question_of(told, basis), by, form.one("why", 400), int(replaces))
        except StoreError as error:
            return lab_page(request, 422, (str(error),))
        return RedirectResponse(f"/lab/drafts/{number}", 303)

    @router.get("/lab/drafts/{number}", response_class=HTMLResponse)
    def show_draft(request: Request, number: int) -> HTMLResponse:
        needs(deps, request, *MAY_SEE)
        return draft_page(request, number)

    @router.post("/lab/drafts/{number}/{step}", include_in_schema=False)
    def act_by_form(request: Request, number: int, step: str, form: Form) -> Response:
        needs(deps, request, Role.ADMINISTRATOR)
        try:
            active_from = _local(form.one("active_from", 16), deps) if step == "approve" else None
            act(request, number, step, active_from)
        except StoreError as error:
            return draft_page(request, number, 422, str(error))
        return RedirectResponse(f"/lab/drafts/{number}", 303)

    @router.post("/lab/rollback", include_in_schema=False)
    def roll_back_by_form(request: Request, form: Form) -> Response:
        by = human(request)
        held = form.one("in_force", 7)
        if not held.isdecimal():
            raise HTTPException(422, "The form cannot be read.")
        try:
            lab.roll_back(by, int(held))
        except StoreError as error:
            return lab_page(request, 422, (str(error),))
        return RedirectResponse("/lab", 303)

    @router.post("/lab/truth", response_class=HTMLResponse, include_in_schema=False)
    def import_by_form(request: Request, body: Annotated[bytes, Depends(_table)]) -> HTMLResponse:
        person = needs(deps, request, Role.ADMINISTRATOR)
        if media_type(request) != "application/x-www-form-urlencoded":
            raise HTTPException(415, "That is not what the form sends.")
        told = dict(_pairs(body))
        covers = told.get("covers_unflagged") == "1"
        found = lab.import_truth(told.get("table", ""), told.get("source", ""), covers, person.name)
        return lab_page(request, 422 if found.problems else 200, found.problems, imported=found)

    @router.get("/api/lab")
    def api_lab(request: Request) -> dict[str, Any]:
        needs(deps, request, *MAY_SEE)
        basis = _refusing(lab.basis)
        question = question_of({}, basis)
        return {
            "in_force": _policy(basis.in_force),
            "model": basis.model,
            "settings": [asdict(row) for _, _, rows in settings(question, basis) for row in rows],
            "scopes": [asdict(scope) for scope in basis.scopes],
            "drafts": [_draft(d) for d in basis.drafts],
            "versions": [_policy(p) for p in basis.versions],
            "truths": [asdict(t) for t in lab.truths()],
        }

    @router.get("/api/lab/replay")
    def api_replay(request: Request) -> dict[str, Any]:
        needs(deps, request, *MAY_SEE)
        basis, question = asked(request)
        tried = _refusing(lambda: lab.candidate(question))
        return {
            "in_force": _policy(basis.in_force),
            "candidate": _policy(tried),
            "consequence": lab.consequence(tried),
            "replay": asdict(_refusing(lambda: lab.replay(question))),
        }

    @router.get("/api/lab/queue")
    def api_queue(request: Request) -> dict[str, Any]:
        needs(deps, request, *MAY_SEE)
        _, question = asked(request)
        return asdict(_refusing(lambda: lab.queue(question)))

    @router.post("/api/lab/drafts", status_code=201)
    def api_draft(request: Request, body: Body) -> dict[str, Any]:
        by = human(request)
        said = _said(request, _Draft, body)
        points = {
            p.finding: OperatingPoint(p.finding, p.raise_probability, p.notify_probability, 0, p.unsure_from)
            for p in said.points
        }
        scope = Scope(said.scanner, said.kernel, said.ae_title)
        number = _refusing(lambda: lab.draft(Question(scope, points), by, said.why, said.replaces))
        return _draft(draft_of(number))

    @router.get("/api/lab/drafts/{number}")
    def api_show_draft(request: Request, number: int) -> dict[str, Any]:
        needs(deps, request, *MAY_SEE)
        draft = draft_of(number)
        return {
            **_draft(draft),
            "shadow": asdict(lab.shadow_report(number)),
            "consequence": lab.consequence(draft.policy),
        }

    @router.post("/api/lab/drafts/{number}/{step}")
    def api_act(request: Request, number: int, step: str, body: Body) -> dict[str, Any]:
        needs(deps, request, Role.ADMINISTRATOR)
        active_from = _said(request, _Approval, body).active_from if body else None
        _refusing(lambda: act(request, number, step, active_from))
        return _draft(draft_of(number))

    @router.post("/api/lab/rollback", status_code=201)
    def api_roll_back(request: Request, body: Body) -> dict[str, Any]:
        by = human(request)
        said = _said(request, _RollBack, body)
        version = _refusing(lambda: lab.roll_back(by, said.in_force))
        return {"policy_version": version}

    @router.post("/api/lab/truth", status_code=201)
    def api_truth(
        request: Request,
        body: Annotated[bytes, Depends(_table)],
        source: str = "",
        covers_unflagged: bool = False,
    ) -> JSONResponse:
        person = needs(deps, request, Role.ADMINISTRATOR)
        if media_type(request) != "text/csv":
            raise HTTPException(415, "Labels are text/csv.")
        found = lab.import_truth(_text(body), source, covers_unflagged, person.name)
        if found.problems:
            return JSONResponse({"error": "Nothing was stored.", "problems": list(found.problems)}, status_code=422)
        return JSONResponse({"stored": found.stored, "positive": found.positive}, status_code=201)

    return router


def _said(request: Request, model: type[M], body: bytes) -> M:
    if media_type(request) != "application/json":
        raise HTTPException(415, "Thresholds are JSON.")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:60]
        raise HTTPException(422, f"{where or 'body'}: {first['msg'][:120]}") from None


def share_words(share: Share) -> str:
    """A share with its interval and what it rests on."""
    if share.value is None:
        return share.why
    if not share.n:
        return f"{share.value:.1%} {share.why}".strip()
    counted = f"; {share.hits} of {share.n}" if share.hits or share.n < 100 else f"; {share.n} studies"
    return f"{share.low:.0%} to {share.high:.0%}{counted}"


def rate_words(value: float) -> str:
    """A rate per day with the digits that it can carry."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"


async def _table(request: Request) -> bytes:
    """Raises: HTTPException 413."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > LARGEST_TABLE:
            raise HTTPException(413, "A table of labels is at most 5 MB.")
    return bytes(data)


def _refusing(what: Callable[[], T]) -> T:
    try:
        return what()
    except StoreError as error:
        raise HTTPException(422, str(error)) from error


def _parameters(request: Request) -> dict[str, str]:
    pairs = request.query_params.multi_items()
    if len(pairs) > _MOST_PARAMETERS:
        raise HTTPException(422, "The address has more parts than this page knows.")
    return dict(pairs)


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise HTTPException(422, "The form cannot be read.") from None


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise HTTPException(422, "The table is no UTF-8 text.") from None


def _local(text: str, deps: ConsoleDeps) -> datetime | None:
    """What a field for date and time says at the site; empty: now."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=deps.time_zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise StoreError("That is no date and time.") from None


def _day(active_from: datetime | None, now: datetime) -> datetime:
    """From when on. Raises: StoreError for a day that is far off; what lies behind means now."""
    if active_from is None or active_from <= now:
        return now
    if active_from - now > _FURTHEST:
        raise StoreError("Thresholds come into force within a year, or not at all.")
    return active_from


def _point(point: OperatingPoint) -> dict[str, Any]:
    return {
        "finding": point.finding,
        "raise_probability": point.raise_probability,
        "notify_probability": point.notify_probability,
        "unsure_from": point.unsure_from,
    }


def _policy(policy: Policy) -> dict[str, Any]:
    return {
        "version": policy.version,
        "created_at": policy.created_at,
        "created_by": policy.created_by,
        "why": policy.why,
        "points": [_point(p) for p in policy.points.values()],
        "scoped": [{**asdict(s.scope), **_point(s.point)} for s in policy.scoped],
    }


def _draft(draft: PolicyDraft) -> dict[str, Any]:
    return {
        "number": draft.number,
        "state": draft.state,
        "in_shadow": draft.in_shadow,
        "replaces": draft.policy.version,
        "policy": {k: v for k, v in _policy(draft.policy).items() if k != "version"},
        "steps": [asdict(step) for step in draft.steps],
    }


def _rows(draft: Policy, held: Policy) -> list[tuple[str, str, OperatingPoint | None, OperatingPoint | None]]:
    """(where, finding, point in force, point of the draft): what differs, and what stands for the whole site."""
    rows = []
    for scope in (Scope(), *sorted({*draft.scopes, *held.scopes})):
        before, after = held.of_scope(scope), draft.of_scope(scope)
        for finding in {**before, **after}:
            was, would = before.get(finding), after.get(finding)
            if scope.is_whole_site or _numbers(was) != _numbers(would):
                rows.append((scope.words, FINDINGS[finding].short, was, would))
    return rows


def _numbers(point: OperatingPoint | None) -> tuple[float | None, ...] | None:
    return None if point is None else (point.unsure_from, point.raise_probability, point.notify_probability)


def _differs(tried: Policy, held: Policy) -> bool:
    def told(policy: Policy) -> dict[tuple[Scope, str], Any]:
        scopes = (Scope(), *policy.scopes)
        return {(s, f): _numbers(p) for s in scopes for f, p in policy.of_scope(s).items()}

    return told(tried) != told(held)
