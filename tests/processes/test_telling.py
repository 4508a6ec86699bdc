"""What a decision tells other worklists, and what a person's disagreement takes back: rows, before anything leaves."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.deciding import ACTIVE, E0, E1, E2, OBSERVE, Site
from triage_node.config.worklist_peers import Hl7PeerSettings
from triage_node.domain.message import MessageKind, MessageState
from triage_node.domain.orders import OrderEvent, OrderFacts
from triage_node.domain.priority import Mode, OrderClass, ReadingState, Urgency
from triage_node.processes import withdrawal
from triage_node.processes.messages import raised_answer
from triage_node.processes.running import now
from triage_node.processes.telling import Teller
from triage_node.processes.told import alarms, told_at, told_peers
from triage_node.processes.wiring import effective_mode
from triage_node.store import messages, orders, results, worklist
from triage_node.worklist.adapter import Answer, Outcome
from triage_node.worklist.payload import from_json

DAY = timedelta(hours=24)
NAME = ("Müller-Lüdenscheidt^Đặng^山田太郎^Æ" + "長" * 64)[:64]
RAISE, WITHDRAW = MessageKind.RAISE, MessageKind.WITHDRAW


def peer(name: str = "ris", host: str = "127.0.0.1", **more: object) -> Hl7PeerSettings:
    return Hl7PeerSettings(name=name, host=host, **more)


def states(site: Site, uid: str = "1.2.1") -> list[tuple[str, str, str]]:
    return [(m.peer, m.kind.value, m.state.value) for m in site.told(uid)]


def answer(
    site: Site, state: MessageState, held: str = "", written: str = "", words: str = "", name: str = "ris"
) -> None:
    row = messages.claim(site.store, name, "test", now(), timedelta(minutes=1))
    assert row is not None
    messages.record(site.store, row.id, state, now(), words, held, written, not_before=now())


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path, [peer(), peer("pacs")])
    made.arrive("1.2.1")
    yield made
    made.store.close()


def test_a_flag_tells_every_peer_once_with_what_was_found(site):
    site.decide("1.2.1", Urgency.CRITICAL)
    assert states(site) == [("ris", "raise", "pending"), ("pacs", "raise", "pending")]
    first, second = site.told("1.2.1")
    assert first.message_id != second.message_id
    assert first.expires_at - first.created_at == DAY
    told = from_json(first.payload)
    assert (told.message_id, told.study_instance_uid, told.result_revision) == (first.message_id, "1.2.1", 1)
    assert (told.urgency, told.finding, told.probability, told.hematoma_volume_ml) == (Urgency.CRITICAL, "ich", 0.9, 34)
    assert told.words == "Suspected ICH, 34 mL, likely. Not for diagnostic use."
    assert (told.evidence, told.simulation, told.link) == ("E0", True, "https://viewer.example/1.2.1")
    assert told.issued_at == first.created_at
    assert (told.accession_number, told.patient_id, told.patient_name) == ("A1", "P77", "")


def test_a_peer_is_told_the_order_class_that_an_order_message_told_and_never_the_guess_of_a_rule(site):
    site.decide("1.2.1", Urgency.MODERATE)
    assert from_json(site.told("1.2.1")[0].payload).order_class == ""
    orders.take(site.store, "HIS|", "X1", [OrderFacts(OrderEvent.ORDER, "1.2.1", order_class=OrderClass.URGENT)], now())
    (received,) = orders.waiting_for(site.store, orders.listed(site.store, now() - DAY))
    with site.store.write() as c:
        orders.settle(c, received, "order class URGENT", now())
    site.decide("1.2.1", Urgency.HIGH)
    assert from_json(site.told("1.2.1")[2].payload).order_class == "URGENT"


def test_a_study_that_is_not_flagged_tells_nobody(site):
    site.decide("1.2.1", None)
    assert site.told("1.2.1") == []


def test_a_peer_is_told_of_the_patient_what_the_site_allows_also_umlauts_cjk_and_64_characters(tmp_path):
    everything = ("patient_id", "name", "birth_date", "sex")
    site = Site(tmp_path, [peer("all", identifiers=everything), peer("none", identifiers=())])
    site.arrive("1.2.1", patient_name=NAME, patient_birth_date="19500101", patient_sex="F", issuer_of_patient_id="KH")
    site.decide("1.2.1")
    full, bare = (from_json(m.payload) for m in site.told("1.2.1"))
    assert full.patient_name == NAME
    assert len(full.patient_name) == 64
    assert (full.patient_id, full.issuer_of_patient_id, full.patient_birth_date, full.patient_sex) == (
        "P77",
        "KH",
        "19500101",
        "F",
    )
    assert (bare.patient_id, bare.issuer_of_patient_id, bare.patient_name, bare.patient_birth_date) == ("", "", "", "")
    assert bare.accession_number == "A1"


def test_a_later_revision_tells_only_what_is_more_urgent(site):
    site.decide("1.2.1", Urgency.MODERATE)
    site.decide("1.2.1", Urgency.MODERATE)
    assert [m.revision for m in site.told("1.2.1")] == [1, 1]
    site.decide("1.2.1", Urgency.CRITICAL)
    site.decide("1.2.1", Urgency.HIGH)
    site.decide("1.2.1", None)
    told = [(m.peer, m.revision, m.payload["urgency"]) for m in site.told("1.2.1")]
    assert told[2:] == [("ris", 3, "critical"), ("pacs", 3, "critical")]


@pytest.mark.parametrize(
    ("simulation", "level", "mode", "live", "apart", "told"),
    [
        (True, E0, ACTIVE, True, False, True),
        (True, E0, OBSERVE, True, False, False),
        (True, E0, ACTIVE, False, False, False),
        (False, E2, ACTIVE, True, False, True),
        (False, E1, ACTIVE, True, False, False),
        (False, E2, OBSERVE, True, False, False),
        (False, E2, ACTIVE, False, False, False),
        (False, E2, OBSERVE, True, True, False),
    ],
)
def test_a_decision_tells_nobody_where_the_gate_is_shut(tmp_path, simulation, level, mode, live, apart, told):
    site = Site(tmp_path, [peer()], simulation)
    site.arrive("1.2.1", live=live)
    site.decide("1.2.1", level=level, list_policy=mode, apart=apart)
    assert bool(site.told("1.2.1")) is told
    assert results.latest(site.store, "1.2.1").flagged
    site.store.close()


def test_what_was_found_while_the_node_observed_is_told_by_the_next_decision_that_may(site):
    site.decide("1.2.1", list_policy=OBSERVE)
    assert site.told("1.2.1") == []
    site.decide("1.2.1")
    assert [m.revision for m in site.told("1.2.1")] == [2, 2]


def test_a_decision_that_cannot_write_its_messages_is_no_decision(site):
    class Broken(Teller):
        def raises(self, *arguments):
            raise RuntimeError("between result and message")

    with pytest.raises(RuntimeError):
        site.decide("1.2.1", teller=Broken(site.settings, True))
    assert results.latest(site.store, "1.2.1") is None
    assert worklist.rows(site.store)[0].row.flag is None
    site.decide("1.2.1")
    assert len(site.told("1.2.1")) == 2


def test_a_simulation_beside_an_outside_worklist_observes(tmp_path):
    site = Site(tmp_path, [peer("real", host="192.0.2.7")])
    mode, why = effective_mode(site.settings, True, E0)
    assert (mode, "real" in why) == (Mode.OBSERVE, True)
    site.store.close()


def test_a_disagreement_takes_back_what_arrived_and_leaves_alone_what_never_left(site):
    site.decide("1.2.1")
    answer(site, MessageState.ACKNOWLEDGED, "LOW", "HIGH")
    assert withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    assert states(site) == [
        ("ris", "raise", "acknowledged"),
        ("pacs", "raise", "not sent"),
        ("ris", "withdraw", "pending"),
    ]
    back = site.told("1.2.1")[2]
    assert back.expires_at is None
    assert back.payload == site.told("1.2.1")[0].payload
    assert raised_answer(site.told("1.2.1")[:1]) == Answer(Outcome.ACKNOWLEDGED, "LOW", "HIGH")
    assert worklist.rows(site.store)[0].row.flag is None
    assert not withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    assert len(site.told("1.2.1")) == 3


@pytest.mark.parametrize("state", [MessageState.PARKED, MessageState.TOO_LATE, MessageState.UNKNOWN_STUDY])
def test_a_raise_that_never_arrived_is_not_taken_back(site, state):
    site.decide("1.2.1")
    answer(site, state)
    assert withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    assert [kind for name, kind, _ in states(site) if name == "ris"] == ["raise"]


def test_a_raise_without_an_answer_may_have_arrived_and_is_taken_back(site):
    site.decide("1.2.1")
    answer(site, MessageState.PENDING, words="no answer")
    assert withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    assert [s for s in states(site) if s[0] == "ris"] == [
        ("ris", "raise", "sent, not confirmed"),
        ("ris", "withdraw", "pending"),
    ]


def test_a_raise_that_is_on_its_way_is_followed_by_its_withdrawal(site):
    site.decide("1.2.1")
    row = messages.claim(site.store, "ris", "test", now(), timedelta(minutes=1))
    assert withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    assert [s for s in states(site) if s[0] == "ris"] == [("ris", "raise", "pending"), ("ris", "withdraw", "pending")]
    assert not messages.is_work_due(site.store, "ris", now())
    messages.record(site.store, row.id, MessageState.ACKNOWLEDGED, now(), "", "LOW", "HIGH")
    assert messages.claim(site.store, "ris", "test", now(), timedelta(minutes=1)).kind is WITHDRAW


def test_undo_raises_again_where_it_was_taken_back_or_stopped_and_nowhere_else(site):
    site.decide("1.2.1")
    answer(site, MessageState.ACKNOWLEDGED, "LOW", "HIGH")
    withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    answer(site, MessageState.ACKNOWLEDGED, "HIGH", "LOW")
    assert withdrawal.undo(site.store, "1.2.1", "dr. lee", now(), DAY)
    assert not withdrawal.undo(site.store, "1.2.1", "dr. lee", now(), DAY)
    assert states(site)[3:] == [("ris", "raise", "pending"), ("pacs", "raise", "pending")]
    again = site.told("1.2.1")[3]
    assert again.message_id != site.told("1.2.1")[0].message_id
    assert from_json(again.payload).message_id == again.message_id
    assert again.expires_at - again.created_at == DAY
    answer(site, MessageState.ACKNOWLEDGED, "LOW", "HIGH")
    # and once more the whole way: nothing is taken for a message that was sent already
    assert withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    ids = [m.message_id for m in site.told("1.2.1")]
    assert len(ids) == len(set(ids)) == 6


def test_undo_of_a_withdrawal_that_never_left_sends_nothing(site):
    site.decide("1.2.1")
    answer(site, MessageState.ACKNOWLEDGED, "LOW", "HIGH")
    answer(site, MessageState.ACKNOWLEDGED, "LOW", "HIGH", name="pacs")
    withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    assert withdrawal.undo(site.store, "1.2.1", "dr. lee", now(), DAY)
    assert [s for s in states(site) if s[2] != "acknowledged"] == [
        ("ris", "withdraw", "not sent"),
        ("pacs", "withdraw", "not sent"),
    ]
    assert worklist.rows(site.store)[0].row.flag is not None


def test_a_disagreement_about_nothing_changes_nothing(site):
    assert not withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    assert not withdrawal.withdraw(site.store, "1.2.404", "dr. lee", now())
    assert not withdrawal.undo(site.store, "1.2.404", "dr. lee", now(), DAY)
    assert site.told("1.2.1") == []


def test_what_a_peer_held_first_is_kept_over_several_raises_unless_somebody_wrote_in_between(site):
    site.decide("1.2.1", Urgency.MODERATE)
    answer(site, MessageState.ACKNOWLEDGED, "LOW", "MEDIUM")
    site.decide("1.2.1", Urgency.HIGH)
    answer(site, MessageState.NOT_CONFIRMED, "MEDIUM", "HIGH")
    ours = [m for m in site.told("1.2.1") if m.peer == "ris"]
    assert raised_answer(ours) == Answer(Outcome.ACKNOWLEDGED, "LOW", "HIGH")
    site.decide("1.2.1", Urgency.CRITICAL)
    answer(site, MessageState.ACKNOWLEDGED, "MEDIUM, set by a person", "HIGH")
    ours = [m for m in site.told("1.2.1") if m.peer == "ris"]
    assert raised_answer(ours) == Answer(Outcome.ACKNOWLEDGED, "MEDIUM, set by a person", "HIGH")
    assert raised_answer([]) == Answer(Outcome.NOT_CONFIRMED)


def test_only_an_answer_makes_it_re_ordered_and_only_where_something_changed(site):
    site.decide("1.2.1")
    assert told_at(site.told("1.2.1")) == told_at([])
    answer(site, MessageState.NOT_CONFIRMED)
    answer(site, MessageState.ACKNOWLEDGED, "HIGH", "HIGH", name="pacs")
    assert told_at(site.told("1.2.1")).reordered == ()
    assert [t.words for t in told_peers(site.told("1.2.1"))] == [
        "told, not confirmed",
        "confirmed, it stood there already",
    ]
    site.decide("1.2.1", Urgency.CRITICAL)
    answer(site, MessageState.ACKNOWLEDGED, "LOW", "HIGH")
    assert told_at(site.told("1.2.1")).reordered == ("ris",)
    withdrawal.withdraw(site.store, "1.2.1", "dr. lee", now())
    answer(site, MessageState.ACKNOWLEDGED, "HIGH", "LOW")
    assert told_at(site.told("1.2.1")).reordered == ()


@pytest.mark.parametrize("state", [MessageState.PARKED, MessageState.UNKNOWN_STUDY, MessageState.EXPIRED])
def test_what_never_arrives_is_an_alarm_until_the_study_is_read(site, state):
    site.decide("1.2.1")
    answer(site, state, words="AR: no")
    told = messages.of_open_studies(site.store)
    assert alarms(told) == ("ris has not taken 1 message: AR: no",)
    assert len(told_at(told["1.2.1"]).failed) == 1
    assert [t.is_alarm for t in told_peers(told["1.2.1"])] == [True, False]
    with site.store.write() as c:
        worklist.set_reading_state(c, "1.2.1", ReadingState.READ, now(), "dr. lee")
    assert alarms(messages.of_open_studies(site.store)) == ()


def test_a_peer_that_is_silent_for_many_tries_is_an_alarm(site):
    site.decide("1.2.1")
    for tries in range(1, 6):
        answer(site, MessageState.PENDING, words="connection refused")
        assert bool(alarms(messages.of_open_studies(site.store))) is (tries == 5)
    assert alarms(messages.of_open_studies(site.store)) == ("ris has not taken 1 message: connection refused",)


def test_hostile_words_of_a_peer_stay_words(site):
    site.decide("1.2.1")
    answer(site, MessageState.PARKED, words="<script>alert(1)</script>\x00\u202e" + "x" * 5000)
    (words,) = alarms(messages.of_open_studies(site.store))
    assert len(words) < 300
    assert "\x00" not in words
    assert "\u202e" not in words
