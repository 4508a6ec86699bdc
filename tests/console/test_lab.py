"""The threshold lab's pages, forms and API on a real store: who may do what, and what is said when something cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.console.sample import night
from tests.support.lab import add_studies, bleeds, lab_store, tell_truth, uid_of
from triage_node.bundle.load import load_bundle
from triage_node.console import lab
from triage_node.console.app import create_app
from triage_node.domain.person import Person, Role
from triage_node.processes.console.lab import lab_deps
from triage_node.processes.lab import shadow
from triage_node.processes.running import Running, now
from triage_node.processes.wiring import bundle_folder
from triage_node.store import drafts, policy, truth
from triage_node.store.engine import Store

FORM = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
TRIED = {"scope": "", "ich.unsure": "0.2", "ich.raise": "0.3", "ich.notify": "0.8"}
ADMINISTRATOR, AUDITOR, READER = Role.ADMINISTRATOR, Role.AUDITOR, Role.READER


@dataclass
class Site:
    store: Store
    client: TestClient
    running: Running
    who: Person = field(default_factory=lambda: Person("ann", frozenset({ADMINISTRATOR})))

    def as_(self, name: str, role: Role = ADMINISTRATOR) -> TestClient:
        self.who = Person(name, frozenset({role}))
        return self.client

    def post(self, path: str, **fields: str):
        return self.client.post(path, data=fields, headers=FORM, follow_redirects=False)


@pytest.fixture
def site_of(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    stores = []

    def make(n: int = 20, text: str = "", simulation: bool = True) -> Site:
        store, settings = lab_store(tmp_path / str(len(stores)), now(), n, simulation=simulation, text=text)
        stores.append(store)
        site = Site(store, None, Running("scheduler", settings, store, None))  # type: ignore[arg-type]
        deps = replace(night(simulation=simulation).deps(), now=now, person_of=lambda request: site.who)
        app = create_app(deps, (lab.room(lab_deps(store, settings, simulation)),))
        site.client = TestClient(app.guarded, base_url="http://127.0.0.1:8080", raise_server_exceptions=False)
        return site

    yield make
    for store in stores:
        store.close()


def test_the_page_shows_settings_with_unit_range_default_and_effect_and_replays_without_a_script(site_of):
    site = site_of(30)
    tell_truth(site.store, range(30), now())
    page = site.client.get("/lab", params=TRIED)
    assert page.status_code == 200
    bundle = load_bundle(bundle_folder(site.running.settings.model.bundle))
    for words in (
        "Policy 1 is in force",
        "probability, 0.001 to 0.999",
        "in force 0.5",
        f"default {bundle.manifest.operating_points['ich'].raise_probability:g}",
        "raises more false alarms",
        "False alarms a day",
        "PPV at local prevalence",
        "Missed bleeds",
        "Simulation of this node",
        "30 recent studies judged again",
        "Studies that would change side",
        "few studies",
        "If it came into force:",
    ):
        assert words in page.text, words
    assert 'value="0.3"' in page.text
    told = site.client.get("/api/lab/replay", params=TRIED).json()
    assert told["candidate"]["points"][0]["raise_probability"] == 0.3
    assert told["in_force"]["version"] == 1
    assert f'href="/studies/{told["replay"]["changed"][0]["study_instance_uid"]}"' in page.text
    assert site.client.get("/api/lab/queue", params=TRIED).json()["readers"] == 2
    (setting,) = [s for s in site.client.get("/api/lab").json()["settings"] if s["key"] == "ich.raise"]
    assert (setting["unit"], setting["low"], setting["high"], setting["in_force"]) == ("probability", 0.001, 0.999, 0.5)
    assert policy.in_force(site.store).version == 1
    assert drafts.newest(site.store) == []


def test_an_empty_node_says_what_would_fill_the_page(site_of):
    page = site_of(0).client.get("/lab")
    assert page.status_code == 200
    assert "No study of this time has a result yet" in page.text
    assert "There is none yet. Move a threshold" in page.text


def test_a_draft_goes_through_shadow_and_a_second_person_into_force_and_back(site_of):
    site = site_of()
    answer = site.post("/lab/drafts", **TRIED, why="too many misses", replaces="1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/lab/drafts/1")
    assert "You drafted it" in site.client.get("/lab/drafts/1").text
    assert "two different people" in site.post("/lab/drafts/1/approve", active_from="").text
    assert site.post("/lab/drafts/1/shadow").status_code == 303
    add_studies(site.store, [(70, now() + timedelta(seconds=1), 0.35)])
    shadow.tick(site.running)
    page = site.as_("bea").get("/lab/drafts/1").text
    assert f"/studies/{uid_of(70)}" in page
    assert "<b>1</b> by this draft" in page
    assert "If it comes into force:" in page
    assert site.post("/lab/drafts/1/approve", active_from="").status_code == 303
    held = policy.in_force(site.store)
    assert (held.version, held.created_by, held.points["ich"].raise_probability) == (2, "ann and bea", 0.3)
    assert "Draft 1: active" in site.client.get("/lab/drafts/1").text
    page = site.client.get("/lab").text
    assert "Go back to policy 1" in page
    assert "as a new version." in page
    assert site.as_("cyd").post("/lab/rollback", data={"in_force": "2"}, headers=FORM).status_code == 200
    assert (policy.in_force(site.store).version, policy.in_force(site.store).points["ich"].raise_probability) == (
        3,
        0.5,
    )
    assert "is in force by now" in site.post("/lab/rollback", in_force="2").text
    assert "Draft 1: rolled back" in site.client.get("/lab/drafts/1").text


def test_an_approval_with_a_day_waits_for_it_and_a_withdrawn_draft_never_comes(site_of):
    site = site_of(4)
    site.post("/lab/drafts", **TRIED, why="later", replaces="1")
    site.as_("bea")
    day = (now() + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M")
    assert site.post("/lab/drafts/1/approve", active_from=day).status_code == 303
    told = site.client.get("/api/lab/drafts/1").json()
    assert (told["state"], told["steps"][-1]["active_from"][:16]) == ("approved", day)
    assert "When it comes into force" in site.client.get("/lab/drafts/1").text
    assert policy.in_force(site.store).version == 1
    assert site.post("/lab/drafts/1/withdraw").status_code == 303
    for wrong, words in ((day, "withdrawn"), ("2026-99-99T00:00", "no date"), ("9999-01-01T00:00", "within a year")):
        answer = site.post("/lab/drafts/1/approve", active_from=wrong)
        assert answer.status_code == 422
        assert words in answer.text


def test_what_it_means_for_the_gate_stands_beside_every_button_that_confirms(site_of):
    site = site_of(4, text='[worklist]\nmode = "active"\n', simulation=False)
    said = "no evaluation of this site is stored for this model"
    assert said in site.client.get("/fragments/lab/replay", params=TRIED).text
    site.post("/lab/drafts", **TRIED, why="x", replaces="1")
    page = site.as_("bea").get("/lab/drafts/1").text
    assert page.index(said) < page.index("Approve draft 1")
    site.post("/lab/drafts/1/approve", active_from="")
    page = site.client.get("/lab").text
    assert said in page[page.index("Going back brings") : page.index("Go back to policy 1")]


def test_the_api_does_what_the_forms_do(site_of):
    site = site_of(4)
    point = {"finding": "ich", "raise_probability": 0.6, "notify_probability": 0.9}
    body = {"replaces": 1, "why": "a noisy scanner", "scanner": "ACME CT9", "points": [point]}
    made = site.client.post("/api/lab/drafts", json=body)
    assert (made.status_code, made.json()["state"]) == (201, "draft")
    assert made.json()["policy"]["scoped"][0] | point == made.json()["policy"]["scoped"][0]
    assert site.client.post("/api/lab/drafts/1/shadow").json()["in_shadow"] is True
    assert site.client.post("/api/lab/drafts/1/approve").status_code == 422
    assert site.as_("bea").post("/api/lab/drafts/1/approve").json()["state"] == "active"
    assert [s.scope.words for s in policy.in_force(site.store).scoped] == ["ACME CT9"]
    assert site.client.post("/api/lab/rollback", json={"in_force": 2}).json() == {"policy_version": 3}
    assert site.client.post("/api/lab/rollback", json={"in_force": 2}).status_code == 422
    table = f"study_instance_uid,label\n{uid_of(0)},1\n"
    sent = {"source": "board", "covers_unflagged": "true"}
    csv = {"content-type": "text/csv"}
    assert site.client.post("/api/lab/truth", content=table, params=sent, headers=csv).json() == {
        "stored": 1,
        "positive": 1,
    }
    assert truth.known(site.store)[uid_of(0)].covers_unflagged
    refused = site.client.post("/api/lab/truth", content=table + "1.2,x\n", params=sent, headers=csv)
    assert (refused.status_code, len(refused.json()["problems"])) == (422, 1)


def test_labels_are_imported_by_form_and_a_wrong_line_is_shown_with_its_number(site_of):
    site = site_of(10)
    table = "accession_number,label\n" + "".join(f"A{i},{int(bleeds(i))}\n" for i in range(10))
    answer = site.post("/lab/truth", table=table, source="reports", covers_unflagged="1")
    assert "10 labels were stored, 2 of them with a bleed." in answer.text
    assert "covers unflagged studies" in answer.text
    wrong = site.post("/lab/truth", table=table + "A1,<b>9\n", source="reports")
    assert wrong.status_code == 422
    assert "Line 12: the label is neither 1 nor 0." in wrong.text
    assert "<b>9" not in wrong.text


def test_a_program_neither_drafts_nor_approves_nor_takes_back_thresholds(site_of):
    site = site_of(4)
    site.post("/lab/drafts", **TRIED, why="x", replaces="1")
    site.who = Person("token nightly", frozenset({ADMINISTRATOR}), is_program=True)
    point = {"finding": "ich", "raise_probability": 0.6, "notify_probability": 0.9}
    for path, body in (
        ("/api/lab/drafts", {"replaces": 1, "why": "x", "points": [point]}),
        ("/api/lab/drafts/1/approve", {}),
        ("/api/lab/rollback", {"in_force": 1}),
    ):
        answer = site.client.post(path, json=body)
        assert (answer.status_code, "People answer" in answer.text) == (403, True)
    assert site.client.post("/api/lab/drafts/1/shadow").status_code == 200
    assert [d.state for d in drafts.newest(site.store)] == ["shadow"]
    assert policy.in_force(site.store).version == 1


CHANGES = [
    ("/lab/drafts", {**TRIED, "why": "x", "replaces": "1"}),
    ("/lab/drafts/1/shadow", {}),
    ("/lab/drafts/1/approve", {"active_from": ""}),
    ("/lab/drafts/1/withdraw", {}),
    ("/lab/rollback", {"in_force": "1"}),
    ("/lab/truth", {"table": "x", "source": "y"}),
]
SEES = ["/lab", "/lab/drafts/1", "/fragments/lab/replay", "/fragments/lab/queue", "/api/lab", "/api/lab/replay"]


def test_auditors_see_everything_and_change_nothing_and_readers_see_nothing(site_of):
    site = site_of(4)
    site.post("/lab/drafts", **TRIED, why="x", replaces="1")
    for role, seen in ((AUDITOR, 200), (READER, 403), (Role.RADIOLOGIST, 403)):
        site.as_("dan", role)
        assert {site.client.get(path).status_code for path in SEES} == {seen}
        for path, fields in CHANGES:
            assert site.post(path, **fields).status_code == 403, path
            sent = {"content-type": "text/csv"} if path.endswith("truth") else {"content-type": "application/json"}
            told = json.dumps({"in_force": 1} if "rollback" in path else {"replaces": 1, "why": "x", "points": []})
            body = None if "/1/" in path else told
            assert site.client.post("/api" + path, content=body, headers=sent).status_code == 403, path
    site.as_("dan", AUDITOR)
    page = site.client.get("/lab").text
    assert 'method="post"' not in page.replace('method="post" action="/logout"', "")
    assert policy.in_force(site.store).version == 1
    assert [s.event.value for s in drafts.get(site.store, 1).steps] == ["drafted"]


@pytest.fixture(scope="module")
def quiet_site(tmp_path_factory) -> Iterator[Site]:
    store, settings = lab_store(tmp_path_factory.mktemp("hostile"), now(), 4)
    site = Site(store, None, None)  # type: ignore[arg-type]
    deps = replace(night(simulation=True).deps(), now=now, person_of=lambda request: site.who)
    app = create_app(deps, (lab.room(lab_deps(store, settings, True)),))
    site.client = TestClient(app.guarded, base_url="http://127.0.0.1:8080", raise_server_exceptions=False)
    yield site
    store.close()


@pytest.mark.parametrize(
    "told",
    [
        {"ich.raise": "nan", "ich.notify": "0.8"},
        {"ich.raise": "1e999", "ich.notify": "0.8"},
        {"ich.raise": "0.9", "ich.notify": "0.8"},
        {"ich.raise": "", "ich.notify": "0.8"},
        {"ich.raise": "", "ich.notify": ""},
        {"ich.raise": "0.5' OR 1=1", "ich.notify": "0.8"},
        {"ich.raise": "0.5", "ich.notify": "0.8", "ich.unsure": "0.6"},
        {"ich.raise": "0.5", "ich.notify": "0.8", "sdh.raise": "0.2"},
        {"scope": "<script>"},
        {"scope": "a=1&b=2&c=3&d=4"},
        {"scope": "scanner=" + "x" * 2000},
        {"scope": "scanner=" + "x" * 300, "ich.raise": "0.5", "ich.notify": "0.8"},
        {"days": "-1"},
        {"days": "1e30"},
        {"readers": "0"},
        {"readers": "١"},
        {"reading_min": "inf"},
        {"other_per_hour": "1" * 400},
        {"prevalence": "101"},
        {f"x{i}": "" for i in range(80)},
    ],
)
def test_hostile_questions_are_refused_in_words_and_never_break_the_page(quiet_site, told):
    for path in ("/fragments/lab/replay", "/api/lab/replay", "/api/lab/queue", "/lab"):
        answer = quiet_site.client.get(path, params=told)
        # Python reads digits of every script: one Arabic reader is a reader
        assert answer.status_code in ((200, 422) if told == {"readers": "١"} else (422,)), answer.text
        assert "<script>" not in answer.text.replace("<script src", "")


@pytest.mark.parametrize(
    ("path", "sent", "status"),
    [
        ("/lab/drafts", {"data": {**TRIED, "why": "", "replaces": "1"}}, 422),
        ("/lab/drafts", {"data": {**TRIED, "why": "x", "replaces": "9" * 7}}, 422),
        ("/lab/drafts", {"data": {**TRIED, "why": "x", "replaces": "-1"}}, 422),
        ("/lab/drafts", {"data": {**TRIED, "why": "x" * 500, "replaces": "1"}}, 422),
        ("/lab/drafts", {"content": b"\xff\xfe=%"}, 422),
        ("/lab/drafts/99/approve", {"data": {}}, 404),
        ("/lab/drafts/1/explode", {"data": {}}, 404),
        ("/lab/drafts/x/approve", {"data": {}}, 422),
        ("/lab/rollback", {"data": {"in_force": "1"}}, 422),
        ("/lab/rollback", {"data": {"in_force": "one"}}, 422),
        ("/lab/truth", {"content": b"table=%ff&source=x"}, 422),
        ("/lab/truth", {"content": b"table=" + b"x" * 5_000_001}, 413),
        ("/lab/truth", {"content": b"&".join(b"a=1" for _ in range(100))}, 422),
        ("/api/lab/drafts", {"json": {"replaces": 1, "why": "x", "points": [], "extra": 1}}, 422),
        ("/api/lab/drafts", {"json": {"replaces": 1, "why": "x", "points": []}}, 422),
        ("/api/lab/drafts", {"content": b"[" * 10_000, "headers": {"content-type": "application/json"}}, 422),
        ("/api/lab/drafts", {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, 413),
        ("/api/lab/drafts", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 415),
        ("/api/lab/rollback", {"json": {"in_force": True}}, 422),
        ("/api/lab/truth", {"content": b"\xff", "headers": {"content-type": "text/csv"}}, 422),
        ("/api/lab/truth", {"content": b"x", "headers": {"content-type": "text/html"}}, 415),
        ("/api/lab/drafts/99/withdraw", {}, 404),
    ],
)
def test_hostile_changes_are_refused_and_change_nothing(quiet_site, path, sent, status):
    headers = FORM | sent.pop("headers", {}) if path.startswith("/lab") else sent.pop("headers", {})
    answer = quiet_site.client.post(path, headers=headers, **sent)
    assert answer.status_code == status, answer.text
    assert drafts.newest(quiet_site.store) == []
    assert policy.in_force(quiet_site.store).version == 1
    assert truth.known(quiet_site.store) == {}
