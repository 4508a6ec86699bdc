"""Asking for storage commitment, and an answer on the same association. Orthanc's way is in test_archives."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from tests.delivery.peers import at_most, raw_peer, receiver, settings_for
from triage_node.delivery.commitment import WELL_KNOWN_INSTANCE, Answer, read_answer, request_commitment
from triage_node.delivery.retry import Outcome, Verdict
from triage_node.domain.errors import DeliveryError

SC = str(SecondaryCaptureImageStorage)
OBJECTS = [(SC, "2.25.1"), (SC, "2.25.2")]
CONTEXT = (StorageCommitmentPushModel, "1.2.840.10008.1.2")


def reference(uid, reason=None):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SC, uid
    if reason is not None:
        item.FailureReason = reason
    return item


def answer_of(transaction_uid, committed=(), failed=()):
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ReferencedSOPSequence = [reference(u) for u in committed]
    if failed:
        ds.FailedSOPSequence = [reference(u, r) for u, r in failed]
    return ds


def test_answer_tells_committed_from_failed():
    assert read_answer(answer_of("2.25.9", ["2.25.1"], [("2.25.2", 0x0112)])) == Answer(
        "2.25.9", ("2.25.1",), (("2.25.2", 0x0112),)
    )


def test_failure_without_a_reason_is_still_a_failure():
    ds = answer_of("2.25.9", [], [("2.25.2", None)])
    assert read_answer(ds).failed == (("2.25.2", 0),)


@pytest.mark.parametrize(
    "ds",
    [Dataset(), answer_of(""), answer_of("2.25.9", [""]), answer_of("2.25.9", ["a' OR 1=1"]), answer_of("../../x")],
    ids=["empty", "no transaction", "empty UID", "no UID", "path"],
)
def test_answer_that_does_not_say_what_it_must_is_refused(ds):
    with pytest.raises(DeliveryError):
        read_answer(ds)


def test_sequence_item_without_its_uid_is_refused():
    ds = answer_of("2.25.9")
    ds.FailedSOPSequence = [Dataset()]
    with pytest.raises(DeliveryError):
        read_answer(ds)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=70), max_size=4), st.text(max_size=70))
def test_any_text_is_read_or_refused(uids, transaction_uid):
    ds = answer_of(transaction_uid, uids)
    try:
        assert read_answer(ds).committed == tuple(str(i.ReferencedSOPInstanceUID) for i in ds.ReferencedSOPSequence)
    except DeliveryError:
        pass


def archive_that_answers(asked, status=0x0000, same_association=True, make=None):
    """Handlers of an archive that takes the request and answers on the association of the request."""

    def action(event):
        ds = event.action_information
        asked.append((str(ds.TransactionUID), [str(i.ReferencedSOPInstanceUID) for i in ds.ReferencedSOPSequence]))
        assert event.request.RequestedSOPInstanceUID == WELL_KNOWN_INSTANCE
        if same_association and status == 0:
            said = make(ds) if make else answer_of(ds.TransactionUID, asked[-1][1])
            kind = 2 if said.get("FailedSOPSequence") else 1
            threading.Timer(
                0.1,
                event.assoc.send_n_event_report,
                (said, kind, StorageCommitmentPushModel, WELL_KNOWN_INSTANCE),
            ).start()
        return status, None

    return [(evt.EVT_N_ACTION, action)]


def test_answer_on_the_same_association_is_taken():
    asked, told = [], []
    with receiver([CONTEXT], handlers=archive_that_answers(asked)) as pacs, at_most(20):
        outcome = request_commitment(pacs.settings(), "2.25.9", OBJECTS, told.append)
    assert outcome == Outcome(Verdict.STORED)
    assert asked == [("2.25.9", ["2.25.1", "2.25.2"])]
    assert told == [Answer("2.25.9", ("2.25.1", "2.25.2"), ())]


def test_answer_that_cannot_be_read_changes_nothing():
    told = []
    handlers = archive_that_answers([], make=lambda ds: answer_of("no uid", ["2.25.1"]))
    with receiver([CONTEXT], handlers=handlers) as pacs, at_most(20):
        assert request_commitment(pacs.settings(), "2.25.9", OBJECTS, told.append).verdict is Verdict.STORED
    assert told == []


def test_archive_that_will_answer_later_is_released_soon():
    released = threading.Event()
    handlers = [*archive_that_answers([], same_association=False), (evt.EVT_RELEASED, lambda e: released.set())]
    with receiver([CONTEXT], handlers=handlers) as pacs, at_most(20):
        assert request_commitment(pacs.settings(), "2.25.9", OBJECTS, print).verdict is Verdict.STORED
        assert released.wait(10)


def test_archive_without_the_service_never_commits():
    with receiver() as pacs:
        outcome = request_commitment(pacs.settings(), "2.25.9", OBJECTS, print)
    assert outcome == Outcome(Verdict.NEVER, "no presentation context accepted")


def test_archive_that_refuses_the_request_is_asked_again():
    with receiver([CONTEXT], handlers=archive_that_answers([], status=0x0110)) as pacs:
        outcome = request_commitment(pacs.settings(), "2.25.9", OBJECTS, print)
    assert outcome == Outcome(Verdict.AGAIN, "commitment answered 0x0110")


def test_archive_that_hangs_on_the_request_is_left():
    hold = threading.Event()

    def action(event):
        hold.wait(20)
        return 0x0000, None

    with receiver([CONTEXT], handlers=[(evt.EVT_N_ACTION, action)]) as pacs, at_most(20):
        try:
            outcome = request_commitment(pacs.settings(response_timeout_s=2), "2.25.9", OBJECTS, print)
        finally:
            hold.set()
    assert outcome == Outcome(Verdict.AGAIN, "commitment was not answered")


def test_peer_that_is_away_or_no_archive_is_asked_again():
    with raw_peer(lambda connection: connection.close()) as port, at_most(20):
        assert request_commitment(settings_for(port), "2.25.9", OBJECTS, print).verdict is Verdict.UNTRIED
    assert request_commitment(settings_for(port), "2.25.9", OBJECTS, print).verdict is Verdict.UNTRIED
