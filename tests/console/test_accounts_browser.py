"""Logging in as a person does, in a browser: by keyboard, over each page of accounts, on a workstation and on a phone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from tests.console.axe import violations
from tests.console.browser import Browser, browser
from tests.console.serving import served
from tests.support.deciding import Site
from tests.support.waiting import wait_until
from triage_node.config.web import ProviderSettings
from triage_node.console.app import Console, create_app
from triage_node.domain.account import Scope
from triage_node.domain.person import Role
from triage_node.processes.running import Running, now
from triage_node.processes.web import console_deps, rooms
from triage_node.store import accounts, api_tokens, sessions

GOOD = "corn horse staple 7"
EVERY_LOOK = [(width, height, dark) for width, height in ((1366, 768), (390, 844)) for dark in (False, True)]


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(Path(tmp_path_factory.mktemp("accounts")), [])
    made.arrive("1.2.1")
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def address(site: Site) -> Iterator[str]:
    provider = ProviderSettings(issuer="https://id.example.org", client_id="x", page_url="http://127.0.0.1")
    web = site.settings.web.model_copy(update={"provider": provider})
    running = Running("web", site.settings.model_copy(update={"web": web}), site.store, threading.Event())
    with served(create_app(console_deps(running), rooms(running))) as url:
        yield url


def looks_right(window: Browser, path: str) -> None:
    """In each look: no rule of axe is broken, and nothing is wider than the window."""
    for width, height, dark in EVERY_LOOK:
        window.look(width, height, dark)
        assert window.script("return location.pathname") == path
        assert violations(window) == []
        assert window.script("return document.documentElement.scrollWidth - innerWidth") <= 0
    window.look(1366, 768, False)


def send(window: Browser, leads_to: str, **fields: str) -> None:
    """Type into the form that has these fields, send it, and wait for the page to which it leads."""
    window.script(
        "const fields = arguments[0], first = Object.keys(fields)[0];"
        "const form = document.querySelector(`[name=${first}]`).form;"
        "for (const [name, value] of Object.entries(fields)) form.elements[name].value = value;"
        "window.isOld = true; form.requestSubmit();",
        fields,
    )
    there = "return window.isOld === undefined && document.readyState === 'complete' ? location.pathname : ''"
    wait_until(lambda: window.script(there) == leads_to, 60, f"the page {leads_to}")


def test_a_new_administrator_comes_from_the_login_to_the_users(window, address, site):
    password = accounts.add(site.store, now(), "test", "okafor", frozenset({Role.ADMINISTRATOR, Role.READER}))
    accounts.add(site.store, now(), "test", "m.lindqvist-haas@hospital.example", frozenset({Role.READER}))
    api_tokens.add(site.store, now(), "okafor", "ris", frozenset({Role.READER}), frozenset({Scope.READ}), 30)
    window.open(f"{address}/users")
    assert window.script("return document.querySelector('[name=password]').autocomplete") == "current-password"
    send(window, "/login", name="okafor", password="not this one")
    assert "is wrong" in window.script("return document.querySelector('[role=alert]').textContent")
    looks_right(window, "/login")
    window.open(f"{address}/login?next=/users")
    send(window, "/account", name="okafor", password=password)
    looks_right(window, "/account")
    send(window, "/", old=password, new=GOOD, again=GOOD)
    window.open(f"{address}/users")
    window.script("document.querySelector('.new [name=role][value=reader]').checked = true")
    send(window, "/users", name="lee")
    told = window.script("return document.querySelector('.secret code').textContent")
    assert accounts.with_password(site.store, now(), "lee", told) is not None
    looks_right(window, "/users")
    window.open(f"{address}/account")
    looks_right(window, "/account")
    window.log()
    window.script("document.querySelector('.me button').click()")
    wait_until(lambda: window.script("return location.pathname") == "/login", 60, "the login after logging out")
    window.open(f"{address}/users")
    assert window.script("return location.pathname") == "/login"
    assert not [line for line in window.log() if "Content Security Policy" in line]


def test_a_list_whose_login_ended_says_so_by_asking_for_it(window, address, site):
    accounts.add_without_password(site.store, now(), "test", "reader", frozenset({Role.READER}))
    window.open(f"{address}/login/link?key={sessions.link(site.store, now(), 'reader')}")
    wait_until(lambda: window.script("return location.pathname") == "/", 60, "the list")
    sessions.end_all(site.store, now(), "test", "reader")
    site.arrive("1.2.2")
    wait_until(lambda: window.script("return location.pathname") == "/login", 60, "the login in place of the list")


def test_a_link_on_a_foreign_page_opens_the_study_of_whoever_is_logged_in(window, address, site):
    accounts.add_without_password(site.store, now(), "test", "linked", frozenset({Role.READER}))
    window.open(f"{address}/login/link?key={sessions.link(site.store, now(), 'linked')}")
    with served(foreign(f"{address}/studies/1.2.1")) as elsewhere:
        window.open(elsewhere.replace("127.0.0.1", "localhost"))
        window.script("document.querySelector('a').click()")
        there = "return document.querySelector('main') ? location.href : ''"
        wait_until(lambda: window.script(there) == f"{address}/studies/1.2.1", 60, "the study")


def foreign(link: str) -> Console:
    """A page of another site with one link."""
    router = APIRouter()

    @router.get("/", response_class=HTMLResponse)
    def page() -> str:
        return f'<!doctype html><title>elsewhere</title><a href="{link}">study</a>'

    app = Console()
    app.include_router(router)
    app.guarded, app.events = app, _NoEvents()  # type: ignore[assignment]
    return app


class _NoEvents:
    def close(self) -> None: ...
