"""The audit page with a real trail behind it: what it shows, what a search finds, what an auditor gets as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.console.axe import violations
from tests.console.browser import Browser, browser
from tests.console.on_store import ADMINISTRATOR, AUDITOR, READER, OnStore
from tests.console.serving import served
from tests.support.deciding import Site
from tests.support.tampering import tamper
from triage_node.config.load import load
from triage_node.console.app import Console
from triage_node.domain.person import Person
from triage_node.processes.auditing import heads
from triage_node.processes.console.audit import audit_room
from triage_node.processes.running import Running, now
from triage_node.store import audit

UID = "1.2.1"
HOSTILE = "=cmd|' /C calc'!A0 <b>\u202ebold</b>"


@pytest.fixture(scope="module")
def on_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnStore]:
    folder = Path(tmp_path_factory.mktemp("audit"))
    site = Site(folder)
    site.config.write_text(f"{site.config.read_text()}\n[audit]\nhead_file = '{folder / 'heads.log'}'\n")
    site.settings = load(site.config)[0]
    site.arrive(UID)
    site.decide(UID)
    with site.store.write() as c:
        audit.record(c, now() - timedelta(days=60), "old.admin", "login", "old.admin", new="password from 10.0.0.1")
        for number in range(130):
            audit.record(c, now(), f"dr.{number % 3}", "study viewed", f"1.2.{number + 2}")
        audit.record(c, now(), "dr.lee", "feedback", UID, old="agree", new=HOSTILE)
    tell(site)
    yield OnStore(site, Person("ada", AUDITOR))
    site.store.close()


def tell(site: Site) -> None:
    running = Running("scheduler", site.settings, site.store, None)  # type: ignore[arg-type]
    heads.tell(running)
    heads.check(running)


def app_of(on_store: OnStore) -> Console:
    return on_store.app(audit_room(on_store.site.store, on_store.site.settings))


@pytest.fixture(scope="module")
def client(on_store: OnStore) -> TestClient:
    return on_store.client(audit_room(on_store.site.store, on_store.site.settings))


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(on_store: OnStore) -> Iterator[str]:
    with served(app_of(on_store)) as address:
        yield address


def test_page_shows_who_did_what_with_old_and_new_and_how_the_chain_stands(window, address):
    window.look(1366, 900, False)
    window.open(f"{address}/audit?action=feedback")
    text = window.script("return document.querySelector('main').innerText")
    for words in (
        "The chain holds.",
        "last head written",
        "dr.lee feedback",
        UID,
        "agree",
        "=cmd|'",
        "none: entries are sent",
    ):
        assert words in text, text
    assert window.script("return document.querySelectorAll('.trail li').length") == 1
    assert window.script("return document.querySelector('.trail b')") is None  # foreign text is text
    assert window.script("return document.querySelector('.trail a').getAttribute('href')") == f"/studies/{UID}"
    assert [line for line in window.log() if "favicon" not in line] == []


def test_older_entries_are_a_page_away_and_none_comes_twice(window, address):
    seen: list[str] = []
    window.open(f"{address}/audit?action=study+viewed")
    for _ in range(2):
        seen += window.script("return [...document.querySelectorAll('.trail .number')].map(e => e.innerText)")
        older = window.script("return document.querySelector('a[rel=next]')?.href ?? ''")
        if older:
            window.open(older)
    assert (len(seen), len(set(seen)), older) == (130, 130, "")
    numbers = [int(number[1:]) for number in seen]
    assert numbers == sorted(numbers, reverse=True)


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844)])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_breaks_no_rule_of_axe(window, address, dark, width, height):
    window.look(width, height, dark)
    window.open(f"{address}/audit")
    assert violations(window) == []
    assert window.script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("who=OLD&from=2020-01-01", ["login"]),
        ("who=old", []),  # thirty days, when nothing is said
        (f"subject={UID}&action=feed", ["feedback"]),
        ("who=%25", []),
        ("from=2020-01-01&to=2020-01-02", []),
    ],
)
def test_search_goes_by_who_action_subject_and_days(client, query, found):
    page = client.get(f"/audit?{query}").text
    assert [a for a in ("login", "feedback", "study viewed") if f"<strong>{a}</strong>" in page] == found
    assert ("No entry fits" in page) == (not found)


def test_file_holds_the_days_that_were_asked_for_and_no_formula(client, on_store):
    answer = client.get("/audit/entries.csv?from=2020-01-01&to=2100-01-01&who=dr")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert answer.headers["content-disposition"] == 'attachment; filename="audit-2020-01-01-2100-01-01.csv"'
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert len(rows) == 132
    assert rows[-1][6] == f"'{HOSTILE}"
    said = [(who, action) for _, who, action in audit.entries(on_store.site.store, "audit trail")]
    assert ("ada", "audit exported") in said
    assert ("ada", "audit trail read") in said


@pytest.mark.parametrize(
    "address",
    ["/audit/entries.csv", "/audit/entries.csv?from=2026-01-01", "/audit?from=yesterday", "/audit?from=0001-01-01", "/audit?to=9999-12-31",
     "/audit?before=0", "/audit?before=x", f"/audit?before={2**64}", f"/audit?who={'x' * 200}"],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(client, address):
    assert client.get(address).status_code == 422


def test_readers_do_not_see_it_and_nobody_changes_it(on_store, client):
    for roles, status in ((READER, 403), (ADMINISTRATOR, 200), (AUDITOR, 200)):
        on_store.person = Person("ada", roles)
        assert client.get("/audit").status_code == status
        assert ('href="/audit"' in client.get("/").text) == (status == 200)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert client.request(method, "/audit").status_code == 405


def test_broken_chain_says_so_and_what_to_do(on_store, client):
    """Comes last: it breaks the chain of this module."""
    on_store.person = Person("ada", AUDITOR)
    tamper(on_store.site.store, "UPDATE audit SET new = 'harmless' WHERE action = 'feedback'")
    tell(on_store.site)
    page = client.get("/audit").text
    for words in ("The chain is broken.", "is not what it was when it was written", "triage-node audit verify"):
        assert words in page
