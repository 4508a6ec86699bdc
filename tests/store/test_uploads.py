"""What is on its way to the shared store, and studies that wait for it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.store.conftest import NOW
from tests.store.test_studies import received
from triage_node.domain.priority import OrderClass, WorklistRow
from triage_node.domain.study import StudyState
from triage_node.store import instances, retention, studies, uploads, worklist
from triage_node.store.uploads import OnTheWay, Upload

LEASE = timedelta(minutes=1)
HELD = [received(k) for k in range(3)]
DIGESTS = [i.sha256 for i in HELD]
UID = "1.2.3"


@pytest.fixture
def arrived(store):
    """A complete study of three slices, the first of which has gone up."""
    instances.record_batch(store, HELD, Upload.DUE)
    with store.write() as c:
        worklist.add_row(c, WorklistRow(UID, OrderClass.ROUTINE, NOW), "live")
        assert studies.close(c, UID, "released", False, NOW, expected_instances=3)
    assert uploads.record(store, DIGESTS[:1], Upload.DONE) == set()
    return store


def claim(store, blobs_answer=True):
    return studies.claim(store, "a", NOW, LEASE, blobs_answer)


def test_rows_are_due_until_they_are_confirmed(arrived):
    assert uploads.due(arrived, [*DIGESTS, "f" * 64]) == set(DIGESTS[1:])
    assert uploads.safe(arrived, DIGESTS) == {DIGESTS[0]}
    assert uploads.of_study(arrived, UID) == 2
    assert uploads.on_the_way(arrived) == OnTheWay(2, HELD[1].received_at)
    uploads.record(arrived, DIGESTS[1:], Upload.DONE)
    assert uploads.on_the_way(arrived) == OnTheWay(0, None)


def test_same_bytes_at_a_second_host_stay_confirmed(arrived):
    instances.record_batch(arrived, HELD, Upload.DUE)
    uploads.make_due(arrived, DIGESTS)
    assert uploads.due(arrived, DIGESTS) == set(DIGESTS[1:])


def test_what_came_before_there_was_a_shared_store_becomes_due(store):
    instances.record_batch(store, HELD)
    retention.source_removed(store, DIGESTS[0], NOW)
    assert uploads.due(store, DIGESTS) == set()
    assert uploads.safe(store, DIGESTS) == {DIGESTS[0]}, "a spool copy that never went up is not to be removed"
    uploads.make_due(store, [*DIGESTS, "f" * 64])
    assert uploads.due(store, DIGESTS) == set(DIGESTS[1:])


def test_removed_source_is_not_waited_for(arrived):
    for digest in DIGESTS[1:]:
        retention.source_removed(arrived, digest, NOW)
    assert uploads.of_study(arrived, UID) == 0


def test_erased_row_is_told(arrived):
    assert uploads.record(arrived, [DIGESTS[1], "f" * 64], Upload.DONE) == {"f" * 64}


def test_study_may_be_tried_before_its_bytes_went_up_and_waits_without_a_counted_try(arrived):
    assert claim(arrived, blobs_answer=False).study_instance_uid == UID
    studies.wait_for_blobs(arrived, UID, "a", NOW, "the object store cannot be reached")
    study = studies.get(arrived, UID)
    assert (study.state, study.tries) == (StudyState.COMPLETE, 0)
    assert worklist.rows(arrived)[0].row.status_words == "waiting for the store of images"
    assert claim(arrived) is None, "two slices are on their way"
    uploads.record(arrived, DIGESTS[1:], Upload.DONE)
    assert claim(arrived, blobs_answer=False) is None, "it would only fail again"
    assert claim(arrived) is not None
    assert studies.give_back(arrived, UID, "a", NOW, "volume", "no memory") is StudyState.COMPLETE
    assert claim(arrived, blobs_answer=False) is not None, "a claim takes the wait away"


def test_only_the_owner_makes_a_study_wait(arrived):
    claim(arrived)
    studies.wait_for_blobs(arrived, UID, "somebody else", NOW, "away")
    assert studies.get(arrived, UID).state is StudyState.ANALYSING


def test_lost_slice_does_not_hold_up_its_study(arrived):
    instances.quarantine(arrived, DIGESTS[1], "lost before it was uploaded")
    uploads.record(arrived, [DIGESTS[1]], Upload.LOST)
    uploads.record(arrived, [DIGESTS[2]], Upload.DONE)
    assert uploads.of_study(arrived, UID) == 0
    assert [i.sha256 for i in instances.of_study(arrived, UID)] == [DIGESTS[0], DIGESTS[2]]


def test_study_of_another_host_is_not_held_up(arrived):
    instances.record_batch(arrived, [replace(received(9, "1.2.9"), received_at=NOW)])
    assert uploads.of_study(arrived, "1.2.9") == 0
