"""Messages to the worklists of others: order, leases, what cancels and what expires; the flag that a person ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.store.conftest import NOW
from tests.store.test_studies import received
from triage_node.domain.message import MessageKind, MessageState, NewMessage, message_id
from triage_node.domain.priority import Flag, OrderClass, ReadingState, Urgency, WorklistRow
from triage_node.domain.study import Moment
from triage_node.store import audit, instances, messages, studies, worklist

SECOND = timedelta(seconds=1)
LEASE = 30 * SECOND
DAY = timedelta(hours=24)
STUDY = "1.2.3"
NAME = "Müller-Lüdenscheidt^Đặng 山田太郎^Ærøskøbing^" + "長" * 24


def raised(uid: str = STUDY, peer: str = "ris", revision: int = 1, **payload: object) -> NewMessage:
    told = message_id(uid, revision, peer, MessageKind.RAISE)
    return NewMessage(peer, MessageKind.RAISE, told, uid, revision, payload or {"urgency": "high"}, NOW + DAY)


def put(store, *wanted: NewMessage) -> int:
    with store.write() as c:
        return messages.put(c, wanted, NOW)


def claim(store, now=NOW, peer="ris", owner="d1"):
    return messages.claim(store, peer, owner, now, LEASE)


@pytest.fixture
def listed(store):
    """A flagged study that waits to be read."""
    instances.record_batch(store, [received(1)])
    with store.write() as c:
        worklist.add_row(c, WorklistRow(STUDY, OrderClass.ROUTINE, NOW), "acquired now")
        worklist.raise_flag(c, STUDY, Flag("ich", Urgency.HIGH, "Suspected ICH", NOW))
    return store


def test_ids_are_the_same_in_every_run_and_differ_by_everything_that_makes_a_message():
    one = message_id(STUDY, 1, "ris", MessageKind.RAISE)
    assert one == message_id(STUDY, 1, "ris", MessageKind.RAISE) == message_id(STUDY, 1, "ris", MessageKind.RAISE, 0)
    others = [
        message_id("1.2.4", 1, "ris", MessageKind.RAISE),
        message_id(STUDY, 2, "ris", MessageKind.RAISE),
        message_id(STUDY, 1, "pacs", MessageKind.RAISE),
        message_id(STUDY, 1, "ris", MessageKind.WITHDRAW),
        message_id(STUDY, 1, "ris", MessageKind.RAISE, 1),
    ]
    assert len({one, *others}) == 6
    assert all(0 < len(i) <= 64 for i in (one, *others))


def test_the_same_message_is_one_row_for_ever(store):
    assert put(store, raised(), raised(peer="pacs")) == 2
    row = claim(store)
    messages.record(store, row.id, MessageState.ACKNOWLEDGED, NOW, "AA", "LOW", "HIGH")
    assert put(store, raised(), raised(peer="pacs")) == 0
    assert claim(store) is None
    assert len(messages.of_study(store, STUDY)) == 2


def test_a_payload_comes_back_as_it_was_with_umlauts_and_cjk_and_64_characters(store):
    name = NAME[:64]
    put(store, raised(patient_name=name, quote="\"'\\|^~&\x0b\r\n"))
    assert claim(store).payload == {"patient_name": name, "quote": "\"'\\|^~&\x0b\r\n"}


def test_a_peer_gets_its_messages_one_by_one_in_the_order_in_which_they_were_written(store):
    put(store, raised("1.2.9"), raised("1.2.1"), raised("1.2.1", peer="pacs"))
    first = claim(store)
    assert (first.study_instance_uid, first.tries) == ("1.2.9", 1)
    messages.record(store, first.id, MessageState.ACKNOWLEDGED, NOW)
    assert claim(store).study_instance_uid == "1.2.1"
    assert claim(store, peer="pacs").study_instance_uid == "1.2.1"


def test_what_waits_for_another_try_holds_back_its_own_study_and_no_other(store):
    put(store, raised("1.2.9"), raised("1.2.9", revision=2), raised("1.2.1"))
    first = claim(store)
    messages.record(store, first.id, MessageState.PENDING, NOW, "no answer", not_before=NOW + 60 * SECOND)
    other = claim(store)
    assert other.study_instance_uid == "1.2.1"
    messages.record(store, other.id, MessageState.ACKNOWLEDGED, NOW)
    assert not messages.is_work_due(store, "ris", NOW + 59 * SECOND)
    again = claim(store, NOW + 60 * SECOND)
    assert (again.id, again.revision, again.tries, again.words) == (first.id, 1, 2, "no answer")
    messages.record(store, again.id, MessageState.ACKNOWLEDGED, NOW)
    assert claim(store, NOW + 60 * SECOND).revision == 2


def test_a_leased_message_is_claimed_again_only_when_its_lease_ends_or_its_owner_is_dead(store):
    put(store, raised())
    assert claim(store).tries == 1
    assert claim(store) is None
    messages.take_from_dead(store, "ris", lambda owner: owner == "somebody else")
    assert claim(store) is None
    messages.take_from_dead(store, "pacs", lambda owner: True)
    assert claim(store) is None
    messages.take_from_dead(store, "ris", lambda owner: owner == "d1")
    assert claim(store).tries == 2
    assert claim(store, NOW + LEASE + SECOND).tries == 3


def test_a_final_message_is_not_changed_by_a_late_outcome(store):
    put(store, raised())
    row = claim(store)
    messages.record(store, row.id, MessageState.ACKNOWLEDGED, NOW, "AA", "LOW", "HIGH")
    messages.record(store, row.id, MessageState.PARKED, NOW, "late")
    (kept,) = messages.of_study(store, STUDY)
    assert (kept.state, kept.words, kept.held, kept.written) == (MessageState.ACKNOWLEDGED, "AA", "LOW", "HIGH")
    assert kept.sent_at == kept.final_at == NOW


def test_every_answer_is_audited_with_old_and_new_and_the_same_silence_once(listed):
    put(listed, raised())
    for n in range(3):
        at = NOW + n * SECOND
        messages.record(listed, claim(listed, at).id, MessageState.PENDING, at, "no answer", not_before=at)
    row = claim(listed, NOW + 4 * SECOND)
    messages.record(listed, row.id, MessageState.ACKNOWLEDGED, NOW + 4 * SECOND, "0x0000", "LOW", "HIGH")
    found = [(action, actor) for _, actor, action in audit.entries(listed, STUDY) if action.startswith("raise ")]
    assert found == [("raise queued", "node"), ("raise at ris", "delivery"), ("raise at ris", "delivery")]
    assert audit.first_broken(listed) is None
    (told,) = [e for e in studies.timeline_of(listed, STUDY) if e.moment == Moment.TOLD]
    assert told.detail == "raise at ris: acknowledged: 0x0000"


def test_a_study_that_is_read_is_not_told_any_more(listed):
    put(listed, raised(), raised(peer="pacs"), raised(peer="third"))
    tried = claim(listed, peer="pacs")
    messages.record(listed, tried.id, MessageState.PENDING, NOW, "no answer", not_before=NOW + SECOND)
    on_its_way = claim(listed, peer="third")
    with listed.write() as c:
        worklist.set_reading_state(c, STUDY, ReadingState.READ, NOW, "dr. lee")
    states = {m.peer: (m.state, m.words) for m in messages.of_study(listed, STUDY)}
    assert states["ris"] == (MessageState.NOT_SENT, "the study was read")
    # a try without an answer may have arrived, and never reads as if nothing had been sent
    assert states["pacs"] == (MessageState.NOT_CONFIRMED, "the study was read, before an answer came")
    assert states["third"][0] is MessageState.PENDING
    messages.record(listed, on_its_way.id, MessageState.ACKNOWLEDGED, NOW)
    assert not any(messages.is_work_due(listed, peer, NOW + DAY / 2) for peer in ("ris", "pacs", "third"))


def test_what_nobody_took_in_time_expires_whatever_the_peer_and_a_withdrawal_never_does(store):
    back = NewMessage("ris", MessageKind.WITHDRAW, "2.25.1", "1.2.9", 1, {})
    put(store, raised(), raised(peer="gone from the configuration"), back)
    messages.record(store, claim(store).id, MessageState.PENDING, NOW, "connection refused", not_before=NOW)
    assert messages.expire(store, NOW + DAY - SECOND) == 0
    assert messages.expire(store, NOW + DAY) == 2
    assert {m.words for m in messages.of_study(store, STUDY)} == {
        "no answer in time: connection refused",
        "no answer in time",
    }
    assert {m.state for m in messages.of_study(store, STUDY)} == {MessageState.EXPIRED}
    assert claim(store, NOW + DAY).kind is MessageKind.WITHDRAW


def test_a_message_that_is_due_to_expire_is_not_begun(store):
    put(store, raised())
    assert claim(store, NOW + DAY) is None


def test_messages_of_read_studies_are_left_out_of_the_list(listed):
    put(listed, raised(), raised("1.2.77"))
    assert list(messages.of_open_studies(listed)) == [STUDY]
    with listed.write() as c:
        worklist.set_reading_state(c, STUDY, ReadingState.READ, NOW, "dr. lee")
    assert messages.of_open_studies(listed) == {}


def test_a_flag_that_a_person_ended_comes_back_only_as_something_more_urgent(listed):
    with listed.write() as c:
        assert worklist.end_flag(c, STUDY, "dr. lee", NOW)
        assert not worklist.end_flag(c, STUDY, "dr. lee", NOW)
    assert worklist.rows(listed)[0].row.flag is None
    with listed.write() as c:
        assert not worklist.raise_flag(c, STUDY, Flag("ich", Urgency.HIGH, "again", NOW))
    assert worklist.rows(listed)[0].row.flag is None
    worse = Flag("sah", Urgency.CRITICAL, "Suspected SAH", NOW + SECOND)
    with listed.write() as c:
        assert worklist.raise_flag(c, STUDY, worse)
    assert worklist.rows(listed)[0].row.flag == worse
    with listed.write() as c:
        assert not worklist.restore_flag(c, STUDY, "dr. lee", NOW), "there is nothing to take back any more"


def test_an_ended_flag_leaves_the_unconfirmed_and_its_undo_brings_it_back(listed):
    with listed.write() as c:
        worklist.set_reading_state(c, STUDY, ReadingState.NOT_CONFIRMED, NOW, "node")
        worklist.end_flag(c, STUDY, "dr. lee", NOW)
    assert worklist.rows(listed) == []
    assert worklist.row_of(listed, STUDY).row.reading_state is ReadingState.STATUS_UNKNOWN
    with listed.write() as c:
        assert worklist.restore_flag(c, STUDY, "dr. lee", NOW)
    (item,) = worklist.rows(listed)
    assert (item.row.reading_state, item.row.flag.urgency) == (ReadingState.NOT_CONFIRMED, Urgency.HIGH)
    acts = [(actor, action) for _, actor, action in audit.entries(listed, STUDY) if action.startswith("flag ")]
    assert acts == [("node", "flag raised"), ("dr. lee", "flag ended"), ("dr. lee", "flag restored")]


def test_a_study_that_never_had_a_row_has_none(store):
    assert worklist.row_of(store, "1.2.404") is None
    with store.write() as c:
        assert not worklist.end_flag(c, "1.2.404", "dr. lee", NOW)
        assert not worklist.restore_flag(c, "1.2.404", "dr. lee", NOW)
