"""What the pages say of other worklists: re-ordered on their own answer only, and an alarm for what they did not take."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from tests.support.deciding import Site
from tests.support.people import page_of
from triage_node.config.schema import WorklistSettings
from triage_node.config.worklist_peers import Hl7PeerSettings
from triage_node.domain.message import MessageState
from triage_node.domain.priority import Mode
from triage_node.processes import withdrawal
from triage_node.processes.running import Running, now
from triage_node.store import messages, studies

RIS = Hl7PeerSettings(name="RIS <Nord>", host="127.0.0.1")


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path, [RIS])
    made.arrive("1.2.1", "1.2.2")
    made.decide("1.2.1")
    yield made
    made.store.close()


def client_of(site: Site) -> TestClient:
    running = Running("web", site.settings, site.store, threading.Event())
    return page_of(running)


def answer(site: Site, state: MessageState, words: str = "", held: str = "", written: str = "") -> None:
    row = messages.claim(site.store, RIS.name, "test", now(), timedelta(minutes=1))
    assert row is not None
    messages.record(site.store, row.id, state, now(), words, held, written, not_before=now())


@pytest.mark.parametrize("state", list(MessageState))
def test_re_ordered_is_said_on_an_acknowledgement_and_on_nothing_less(site, state):
    answer(site, state)
    client = client_of(site)
    said = "re-ordered at RIS" in client.get("/").text
    assert said is (state is MessageState.ACKNOWLEDGED)
    rows = {r["study_instance_uid"]: r for r in client.get("/api/worklist").json()["rows"]}
    assert rows["1.2.1"]["reordered_at"] == (["RIS <Nord>"] if said else [])
    assert rows["1.2.2"]["reordered_at"] == []
    page = client.get("/studies/1.2.1").text
    assert "RIS &lt;Nord&gt;" in page
    assert "RIS <Nord>" not in page
    assert (": re-ordered<" in page) is said


def test_what_was_refused_is_an_alarm_on_every_page_in_the_list_and_in_health(site):
    assert client_of(site).get("/health").json()["alarms"] == []
    assert "Not re-ordered everywhere" not in client_of(site).get("/").text
    answer(site, MessageState.PARKED, "AR <b>no</b>")
    client = client_of(site)
    for path in ("/", "/studies/1.2.2"):
        text = client.get(path).text
        assert 'role="alert"' in text
        assert "RIS &lt;Nord&gt; has not taken 1 message: AR &lt;b&gt;no&lt;/b&gt;" in text
    alarm = "RIS <Nord> has not taken 1 message: AR <b>no</b>"
    assert client.get("/health").json()["alarms"] == [alarm]
    listed = client.get("/api/worklist").json()
    assert listed["alarms"] == [alarm]
    assert listed["rows"][0]["not_told"] == ["RIS <Nord>: refused for good"]


def test_the_study_as_json_has_each_message_with_what_was_answered(site):
    answer(site, MessageState.ACKNOWLEDGED, "order set to S (AA)", "R", "S")
    (told,) = client_of(site).get("/api/studies/1.2.1").json()["messages"]
    assert told["at"].endswith("+00:00")
    assert {k: told[k] for k in ("peer", "kind", "state", "words", "why", "held", "written", "tries", "is_alarm")} == {
        "peer": "RIS <Nord>",
        "kind": "raise",
        "state": "acknowledged",
        "words": "re-ordered",
        "why": "order set to S (AA)",
        "held": "R",
        "written": "S",
        "tries": 1,
        "is_alarm": False,
    }


def test_in_observe_mode_nothing_betrays_that_others_were_told(site):
    answer(site, MessageState.PARKED, "AR")
    site.settings = site.settings.model_copy(update={"worklist": WorklistSettings(mode=Mode.OBSERVE)})
    client = client_of(site)
    listed = client.get("/api/worklist").json()
    assert listed["alarms"] == []
    assert [r["not_told"] for r in listed["rows"]] == [[], []]
    assert "RIS" not in client.get("/").text
    assert client.get("/health").json()["alarms"] == []


def test_a_flag_that_a_person_ended_says_so_and_stands_as_unflagged(site):
    answer(site, MessageState.ACKNOWLEDGED)
    assert withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    client = client_of(site)
    row = next(r for r in client.get("/api/worklist").json()["rows"] if r["study_instance_uid"] == "1.2.1")
    assert (row["flag"], row["reordered_at"]) == (None, [])
    assert client.get("/api/studies/1.2.1").json()["result"] == "Was flagged; a person disagreed"
    assert "not taken back yet" in client.get("/studies/1.2.1").text


def test_what_others_hold_under_an_identity_that_was_corrected_is_listed_on_the_page_and_in_the_api(site):
    answer(site, MessageState.ACKNOWLEDGED)
    client = client_of(site)
    assert client.get("/api/studies/1.2.1").json()["to_correct"] == []
    assert "To be corrected elsewhere" not in client.get("/studies/1.2.1").text
    with site.store.write() as c:
        new = replace(studies.identity_of(c, "1.2.1"), accession_number="A<2>")
        studies.correct_identity(c, "1.2.1", new, now(), "HL7 HIS")
    [listed] = client.get("/api/studies/1.2.1").json()["to_correct"]
    assert (listed["peer"], listed["what"], listed["carries"]) == (RIS.name, "raise", "accession number A1")
    page = client.get("/studies/1.2.1").text
    assert "To be corrected elsewhere" in page
    assert "accession number A1" in page
