"""What was corrected and what was rejected, in the store; and what of it holds objects back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.store.conftest import NOW
from tests.store.test_orders import listed
from triage_node.domain.delivery import BuiltObject, ObjectKind, OutboxState
from triage_node.domain.rejection import RejectedInstance, RejectionReason
from triage_node.domain.study import IdentityCorrection
from triage_node.store import audit, instances, orders, outbox, rejections, results, studies

UID = "1.2.3"
LATER = NOW + timedelta(seconds=1)


def built(number: int, kind: ObjectKind, refers_to: tuple[str, ...] = ()) -> BuiltObject:
    return BuiltObject(
        f"1.9.{number}", "1.2.840.10008.5.1.4.1.1.88.34", "1.9", UID, kind, 1, "0" * 64, 1, refers_to=refers_to
    )


def queue(store, *objects):
    with store.write() as c:
        results.save_objects(c, objects, NOW)
        outbox.put(c, "pacs", objects, NOW)


def test_every_correction_is_kept_with_old_and_new_and_the_audit_holds_no_values(store):
    [study] = listed(store)
    first, second = replace(study.identity, patient_id="P1"), replace(study.identity, patient_id="P2")
    with store.write() as c:
        studies.correct_identity(c, UID, first, NOW, "HL7 HIS|")
        studies.correct_identity(c, UID, first, NOW, "HL7 HIS|")
        studies.correct_identity(c, UID, second, LATER, "PACS")
        assert studies.identity_of(c, UID) == second
    assert studies.identity_corrections(store, UID) == [
        IdentityCorrection(NOW, "HL7 HIS|", study.identity, first),
        IdentityCorrection(LATER, "PACS", first, second),
    ]
    assert [c.changed for c in studies.identity_corrections(store, UID)] == [("patient_id",)] * 2
    assert [a for _, _, a in audit.entries(store, UID)].count(studies.IDENTITY_CORRECTED) == 2
    assert audit.first_broken(store) is None


def test_what_is_rejected_is_no_part_of_its_study_and_of_no_other(store):
    listed(store)
    [held] = instances.of_study(store, UID)
    name = held.sop_instance_uid
    with store.write() as c:
        assert rejections.reject(c, "1.2.4", [name], RejectionReason.QUALITY, "PACS", "1.8", NOW) == 1
    assert instances.of_study(store, UID) == [held]
    with store.write() as c:
        assert rejections.reject(c, UID, [name, name, "1.7"], RejectionReason.PATIENT_SAFETY, "PACS", "1.8", NOW) == 2
        assert rejections.reject(c, UID, [name], RejectionReason.QUALITY, "OTHER", "1.9", LATER) == 0
        assert rejections.reject(c, UID, [], RejectionReason.QUALITY, "OTHER", "1.9", LATER) == 0
    assert instances.of_study(store, UID) == []
    assert rejections.of_study(store, UID) == [
        RejectedInstance(uid, RejectionReason.PATIENT_SAFETY, "PACS", NOW, "1.8") for uid in sorted((name, "1.7"))
    ]


def test_what_is_held_back_goes_no_more_but_a_note_does_and_what_arrived_all_the_same_is_known(store):
    listed(store)
    queue(
        store,
        built(1, ObjectKind.FINDINGS_SR),
        built(2, ObjectKind.SUMMARY_SC),
        built(3, ObjectKind.REJECTION_NOTE, ("1.9.0",)),
    )
    [on_its_way] = outbox.claim_batch(store, "pacs", "test", NOW, timedelta(minutes=1), 1)
    with store.write() as c:
        assert outbox.hold_back(c, UID, "corrected", NOW) == 2
        assert outbox.hold_back(c, "1.2.4", "corrected", NOW) == 0
    left = outbox.claim_batch(store, "pacs", "test", NOW, timedelta(minutes=1), 9)
    assert [r.kind for r in left] == [ObjectKind.REJECTION_NOTE]
    outbox.record_outcome(store, on_its_way.id, OutboxState.DELIVERED, LATER)
    states = {r.sop_instance_uid: (r.state, r.created_at, r.sent_at) for r in outbox.of_study(store, UID)}
    assert states["1.9.1"] == (OutboxState.DELIVERED, NOW, LATER)
    assert states["1.9.2"] == (OutboxState.PARKED, NOW, None)
    outbox.record_outcome(store, on_its_way.id + 1, OutboxState.DELIVERED, LATER)
    assert outbox.of_study(store, UID)[1].state is OutboxState.PARKED, "nobody had it in hand"
    assert orders.delivered_before(store, UID, NOW) == [("pacs", "findings_sr", "1.9.1")]
    assert [n.refers_to for n in results.rejection_notes(store, UID)] == [("1.9.0",)]


def test_a_clock_that_is_set_back_turns_no_order_round(store):
    """`NOW` is earlier than `LATER`, and all the same what happens at it happens after."""
    [study] = listed(store)
    with store.write() as c:
        outbox.put(c, "pacs", [built(1, ObjectKind.FINDINGS_SR)], LATER)
        corrected_at = studies.correct_identity(c, UID, replace(study.identity, patient_id="P1"), NOW, "PACS")
        outbox.put(c, "pacs", [built(2, ObjectKind.FINDINGS_SR)], NOW)
        rejections.reject(c, UID, ["1.7"], RejectionReason.QUALITY, "PACS", "1.8", NOW)
        outbox.put(c, "pacs", [built(3, ObjectKind.FINDINGS_SR)], NOW)
    [rejected] = rejections.of_study(store, UID)
    first, second, third = (r.created_at for r in outbox.of_study(store, UID))
    assert first < corrected_at <= second < rejected.at <= third
    assert [c.at for c in studies.identity_corrections(store, UID)] == [corrected_at]
    waiting = outbox.claim_batch(store, "pacs", "test", NOW, timedelta(minutes=1), 9)
    assert [r.sop_instance_uid for r in waiting] == ["1.9.2", "1.9.3"], "when they may go is told by the clock"
    assert next(at for at, _, what in audit.entries(store, UID) if what == studies.IDENTITY_CORRECTED) == NOW
