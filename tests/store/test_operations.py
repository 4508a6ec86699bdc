"""The heartbeat's own studies, what waits and what was refused, and what is followed of scanners."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.store.conftest import NOW
from tests.store.test_messages import put, raised
from tests.store.test_outbox import SR, claim, queued  # noqa: F401
from tests.store.test_studies import received
from triage_node.domain.delivery import OutboxState
from triage_node.domain.message import MessageState
from triage_node.domain.priority import OrderClass, ReadingState, WorklistRow
from triage_node.domain.study import Moment, StudyEvent, StudyState
from triage_node.store import (
    audit,
    feeds,
    instances,
    messages,
    meta,
    operations,
    operations_drift,
    operations_synthetic,
    outbox,
    results,
    studies,
    worklist,
)
from triage_node.store.schema import study

OURS, ADDRESS = "TRIAGE-BEAT", "127.0.0.1"
SECOND = timedelta(seconds=1)
MADE_UP = "2.25.77"


def ours(k: int, uid: str = MADE_UP):
    return replace(received(k, uid), calling_ae_title=OURS, peer_address=ADDRESS)


@pytest.fixture
def announced(store):
    operations_synthetic.announce(store, MADE_UP, OURS, ADDRESS, NOW)
    return store


def test_synthetic_study_goes_through_the_states_and_never_touches_the_list(announced):
    version = meta.list_version(announced)
    instances.record_batch(announced, [ours(1)])
    with announced.write() as c:
        assert studies.close(c, MADE_UP, "released", False, NOW, 1)
    studies.claim(announced, "a", NOW, 60 * SECOND)
    assert operations_synthetic.is_synthetic(announced, MADE_UP)
    assert worklist.studies_without_row(announced) == []
    assert meta.list_version(announced) == version
    assert feeds.arrivals(announced, NOW - 60 * SECOND) == {}
    assert operations.studies_in(announced) == {}
    assert operations.moments(announced, [Moment.COMPLETE], NOW - 60 * SECOND) == []


@pytest.mark.parametrize("stranger", [{"calling_ae_title": "CT1"}, {"peer_address": "10.0.0.9"}])
def test_images_of_anybody_else_make_it_an_ordinary_study_that_is_listed_and_never_erased(announced, stranger):
    instances.record_batch(announced, [ours(1), replace(ours(2), **stranger)])
    assert not operations_synthetic.is_synthetic(announced, MADE_UP)
    assert worklist.studies_without_row(announced) == [MADE_UP]
    assert not operations_synthetic.erase(announced, MADE_UP, NOW)
    assert studies.get(announced, MADE_UP).state is StudyState.RECEIVING
    assert [action for _, _, action in audit.entries(announced, MADE_UP)][-1] == "no heartbeat any more"


def test_nobody_can_declare_a_study_synthetic_that_the_scheduler_did_not_announce(store):
    instances.record_batch(store, [ours(1, "1.2.3")])
    assert not operations_synthetic.is_synthetic(store, "1.2.3")
    assert worklist.studies_without_row(store) == ["1.2.3"]


def test_erasing_leaves_the_line_of_the_run_and_the_studies_of_patients(announced):
    instances.record_batch(announced, [ours(1), received(1)])
    with announced.write() as c:
        results.save_objects(c, [replace(SR, study_instance_uid=MADE_UP)], NOW)
        outbox.put(c, "sink", [replace(SR, study_instance_uid=MADE_UP)], NOW)
    assert operations_synthetic.files_of(announced, MADE_UP).built == (SR.sha256,)
    operations_synthetic.decided(announced, MADE_UP, 0.99, 0.5, NOW)
    operations_synthetic.conclude(announced, MADE_UP, True, "all well", NOW)
    assert operations_synthetic.erase(announced, MADE_UP, NOW)
    assert operations_synthetic.last_success(announced) == NOW
    assert operations_synthetic.unfinished(announced) == []
    (run,) = operations_synthetic.last(announced, 5)
    assert (run.passed, run.erased_at, run.probability) == (True, NOW, 0.99)
    assert studies.get(announced, MADE_UP) is None
    assert outbox.of_study(announced, MADE_UP) == []
    assert instances.count(announced) == 1
    operations_synthetic.forget(announced, NOW + SECOND)
    assert operations_synthetic.last(announced, 5) == []
    assert [action for _, _, action in audit.entries(announced, MADE_UP)] == ["heartbeat sent", "heartbeat passed"]


def refused(store) -> operations.Parked:
    (row,) = claim(store)
    with store.write() as c:
        c.execute(update(study).values(revision=1))  # what a result does
    outbox.record_outcome(store, row.id, OutboxState.PARKED, NOW, reason="0x0122 SOP class not supported")
    (parked,) = operations.parked(store, 10, ["corrected"])
    return parked


def test_parked_object_is_tried_again_once_somebody_asks_and_audit_says_who(queued):  # noqa: F811
    parked = refused(queued)
    assert (parked.peer, parked.what, parked.reason) == ("pacs", "seg", "0x0122 SOP class not supported")
    assert operations.retry(queued, parked, "ada", NOW) == ""
    assert [r.sop_instance_uid for r in claim(queued)][0] == "2.25.1"
    assert "retry" in [action for _, _, action in audit.entries(queued, "1.2.3")]
    assert operations.retry(queued, parked, "ada", NOW) == "It is not parked any more."


@pytest.mark.parametrize("why", ["corrected", "superseded by revision 2"])
def test_what_was_held_back_on_purpose_is_not_offered_for_another_try(queued, why):  # noqa: F811
    with queued.write() as c:
        outbox.hold_back(c, "1.2.3", why, NOW)
    assert operations.parked(queued, 10, ["corrected"]) == []


@pytest.mark.parametrize(
    ("after", "was_read", "why"),
    [(SECOND, False, ""), (timedelta(days=2), False, "Its time is over"), (SECOND, True, "The study was read")],
)
def test_parked_message_is_tried_again_only_while_it_still_says_something(store, after, was_read, why):
    instances.record_batch(store, [received(1)])
    with store.write() as c:
        worklist.add_row(c, WorklistRow("1.2.3", OrderClass.ROUTINE, NOW), "live")
    put(store, raised())
    row = messages.claim(store, "ris", "d1", NOW, 30 * SECOND)
    messages.record(store, row.id, MessageState.PARKED, NOW, "AR unknown order")
    if was_read:
        with store.write() as c:
            worklist.set_reading_state(c, "1.2.3", ReadingState.READ, NOW, "ada")
    (parked,) = operations.parked(store, 10, [])
    said = operations.retry(store, parked, "ada", NOW + after)
    assert said.startswith(why)
    assert bool(said) == bool(why)
    assert bool(messages.claim(store, "ris", "d2", NOW + after, 30 * SECOND)) == (not why)


def test_waiting_and_peers_are_counted_with_the_oldest_instant(queued):  # noqa: F811
    put(queued, raised(peer="ris"))
    waiting = operations.waiting_for(queued)
    assert (waiting["pacs"], waiting["ris"]) == (operations.Waiting(2, NOW), operations.Waiting(1, NOW))
    assert operations.waiting_for(queued, ["pacs", "ris"]) == {}
    outbox.record_peer(queued, "pacs", NOW, "refused")
    row = messages.claim(queued, "ris", "d1", NOW, 30 * SECOND)
    messages.record(queued, row.id, MessageState.ACKNOWLEDGED, NOW + SECOND)
    peers = operations.peers(queued)
    assert (peers["pacs"].last_failure, peers["ris"].last_success_at) == ("refused", NOW + SECOND)
    assert operations.studies_in(queued) == {StudyState.REPORTED: operations.Waiting(1, NOW)}


def test_samples_of_a_scanner_begin_again_at_its_baseline(store):
    def sample(k: int, scanner: str = "Maker Model"):
        return operations_drift.Sample(f"1.2.{k}", 1, NOW + k * SECOND, scanner, 0.1, False, 5.0, None)

    with store.write() as c:
        for k in (1, 2, 3, 3):
            operations_drift.add(c, sample(k))
        operations_drift.add(c, sample(9, "Other" * 60))
    assert operations_drift.of_scanner(store, "Maker Model", 2) == [sample(2), sample(3)]
    operations_drift.set_baseline(store, "Maker Model", "ada", NOW + 2 * SECOND)
    assert operations_drift.of_scanner(store, "Maker Model", 9) == [sample(2), sample(3)]
    assert operations_drift.scanners(store, NOW) == ["Maker Model", ("Other" * 60)[:160]]
    assert operations_drift.scanners(store, NOW + 60 * SECOND) == []


def test_study_of_a_patient_is_still_counted_as_a_change_of_the_list(store):
    instances.record_batch(store, [received(1)])
    with store.write() as c:
        worklist.add_row(c, WorklistRow("1.2.3", OrderClass.ROUTINE, NOW), "live")
    version = meta.list_version(store)
    with store.write() as c:
        studies.close(c, "1.2.3", "released", False, NOW, 1)
        studies.advance(c, "1.2.3", StudyEvent.CLAIMED, NOW)
    assert meta.list_version(store) == version + 2
