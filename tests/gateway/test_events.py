"""Subscriptions and their events: asked for over either transport, heard over DIMSE or the WebSocket."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import update
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.gateway.site import DimseClient, RsClient, keys, performed
from tests.gateway.watchers import DimseWatcher, SocketWatcher
from tests.support.waiting import wait_until
from triage_node.domain.priority import ReadingState
from triage_node.domain.workitem import FILTERED_SUBSCRIPTION, GLOBAL_SUBSCRIPTION
from triage_node.processes import housekeeping
from triage_node.processes.running import Running, now
from triage_node.store import retention, workitems
from triage_node.store.schema import study
from triage_node.workitems.follow import workitem_uid
from triage_node.workitems.status import Status

STUDY, OTHER = "1.2.3", "1.2.4"
ITEM, OTHER_ITEM = workitem_uid(STUDY, 1), workitem_uid(OTHER, 1)
MINE = "2.25.111"
SCHEDULED_LOW = ("SCHEDULED", "LOW")


@pytest.fixture(params=[(DimseClient, DimseWatcher), (RsClient, SocketWatcher)], ids=["DIMSE", "UPS-RS"])
def pair(request, site) -> Iterator:
    make_client, make_watcher = request.param
    client, watcher = make_client(site), make_watcher(site)
    yield client, watcher
    client.close()
    watcher.close()


def settled(site, watcher):
    """Nothing waits for the watcher any more."""
    wait_until(lambda: not workitems.waiting_events(site.store, watcher.ae_title, 1), 30, "all events to be taken")


def test_subscriber_of_everything_hears_arrival_raise_claim_and_completion(site, pair):
    client, watcher = pair
    assert client.subscribe(GLOBAL_SUBSCRIPTION, watcher.ae_title) is Status.SUCCESS
    site.arrive(STUDY)
    watcher.wait(1)
    site.flag(STUDY)
    watcher.wait(2)
    other = DimseClient(site, "READ2")
    assert other.change_state(ITEM, "IN PROGRESS", MINE) is Status.SUCCESS
    told = performed()
    told.TransactionUID = MINE
    assert other.update(ITEM, told) is Status.SUCCESS
    assert other.change_state(ITEM, "COMPLETED", MINE) is Status.SUCCESS
    other.close()
    watcher.wait(4)
    assert watcher.states(ITEM) == [
        SCHEDULED_LOW,
        ("SCHEDULED", "HIGH"),
        ("IN PROGRESS", "HIGH"),
        ("COMPLETED", "HIGH"),
    ]


def test_new_subscriber_with_a_lock_is_told_what_is_open_already(site, pair):
    client, watcher = pair
    site.arrive(STUDY)
    site.arrive(OTHER)
    assert client.subscribe(ITEM, watcher.ae_title, lock=True) is Status.SUCCESS
    watcher.wait(1)
    assert client.subscribe(GLOBAL_SUBSCRIPTION, watcher.ae_title, lock=True) is Status.SUCCESS
    watcher.wait(3)
    assert (watcher.states(ITEM), watcher.states(OTHER_ITEM)) == ([SCHEDULED_LOW] * 2, [SCHEDULED_LOW])
    assert client.subscribe(GLOBAL_SUBSCRIPTION, watcher.ae_title) is Status.SUCCESS
    settled(site, watcher)
    assert len(watcher.heard) == 3, "without a lock nobody is told of what there is (PS3.4 CC.2.4.3)"


def test_subscriber_of_one_item_hears_of_no_other_and_of_nothing_once_it_left(site, pair):
    client, watcher = pair
    site.arrive(STUDY)
    site.arrive(OTHER)
    client.subscribe(ITEM, watcher.ae_title)
    watcher.wait(1)
    site.flag(OTHER)
    site.flag(STUDY)
    watcher.wait(2)
    assert client.unsubscribe(ITEM, watcher.ae_title) is Status.SUCCESS
    assert client.cancel(ITEM) is Status.SUCCESS
    settled(site, watcher)
    assert {of for _, of, _ in watcher.heard} == {ITEM}
    assert watcher.states(ITEM) == [SCHEDULED_LOW, ("SCHEDULED", "HIGH")]


def test_filter_lets_through_what_matches(site, pair):
    client, watcher = pair
    assert client.subscribe(FILTERED_SUBSCRIPTION, watcher.ae_title) is Status.NO_SUCH_ARGUMENT
    assert client.subscribe(FILTERED_SUBSCRIPTION, watcher.ae_title, ScheduledProcedureStepPriority="HIGH") is (
        Status.SUCCESS
    )
    site.arrive(STUDY)
    site.arrive(OTHER)
    site.flag(STUDY)
    watcher.wait(1)
    settled(site, watcher)
    assert [(of, body.ScheduledProcedureStepPriority) for _, of, body in watcher.heard] == [(ITEM, "HIGH")]


def test_suspended_subscription_brings_no_new_items_but_news_of_old_ones(site, pair):
    client, watcher = pair
    client.subscribe(GLOBAL_SUBSCRIPTION, watcher.ae_title)
    site.arrive(STUDY)
    watcher.wait(1)
    assert client.suspend(ITEM, watcher.ae_title) is Status.NOT_APPROPRIATE
    assert client.suspend(GLOBAL_SUBSCRIPTION, watcher.ae_title) is Status.SUCCESS
    site.arrive(OTHER)
    site.flag(STUDY)
    watcher.wait(2)
    settled(site, watcher)
    assert watcher.states(OTHER_ITEM) == []


def test_unknown_receiver_is_refused(site, pair):
    client, _ = pair
    site.arrive(STUDY)
    for answer in (client.subscribe(ITEM, "NOBODY"), client.unsubscribe(ITEM, "NOBODY")):
        assert answer is Status.UNKNOWN_RECEIVING_AE
    assert client.suspend(GLOBAL_SUBSCRIPTION, "NOBODY") is Status.UNKNOWN_RECEIVING_AE
    assert client.subscribe("2.25.9", pair[1].ae_title) is Status.NO_SUCH_WORKITEM


def test_performer_hears_who_asks_to_cancel_and_progress_is_told(site, pair):
    client, watcher = pair
    site.arrive(STUDY)
    client.subscribe(ITEM, watcher.ae_title)
    assert client.change_state(ITEM, "IN PROGRESS", MINE) is Status.SUCCESS
    progress = keys(TransactionUID=MINE, ProcedureStepProgressInformationSequence={"ProcedureStepProgress": "30"})
    assert client.update(ITEM, progress) is Status.SUCCESS
    assert client.cancel(ITEM, "patient was moved") is Status.SUCCESS
    watcher.wait(4)
    kinds = [kind for kind, _, _ in watcher.heard]
    assert kinds == [1, 1, 3, 2]
    assert watcher.heard[2][2].ProcedureStepProgressInformationSequence[0].ProcedureStepProgress == 30
    asked = watcher.heard[3][2]
    assert (asked.ReasonForCancellation, asked.ContactDisplayName) == ("patient was moved", "Dr. Ask")


def test_subscriber_that_was_away_gets_its_events_later_in_order(site, pair):
    client, watcher = pair
    client.subscribe(GLOBAL_SUBSCRIPTION, watcher.ae_title)
    watcher.close()
    site.arrive(STUDY)
    client.find(keys(PatientID=""))
    site.flag(STUDY)
    client.cancel(ITEM)
    watcher.open()
    watcher.wait(4)
    assert watcher.states(ITEM) == [
        SCHEDULED_LOW,
        ("SCHEDULED", "HIGH"),
        ("IN PROGRESS", "HIGH"),
        ("CANCELED", "HIGH"),
    ]


def test_restarted_manager_tells_all_that_are_configured(site, pair):
    _, watcher = pair
    watcher.close()
    site.stop()
    site.start()
    watcher.open()
    _, of, body = wait_until(lambda: watcher.restarts, 30, "the restart to be told")[-1]
    assert of == GLOBAL_SUBSCRIPTION
    assert (body.SCPStatus, body.SubscriptionListStatus) == ("RESTARTED", "WARM START")


def test_deletion_lock_outlasts_completion_and_retention(site, pair):
    client, watcher = pair
    site.arrive(STUDY)
    assert client.subscribe(ITEM, watcher.ae_title, lock=True) is Status.SUCCESS
    site.set_reading(STUDY, ReadingState.READ)
    with site.store.write() as c:
        c.execute(update(study).values(state="delivered", last_instance_at=now() - timedelta(days=4000)))
    assert len(retention.removable_sources(site.store, now(), 1)) == 2, "its images may go"
    housekeeping.remove_old_sources(Running("scheduler", site.settings, site.store, threading.Event()))
    assert retention.removable_sources(site.store, now(), 1) == []
    assert client.get(ITEM)[1].ProcedureStepState == "COMPLETED"
    watcher.wait(3)
    assert watcher.states(ITEM)[-1] == ("COMPLETED", "LOW")
    with site.store.read() as c:
        (held,) = workitems.subscriptions(c)
    assert (held.scope, held.deletion_lock) == (ITEM, True)


def test_events_that_nobody_takes_are_bounded(site, monkeypatch):
    monkeypatch.setattr(workitems, "EVENTS_KEPT", 5)
    with site.store.write() as c:
        for k in range(12):
            workitems.queue_event(c, "AWAY", ITEM, 1, {"number": k}, now())
    assert [e.body["number"] for e in workitems.waiting_events(site.store, "AWAY", 100)] == [7, 8, 9, 10, 11]


def test_subscription_names_where_to_listen_and_strangers_cannot(site):
    client = RsClient(site)
    client.subscribe(GLOBAL_SUBSCRIPTION, "WATCH2")
    where = client.last.headers["content-location"]
    assert where == f"ws://127.0.0.1:{site.rs_port}/ws/subscribers/WATCH2"
    client.close()
    with pytest.raises(InvalidStatus):
        connect(where.replace("WATCH2", "NOBODY"), open_timeout=30).recv(timeout=30)
    with pytest.raises(InvalidStatus):  # a page of another site
        connect(where, origin="https://evil.example", open_timeout=30)
    with connect(where, open_timeout=30) as socket:
        socket.send("x" * 200_000)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=30)
    assert httpx.get(f"{site.rs}/workitems", timeout=30).status_code == 204
