"""The operations page on a real store, as people and as machines ask for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from tests.console.axe import violations
from tests.console.browser import Browser, browser
from tests.console.on_store import ADMINISTRATOR, AUDITOR, RADIOLOGIST, OnStore
from tests.console.operations_site import AWAY, CHANGED, REFUSING, ROLES, a_day, alive
from tests.console.serving import served
from tests.support.people import anybody, bearer
from tests.support.waiting import wait_until
from triage_node.console import operations as part
from triage_node.domain.account import Scope
from triage_node.domain.person import Person, Role
from triage_node.processes.operations.room import operations_deps
from triage_node.processes.running import Running, now
from triage_node.store import audit, heartbeat, operations, outbox, refused_models

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "triage-node.json"
ADA, AUDREY = Person("Ada", ADMINISTRATOR), Person("Audrey", AUDITOR)


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> Iterator[OnStore]:
    """For tests that leave the store as it was."""
    made = OnStore(a_day(Path(tmp_path_factory.mktemp("day")), now()), ADA)
    yield made
    made.site.store.close()


@pytest.fixture
def on(day) -> OnStore:
    day.person = ADA
    return day


@pytest.fixture
def changed(tmp_path) -> Iterator[OnStore]:
    """For tests that change something."""
    made = OnStore(a_day(tmp_path, now()), ADA)
    yield made
    made.site.store.close()


def client_of(on: OnStore) -> TestClient:
    return on.client(part.room(operations_deps(on.site.store, on.site.settings)))


def what_is_wrong(on: OnStore) -> list[str]:
    return [p["what"] for p in client_of(on).get("/api/operations").json()["problems"]]


def test_what_is_wrong_stands_first_in_words_with_what_to_do(on):
    told = client_of(on).get("/api/operations").json()
    first, *others = told["problems"]
    assert first["urgent"]
    assert first["what"].startswith(f"{AWAY} does not take what it is sent: connection refused; 1 delivery waits")
    assert all(p["todo"] for p in told["problems"])
    assert "One delivery was refused for good." in [p["what"] for p in others]
    assert any(CHANGED in p["what"] and "the noise has changed" in p["what"] for p in others)


def test_stages_peers_models_and_heartbeats_stand_on_the_page(on):
    page = client_of(on).get("/operations").text
    for words in (
        "Waiting for analysis",
        "Last slice to decision",
        REFUSING,
        AWAY,
        "1 min ago",
        "bloodnet",
        "E0: simulated data only",
    ):
        assert words in page, words
    (whole,) = [
        s
        for s in operations_deps(on.site.store, on.site.settings).standing().stages
        if s.name == "Last slice to decision"
    ]
    assert whole.p50_s == pytest.approx(10, abs=2)
    assert whole.p95_s == pytest.approx(12, abs=0.1)
    assert not whole.is_slow
    assert "0x0122 SOP class &lt;b&gt;not&lt;/b&gt; supported" in page
    assert "nothing came into the folder in time" in page


@pytest.mark.parametrize(
    ("role", "words"),
    [("analysis", "nothing is flagged"), ("delivery", "nothing is sent"), ("ingest", "nothing is received")],
)
def test_role_that_is_silent_is_the_first_problem_and_the_node_is_not_ready(on, role, words):
    assert client_of(on).get("/health/ready").status_code == 200
    heartbeat.beat(on.site.store, role, now() - timedelta(hours=4))
    first, answer = what_is_wrong(on)[0], client_of(on).get("/health/ready")
    alive(on.site, role)
    assert f"The {role} process has been silent for 4 h" in first
    assert words in first
    assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})
    assert client_of(on).get("/health/live").json() == {"status": "alive"}


def test_parked_delivery_is_tried_again_by_an_administrator_and_by_nobody_else(changed):
    client = client_of(changed)
    (parked,) = operations.parked(changed.site.store, 9, [])
    form = {"key": f"object-{parked.id}"}
    for person in (AUDREY, Person("Dr. Lee", RADIOLOGIST)):
        changed.person = person
        assert client.post("/operations/retry", data=form).status_code == 403
    assert "Try again<" not in client.get("/operations").text
    changed.person = ADA
    assert client.post("/operations/retry", data=form).headers["location"] == "/operations#parked"
    assert outbox.counts(changed.site.store)[REFUSING, "pending"] == 1
    assert (parked.study_instance_uid, "Ada", "retry") in [
        (subject, actor, action) for subject, actor, action in _audit(changed) if action == "retry"
    ]
    assert client.post("/operations/retry", data=form).status_code == 409
    assert client.post("/operations/retry", data={"key": "object-1 OR 1=1"}).status_code == 409


def test_change_of_a_scanner_that_is_accepted_no_longer_rings(changed):
    client = client_of(changed)
    assert client.post("/operations/baseline", data={"scanner": "nobody's"}).status_code == 409
    assert client.post("/operations/baseline", data={"scanner": CHANGED}).status_code == 303
    assert not any(CHANGED in words for words in what_is_wrong(changed))
    assert (CHANGED, "Ada", "drift baseline") in _audit(changed)


def test_a_model_that_was_refused_is_told_until_one_is_taken(changed):
    store = changed.site.store
    refused_models.put(store, "host1", "model.bundle next: model.onnx has <SHA-256> ab", now())
    refused_models.put(store, "host2", "it crashed", now())
    (first, second) = [words for words in what_is_wrong(changed) if "former model" in words]
    assert first.startswith(
        "host1 goes on with its former model, since the one in its configuration was refused: model.bundle next"
    )
    assert "<SHA-256>" not in client_of(changed).get("/operations").text
    for _ in range(2):
        refused_models.forget(store, "host1")
    assert [words for words in what_is_wrong(changed) if "former model" in words] == [second]
    assert [action for _, _, action in audit.entries(store, "host1")] == ["model refused"]


def test_metrics_are_for_those_who_watch_and_name_no_study(on):
    client = client_of(on)
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == part.METRICS_TYPE
    found = {f.name: f for f in text_string_to_metric_families(answer.text)}
    assert {s.labels["role"] for s in found["triage_node_role_silent_seconds"].samples} == set(ROLES)
    assert [s.value for s in found["triage_node_parked_deliveries"].samples] == [1.0]
    assert "1.2.20" not in answer.text
    on.person = Person("Dr. Lee", RADIOLOGIST)
    assert client.get("/metrics").status_code == 403
    assert client.get("/operations").status_code == 403


@pytest.mark.parametrize(
    ("path", "scopes", "status"),
    [
        ("/metrics", [Scope.MONITOR], 200),
        ("/metrics", [Scope.READ], 403),
        ("/metrics", None, 401),
        ("/operations", [Scope.MONITOR], 403),
        ("/health/live", None, 200),
        ("/health/ready", None, 200),
    ],
)
def test_monitoring_token_reads_metrics_and_nothing_else_and_only_health_is_open(on, path, scopes, status):
    web = anybody(Running("web", on.site.settings, on.site.store, Event()))
    # the least of all roles: the scope alone decides
    token = bearer(on.site.store, f"{path[1:]}-{scopes[0]}", *scopes, roles=frozenset({Role.READER})) if scopes else {}
    assert web.get(path, headers=token | {"X-Forwarded-For": "127.0.0.1"}).status_code == status


def test_every_metric_of_the_dashboard_exists(on):
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())]
    named = set(re.findall(r"triage_node_\w+", " ".join(expressions)))
    there = {
        sample.name
        for family in text_string_to_metric_families(client_of(on).get("/metrics").text)
        for sample in family.samples
    }
    assert len(named) >= 10
    assert named <= there


def _audit(on: OnStore) -> list[tuple[str, str, str]]:
    subjects = ("1.2.20", CHANGED)
    return [
        (subject, actor, action) for subject in subjects for _, actor, action in audit.entries(on.site.store, subject)
    ]


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def shown(day) -> Iterator[tuple[OnStore, str]]:
    with served(day.app(part.room(operations_deps(day.site.store, day.site.settings)))) as address:
        day.person = ADA
        yield day, f"{address}/operations"


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844)])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_breaks_no_rule_of_axe_and_fits_its_window(window, shown, dark, width, height):
    window.look(width, height, dark)
    window.open(shown[1])
    assert violations(window) == []
    assert window.script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert [line for line in window.log() if "favicon" not in line] == []


def test_page_follows_by_itself_and_stands_still_under_a_hand(window, shown):
    on, address = shown
    window.open(address)
    window.script(
        "document.querySelector('.operations button').focus(); window.touched = document.querySelector('.problems li')"
    )
    window.script("return refresh()")
    assert window.script("return window.touched.isConnected")
    heartbeat.beat(on.site.store, "delivery", now() - timedelta(hours=9))
    window.script("document.activeElement.blur(); return refresh()")
    wait_until(
        lambda: "delivery process has been silent for 9 h" in window.script("return document.body.innerText"),
        30,
        "the page to show the silent role",
    )
    alive(on.site, "delivery")
