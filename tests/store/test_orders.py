"""Facts from messages of others in the store."""

from dataclasses import replace
from datetime import timedelta

from tests.store.conftest import NOW
from tests.store.test_studies import received
from triage_node.domain.clinical import ClinicalEntry
from triage_node.domain.delivery import BuiltObject, ObjectKind, OutboxState
from triage_node.domain.orders import OrderEvent, OrderFacts, PatientKey
from triage_node.domain.priority import OrderClass, ReadingState, WorklistRow
from triage_node.store import audit, instances, orders, outbox, worklist

DAY = timedelta(days=1)
FACTS = OrderFacts(
    OrderEvent.ORDER,
    "1.2.3",
    "A1",
    (PatientKey("P1", "NORTH"), PatientKey("P2")),
    order_class=OrderClass.STAT,
    patient_name="Müller^Zoë=山田",
    birth_date="19510302",
    sex="F",
    entry=ClinicalEntry(gcs=7, onset_at=NOW, on_anticoagulant=False),
    notes=("priority 'NOW'",),
)
MERGE = OrderFacts(OrderEvent.PATIENT_MERGED, patients=(PatientKey("P9"),), merged_from=PatientKey("P1"))


def listed(store):
    instances.record_batch(store, [received(0)])
    with store.write() as c:
        worklist.add_row(c, WorklistRow("1.2.3", OrderClass.ROUTINE, NOW), "live")
    return orders.listed(store, NOW - DAY)


def test_facts_come_back_as_they_went_in(store):
    assert orders.newest(store) == 0
    assert orders.take(store, "HIS|", "X1", [FACTS], NOW)
    [waiting] = orders.waiting_for(store, listed(store))
    assert waiting.facts == FACTS
    assert (waiting.sender, waiting.control_id, waiting.received_at) == ("HIS|", "X1", NOW)
    assert orders.newest(store) == waiting.id


def test_a_control_id_is_one_message_for_a_day(store):
    assert orders.take(store, "HIS|", "X1", [FACTS], NOW)
    assert not orders.take(store, "HIS|", "X1", [FACTS], NOW + DAY - timedelta(seconds=1))
    assert orders.take(store, "LAB|", "X1", [FACTS], NOW)
    assert orders.take(store, "HIS|", "X1", [FACTS], NOW + DAY)


def test_what_was_settled_waits_no_more_but_a_merge_still_meets_late_images(store):
    orders.take(store, "HIS|", "X1", [FACTS, MERGE], NOW)
    held = orders.Listed("1.2.3", listed(store)[0].identity.__class__("P1", "", "", "", "", "A1"), NOW)
    for one in orders.waiting_for(store, [held]):
        with store.write() as c:
            orders.settle(c, one, "done", NOW)
    assert [w.facts.event for w in orders.waiting_for(store, [held])] == [OrderEvent.PATIENT_MERGED]
    assert orders.patient_changes_after(store, 0) == []
    assert [o for _, _, o in orders.outcomes(store)] == ["done", "done"]


def test_only_unread_studies_of_late_are_listed(store):
    assert [s.study_instance_uid for s in listed(store)] == ["1.2.3"]
    assert orders.listed(store, NOW + DAY) == []
    with store.write() as c:
        worklist.set_reading_state(c, "1.2.3", ReadingState.READ, NOW, "Dr. A")
    assert orders.listed(store, NOW - DAY) == []
    assert [s.study_instance_uid for s in orders.of_patient(store, "")] == ["1.2.3"]


def test_an_order_class_is_set_with_old_and_new_in_the_audit(store):
    listed(store)
    with store.write() as c:
        orders.set_order_class(c, "1.2.3", OrderClass.STAT, NOW, "HL7 HIS|")
        orders.set_order_class(c, "1.2.3", OrderClass.STAT, NOW, "HL7 HIS|")
        orders.set_order_class(c, "9.9", OrderClass.STAT, NOW, "HL7 HIS|")
    assert [(who, what) for _, who, what in audit.entries(store, "1.2.3")] == [("HL7 HIS|", "order class")]
    assert worklist.row_of(store, "1.2.3").row.order_class is OrderClass.STAT


def test_what_left_before_a_correction_is_listed_for_correction(store):
    listed(store)
    objects = [
        BuiltObject(f"1.9.{k}", "1.2.840.10008.5.1.4.1.1.88.34", "1.9", "1.2.3", ObjectKind.FINDINGS_SR, 1, "0" * 64, 1)
        for k in range(2)
    ]
    with store.write() as c:
        outbox.put(c, "pacs", objects, NOW)
    sent = outbox.of_study(store, "1.2.3")[0]
    outbox.record_outcome(store, sent.id, OutboxState.DELIVERED, NOW)
    assert orders.delivered_before(store, "1.2.3", NOW) == [("pacs", "findings_sr", "1.9.0")]
    assert orders.delivered_before(store, "1.2.3", NOW - DAY) == []


def test_the_class_of_an_order_is_the_last_one_that_was_told_and_taken(store):
    def told(uid="1.2.3", accession="A1"):
        with store.read() as c:
            return orders.told_class(c, uid, accession)

    def take(control_id, outcome, order_class):
        orders.take(store, "HIS|", control_id, [replace(FACTS, order_class=order_class)], NOW)
        last = orders.waiting_for(store, listed(store))[-1]
        with store.write() as c:
            orders.settle(c, last, outcome, NOW)

    orders.take(store, "HIS|", "X0", [FACTS], NOW)
    assert told() is None, "it waits still"
    [waiting] = orders.waiting_for(store, listed(store))
    with store.write() as c:
        orders.settle(c, waiting, "order class STAT", NOW)
    assert told() is OrderClass.STAT
    take("X1", "order class URGENT; gcs", OrderClass.URGENT)
    take("X2", "not applied: order names another patient than the images", OrderClass.ROUTINE)
    take("X3", "nothing new", None)
    assert told() is OrderClass.URGENT
    assert told("1.2.9") is None, "a message that names a study is about no other one of that accession"
    assert told("1.2.9", "") is None


def test_old_messages_are_forgotten(store):
    orders.take(store, "HIS|", "X1", [FACTS], NOW)
    orders.take(store, "HIS|", "X2", [FACTS], NOW + DAY)
    assert orders.forget_before(store, NOW + DAY) == 1
    assert [c for c, _, _ in orders.outcomes(store)] == ["X2"]
