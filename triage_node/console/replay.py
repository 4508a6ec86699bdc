"""Replay: a past study again, by any configured model and any version of the thresholds, beside what was said and sent then.

GET /studies/{uid}/replay             the page
POST /studies/{uid}/replay            ask for one
GET /fragments/studies/{uid}/replay   what came of it, for the page's own script
POST /studies/{uid}/bug-bundle        a zip for developers, without what names a person

Nothing leaves and no result is stored; the analysis role does it while no study waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from triage_node.console.deps import ConsoleDeps, StudyDetails
from triage_node.console.forms import Form
from triage_node.console.pages import Pages, Room, needs, study_of
from triage_node.domain.errors import RefusedAction
from triage_node.domain.finding import FINDINGS
from triage_node.domain.person import Person, Role
from triage_node.domain.trial import Reading, Trial, TrialState

_ASKS = (Role.ADMINISTRATOR,)


@dataclass(frozen=True, slots=True)
class Before:
    """What can be replayed of a study. `then`: the result in force, None where there is none; `why_not`: why nothing can be.

    `bundles`: by name, the one that acts first; `policies`: (version, words), newest first.
    """

    then: Reading | None
    revision: int
    decided_at: datetime | None
    bundles: tuple[str, ...]
    policies: tuple[tuple[int, str], ...]
    why_not: str
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class ReplayDeps:
    """`ask` (study, model, version of the thresholds, who) and `bug_bundle` (study, who) raise: RefusedAction."""

    before: Callable[[str], Before]
    ask: Callable[[str, str, int, Person], None]
    bug_bundle: Callable[[str, Person], bytes]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing then and now. `differs` is None where there is nothing to compare."""

    name: str
    then: str
    now: str
    differs: bool | None


@dataclass(frozen=True, slots=True)
class Compared:
    """`words`: the whole in one sentence; `level`: "same", "other" or "none"."""

    trial: Trial
    words: str
    level: str
    lines: tuple[Line, ...]


def room(replays: ReplayDeps) -> Room:
    """The pages, and a link to them on the study page of an administrator."""

    def routes(deps: ConsoleDeps, pages: Pages) -> APIRouter:
        router = APIRouter()
        pages.environment.globals["may_replay"] = lambda person: person.has(*_ASKS)

        def drawn(request: Request, template: str, uid: str, status: int = 200, refused: str = "") -> HTMLResponse:
            before, details = replays.before(uid), study_of(deps, uid)
            return pages.draw(
                request,
                template,
                status,
                details=details,
                sent=sent_then(details),
                before=before,
                compared=[compared(t, before) for t in before.trials],
                is_open=any(t.state in (TrialState.WAITING, TrialState.RUNNING) for t in before.trials),
                refused=refused,
            )

        def asked(request: Request, uid: str) -> Person:
            person = needs(deps, request, *_ASKS)
            study_of(deps, uid)
            return person

        @router.get("/studies/{study_instance_uid}/replay", response_class=HTMLResponse)
        def show_replay(request: Request, study_instance_uid: str) -> HTMLResponse:
            person = asked(request, study_instance_uid)
            deps.viewed(study_instance_uid, person.name)
            return drawn(request, "replay.html", study_instance_uid)

        @router.get(
            "/fragments/studies/{study_instance_uid}/replay", response_class=HTMLResponse, include_in_schema=False
        )
        def show_trials(request: Request, study_instance_uid: str) -> HTMLResponse:
            asked(request, study_instance_uid)
            return drawn(request, "_replay.html", study_instance_uid)

        @router.post("/studies/{study_instance_uid}/replay", response_class=HTMLResponse, include_in_schema=False)
        def ask_for_replay(request: Request, study_instance_uid: str, form: Form) -> Response:
            person = asked(request, study_instance_uid)
            version = form.one("policy")
            try:
                if not (version.isascii() and version.isdigit() and len(version) < 9):
                    raise RefusedAction("Choose a version of the thresholds.")
                replays.ask(study_instance_uid, form.one("bundle", 1024), int(version), person)
            except RefusedAction as refused:
                return drawn(request, "replay.html", study_instance_uid, 409, str(refused))
            return RedirectResponse(f"/studies/{study_instance_uid}/replay#trials", 303)

        @router.post("/studies/{study_instance_uid}/bug-bundle", response_class=Response, include_in_schema=False)
        def give_bug_bundle(request: Request, study_instance_uid: str) -> Response:
            person = asked(request, study_instance_uid)
            try:
                made = replays.bug_bundle(study_instance_uid, person)
            except RefusedAction as refused:
                raise HTTPException(409, str(refused)) from None
            # the name tells no study
            headers = {"content-disposition": 'attachment; filename="triage-node-bug-bundle.zip"'}
            return Response(made, media_type="application/zip", headers=headers)

        return router

    return Room(routes)


def compared(trial: Trial, before: Before) -> Compared:
    """One replay beside the stored result. Of another revision than was asked about, it is told beside nothing."""
    now = trial.answer
    if now is None:
        words = {
            TrialState.WAITING: "Waits until the analysis has no study in hand.",
            TrialState.RUNNING: "Is being judged again now.",
        }.get(trial.state, f"It could not be judged again: {trial.reason}")
        return Compared(trial, words, "none", ())
    if now.why_not:
        return Compared(trial, f"It would not be analysed: {now.why_not}", "other" if before.then else "none", ())
    then = before.then if trial.revision == before.revision else None
    lines = tuple(_lines(then, now))
    if then is None:
        return Compared(trial, "There is no stored result of that time to compare with.", "none", lines)
    moved = [line.name.lower() for line in lines if line.differs]
    if then.answer != now.answer:
        words = f"Another answer: {then.answer} then, {now.answer} now."
    else:
        words = f"The same answer; different: {', '.join(moved)}." if moved else "The same in everything."
    return Compared(trial, words, "other" if moved else "same", lines)


def _lines(then: Reading | None, now: Reading) -> list[Line]:
    told: list[tuple[str, Callable[[Reading], str]]] = [
        ("Answer", lambda r: r.answer),
        ("Finding", lambda r: FINDINGS[r.finding].name if r.finding in FINDINGS else r.finding),
        ("Probability", lambda r: f"{r.probability:.4f}"),
        ("Raised from, notified from", lambda r: f"{r.raise_probability:.3f}, {r.notify_probability:.3f}"),
        ("Volume", lambda r: f"{r.hematoma_volume_ml:.1f} mL"),
        ("Key slice", lambda r: str(r.key_slice_index + 1)),
        ("Subtypes", lambda r: ", ".join(FINDINGS[s].short for s in r.subtypes if s in FINDINGS) or "none named"),
        ("Places", lambda r: ", ".join(r.locations) or "none named"),
        ("Model", lambda r: f"{r.bundle_name} {r.bundle_version} ({r.bundle_digest[:8]})"),
        ("Thresholds", lambda r: f"version {r.policy_version}"),
        ("Evidence", lambda r: r.evidence),
        ("Pixels that were read", lambda r: r.input_digest[:8]),
    ]
    return [
        Line(name, say(then) if then else "", say(now), None if then is None else say(then) != say(now))
        for name, say in told
    ]


def sent_then(details: StudyDetails) -> list[tuple[str, str]]:
    """(what, what became of it) of everything that left for this study."""
    sent: list[tuple[str, str]] = []
    for built, deliveries in details.objects:
        for d in deliveries:
            sent.append((f"{built.kind.value.replace('_', ' ')} to {d.peer}", d.state))
    sent += [(f"{m.kind} to {m.peer}", m.words) for m in details.told]
    return sent
