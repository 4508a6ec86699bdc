"""The mode's page on a real store: one person pauses at once, two people switch on, and every gate follows."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.console.on_store import ADMINISTRATOR, AUDITOR, RADIOLOGIST, READER, OnStore
from tests.support.deciding import DIGEST, E2, Site
from triage_node.config.schema import ArchiveSettings
from triage_node.config.worklist_peers import Hl7PeerSettings
from triage_node.console import mode as part
from triage_node.domain.finding import BundleIdentity
from triage_node.domain.mode_switch import REQUEST_FOR, RESUME_FOR, ModeAction, ModeChange
from triage_node.domain.person import Person
from triage_node.domain.priority import Mode, ReadingState
from triage_node.processes import gate
from triage_node.processes.console import mode as process
from triage_node.processes.delivery import Queue
from triage_node.processes.messages import why_shut
from triage_node.processes.running import Running, now
from triage_node.store import evaluations, heartbeat, meta, modes, worklist
from triage_node.worklist.gate import Listener

ADA, BOB, LEE = Person("Ada", ADMINISTRATOR), Person("Bob", ADMINISTRATOR), Person("Dr. Lee", RADIOLOGIST)
PACS = ArchiveSettings(name="PACS", ae_title="PACS", host="127.0.0.1")
RESEARCH = ArchiveSettings(name="Research", ae_title="RES", host="127.0.0.1", clinical=False)


def on_store(folder, simulation: bool = False, level=E2) -> OnStore:
    """A site whose configuration says active; with an evaluation of its own, unless it is a simulation."""
    site = Site(folder, [Hl7PeerSettings(name="ris", host="127.0.0.1"), PACS, RESEARCH], simulation)
    heartbeat.beat(site.store, "analysis", now(), {"bundle": DIGEST})
    if level is not None and not simulation:
        evaluations.add(site.store, DIGEST, "ich", level, {}, ("A. Reader", "B. Physicist"), now())
    return OnStore(site, person=ADA)


@pytest.fixture
def on(tmp_path) -> Iterator[OnStore]:
    made = on_store(tmp_path)
    yield made
    made.site.store.close()


def client_of(on: OnStore) -> TestClient:
    return on.client(part.room(process.mode_deps(on.site.store, on.site.settings)))


def post(on: OnStore, client: TestClient, person: Person, action: str, reason: str = "") -> int:
    on.person = person
    return client.post(f"/mode/{action}", data={"reason": reason}).status_code


def in_force(on: OnStore) -> Mode:
    return process.mode_in_force(on.site.store, on.site.settings, on.site.simulation)


def test_going_active_takes_two_people_and_the_second_is_another_one(on):
    client = client_of(on)
    assert in_force(on) is Mode.OBSERVE
    assert post(on, client, ADA, "request", "evaluated in October") == 303
    assert post(on, client, ADA, "approve") == 409
    assert post(on, client, Person("  aDA ", ADMINISTRATOR), "approve") == 409
    assert in_force(on) is Mode.OBSERVE
    on.person = BOB
    page = client.get("/mode").text
    assert "<bdi>Ada</bdi> asks for it" in page
    assert "evaluated in October" in page
    assert post(on, client, BOB, "approve") == 303
    assert in_force(on) is Mode.ACTIVE
    told = client.get("/api/mode").json()
    assert (told["mode"], told["approved"]["by"], told["requested"]) == ("active", "Bob", None)


def test_one_button_pauses_at_once_and_every_gate_follows(on):
    client, store, settings = client_of(on), on.site.store, on.site.settings
    post(on, client, ADA, "request")
    post(on, client, BOB, "approve")
    on.site.arrive("1.2.1")
    on.site.decide("1.2.1", level=E2)
    running, bundle = (
        Running("delivery", settings, store, threading.Event()),
        BundleIdentity("bloodnet", "1", DIGEST, "cpu", {}),
    )
    pacs, research = Queue(running, PACS), Queue(running, RESEARCH)

    def shut() -> list[bool]:
        return [
            gate.standing(store, settings, False, bundle).mode is Mode.OBSERVE,  # analysis: moves, objects, messages
            in_force(on) is Mode.OBSERVE,  # pages and the gateway
            bool(why_shut(running, Listener("ris", True), "1.2.1", False)),  # other worklists, notices, escalation
            pacs._is_paused(),  # objects that were queued for a clinical archive
        ]

    assert shut() == [False] * 4
    on.mode, on.person = Mode.ACTIVE, LEE
    version = meta.list_version(store)
    assert 'action="/mode/pause"' in client.get("/").text
    assert post(on, client, LEE, "pause") == 303
    assert shut() == [True] * 4
    assert meta.list_version(store) > version, "open pages are told"
    assert not research._is_paused(), "a research archive gets E0 whatever the mode is"
    assert post(on, client, LEE, "reason", "three false alarms in a row") == 303
    on.mode = Mode.OBSERVE
    page = client.get("/mode").text
    assert "three false alarms in a row" in page
    assert "paused by Dr. Lee" in client.get("/").text


def test_who_paused_by_mistake_takes_it_back_within_a_minute_and_later_it_takes_two(on):
    client = client_of(on)
    post(on, client, ADA, "request")
    post(on, client, BOB, "approve")
    post(on, client, LEE, "pause")
    assert post(on, client, BOB, "resume") == 409, "somebody else's pause"
    assert post(on, client, LEE, "resume") == 303
    assert in_force(on) is Mode.ACTIVE
    post(on, client, LEE, "pause")
    late = ModeChange(now() + RESUME_FOR, LEE.name, ModeAction.RESUME)
    with pytest.raises(process.RefusedAction, match="two people"):
        process.record(on.site.store, on.site.settings, False, late)
    assert post(on, client, BOB, "approve") == 409, "the request went with the pause"
    assert in_force(on) is Mode.OBSERVE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("no evaluation", "no evaluation of this site"),
        ("file", "worklist.mode is observe in the configuration file"),
        ("no model", "has not said yet which model"),
    ],
)
def test_active_is_refused_with_the_reason_of_the_gate(tmp_path, change, words):
    on = on_store(tmp_path, level=None if change == "no evaluation" else E2)
    if change == "file":
        worklist = on.site.settings.worklist.model_copy(update={"mode": Mode.OBSERVE})
        on.site.settings = on.site.settings.model_copy(update={"worklist": worklist})
    if change == "no model":
        heartbeat.beat(on.site.store, "analysis", now(), {})
    client = client_of(on)
    answer = client.post("/mode/request", data={"reason": ""})
    assert answer.status_code == 409
    assert words in answer.text
    assert words in client.get("/mode").text
    assert modes.changes(on.site.store) == []
    on.site.store.close()


def test_evidence_that_went_between_request_and_approval_refuses_it(on):
    client = client_of(on)
    post(on, client, ADA, "request")
    heartbeat.beat(on.site.store, "analysis", now(), {"bundle": "c" * 64})
    assert post(on, client, BOB, "approve") == 409
    evaluations.add(on.site.store, "c" * 64, "ich", E2, {}, ("A. Reader", "B. Physicist"), now())
    on.person = BOB
    assert "Another model runs" in client.post("/mode/approve", data={"reason": ""}).text
    assert in_force(on) is Mode.OBSERVE


def test_another_model_than_the_approved_one_observes(on):
    client = client_of(on)
    post(on, client, ADA, "request")
    post(on, client, BOB, "approve")
    heartbeat.beat(on.site.store, "analysis", now(), {"bundle": "c" * 64})
    evaluations.add(on.site.store, "c" * 64, "ich", E2, {}, ("A. Reader", "B. Physicist"), now())
    assert in_force(on) is Mode.OBSERVE
    assert "have not switched it on for this model" in client.get("/api/mode").json()["why"]


def test_while_hosts_run_two_models_the_list_keeps_to_the_one_that_may_do_less(on, monkeypatch):
    client, store = client_of(on), on.site.store
    post(on, client, ADA, "request")
    post(on, client, BOB, "approve")
    assert in_force(on) is Mode.ACTIVE
    for host, digest in (("new", "c" * 64), ("old", DIGEST), ("new", "c" * 64)):
        monkeypatch.setattr(heartbeat, "host", lambda host=host: host)
        heartbeat.beat(store, "analysis", now(), {"bundle": digest})
        assert in_force(on) is Mode.OBSERVE, "whoever spoke last"


def test_a_request_lapses_and_is_refused_by_anybody_who_could_approve(on):
    client = client_of(on)
    post(on, client, ADA, "request")
    late = ModeChange(now() + REQUEST_FOR, BOB.name, ModeAction.APPROVE)
    with pytest.raises(process.RefusedAction, match="lapses after a day"):
        process.record(on.site.store, on.site.settings, False, late)
    assert post(on, client, BOB, "refuse", "not yet") == 303
    assert post(on, client, BOB, "approve") == 409


def test_a_simulation_acts_without_approval_and_pauses_all_the_same(tmp_path):
    on = on_store(tmp_path, simulation=True)
    client = client_of(on)
    assert in_force(on) is Mode.ACTIVE
    assert post(on, client, LEE, "pause") == 303
    assert in_force(on) is Mode.OBSERVE
    assert post(on, client, LEE, "approve") == 403
    assert post(on, client, ADA, "approve") == 303
    assert in_force(on) is Mode.ACTIVE
    on.site.store.close()


@pytest.mark.parametrize(
    ("roles", "may"),
    [
        (READER, {"pause"}),
        (RADIOLOGIST, {"pause"}),
        (ADMINISTRATOR, {"pause", "request", "approve", "refuse"}),
        (AUDITOR, set()),
    ],
)
def test_who_may_switch_what(on, roles, may):
    client = client_of(on)
    for action in ("request", "approve", "refuse", "pause"):
        status = post(on, client, Person("somebody", roles), action)
        assert (status != 403) is (action in may), action
    assert client.post("/mode/delete", data={"reason": ""}).status_code == 422


@pytest.mark.parametrize("path", ["/", "/mode", "/studies/1.2.1"])
def test_mode_late_flags_and_whether_the_page_is_current_stand_on_every_page(on, path):
    on.site.arrive("1.2.1")
    on.site.arrive("1.2.2", live=False)
    for uid in ("1.2.1", "1.2.2"):
        on.site.decide(uid)
    with on.site.store.write() as c:
        worklist.set_reading_state(c, "1.2.1", ReadingState.NOT_CONFIRMED, now(), "node: expiry")
    text = client_of(on).get(path).text
    assert "<b>1</b> late flag</a>" in text
    assert "<b>1</b> flagged, reading not confirmed</a>" in text
    assert 'data-mode="active"' in text
    assert ("As of " in text) or ("Current at " in text)
