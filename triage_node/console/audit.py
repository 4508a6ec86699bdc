"""The audit trail for administrators and auditors. Nothing can be changed here; that somebody read it is an entry itself.

GET /audit              who, action, subject, from, to; a page at a time, newest first: before=ENTRY
GET /audit/entries.csv  the same entries as a file; from and to must be given
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from triage_node.console.deps import ConsoleDeps
from triage_node.console.pages import Link, Pages, Room, needs
from triage_node.console.texts import displayable
from triage_node.domain.audit import YEARS, AuditEntry, AuditHead, AuditSearch
from triage_node.domain.durations import ago
from triage_node.domain.identifiers import is_uid
from triage_node.domain.person import Person, Role

MAY_SEE = (Role.ADMINISTRATOR, Role.AUDITOR)
ON_A_PAGE = 100
_SHOWN_DAYS = 30
_BEGIN_SO = ("login", "study viewed", "image shown", "feedback", "flag", "reading state", "move", "mode", "policy",
             "roles changed", "account", "token", "object", "raise", "notify", "study", "audit")  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrailStanding:
    """How the chain stands. `checked_at`: when the whole chain was last found whole. `behind`: entries not at the receiver yet."""

    head: AuditHead | None
    checked_at: datetime | None
    problem: str
    has_head_file: bool
    head_told_at: datetime | None
    head_problem: str
    receiver: str
    behind: int
    sent_at: datetime | None
    sending_problem: str


@dataclass(frozen=True, slots=True)
class AuditDeps:
    """`page`: at most so many entries before one, newest first. `csv`: lines. Both write that this person read the trail."""

    standing: Callable[[], TrailStanding]
    page: Callable[[AuditSearch, int, int | None, Person], list[AuditEntry]]
    csv: Callable[[AuditSearch, Person], Iterator[str]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What stands in the form, as it was typed."""

    who: str
    action: str
    subject: str
    first: date
    last: date

    def search(self, deps: ConsoleDeps) -> AuditSearch:
        """Days are those of the site."""
        midnight = datetime.min.time()
        since = datetime.combine(self.first, midnight, deps.time_zone)
        until = datetime.combine(self.last + timedelta(days=1), midnight, deps.time_zone)
        return AuditSearch(self.who, self.action, self.subject, since, until)

    def address(self, before: int) -> str:
        fields = {"who": self.who, "action": self.action, "subject": self.subject, "from": self.first, "to": self.last}
        return "/audit?" + urlencode({k: v for k, v in fields.items() if v} | {"before": before})


Who = Annotated[str, Query(max_length=128)]
Action = Annotated[str, Query(max_length=64)]
Subject = Annotated[str, Query(max_length=128)]
From = Annotated[str, Query(alias="from", max_length=10)]
To = Annotated[str, Query(alias="to", max_length=10)]


def room(audit: AuditDeps) -> Room:
    def routes(deps: ConsoleDeps, pages: Pages) -> APIRouter:
        router = APIRouter()

        def today() -> date:
            return deps.now().astimezone(deps.time_zone).date()

        @router.get("/audit", response_class=HTMLResponse)
        def show_audit(
            request: Request,
            who: Who = "",
            action: Action = "",
            subject: Subject = "",
            first: From = "",
            last: To = "",
            before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
        ) -> HTMLResponse:
            person = needs(deps, request, *MAY_SEE)
            asked = _Asked(
                who.strip(),
                action.strip(),
                subject.strip(),
                _day(first, today() - timedelta(days=_SHOWN_DAYS - 1)),
                _day(last, today()),
            )
            found = audit.page(asked.search(deps), ON_A_PAGE + 1, before, person)
            return pages.draw(
                request,
                "audit.html",
                asked=asked,
                entries=found[:ON_A_PAGE],
                older=asked.address(found[ON_A_PAGE - 1].id) if len(found) > ON_A_PAGE else "",
                newest=before is None,
                standing=audit.standing(),
                begin_so=_BEGIN_SO,
                stamp=lambda at: at.astimezone(deps.time_zone).strftime("%d %b %Y %H:%M:%S"),
                ago=lambda at: ago(deps.now() - at),
                shown=lambda text: displayable(text, 400),
                is_uid=is_uid,
            )

        @router.get("/audit/entries.csv", response_class=StreamingResponse)
        def audit_csv(
            request: Request, who: Who = "", action: Action = "", subject: Subject = "", first: From = "", last: To = ""
        ) -> StreamingResponse:
            person = needs(deps, request, *MAY_SEE)
            if not first or not last:
                raise HTTPException(422, "Say from which day to which day.")
            asked = _Asked(who.strip(), action.strip(), subject.strip(), _day(first, today()), _day(last, today()))
            return StreamingResponse(
                audit.csv(asked.search(deps), person),
                media_type="text/csv; charset=utf-8",
                headers={"content-disposition": f'attachment; filename="audit-{asked.first}-{asked.last}.csv"'},
            )

        return router

    return Room(routes, (Link("/audit", "Audit", frozenset(MAY_SEE)),))


def _day(text: str, otherwise: date) -> date:
    """Raises: HTTPException 422."""
    if not text:
        return otherwise
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise HTTPException(422, "A day is written as 2026-11-21.") from None
    if day.year not in YEARS:
        raise HTTPException(422, f"A day lies in the years {YEARS.start} to {YEARS.stop - 1}.")
    return day
