"""Logging in, out and being refused; one's own password; accounts and tokens as administrators change them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from tests.support.deciding import Site
from tests.support.people import anybody, bearer, cookie, page_of
from triage_node.console import attempts
from triage_node.console.accounts import WRONG
from triage_node.console.attempts import FREE
from triage_node.domain.account import Scope
from triage_node.domain.person import Role
from triage_node.processes.running import Running, now
from triage_node.store import accounts, audit, sessions

GOOD = "corn horse staple 7"
PAGES = ("/", "/studies/1.2.1", "/users", "/account", "/?view=would-move")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, [])
    made.arrive("1.2.1")
    yield made
    made.store.close()


@pytest.fixture
def running(site: Site) -> Running:
    return Running("web", site.settings, site.store, threading.Event())


@pytest.fixture
def browser(running: Running) -> TestClient:
    return anybody(running)


def log_in(browser: TestClient, name: str, password: str, **more: str):
    return browser.post("/login", data={"name": name, "password": password, **more})


def audited(running: Running, subject: str) -> list[tuple[str, str]]:
    return [(actor, action) for _, actor, action in audit.entries(running.store, subject)]


def test_nobody_gets_further_than_the_login_which_leads_back_to_where_they_wanted(browser):
    for path in PAGES:
        answer = browser.get(path)
        wanted = "/login" if path == "/" else f"/login?next={quote(path, safe='/')}"
        assert (answer.status_code, answer.headers["location"]) == (303, wanted)
    for path in ("/api/worklist", "/api/openapi.json", "/api/nonsense", "/events", "/fragments/list"):
        answer = browser.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert browser.get("/nonsense").headers["location"] == "/login?next=/nonsense"
    assert 'name="next" value="/studies/1.2.1"' in browser.get("/login?next=/studies/1.2.1").text
    assert browser.get("/static/page.css").status_code == 200
    assert set(browser.get("/health").json()) == {"status"}


def test_the_first_administrator_changes_the_one_time_password_before_anything_else(browser, running):
    password = accounts.add_first(running.store, now(), "test")
    answer = log_in(browser, "Admin", password, next="/users")
    assert (answer.status_code, answer.headers["location"]) == (303, "/users")
    kept = answer.headers["set-cookie"]
    assert "HttpOnly" in kept
    assert "SameSite=strict" in kept
    assert "Max-Age" not in kept
    for path in ("/", "/users", "/studies/1.2.1"):
        assert browser.get(path).headers["location"] == "/account"
    assert browser.get("/api/worklist").status_code == 403
    assert browser.post("/users", data={"name": "x", "role": "administrator"}).status_code == 403
    assert "A password of your own" in browser.get("/account").text

    def change(old: str, new: str, again: str) -> int:
        return browser.post("/account/password", data={"old": old, "new": new, "again": again}).status_code

    assert change(password, GOOD, GOOD + "x") == 422
    assert change(password, password, password) == 422
    assert change("wrong" + password, GOOD, GOOD) == 422
    assert change(password, "short", "short") == 422
    assert change(password, GOOD, GOOD) == 303
    assert browser.get("/users").status_code == 200
    assert log_in(browser, "admin", password).status_code == 403
    assert ("admin", "password changed") in audited(running, "admin")


def test_logging_out_ends_the_session_for_whoever_kept_the_cookie_too(browser, running):
    kept = cookie(running.store, Role.READER)
    browser.cookies = kept
    assert browser.get("/").status_code == 200
    answer = browser.post("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    browser.cookies = kept
    assert browser.get("/").status_code == 303
    assert audited(running, "reader")[-1] == ("reader", "logout")


def test_who_fails_waits_and_learns_nothing_of_names(browser, running, monkeypatch):
    monkeypatch.setattr(attempts, "FIRST_WAIT_S", 500.0)  # a slow machine takes seconds for each hash
    monkeypatch.setattr(attempts, "FORGIVEN_S", 3600.0)
    accounts.add(running.store, now(), "test", "lee", frozenset({Role.READER}))
    known = [log_in(browser, "lee", "not this one") for _ in range(FREE)]
    unknown = [log_in(browser, GOOD, "not this one") for _ in range(FREE)]
    assert {a.status_code for a in known + unknown} == {403}
    assert all(WRONG in a.text for a in known + unknown)
    assert GOOD not in unknown[0].text
    answer = log_in(browser, "lee", "not this one")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 500
    assert [a for _, a in audited(running, "lee")].count("login failed") == FREE
    assert audited(running, sessions.UNKNOWN) == [("page from testclient", "login failed")] * FREE


@pytest.mark.parametrize("where", ["//evil.test", "https://evil.test", "/\\evil.test", "javascript:alert(1)", "/login"])
def test_a_login_leads_nowhere_but_to_this_node(browser, running, where):
    browser.cookies = cookie(running.store, Role.READER)
    assert browser.get(f"/login?next={quote(where)}").headers["location"] == "/"


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": ""}, {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:8080"}],
)  # fmt: skip
def test_a_foreign_page_changes_nothing_with_somebodys_cookie(browser, running, headers):
    browser.cookies = cookie(running.store)
    for path in ("/users", "/logout", "/tokens", "/login", "/api/studies/1.2.1/clinical", "/nonsense"):
        assert browser.post(path, headers=headers).status_code == 403
    del browser.headers["sec-fetch-site"]
    assert browser.post("/logout").status_code == 403
    assert browser.post("/logout", headers={"origin": "http://evil.test"}).status_code == 403
    assert browser.post("/logout", headers={"origin": "http://127.0.0.1:8080"}).status_code == 303


def test_a_link_on_another_site_finds_the_login_that_is_open(browser):
    """A strict cookie stays away from the first request after a foreign page; the page that answers asks once more."""
    asked = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    answer = browser.get("/studies/1.2.1?a=%22%3E%3Cb%3E", headers=asked)
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0;url=/studies/1.2.1?a=%22%3E%3Cb%3E">' in answer.text


def test_a_token_goes_where_its_scopes_and_roles_say(browser, running):
    def ask(headers: dict[str, str], method: str, path: str) -> int:
        return browser.request(method, path, headers=headers).status_code

    del browser.headers["sec-fetch-site"]
    reads = bearer(running.store, "reads", Scope.READ, roles=frozenset({Role.READER}))
    changes = bearer(running.store, "changes", Scope.CHANGE, roles=frozenset({Role.READER}))
    watches = bearer(running.store, "watches", Scope.MONITOR, roles=frozenset({Role.READER}))
    clinical = "/api/studies/1.2.1/clinical"
    for headers, method, path, status in (
        (reads, "GET", "/api/worklist", 200),
        (reads, "GET", "/api/feeds", 403),
        (reads, "POST", clinical, 403),
        (reads, "GET", "/health", 403),
        (changes, "GET", "/api/worklist", 403),
        (changes, "POST", clinical, 415),
        (watches, "GET", "/health", 503),
        (watches, "GET", "/api/worklist", 403),
        *((headers, "GET", path, 403) for headers in (reads, changes, watches) for path in ("/", "/users", "/events")),
        ({"authorization": "Bearer triage_wrong"}, "GET", "/api/worklist", 401),
        ({"authorization": "Basic YTpi"}, "GET", "/api/worklist", 401),
    ):
        assert ask(headers, method, path) == status, (method, path)
    assert "roles" in browser.get("/health", headers=watches).json()
    browser.cookies = cookie(running.store)
    assert ask({"authorization": "Bearer triage_wrong"}, "GET", "/api/worklist") == 401
    assert ask({"authorization": "Bearer triage_wrong"}, "POST", "/logout") == 401


def test_an_administrator_makes_changes_and_ends_accounts_and_secrets_are_shown_once(running, browser):
    chief = page_of(running, Role.ADMINISTRATOR)

    def secret_of(answer) -> str:
        assert answer.status_code == 200, answer.text
        return re.search(r'class="secret"><code>([^<]+)</code>', answer.text).group(1)

    first = secret_of(chief.post("/users", data={"name": "Lee", "role": ["reader", "radiologist"]}))
    assert first not in chief.get("/users").text
    assert log_in(browser, "lee", first).status_code == 303
    assert "logged in from testclient" in chief.get("/users").text
    assert chief.post("/users", data={"name": "lee", "role": "reader"}).status_code == 422
    assert chief.post("/users", data={"name": "okafor"}).status_code == 422
    assert chief.post("/users", data={"name": "okafor", "role": "chief"}).status_code == 422
    chief.post("/users/lee/roles", data={"role": "auditor"})
    assert accounts.get(running.store, "lee").roles == {Role.AUDITOR}
    second = secret_of(chief.post("/users/lee/password"))
    assert browser.get("/account").status_code == 303
    assert log_in(browser, "lee", first).status_code == 403
    assert log_in(browser, "lee", second).status_code == 303
    chief.post("/users/lee/sessions")
    assert browser.get("/account").status_code == 303
    chief.post("/users/lee/disabled", data={"disabled": "yes"})
    assert log_in(browser, "lee", second).status_code == 403
    assert "disabled since" in chief.get("/users").text
    answer = chief.post("/users/administrator/disabled", data={"disabled": "yes"})
    assert (answer.status_code, "only administrator" in answer.text) == (422, True)
    made = {"name": "ris", "role": "reader", "scope": "read", "days": "30"}
    token = secret_of(chief.post("/tokens", data=made))
    program = {"authorization": f"Bearer {token}"}
    assert browser.get("/api/worklist", headers=program).status_code == 200
    assert chief.post("/tokens", data=made | {"name": "ris2", "days": "0"}).status_code == 422
    assert chief.post("/tokens", data={**made, "name": "ris2", "scope": []}).status_code == 422
    assert chief.post("/tokens/ris/revoked").status_code == 200
    assert browser.get("/api/worklist", headers=program).status_code == 401
    said = {action for _, action in audited(running, "lee")}
    assert said >= {"account added", "roles changed", "one-time password made", "sessions ended", "account disabled"}
    assert {actor for actor, _ in audited(running, "ris")} == {"administrator"}
    assert audit.first_broken(running.store) is None


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "\u202eadmin", "a" * 5000, "%00", "../../etc/passwd", "'; --"]
)
def test_names_from_outside_are_never_repeated_unescaped(running, name):
    chief = page_of(running, Role.ADMINISTRATOR)
    for path in ("password", "sessions", "disabled", "roles"):
        answer = chief.post(f"/users/{quote(name, safe='')}/{path}", data={"role": "reader", "disabled": "yes"})
        assert answer.status_code in (200, 404, 422)
        assert "<script>alert" not in answer.text
    assert chief.post("/users", data={"name": name, "role": "reader"}).status_code == 422
    assert chief.post("/users", content=b"x=" + b"y" * 20_000, headers={"content-type": "application/x-www-form-urlencoded"}).status_code == 413  # fmt: skip
    assert len(accounts.all_accounts(running.store)) == 1


def test_a_link_logs_in_once(browser, running):
    accounts.add_without_password(running.store, now(), "test", "demo", frozenset({Role.READER}))
    key = sessions.link(running.store, now(), "demo")
    assert browser.get(f"/login/link?key={key}").headers["location"] == "/"
    assert browser.get("/").status_code == 200
    assert browser.get(f"/login/link?key={key}").status_code == 410
    assert browser.get("/login/link").status_code == 410
