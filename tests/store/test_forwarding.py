"""What a hub has not got yet: in which order it goes, when a study is whole there, and that nothing goes before it is."""

from datetime import timedelta

import pytest

from tests.store.conftest import NOW
from tests.store.test_studies import received
from triage_node.domain.priority import Flag, OrderClass, Urgency, WorklistRow
from triage_node.domain.study import StudyEvent
from triage_node.store import forwarding, instances, retention, studies, worklist

LATER = NOW + timedelta(days=30)
URGENCY = {"1.1": None, "1.2": None, "1.3": Urgency.MODERATE, "1.4": Urgency.CRITICAL, "1.5": Urgency.CRITICAL}


@pytest.fixture
def listed(store):
    """Closed, oldest first; the second is STAT, the flag of the last was ended by a person; a sixth still arrives."""
    for k, (uid, urgency) in enumerate(URGENCY.items()):
        order_class = OrderClass.STAT if uid == "1.2" else OrderClass.ROUTINE
        instances.record_batch(store, [received(1, uid), received(2, uid)])
        with store.write() as c:
            worklist.add_row(c, WorklistRow(uid, order_class, NOW + timedelta(minutes=k)), "live")
            studies.close(c, uid, "released", False, NOW, 2)
            if urgency is not None:
                worklist.raise_flag(c, uid, Flag("ich", urgency, "words", NOW))
            if uid == "1.5":
                worklist.end_flag(c, uid, "ada", NOW)
    instances.record_batch(store, [received(1, "1.6")])
    return store


def settle_all(store, uid, unsent, refused=()):
    forwarding.settle(store, uid, {i.sha256: "no" if i.sha256 in refused else "" for i in unsent}, NOW)


def test_the_most_urgent_study_goes_first_and_one_that_arrives_waits(listed):
    order = []
    while (found := forwarding.next_study(listed)) is not None:
        order.append(found[0])
        settle_all(listed, *found)
    assert order == ["1.4", "1.3", "1.2", "1.1", "1.5"]
    assert forwarding.waiting(listed) == (1, NOW + timedelta(seconds=1))


def test_what_the_hub_has_or_refuses_goes_no_second_time_and_the_rest_does(listed):
    uid, (first, second) = forwarding.next_study(listed)
    forwarding.settle(listed, uid, {first.sha256: ""}, NOW)
    assert forwarding.next_study(listed) == (uid, [second])
    assert forwarding.next_study(listed, but=[uid])[0] == "1.3"
    settle_all(listed, uid, [second], refused=[second.sha256])
    assert forwarding.next_study(listed)[0] == "1.3"
    assert "1 refused by the hub: no" in [entry.detail for entry in studies.timeline_of(listed, uid)]


def test_a_late_slice_goes_alone(listed):
    settle_all(listed, *forwarding.next_study(listed))
    instances.record_batch(listed, [received(3, "1.4")])
    with listed.write() as c:
        studies.close(c, "1.4", "released", False, NOW, 3)
    uid, unsent = forwarding.next_study(listed)
    assert (uid, [i.sop_instance_uid for i in unsent]) == ("1.4", ["1.4.9.3"])


def test_pixels_stay_until_the_hub_has_them(store):
    instances.record_batch(store, [received(1), received(2)])
    with store.write() as c:
        studies.close(c, "1.2.3", "released", False, NOW, 2)
    studies.claim(store, "a", NOW, timedelta(minutes=1))
    with store.write() as c:
        studies.advance(c, "1.2.3", StudyEvent.DECLINED, NOW, "no head")
    assert len(retention.removable_sources(store, LATER, 7.0)) == 2
    assert retention.removable_sources(store, LATER, 7.0, hub=True) == []
    settle_all(store, *forwarding.next_study(store))
    assert len(retention.removable_sources(store, LATER, 7.0, hub=True)) == 2
