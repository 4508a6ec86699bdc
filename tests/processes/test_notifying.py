"""Notices from the decision to the service: who is told, when nobody is, and what a service that fails does."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from tests.delivery.services import mail_server, webhook
from tests.support.deciding import ACTIVE, E0, E1, E2, OBSERVE, Site
from tests.support.pacs import free_port
from tests.support.sending import HANGING_S, sending, wait_little
from tests.support.waiting import wait_until
from triage_node.config.contacts import ContactSettings
from triage_node.config.load import load
from triage_node.config.worklist_peers import Hl7PeerSettings
from triage_node.domain.errors import ConfigError
from triage_node.domain.message import MessageKind, MessageState
from triage_node.domain.priority import ReadingState, Urgency
from triage_node.processes import notifying, withdrawal
from triage_node.processes.running import now
from triage_node.processes.told import alarms, told_at, told_peers
from triage_node.store import messages as stored
from triage_node.store import worklist
from triage_node.worklist.repeat import Repeat

DAY = timedelta(hours=24)
NAME = ("Müller-Lüdenscheidt^Đặng^山田太郎^Æ" + "長" * 64)[:64]
PERSON = {
    "patient_id": "PID4711",
    "accession_number": "ACC0815",
    "patient_name": NAME,
    "patient_birth_date": "19500312",
}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    wait_little(monkeypatch)


def contact(folder: Path, url: str = "json://127.0.0.1:9", name: str = "on call", **more: object) -> ContactSettings:
    file = folder / f"{name}.url"
    file.write_text(url, encoding="utf-8")
    return ContactSettings(name=name, url_file=file, **more)


def flagged(site: Site, uid: str = "1.2.1", **how: object) -> None:
    if worklist.row_of(site.store, uid) is None:
        site.arrive(uid, **PERSON)
    site.decide(uid, **how)


def states(site: Site, uid: str = "1.2.1") -> list[tuple[str, str]]:
    return [(m.peer, m.state.value) for m in site.told(uid) if m.kind is MessageKind.NOTIFY]


def reaches(site: Site, state: MessageState, uid: str = "1.2.1", n: int = 0) -> None:
    wait_until(lambda: site.told(uid)[n].state is state, HANGING_S, f"notice {n} of {uid} is {state}")


def test_a_flag_reaches_webhook_and_mail_with_what_each_may_know(tmp_path):
    with webhook() as hook, mail_server() as (box, port):
        mail = contact(
            tmp_path, f"mailto://127.0.0.1:{port}?from=n@h.example&to=r@h.example", "mail", identifiers="patient"
        )
        site = Site(tmp_path, [contact(tmp_path, f"json://127.0.0.1:{hook.port}"), mail])
        flagged(site)
        with sending(site, notifying.threads):
            reaches(site, MessageState.ACKNOWLEDGED)
            reaches(site, MessageState.ACKNOWLEDGED, n=1)
    (body,) = hook.bodies
    assert body["title"] == "SIMULATION: Flagged study, high"
    lines = body["message"].split("\n")
    assert (lines[0], lines[-1]) == ("Suspected ICH, 34 mL, likely.", "Not for diagnostic use.")
    assert "https://viewer.example/1.2.1" in lines
    assert not any(word in str(body) for word in ("PID4711", "ACC0815", "Müller", "19500312"))
    ((_, to, raw),) = box.mails
    assert to == ["r@h.example"]
    assert b"PID4711" in raw
    assert b"ACC0815" in raw
    assert "Müller".encode() not in raw
    assert [t.words for t in told_peers(site.told("1.2.1"))] == ["notified", "notified"]
    assert told_at(site.told("1.2.1")) == told_at([]), "a notice re-orders nobody's list"
    site.store.close()


@pytest.mark.parametrize("identifiers", ["none", "accession", "patient"])
def test_what_the_site_does_not_allow_is_not_even_kept(tmp_path, identifiers):
    site = Site(tmp_path, [contact(tmp_path, identifiers=identifiers)])
    flagged(site)
    kept = str(site.told("1.2.1")[0].payload)
    assert ("ACC0815" in kept, "PID4711" in kept) == (identifiers != "none", identifiers == "patient")
    assert NAME not in kept
    assert "19500312" not in kept
    site.store.close()


@pytest.mark.parametrize(
    ("simulation", "level", "mode", "live", "apart", "notified"),
    [
        (True, E0, ACTIVE, True, False, True),
        (True, E0, OBSERVE, True, False, False),
        (True, E0, ACTIVE, False, False, False),
        (False, E2, ACTIVE, True, False, True),
        (False, E1, ACTIVE, True, False, False),
        (False, E2, OBSERVE, True, False, False),
        (False, E2, OBSERVE, True, True, False),
    ],
)
def test_nobody_is_notified_where_the_gate_is_shut(tmp_path, simulation, level, mode, live, apart, notified):
    site = Site(tmp_path, [contact(tmp_path)], simulation)
    site.arrive("1.2.1", live=live, **PERSON)
    site.decide("1.2.1", level=level, list_policy=mode, apart=apart)
    assert bool(states(site)) is notified
    site.store.close()


def test_below_the_notify_operating_point_the_list_moves_and_nobody_is_notified(tmp_path):
    site = Site(tmp_path, [contact(tmp_path), Hl7PeerSettings(name="ris", host="127.0.0.1")])
    site.arrive("1.2.1", **PERSON)
    site.decide("1.2.1", Urgency.MODERATE, probability=0.59)
    assert [(m.peer, m.kind.value) for m in site.told("1.2.1")] == [("ris", "raise")]
    site.decide("1.2.1", Urgency.HIGH, probability=0.6)
    assert states(site) == [("on call", "pending")]
    site.store.close()


@pytest.mark.parametrize(
    ("growth", "new", "notified"), [(False, (), False), (True, (), True), (None, (), True), (False, ("sah",), True)]
)
def test_of_a_repeat_people_are_notified_only_when_there_is_news(tmp_path, growth, new, notified):
    site = Site(tmp_path, [contact(tmp_path), Hl7PeerSettings(name="ris", host="127.0.0.1")])
    site.arrive("1.2.1", **PERSON)
    site.decide("1.2.1", repeat=Repeat("1.2.0", timedelta(days=2), 30.0, growth, new))
    assert [m.kind.value for m in site.told("1.2.1")] == (["raise", "notify"] if notified else ["raise"])
    site.store.close()


def test_a_contact_is_notified_once_and_again_only_of_something_more_urgent(tmp_path):
    site = Site(tmp_path, [contact(tmp_path), contact(tmp_path, name="chief", order=2)])
    flagged(site, urgency=Urgency.MODERATE)
    flagged(site, urgency=Urgency.MODERATE)
    assert states(site) == [("on call", "pending")], "the next order waits for an escalation"
    flagged(site, urgency=Urgency.CRITICAL)
    flagged(site, urgency=Urgency.HIGH)
    assert [m.payload["urgency"] for m in site.told("1.2.1")] == ["moderate", "critical"]
    site.store.close()


def test_a_simulation_notifies_nobody_outside_this_machine(tmp_path):
    site = Site(tmp_path, [contact(tmp_path, "json://hospital.example/hook")])
    flagged(site)
    with sending(site, notifying.threads):
        reaches(site, MessageState.NOT_SENT)
    assert site.told("1.2.1")[0].words == "simulated studies go to this machine only"
    site.store.close()


def test_a_study_that_was_read_or_disagreed_with_meanwhile_is_told_to_nobody(tmp_path):
    with webhook() as hook:
        site = Site(tmp_path, [contact(tmp_path, f"json://127.0.0.1:{hook.port}")])
        flagged(site)
        flagged(site, "1.2.2")
        with site.store.write() as c:
            worklist.set_reading_state(c, "1.2.1", ReadingState.READ, now(), "dr. lee")
        withdrawal.withdraw(site.store, "1.2.2", "dr. lee", now())
        with sending(site, notifying.threads):
            reaches(site, MessageState.NOT_SENT)
            reaches(site, MessageState.NOT_SENT, "1.2.2")
    assert hook.bodies == []
    assert [m.words for uid in ("1.2.1", "1.2.2") for m in site.told(uid)] == [
        "the study was read",
        "the flag was ended",
    ]
    site.store.close()


def test_a_service_that_is_down_through_many_tries_is_an_alarm_and_gets_the_notice_once_it_is_up(tmp_path):
    people = contact(tmp_path, f"json://127.0.0.1:{free_port()}")
    site = Site(tmp_path, [people])
    flagged(site)
    with sending(site, notifying.threads):
        wait_until(lambda: site.told("1.2.1")[0].tries >= 6, HANGING_S, "many tries")
        (alarm,) = alarms(stored.of_open_studies(site.store))
        assert alarm.startswith("on call has not taken 1 message")
        with webhook() as hook:
            people.url_file.write_text(f"json://127.0.0.1:{hook.port}")
            reaches(site, MessageState.ACKNOWLEDGED)
    assert len(hook.bodies) == 1
    assert alarms(stored.of_open_studies(site.store)) == ()
    site.store.close()


def test_a_service_that_hangs_holds_nobody_else_back(tmp_path):
    release = threading.Event()
    with webhook(lambda number: 200 if release.wait(HANGING_S) else 500) as hung, webhook() as quick:
        slow = contact(tmp_path, f"json://127.0.0.1:{hung.port}?rto=60", "slow", timeout_s=0.2)
        site = Site(tmp_path, [slow, contact(tmp_path, f"json://127.0.0.1:{quick.port}", "quick")])
        for k in range(5):
            flagged(site, f"1.2.{k}")
        with sending(site, notifying.threads):
            wait_until(lambda: len(quick.bodies) == 5, HANGING_S, "the other contact knows all five")
            wait_until(lambda: hung.bodies, HANGING_S, "the call that hangs")
            assert len(hung.bodies) == 1
            release.set()
            for k in range(5):
                reaches(site, MessageState.ACKNOWLEDGED, f"1.2.{k}")
    assert len(hung.bodies) == 5
    site.store.close()


def test_a_notice_is_taken_back_by_nothing_and_told_again_by_no_undo(tmp_path):
    site = Site(tmp_path, [contact(tmp_path)])
    flagged(site)
    row = stored.claim(site.store, "on call", "test", now(), timedelta(minutes=1))
    stored.record(site.store, row.id, MessageState.ACKNOWLEDGED, now())
    withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    withdrawal.undo(site.store, "1.2.1", "dr. lee", now(), DAY)
    assert states(site) == [("on call", "acknowledged")]
    site.store.close()


def test_the_url_is_no_setting_and_names_are_not_given_twice(tmp_path):
    site = Site(tmp_path, [contact(tmp_path, "json://user:secret@127.0.0.1")])
    assert "secret" not in site.settings.model_dump_json()
    with pytest.raises(ConfigError, match="same name"):
        Site(tmp_path, [contact(tmp_path), Hl7PeerSettings(name="on call", host="127.0.0.1")])
    site.config.write_text('[[contacts]]\nname = "x"\nurl = "json://127.0.0.1"\n')
    with pytest.raises(ConfigError):
        load(site.config)
    site.store.close()
