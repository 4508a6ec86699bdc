"""The way to the worklists of others over real sockets: peers that are down, refuse, answer late, twice, garbage or not at all."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support import ris as replies
from tests.support.deciding import Site
from tests.support.pacs import free_port
from tests.support.ris import Ris, ris
from tests.support.sending import HANGING_S, sending, wait_little
from tests.support.waiting import wait_until
from tests.worklist.adapter_contract import KNOWN
from tests.worklist.pynetdicom_manager import pynetdicom_manager
from triage_node.config.schema import WorklistSettings
from triage_node.config.worklist_peers import Hl7PeerSettings, UpsPeerSettings, UpsRsPeerSettings
from triage_node.domain.errors import ConfigError
from triage_node.domain.message import MessageRow, MessageState
from triage_node.domain.priority import Mode, ReadingState
from triage_node.processes import housekeeping, messages, peers, withdrawal
from triage_node.processes.running import Running, now, owner
from triage_node.processes.told import alarms, told_at, told_peers
from triage_node.store import audit, worklist
from triage_node.store import messages as stored

NAME = ("Müller-Lüdenscheidt^Đặng 山田太郎 Æ" + "長" * 64)[:64]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    wait_little(monkeypatch)


def telling(site: Site, *names: str) -> AbstractContextManager[Running]:
    """A thread for each peer of the site, or for those named, as the delivery role runs them."""
    return sending(site, lambda running: [t for t in messages.threads(running) if not names or t.name in names])


def flagged(folder: Path, *settings: object, uids: tuple[str, ...] = ("1.2.1",)) -> Site:
    site = Site(folder, settings)  # type: ignore[arg-type]
    site.arrive(*uids)
    for uid in uids:
        site.decide(uid)
    return site


def reaches(site: Site, state: MessageState, uid: str = "1.2.1", n: int = 0) -> MessageRow:
    def reached() -> MessageRow | None:
        row = site.told(uid)[n]
        return row if row.state is state else None

    return wait_until(reached, HANGING_S, f"message {n} of {uid} is {state}; it is {site.told(uid)[n]}")


def test_a_peer_that_is_down_through_many_tries_is_told_once_when_it_is_up(tmp_path):
    peer = Ris(free_port())
    site = flagged(tmp_path, peer.settings(), uids=("1.2.1", "1.2.2"))
    with telling(site):
        wait_until(lambda: sum(site.told(u)[0].tries for u in ("1.2.1", "1.2.2")) >= 12, HANGING_S, "many tries")
        assert alarms(stored.of_open_studies(site.store))
        assert not any(told_at(site.told(uid)).reordered for uid in ("1.2.1", "1.2.2"))
        peer.start()
        for uid in ("1.2.1", "1.2.2"):
            reaches(site, MessageState.ACKNOWLEDGED, uid)
            assert told_at(site.told(uid)).reordered == ("ris",)
    assert peer.effects == {"ORU^R01": 2, "ORM^O01": 2}
    assert len(peer.taken) == len(peer.texts) == 4, "nothing was sent twice"
    assert alarms(stored.of_open_studies(site.store)) == ()
    peer.stop()


def test_a_peer_that_refuses_parks_the_message_with_an_alarm_and_gets_the_next_one(tmp_path, caplog):
    with ris() as peer, caplog.at_level(logging.INFO, messages.log.name):
        site = flagged(tmp_path, peer.settings(), uids=("1.2.1", "1.2.2"))
        peer.replies = [replies.refuses]
        with telling(site):
            parked = reaches(site, MessageState.PARKED)
            reaches(site, MessageState.ACKNOWLEDGED, "1.2.2")
    assert (parked.tries, "AR" in parked.words) == (1, True)
    assert [r.levelname for r in caplog.records if "parked" in r.message] == ["ERROR"]
    (alarm,) = alarms(stored.of_open_studies(site.store))
    assert alarm.startswith("ris has not taken 1 message")


@pytest.mark.parametrize(
    "misbehaves",
    [replies.answers_garbage, replies.answers_for_another, replies.loses_the_answer, replies.answers_twice],
)
def test_a_lost_strange_or_double_answer_has_no_double_effect(tmp_path, misbehaves):
    with ris() as peer:
        site = flagged(tmp_path, peer.settings())
        peer.replies = [misbehaves, replies.accepts, misbehaves]
        with telling(site):
            told = reaches(site, MessageState.ACKNOWLEDGED)
    assert peer.effects == {"ORU^R01": 1, "ORM^O01": 1}
    if misbehaves is not replies.answers_twice:
        assert told.tries > 1 or len(peer.taken) > 2, "it was sent again, under the same control ID"
        assert max(Counter(peer.taken).values()) > 1


def test_a_peer_that_answers_too_late_is_told_again_under_the_same_id(tmp_path):
    release = threading.Event()

    def late(peer, connection, control_id, text):
        release.wait(HANGING_S)
        replies.accepts(peer, connection, control_id, text)

    with ris() as peer:
        site = flagged(tmp_path, peer.settings(timeout_s=1.0))
        peer.replies = [late]
        with telling(site):
            wait_until(lambda: site.told("1.2.1")[0].words, HANGING_S, "the first try is given up")
            assert not told_at(site.told("1.2.1")).reordered
            release.set()
            assert reaches(site, MessageState.ACKNOWLEDGED).tries >= 2
    assert peer.effects == {"ORU^R01": 1, "ORM^O01": 1}


def test_a_peer_that_does_not_know_the_study_yet_is_asked_again_and_told_when_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr(messages, "UNKNOWN_AGAIN", timedelta(milliseconds=20))
    with ris() as peer:
        site = flagged(tmp_path, peer.settings())
        peer.replies = [replies.knows_no_such_study] * 3
        with telling(site):
            assert reaches(site, MessageState.ACKNOWLEDGED).tries == 4


def test_a_study_that_a_peer_never_knows_ends_in_words_and_holds_back_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(messages, "UNKNOWN_AGAIN", timedelta(milliseconds=20))
    asked = []

    def knows_the_other(peer, connection, control_id, text):
        asked.extend(["1.2.1"] * ("1.2.2" not in text))
        (replies.accepts if "1.2.2" in text else replies.knows_no_such_study)(peer, connection, control_id, text)

    with ris() as peer:
        peer.reply = knows_the_other
        site = flagged(tmp_path, peer.settings(), uids=("1.2.1", "1.2.2"))
        with telling(site):
            reaches(site, MessageState.ACKNOWLEDGED, "1.2.2")
            wait_until(lambda: len(asked) >= 2, 30, "the peer was asked again")
            monkeypatch.setattr(messages, "UNKNOWN_FOR", timedelta(0))
            ended = reaches(site, MessageState.UNKNOWN_STUDY)
    assert ended.tries >= 2
    assert "204" in ended.words


def test_a_message_on_which_the_peer_fails_again_and_again_lets_the_others_pass(tmp_path):
    def fails_on_one(peer, connection, control_id, text):
        replies.accepts(peer, connection, control_id, text, "AE" if "1.2.1" in text else "AA")

    with ris() as peer:
        peer.reply = fails_on_one
        site = flagged(tmp_path, peer.settings(), uids=("1.2.1", "1.2.2"))
        with telling(site):
            reaches(site, MessageState.ACKNOWLEDGED, "1.2.2")
    assert site.told("1.2.1")[0].state is MessageState.PENDING
    assert site.told("1.2.1")[0].tries >= messages.IN_ORDER_TRIES


def test_umlauts_cjk_and_64_characters_reach_the_peer(tmp_path):
    everything = ("patient_id", "name", "birth_date", "sex")
    with ris() as peer:
        site = Site(tmp_path, [peer.settings(identifiers=everything)])
        site.arrive("1.2.1", patient_name=NAME, accession_number="Ä-1")
        site.decide("1.2.1")
        with telling(site):
            reaches(site, MessageState.ACKNOWLEDGED)
    assert len(NAME) == 64
    assert all(NAME in text and "Ä-1" in text for text in peer.texts.values())


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        ("observe", "the node observes"),
        ("not live", "the study is not live"),
        ("disagreed", "a person disagreed"),
        ("read", "the study was read"),
    ],
)
def test_the_gate_is_asked_again_when_a_message_leaves(tmp_path, happens, words):
    with ris() as peer:
        site = flagged(tmp_path, peer.settings())
        with site.store.write() as c:
            if happens == "read":
                worklist.set_reading_state(c, "1.2.1", ReadingState.READ, now(), "dr. lee")
            elif happens == "not live":
                c.exec_driver_sql("UPDATE worklist_row SET live = FALSE")
        if happens == "disagreed":
            withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
        if happens == "observe":
            site.settings = site.settings.model_copy(update={"worklist": WorklistSettings(mode=Mode.OBSERVE)})
        with telling(site):
            assert reaches(site, MessageState.NOT_SENT).words == words
    assert peer.taken == []


def test_simulated_studies_find_no_way_out_of_this_machine(tmp_path, caplog):
    outside = Ris(2575).settings(host="192.0.2.9")
    site = flagged(tmp_path, outside)
    running = Running("delivery", site.settings, site.store, threading.Event())
    assert messages.threads(running) == []
    assert "simulated studies go to this machine only" in caplog.text


def test_what_waits_too_long_expires_by_the_scheduler(tmp_path, caplog, monkeypatch):
    site = flagged(tmp_path, Ris(1).settings())
    running = Running("scheduler", site.settings, site.store, threading.Event())
    housekeeping.expire_messages(running)
    assert site.told("1.2.1")[0].state is MessageState.PENDING
    later = now() + timedelta(hours=24, seconds=1)
    monkeypatch.setattr(housekeeping, "now", lambda: later)
    housekeeping.expire_messages(running)
    assert site.told("1.2.1")[0].state is MessageState.EXPIRED
    assert "messages_expired" in caplog.text


def test_a_stored_message_that_cannot_be_read_is_parked_and_ends_no_thread(tmp_path):
    with ris() as peer:
        site = flagged(tmp_path, peer.settings(), uids=("1.2.1", "1.2.2"))
        with site.store.write() as c:
            c.exec_driver_sql("UPDATE message SET payload = '{\"urgency\": 7}' WHERE study_instance_uid = '1.2.1'")
        with telling(site):
            reaches(site, MessageState.ACKNOWLEDGED, "1.2.2")
            assert "cannot be read" in reaches(site, MessageState.PARKED).words


@pytest.mark.parametrize(
    ("code", "state", "said"),
    [
        ("AR", MessageState.IN_PART, "told, but it refuses to re-order the study"),
        ("AE", MessageState.NOT_CONFIRMED, "told, not confirmed"),
    ],
)
def test_a_result_whose_order_change_failed_is_told_as_such_and_corrected_after_a_disagreement(
    tmp_path, code, state, said
):
    def orders_fail(peer, connection, control_id, text):
        replies.accepts(peer, connection, control_id, text, code if "|ORM^O01" in text else "AA")

    with ris() as peer:
        peer.reply = orders_fail
        site = flagged(tmp_path, peer.settings())
        with telling(site):
            wait_until(lambda: site.told("1.2.1")[0].words, HANGING_S, "a try ends")
            if code == "AE":
                wait_until(lambda: site.told("1.2.1")[0].tries >= 5, HANGING_S, "it is tried again and again")
                (alarm,) = alarms(stored.of_open_studies(site.store))
                assert "result received (AA); order not changed" in alarm
                wait_until(lambda: stored.expire(site.store, now() + timedelta(hours=25)), HANGING_S, "it is given up")
            told = reaches(site, state)
            assert "result received (AA); order not changed" in told.words
            assert told_peers([told])[0].words == said
            assert told_at([told]).reordered == ()
            assert bool(alarms(stored.of_open_studies(site.store))) is (code == "AR")
            withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
            reaches(site, MessageState.NOT_CONFIRMED, n=1)
    assert peer.effects == {"ORU^R01": 2, "ORM^O01": 1}, "the result and its correction; the order was left"


def test_a_peer_whose_adapter_cannot_be_made_stops_no_other(tmp_path, monkeypatch):
    def make(peer):
        if peer.name == "broken":
            raise ConfigError("tls_ca is not there")
        return peers.adapter_for(peer)

    monkeypatch.setattr(messages, "adapter_for", make)
    monkeypatch.setattr("triage_node.processes.running.AFTER_AN_ERROR_S", 0.05)
    with ris() as peer:
        site = flagged(tmp_path, peer.settings(name="broken"), peer.settings(name="fine"))
        with telling(site):
            reaches(site, MessageState.ACKNOWLEDGED, n=1)
            assert site.told("1.2.1")[0].state is MessageState.PENDING


def test_a_disagreement_restores_what_a_ups_manager_held_and_its_undo_raises_again(tmp_path):
    with pynetdicom_manager() as manager:
        site = flagged(tmp_path, manager.settings(), uids=(KNOWN,))
        with telling(site):
            raised = reaches(site, MessageState.ACKNOWLEDGED, KNOWN)
            assert (manager.priority(KNOWN), raised.held, raised.written) == (2, "1.3.1=LOW", "1.3.1=HIGH")
            assert told_at(site.told(KNOWN)).reordered == ("ris",)
            withdrawal.withdraw(site.store, KNOWN, "dr. lee", now())
            reaches(site, MessageState.ACKNOWLEDGED, KNOWN, 1)
            assert manager.priority(KNOWN) == 0
            assert told_at(site.told(KNOWN)).reordered == ()
            withdrawal.undo(site.store, KNOWN, "dr. lee", now(), timedelta(hours=1))
            reaches(site, MessageState.ACKNOWLEDGED, KNOWN, 2)
            assert manager.priority(KNOWN) == 2
            manager.set_priority(KNOWN, 1)  # somebody else
            withdrawal.withdraw(site.store, KNOWN, "dr. lee", now())
            reaches(site, MessageState.TOO_LATE, KNOWN, 3)
            assert manager.priority(KNOWN) == 1
    assert audit.first_broken(site.store) is None


def test_a_change_whose_answer_was_lost_is_ours_and_is_taken_back_to_what_the_peer_had_by_itself(tmp_path):
    with pynetdicom_manager() as manager:

        def takes_it_and_falls_silent(event):
            del manager.instead["N-SET"]
            manager.set_priority(KNOWN, 2)
            event.assoc.abort()
            return 0x0000

        manager.instead["N-SET"] = takes_it_and_falls_silent
        site = flagged(tmp_path, manager.settings(), uids=(KNOWN,))
        with telling(site):
            raised = reaches(site, MessageState.ACKNOWLEDGED, KNOWN)
            assert (raised.tries, raised.held, raised.written) == (2, "1.3.1=LOW", "1.3.1=HIGH")
            assert told_at(site.told(KNOWN)).reordered == ("ris",)
            withdrawal.withdraw(site.store, KNOWN, "dr. lee", now())
            reaches(site, MessageState.ACKNOWLEDGED, KNOWN, 1)
    assert manager.priority(KNOWN) == 0


def test_every_kind_of_peer_has_an_adapter():
    host = {"name": "ris", "host": "127.0.0.1"}
    kinds = {
        "ups": UpsPeerSettings(**host, ae_title="UPS"),
        "ups-rs": UpsRsPeerSettings(name="ris", url="http://127.0.0.1/ups"),
        "hl7": Hl7PeerSettings(**host),
    }
    for key, settings in kinds.items():
        adapter = peers.adapter_for(settings)
        assert adapter.key == key
        adapter.close()


def test_a_node_that_dies_between_decision_and_push_tells_once_after_its_start(tmp_path):
    with ris() as peer:
        site = flagged(tmp_path, peer.settings())
        # what a process leaves that was killed after it had claimed, before it sent
        gone = f"{owner('delivery').rpartition(':')[0]}:999999999"
        assert stored.claim(site.store, "ris", gone, now(), timedelta(hours=1)) is not None
        site.store.close()
        with telling(site):
            reaches(site, MessageState.ACKNOWLEDGED)
    assert peer.effects == {"ORU^R01": 1, "ORM^O01": 1}
    assert len(peer.taken) == 2
