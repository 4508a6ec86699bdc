from dataclasses import replace

import pytest

from tests.store.conftest import NOW
from tests.store.test_studies import received
from triage_node.domain.errors import StoreError
from triage_node.domain.priority import OrderClass, ReadingState, WorklistRow
from triage_node.domain.workitem import GLOBAL_SUBSCRIPTION, Ended, ItemPriority, ItemState, Subscription, Workitem
from triage_node.store import instances, studies, workitems, worklist

ITEM = Workitem("2.25.1", "1.2.3", 1, ItemPriority.LOW, NOW, NOW, performed={"00741002": {"vr": "SQ"}})


@pytest.fixture
def listed(store):
    instances.record_batch(store, [received(k) for k in range(3)])
    with store.write() as c:
        worklist.add_row(c, WorklistRow("1.2.3", OrderClass.ROUTINE, NOW), "live")
        workitems.add(c, ITEM)
    return store


def test_item_comes_back_as_it_went_in(listed):
    claimed = replace(
        ITEM,
        state=ItemState.IN_PROGRESS,
        transaction_uid="2.25.7",
        performer="READ1",
        asked_priority=ItemPriority.HIGH,
    )
    with listed.write() as c:
        assert workitems.get(c, "2.25.1") == ITEM
        workitems.save(c, claimed)
        assert workitems.get(c, "2.25.1") == claimed
        assert workitems.get(c, "2.25.2") is None


def test_one_item_for_each_attempt(listed):
    with pytest.raises(StoreError), listed.write() as c:
        workitems.add(c, replace(ITEM, uid="2.25.2"))


def test_newest_attempt_counts_and_a_read_study_without_open_item_is_left_out(listed):
    second = replace(ITEM, uid="2.25.2", attempt=2)
    with listed.write() as c:
        workitems.save(c, replace(ITEM, state=ItemState.CANCELED, ended=Ended.RELEASED))
        workitems.add(c, second)
        assert workitems.newest(c) == {"1.2.3": second}
        workitems.save(c, replace(second, state=ItemState.COMPLETED, ended=Ended.READ))
        assert workitems.newest(c)["1.2.3"].ended is Ended.READ
        worklist.set_reading_state(c, "1.2.3", ReadingState.READ, NOW, "dr.page")
        assert workitems.newest(c) == {}
        assert workitems.reading_states(c, ["1.2.3", "1.2.9"]) == {"1.2.3": ReadingState.READ}


def test_item_is_described_with_its_study_and_found_by_what_names_it(listed):
    with listed.read() as c:
        [(item, facts)] = workitems.described(c, study_instance_uid="1.2.3", state=ItemState.SCHEDULED)
        assert (item, facts.identity.patient_name, facts.order_class) == (ITEM, "Müller^Zoë", OrderClass.ROUTINE)
        assert workitems.described(c, uid="2.25.9") == []
        assert workitems.described(c, state=ItemState.COMPLETED) == []
        assert workitems.instances_of(c, "1.2.3") == {
            "1.2.3.9": [("1.2.840.10008.5.1.4.1.1.2", f"1.2.3.9.{k}") for k in range(3)]
        }


def test_study_is_closed_once_nothing_more_is_awaited(listed):
    with listed.write() as c:
        assert workitems.closed_studies(c) == set()
        assert studies.close(c, "1.2.3", "released", False, NOW, expected_instances=3)
        assert workitems.closed_studies(c) == {"1.2.3"}


def test_subscription_is_replaced_and_leaves_with_what_waits_for_it(store):
    wish = Subscription("WATCH1", GLOBAL_SUBSCRIPTION, deletion_lock=True)
    suspended = replace(wish, suspended_at=NOW, keys={"00741200": {"vr": "CS", "Value": ["HIGH"]}})
    with store.write() as c:
        workitems.subscribe(c, wish)
        workitems.subscribe(c, suspended)
        workitems.subscribe(c, Subscription("WATCH1", "2.25.1", subscribed=False))
        assert sorted(workitems.subscriptions(c), key=lambda s: len(s.scope), reverse=True)[0] == suspended
        workitems.queue_event(c, "WATCH1", "2.25.1", 1, {}, NOW)
        workitems.queue_event(c, "WATCH2", "2.25.1", 1, {}, NOW)
        workitems.unsubscribe(c, "WATCH1")
        assert workitems.subscriptions(c) == []
    assert workitems.waiting_events(store, "WATCH1", 9) == []
    assert len(workitems.waiting_events(store, "WATCH2", 9)) == 1


def test_events_come_in_order_and_once_taken_no_more(store):
    with store.write() as c:
        for number in range(3):
            workitems.queue_event(c, "WATCH1", "2.25.1", number, {"n": number}, NOW)
    first, second = workitems.waiting_events(store, "WATCH1", 2)
    assert (first.body, second.body) == ({"n": 0}, {"n": 1})
    workitems.event_taken(store, first.id)
    assert [e.event_type for e in workitems.waiting_events(store, "WATCH1", 9)] == [1, 2]
