"""Logging in and out, one's own account, and everybody's accounts and tokens for administrators.

GET, POST /login                    name and password
GET /login/link                     a link that logs in once
GET /login/provider                 to the hospital's OpenID provider, and /back from it
POST /logout
GET /account                        one's own account; POST /account/password
GET /users                          accounts and tokens
POST /users                         a new account; /users/{name}/roles, /disabled, /password, /sessions
POST /tokens                        a new token; /tokens/{name}/revoked
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from triage_node.console.attempts import Attempts
from triage_node.console.deps import ConsoleDeps
from triage_node.console.forms import Form
from triage_node.console.pages import Link, Pages, Room, needs
from triage_node.console.security import ACCOUNT, LOGIN, LOGOUT, address_of, cookie_name, known_of, moved_on, own_path
from triage_node.domain.account import (
    Account,
    AccountRefused,
    ApiToken,
    OpenSession,
    Scope,
    TooBusy,
    roles_of,
    scopes_of,
)
from triage_node.domain.person import Person, Role

_PROVIDER_COOKIE = "triage-provider"
_PROVIDER_S = 600
_SEES_USERS = (Role.ADMINISTRATOR, Role.AUDITOR)
WRONG = "Name or password is wrong, or a one-time password is older than three days."


@dataclass(frozen=True, slots=True)
class ProviderDeps:
    """The hospital's OpenID provider. `begin(next)`: (its address, a secret for this browser); `finish(secret, answer, own
    address)`: (session token, where to). Raises: AccountRefused."""

    label: str
    begin: Callable[[str], tuple[str, str]]
    finish: Callable[[str, Mapping[str, str], str], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class AccountsDeps:
    """What raises, raises AccountRefused. `log_in(name, password, address)` and `by_link(secret, address)`: a session's token,
    or None; `log_in` writes the failure to the audit trail."""

    log_in: Callable[[str, str, str], str | None]
    by_link: Callable[[str, str], str | None]
    log_out: Callable[[str], None]
    change_password: Callable[[Person, str, str, str], str]
    """(who, old password, new password, address): every session ends, and this is the token of a new one."""
    account: Callable[[str], Account | None]
    accounts: Callable[[], Sequence[Account]]
    sessions: Callable[[str], Sequence[OpenSession]]
    """Of one account, or of all with an empty name."""
    add: Callable[[Person, str, frozenset[Role]], str]
    reset_password: Callable[[Person, str], str]
    set_roles: Callable[[Person, str, frozenset[Role]], None]
    set_disabled: Callable[[Person, str, bool], None]
    end_sessions: Callable[[Person, str], None]
    tokens: Callable[[], Sequence[ApiToken]]
    add_token: Callable[[Person, str, frozenset[Role], frozenset[Scope], int], str]
    revoke_token: Callable[[Person, str], None]
    provider: ProviderDeps | None = None
    is_tls: bool = False


def room(its: AccountsDeps) -> Room:
    return Room(lambda deps, pages: _routes(its, deps, pages), (Link("/users", "Users", frozenset(_SEES_USERS)),))


def _routes(its: AccountsDeps, deps: ConsoleDeps, pages: Pages) -> APIRouter:
    router, attempts = APIRouter(include_in_schema=False), Attempts()

    def administrator(request: Request) -> Person:
        return needs(deps, request, Role.ADMINISTRATOR)

    # of the whole router, so that it is asked before a form is read
    changes = APIRouter(dependencies=[Depends(administrator)])

    def login_page(request: Request, status: int = 200, wrong: str = "", where: str = "/") -> HTMLResponse:
        return pages.draw_outside("login.html", status, wrong=wrong, where=where, provider=its.provider)

    def let_in(token: str, answer: Response) -> Response:
        answer.set_cookie(cookie_name(its.is_tls), token, path="/", secure=its.is_tls, httponly=True, samesite="strict")
        return answer

    @router.get(LOGIN, response_class=HTMLResponse)
    def show_login(request: Request, next: str = "/") -> Response:
        if known_of(request) is not None:
            return RedirectResponse(own_path(next), 303)
        return login_page(request, where=own_path(next))

    @router.post(LOGIN, response_class=HTMLResponse)
    def log_in(request: Request, form: Form) -> Response:
        name, address, now = form.one("name"), address_of(request), deps.now()
        where = own_path(form.one("next", 2048))
        if (wait := attempts.wait_s(name, address, now)) > 0:
            answer = login_page(request, 429, f"Too many tries. The next one counts in {math.ceil(wait)} s.", where)
            answer.headers["Retry-After"] = str(math.ceil(wait))
            return answer
        try:
            token = its.log_in(name, form.one("password"), address)
        except TooBusy as busy:
            return login_page(request, 503, str(busy), where)
        if token is None:
            attempts.failed(name, address, now)
            return login_page(request, 403, WRONG, where)
        attempts.succeeded(name, address)
        return let_in(token, RedirectResponse(where, 303))

    @router.get("/login/link", response_class=HTMLResponse)
    def log_in_by_link(request: Request, key: str = "") -> Response:
        token = its.by_link(key[:256], address_of(request))
        if token is None:
            return login_page(
                request, 410, "This link was used before, or is too old. A new one is made where it came from."
            )
        return let_in(token, RedirectResponse("/", 303))

    @router.get("/login/provider", response_class=HTMLResponse)
    def go_to_provider(request: Request, next: str = "/") -> Response:
        provider = _provider()
        try:
            address, secret = provider.begin(own_path(next))
        except AccountRefused as refused:
            return login_page(request, 503, str(refused))
        answer = RedirectResponse(address, 303)
        # lax: the way back starts at the provider, and a strict cookie would stay away
        answer.set_cookie(
            _PROVIDER_COOKIE, secret, max_age=_PROVIDER_S, path="/login/provider", secure=its.is_tls, httponly=True,
            samesite="lax",
        )  # fmt: skip
        return answer

    @router.get("/login/provider/back", response_class=HTMLResponse)
    def come_from_provider(request: Request) -> Response:
        provider = _provider()
        answered = {name: value[:4096] for name, value in request.query_params.items()}
        try:
            secret = request.cookies.get(_PROVIDER_COOKIE, "")
            token, where = provider.finish(secret, answered, address_of(request))
        except AccountRefused as refused:
            answer: Response = login_page(request, 403, str(refused))
        else:
            answer = let_in(token, moved_on(own_path(where)))
        answer.delete_cookie(_PROVIDER_COOKIE, path="/login/provider")
        return answer

    def _provider() -> ProviderDeps:
        if its.provider is None:
            raise HTTPException(404, "No provider of logins is configured.")
        return its.provider

    @router.post(LOGOUT)
    def log_out(request: Request) -> Response:
        its.log_out(request.cookies.get(cookie_name(its.is_tls), ""))
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(cookie_name(its.is_tls), path="/", secure=its.is_tls, httponly=True, samesite="strict")
        return answer

    def account_page(request: Request, status: int = 200, wrong: str = "") -> HTMLResponse:
        person = deps.person_of(request)
        known, account = known_of(request), its.account(person.name)
        must_change = known is not None and known.must_change
        content = {"account": account, "wrong": wrong, "must_change": must_change}
        if must_change:
            return pages.draw_outside("password.html", status, **content)
        return pages.draw(request, "account.html", status, sessions=its.sessions(person.name), **content)

    @router.get(ACCOUNT, response_class=HTMLResponse)
    def show_account(request: Request) -> HTMLResponse:
        return account_page(request)

    @router.post("/account/password", response_class=HTMLResponse)
    def change_password(request: Request, form: Form) -> Response:
        person, address, now = deps.person_of(request), address_of(request), deps.now()
        if (wait := attempts.wait_s(person.name, address, now)) > 0:
            return account_page(request, 429, f"Too many tries. The next one counts in {math.ceil(wait)} s.")
        if form.one("new", 1024) != form.one("again", 1024):
            return account_page(request, 422, "The new password was typed in two different ways.")
        try:
            token = its.change_password(person, form.one("old", 1024), form.one("new", 1024), address)
        except AccountRefused as refused:
            attempts.failed(person.name, address, now)
            return account_page(request, 422, str(refused))
        attempts.succeeded(person.name, address)
        return let_in(token, RedirectResponse("/", 303))

    def users_page(request: Request, status: int = 200, **said: Any) -> HTMLResponse:
        now = deps.now()
        opened: dict[str, list[OpenSession]] = {}
        for one in its.sessions(""):
            opened.setdefault(one.name, []).append(one)
        content = {
            "accounts": its.accounts(),
            "opened": opened,
            "tokens": its.tokens(),
            "roles": tuple(Role),
            "scopes": tuple(Scope),
            "may_change": deps.person_of(request).has(Role.ADMINISTRATOR),
            "is_valid": lambda token: token.is_valid(now),
        }
        return pages.draw(request, "users.html", status, **({"wrong": "", "told": None} | content | said))

    @router.get("/users", response_class=HTMLResponse)
    def show_users(request: Request) -> HTMLResponse:
        needs(deps, request, *_SEES_USERS)
        return users_page(request)

    def changed(request: Request, change: Callable[[Person], str | None], what: str = "") -> Response:
        """Do it, then show the page; a secret that came of it is shown this once."""
        try:
            secret = change(deps.person_of(request))
        except AccountRefused as refused:
            return users_page(request, 503 if isinstance(refused, TooBusy) else 422, wrong=str(refused))
        if secret is None:
            return RedirectResponse("/users", 303)
        return users_page(request, told=(what, secret))

    @changes.post("/users", response_class=HTMLResponse)
    def add_account(request: Request, form: Form) -> Response:
        name = form.one("name")
        return changed(
            request,
            lambda by: its.add(by, name, roles_of(form.all("role"))),
            f"One-time password of {name.strip().lower()}",
        )

    @changes.post("/users/{name}/roles", response_class=HTMLResponse)
    def set_roles(request: Request, name: str, form: Form) -> Response:
        return changed(request, lambda by: its.set_roles(by, name, roles_of(form.all("role"))))

    @changes.post("/users/{name}/disabled", response_class=HTMLResponse)
    def set_disabled(request: Request, name: str, form: Form) -> Response:
        return changed(request, lambda by: its.set_disabled(by, name, form.one("disabled") == "yes"))

    @changes.post("/users/{name}/password", response_class=HTMLResponse)
    def reset_password(request: Request, name: str) -> Response:
        return changed(request, lambda by: its.reset_password(by, name), f"One-time password of {name[:64]}")

    @changes.post("/users/{name}/sessions", response_class=HTMLResponse)
    def end_sessions(request: Request, name: str) -> Response:
        return changed(request, lambda by: its.end_sessions(by, name))

    @changes.post("/tokens", response_class=HTMLResponse)
    def add_token(request: Request, form: Form) -> Response:
        name, days = form.one("name"), form.one("days", 4)

        def add(by: Person) -> str:
            lasts = int(days) if days.isascii() and days.isdigit() else 0
            return its.add_token(by, name, roles_of(form.all("role")), scopes_of(form.all("scope")), lasts)

        return changed(request, add, f"Token {name.strip().lower()}")

    @changes.post("/tokens/{name}/revoked", response_class=HTMLResponse)
    def revoke_token(request: Request, name: str) -> Response:
        return changed(request, lambda by: its.revoke_token(by, name))

    router.include_router(changes)
    return router
