from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.store.conftest import NOW
from tests.store.test_studies import received
from triage_node.domain.delivery import BuiltObject, ObjectKind, OutboxState
from triage_node.domain.study import StudyEvent, StudyState
from triage_node.store import instances, outbox, results, studies
from triage_node.store.schema import audit

SECOND = timedelta(seconds=1)


def built(uid: str, kind: ObjectKind, refers_to: tuple[str, ...] = ()) -> BuiltObject:
    return BuiltObject(uid, "1.2.840.10008.5.1.4.1.1.66.4", "2.25.9", "1.2.3", kind, 1, "a" * 64, 10, refers_to)


SEG = built("2.25.1", ObjectKind.SEG)
SR = built("2.25.2", ObjectKind.FINDINGS_SR, refers_to=("2.25.1",))
SR_WITHOUT = built("2.25.3", ObjectKind.FINDINGS_SR)


@pytest.fixture
def queued(store):
    instances.record_batch(store, [received(1)])
    with store.write() as c:
        studies.close(c, "1.2.3", "released", False, NOW, 1)
    studies.claim(store, "a", NOW, 60 * SECOND)
    with store.write() as c:
        results.save_objects(c, [SEG, SR, SR_WITHOUT], NOW)
        outbox.put(c, "pacs", [SR, SEG], NOW, {"2.25.2": "2.25.3"})
        studies.advance(c, "1.2.3", StudyEvent.REPORTED, NOW)
    return store


def claim(store, now=NOW):
    return outbox.claim_batch(store, "pacs", "d1", now, 30 * SECOND, 10)


def test_report_waits_until_its_segmentation_went_out(queued):
    assert outbox.peers_with_work(queued, NOW) == ["pacs"]
    (first,) = claim(queued)
    assert first.kind is ObjectKind.SEG
    outbox.record_outcome(queued, first.id, OutboxState.DELIVERED, NOW)
    (second,) = claim(queued)
    assert second.sop_instance_uid == "2.25.2"
    outbox.record_outcome(queued, second.id, OutboxState.DELIVERED, NOW)
    assert studies.get(queued, "1.2.3").state is StudyState.DELIVERED


def test_report_goes_without_reference_when_the_segmentation_is_parked(queued):
    (seg,) = claim(queued)
    outbox.record_outcome(queued, seg.id, OutboxState.PARKED, NOW, reason="0x0122 SOP class not supported")
    (report,) = claim(queued)
    assert (report.sop_instance_uid, report.refers_to) == ("2.25.3", ())
    assert outbox.parked(queued)[0].reason.startswith("0x0122")


def test_leased_row_is_not_claimed_twice_until_the_lease_ends_or_its_owner_is_dead(queued):
    assert len(claim(queued)) == 1
    assert claim(queued) == []
    outbox.take_from_dead(queued, "pacs", lambda owner: owner == "somebody else", NOW)
    assert claim(queued) == []
    outbox.take_from_dead(queued, "pacs", lambda owner: owner == "d1", NOW)
    assert len(claim(queued)) == 1
    assert len(claim(queued, NOW + 31 * SECOND)) == 1


@pytest.mark.parametrize(
    "lost",
    [
        lambda s, row: outbox.record_outcome(s, row.id, OutboxState.PENDING, NOW, NOW, "no answer", perhaps_there=True),
        lambda s, row: outbox.take_from_dead(s, "pacs", lambda owner: owner == "d1", NOW),
        lambda s, row: claim(s, NOW + 31 * SECOND),
        lambda s, row: None,
    ],
    ids=["no answer", "killed", "lease ran out", "still on its way"],
)
def test_what_may_have_arrived_counts_as_sent_when_it_is_held_back(queued, lost):
    (seg,) = claim(queued)
    lost(queued, seg)
    with queued.write() as c:
        assert outbox.hold_back(c, "1.2.3", "the identity was corrected", NOW) == 2
    report, seg = outbox.of_study(queued, "1.2.3")
    assert (seg.state, seg.sent_at is not None) == (OutboxState.PARKED, True)
    assert (report.state, report.sent_at) == (OutboxState.PARKED, None)


def test_what_a_peer_refused_or_nobody_took_counts_as_not_sent(queued):
    (seg,) = claim(queued)
    outbox.record_outcome(queued, seg.id, OutboxState.PENDING, NOW, NOW, "answered 0xA700")
    with queued.write() as c:
        outbox.hold_back(c, "1.2.3", "the identity was corrected", NOW)
    assert {r.sent_at for r in outbox.of_study(queued, "1.2.3")} == {None}


def test_retry_waits_for_its_time(queued):
    (seg,) = claim(queued)
    outbox.record_outcome(queued, seg.id, OutboxState.PENDING, NOW, NOW + 60 * SECOND, "no answer")
    assert claim(queued, NOW + 59 * SECOND) == []
    (again,) = claim(queued, NOW + 60 * SECOND)
    assert (again.tries, again.reason) == (1, "no answer")


