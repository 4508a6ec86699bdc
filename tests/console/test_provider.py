"""Logging in with a provider of other people, as a browser does it: the whole way over sockets, and what must not get in."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.counterparts.oidc_node import provider
from tests.support.deciding import Site
from tests.support.people import anybody
from triage_node.config.web import ProviderSettings
from triage_node.domain.account import AccountRefused
from triage_node.domain.person import Role
from triage_node.processes.console.provider import Provider
from triage_node.processes.running import Running, now
from triage_node.store import accounts, audit, sessions

HERE = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with provider(f"{HERE}/login/provider/back", "a secret + of/ours") as url:
        yield url


@pytest.fixture
def running(tmp_path: Path, issuer: str) -> Iterator[Running]:
    site = Site(tmp_path, [])
    secret = tmp_path / "secret"
    secret.write_text("a secret + of/ours\n")
    settings = ProviderSettings(
        issuer=issuer,
        client_id="triage",
        client_secret_file=secret,
        page_url=HERE,
        label="Log in with St. Example",
        reader_groups=("ct-readers", "ct"),
        administrator_groups=("it",),
    )
    web = site.settings.web.model_copy(update={"provider": settings})
    yield Running("web", site.settings.model_copy(update={"web": web}), site.store, threading.Event())
    site.store.close()


def at_the_provider(address: str, name: str) -> str:
    """What a person does there: types a name, agrees. Returns the address to which the browser is sent back."""
    with httpx.Client(timeout=60, trust_env=False) as browser:
        for form in ({"prompt": "login", "login": name, "password": "any"}, {"prompt": "consent"}):
            page = browser.get(address, follow_redirects=True)
            action = re.search(r'action="([^"]+)"', page.text)
            assert action is not None, page.text[:2000]
            address = urljoin(str(page.url), action[1])
            answer = browser.post(address, data=form)
            while "location" in answer.headers:
                address = urljoin(str(answer.url), answer.headers["location"])
                if address.startswith(HERE) or "/interaction/" in address:
                    break
                answer = browser.get(address)
    assert address.startswith(HERE), address
    return address


def begun(browser: TestClient, where: str = "/") -> str:
    answer = browser.get("/login/provider", params={"next": where})
    assert answer.status_code == 303, answer.text
    assert "SameSite=lax" in answer.headers["set-cookie"]
    asked = parse_qs(urlsplit(answer.headers["location"]).query)
    assert (asked["code_challenge_method"], asked["response_type"]) == (["S256"], ["code"])
    return answer.headers["location"]


def log_in(running: Running, name: str) -> tuple[TestClient, httpx.Response]:
    browser = anybody(running)
    return browser, browser.get(at_the_provider(begun(browser, "/account"), name))


def test_a_group_of_the_hospital_becomes_a_role_for_as_long_as_its_members_have_it(running):
    assert "Log in with St. Example" in anybody(running).get("/login").text
    browser, answer = log_in(running, "lee~ct-readers~others")
    assert answer.status_code == 200, answer.text
    assert 'content="0;url=/account"' in answer.text
    assert "keeps your password" in browser.get("/account").text
    lee = accounts.get(running.store, "lee")
    assert (lee.roles, lee.subject) == ({Role.READER}, "lee~ct-readers~others")
    assert browser.get("/users").status_code == 403
    assert audit.entries(running.store, "lee")[-1][1:] == ("lee", "login")
    accounts.set_roles(running.store, now(), "test", "lee", frozenset({Role.AUDITOR}))
    assert log_in(running, "lee~ct-readers~others")[1].status_code == 200
    assert accounts.get(running.store, "lee").roles == {Role.READER}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("okafor~nothing~here", "none of your groups there has a role"),
        ("admin~it", "There is an account admin already"),
        ("lee~it", "disabled"),
    ],
)
def test_who_has_no_role_or_the_name_of_another_stays_outside(running, name, words):
    accounts.add_without_password(running.store, now(), "test", "admin", frozenset({Role.ADMINISTRATOR}))
    if name == "lee~it":
        assert log_in(running, name)[1].status_code == 200
        accounts.set_disabled(running.store, now(), "admin", "lee", True)
    browser, answer = log_in(running, name)
    assert (answer.status_code, words in answer.text) == (403, True), answer.text
    assert browser.get("/account").status_code == 303
    assert audit.entries(running.store, sessions.UNKNOWN)[-1][2] == "login failed"


def test_an_answer_that_was_not_asked_for_in_this_browser_opens_nothing(running):
    browser, other = anybody(running), anybody(running)
    back = at_the_provider(begun(browser), "lee~ct")
    assert other.get(back).status_code == 403  # no secret: somebody sent this link
    begun(other)
    assert other.get(back).status_code == 403  # another state
    assert browser.get("/login/provider/back?error=access_denied&state=x").status_code == 403
    assert browser.get(back).status_code == 403  # used up by the try before
    assert accounts.get(running.store, "lee") is None
    for query in ("", "?code=%00&state=%ff", f"?code={'x' * 9000}&state=<script>"):
        begun(browser)
        answer = browser.get(f"/login/provider/back{query}")
        assert answer.status_code == 403
        assert "<script>" not in answer.text


@pytest.mark.parametrize("changed", ["nonce", "verifier"])
def test_a_code_or_token_of_another_login_is_refused(running, changed):
    ours = Provider(running.settings.web.provider, lambda *_: "token", lambda *_: None)
    address, secret = ours.begin("/")
    back = parse_qs(urlsplit(at_the_provider(address, "lee~ct")).query)
    ours._begun[secret] = replace(ours._begun[secret], **{changed: "of-another-login-" * 4})
    with pytest.raises(AccountRefused, match="did not let you in"):
        ours.finish(secret, {name: value[0] for name, value in back.items()}, "127.0.0.1")


def test_a_provider_that_does_not_answer_is_said_and_leaves_the_other_way_in(running):
    gone = running.settings.web.provider.model_copy(update={"issuer": "http://127.0.0.1:9"})
    web = running.settings.web.model_copy(update={"provider": gone})
    running.settings = running.settings.model_copy(update={"web": web})
    answer = anybody(running).get("/login/provider")
    assert (answer.status_code, "does not answer" in answer.text, 'name="password"' in answer.text) == (503, True, True)


@pytest.mark.parametrize("url", ["http://id.example.org", "id.example.org", "https://user@id.example.org"])
def test_a_login_goes_over_https_or_stays_on_this_machine(url):
    with pytest.raises(ValueError, match="url must be|https only"):
        ProviderSettings(issuer=url, client_id="x", page_url=HERE)
