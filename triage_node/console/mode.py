"""Observe or active: what is in force and why, one button that pauses, and two people who switch it on.

GET /mode          what is in force, why, and who did what
POST /mode/ACTION  pause, reason, resume, request, approve, refuse
GET /api/mode

Pausing is safe, so one person does it at once, whatever their clinical role, and is asked for the reason afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from triage_node.console.deps import ConsoleDeps
from triage_node.console.forms import Form
from triage_node.console.pages import Pages, Room, needs
from triage_node.console.texts import displayable
from triage_node.domain.errors import RefusedAction
from triage_node.domain.mode_switch import RESUME_FOR, ModeAction, ModeChange, ModeSwitch
from triage_node.domain.person import Person, Role
from triage_node.domain.priority import Mode

PAUSING = (Role.READER, Role.RADIOLOGIST, Role.ADMINISTRATOR)
LONGEST_REASON = 200
_ROLES: dict[ModeAction, tuple[Role, ...]] = {
    ModeAction.PAUSE: PAUSING,
    ModeAction.REASON: PAUSING,
    ModeAction.RESUME: PAUSING,
    ModeAction.REQUEST: (Role.ADMINISTRATOR,),
    ModeAction.APPROVE: (Role.ADMINISTRATOR,),
    ModeAction.REFUSE: (Role.ADMINISTRATOR,),
}
Action = Literal["pause", "reason", "resume", "request", "approve", "refuse"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is in force. `why`: when it is not the configured mode. `obstacle`: why nobody can switch it on now, empty when two can.

    `model`: what runs, in words. `history`: newest first.
    """

    mode: Mode
    configured: Mode
    why: str
    obstacle: str
    model: str
    switch: ModeSwitch
    history: tuple[ModeChange, ...]


@dataclass(frozen=True, slots=True)
class ModeDeps:
    """`change` (what, who, the reason) raises: RefusedAction."""

    standing: Callable[[], Standing]
    switch: Callable[[], ModeSwitch]
    change: Callable[[ModeAction, Person, str], None]


def room(modes: ModeDeps) -> Room:
    """The mode's own page, and the button in the bar of every page."""

    def routes(deps: ConsoleDeps, pages: Pages) -> APIRouter:
        router = APIRouter()

        def in_bar(person: Person, mode: Mode) -> dict[str, Any]:
            """What the bar says beside the mode, and whether this person can pause from there."""
            paused = modes.switch().paused
            note = f"paused by {displayable(paused.by)}" if paused is not None else ""
            return {"note": note, "may_pause": mode is Mode.ACTIVE and person.has(*PAUSING)}

        pages.environment.globals["mode_in_bar"] = in_bar

        @router.get("/mode", response_class=HTMLResponse)
        def show_mode(request: Request) -> HTMLResponse:
            person, now, standing = deps.person_of(request), deps.now(), modes.standing()
            asked = standing.switch.open_request(now)
            paused = standing.switch.paused
            return pages.draw(
                request,
                "mode.html",
                standing=standing,
                asked=asked,
                is_own_request=asked is not None and asked.by.casefold() == person.name.casefold(),
                may_pause=person.has(*PAUSING) and paused is None,
                may_switch=person.has(Role.ADMINISTRATOR),
                may_resume=paused is not None and paused.by == person.name and now - paused.at < RESUME_FOR,
                wants_reason=paused is not None and paused.by == person.name and not paused.reason,
                longest_reason=LONGEST_REASON,
            )

        @router.post("/mode/{action}", include_in_schema=False)
        def change_mode(request: Request, action: Action, form: Form) -> Response:
            wanted = ModeAction(action)
            person = needs(deps, request, *_ROLES[wanted])
            reason = displayable(form.one("reason", LONGEST_REASON), LONGEST_REASON)
            try:
                modes.change(wanted, person, reason)
            except RefusedAction as refused:
                raise HTTPException(409, str(refused)) from refused
            return RedirectResponse("/mode", 303)

        @router.get("/api/mode")
        def api_mode(request: Request) -> dict[str, Any]:
            deps.person_of(request)
            standing = modes.standing()
            asked = standing.switch.open_request(deps.now())
            return {
                "mode": standing.mode.value,
                "configured": standing.configured.value,
                "why": standing.why,
                "paused": _as_json(standing.switch.paused),
                "requested": _as_json(asked),
                "approved": _as_json(standing.switch.approval),
            }

        return router

    return Room(routes)


def _as_json(change: ModeChange | None) -> dict[str, str] | None:
    return None if change is None else {"by": change.by, "at": change.at.isoformat(), "reason": change.reason}