def test_commitment_finishes_and_failure_sends_again(queued):
    (seg,) = claim(queued)
    outbox.record_outcome(queued, seg.id, OutboxState.SENT, NOW, transaction_uid="2.25.77")
    assert outbox.commitment_result(queued, "2.25.78", ["2.25.1"], [], NOW) == 0
    assert outbox.commitment_result(queued, "2.25.77", [], [("2.25.1", 0x0112)], NOW) == 1
    assert not [r for r in claim(queued) if r.kind is ObjectKind.SEG]
    again = next(r for r in claim(queued, NOW + 2 * SECOND) if r.kind is ObjectKind.SEG)
    assert again.reason == "not committed, reason 0x0112"
    outbox.record_outcome(queued, again.id, OutboxState.SENT, NOW, transaction_uid="2.25.79")
    assert [r.id for r in outbox.pending_commitments(queued, "pacs", NOW + SECOND)] == [again.id]
    assert outbox.commitment_result(queued, "2.25.79", ["2.25.1"], [], NOW) == 1
    assert outbox.of_study(queued, "1.2.3")[1].state is OutboxState.COMMITTED


def test_an_archive_that_takes_long_to_commit_gets_twice_as_long_each_time(queued):
    """Asked at 0, 10, 20, 40, 80 minutes ..., never more than LONGEST_COMMITMENT apart."""
    (seg,) = claim(queued)
    minute, patience = 60 * SECOND, 600 * SECOND
    outbox.record_outcome(queued, seg.id, OutboxState.SENT, NOW, transaction_uid="2.25.1")
    asked = []
    for m in range(1, 2000):
        if waiting := outbox.pending_commitments(queued, "pacs", NOW + m * minute, patience):
            outbox.renew_commitment(queued, [r.id for r in waiting], f"2.25.{m}", NOW + m * minute)
            asked.append(m)
    assert asked == [10, 20, 40, 80, 160, 320, 640, 1000, 1360, 1720]
    assert len(outbox.pending_commitments(queued, "pacs", NOW + 1721 * minute)) == 1


def test_reports_that_wait_for_their_segmentation_keep_nobody_else_waiting(queued):
    with queued.write() as c:
        for k in range(90):
            pair = [replace(SEG, sop_instance_uid=f"2.25.7{k}"), replace(SR, sop_instance_uid=f"2.25.8{k}")]
            pair[1] = replace(pair[1], refers_to=(pair[0].sop_instance_uid,))
            results.save_objects(c, pair, NOW)
            outbox.put(c, "pacs", pair, NOW)
    while segs := outbox.claim_batch(queued, "pacs", "d1", NOW, 30 * SECOND, 10, ObjectKind.SEG):
        for seg in segs:
            outbox.record_outcome(queued, seg.id, OutboxState.PENDING, NOW, NOW + 600 * SECOND, "busy")
    last = replace(SEG, sop_instance_uid="2.25.99")
    with queued.write() as c:
        results.save_objects(c, [last], NOW)
        outbox.put(c, "pacs", [last], NOW)
    assert [r.sop_instance_uid for r in claim(queued)] == ["2.25.99"]


def test_second_put_of_the_same_object_is_one_row(queued):
    with queued.write() as c:
        outbox.put(c, "pacs", [SR, SEG], NOW)
    assert len(outbox.of_study(queued, "1.2.3")) == 2


def test_nothing_to_send_is_delivered_at_once(store):
    instances.record_batch(store, [received(1)])
    with store.write() as c:
        studies.close(c, "1.2.3", "released", False, NOW, 1)
    studies.claim(store, "a", NOW, 60 * SECOND)
    with store.write() as c:
        studies.advance(c, "1.2.3", StudyEvent.REPORTED, NOW)
        outbox.settle(c, "1.2.3", NOW)
    assert studies.get(store, "1.2.3").state is StudyState.DELIVERED


def test_final_row_is_not_changed_by_a_late_outcome(queued):
    (seg,) = claim(queued)
    outbox.record_outcome(queued, seg.id, OutboxState.DELIVERED, NOW)
    outbox.record_outcome(queued, seg.id, OutboxState.PENDING, NOW, NOW, "late")
    assert outbox.of_study(queued, "1.2.3")[1].state is OutboxState.DELIVERED


def test_what_is_held_back_and_what_goes_out_again_is_audited_with_old_and_new(queued):
    (seg,) = claim(queued)
    outbox.record_outcome(queued, seg.id, OutboxState.SENT, NOW)
    outbox.record_outcome(queued, seg.id, OutboxState.PENDING, NOW, NOW, "not committed")
    with queued.write() as c:
        assert outbox.hold_back(c, "1.2.3", "the identity was corrected", NOW) == 2
        entries = c.execute(
            select(audit.c.action, audit.c.old, audit.c.new).where(audit.c.actor == "delivery")
        ).tuples()
        assert list(entries) == [
            ("object sent", "pending", "2.25.1 seg to pacs"),
            ("object pending", "sent", "2.25.1 seg to pacs: not committed"),
            ("object parked", "pending", "2.25.2 findings_sr to pacs: the identity was corrected"),
            ("object parked", "pending", "2.25.1 seg to pacs: the identity was corrected"),
        ]
