"""How the feeds stand in the store, on pages, in the API and for `check`."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.deciding import Site
from tests.support.people import page_of
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.domain.person import Role
from triage_node.processes import feeds
from triage_node.processes.running import Running
from triage_node.store import audit, instances, meta
from triage_node.store import feeds as feed_store

CT = "1.2.840.10008.5.1.4.1.1.2"
START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def running(tmp_path):
    site = Site(tmp_path)
    yield Running("scheduler", site.settings, site.store, threading.Event())
    site.store.close()


def send(running: Running, calling: str, instants, prefix: int) -> None:
    received = []
    for k, at in enumerate(instants):
        uid = f"1.2.{prefix}.{k}"
        header = InstanceHeader(f"{uid}.1.1", CT, uid, f"{uid}.1", patient_name="SECRET^NAME")
        digest = hashlib.sha256(uid.encode()).hexdigest()
        received.append(
            ReceivedInstance(digest, 1, f"{uid}.1.1", CT, "1.2.840.10008.1.2.1", at, header, calling_ae_title=calling)
        )
    instances.record_batch(running.store, received)


def hourly(days: float):
    return [START + k * 4 * HOUR for k in range(int(days * 6))]


def test_sender_that_falls_silent_is_told_once_and_leaves_when_it_sends_again(running):
    send(running, "CT1", hourly(40), 1)
    send(running, "CT2", hourly(42), 2)
    send(running, "NEW", hourly(41)[-5:], 3)
    feeds.watch(running, START + timedelta(days=39))
    assert feeds.alarms(running.store) == ()
    before = meta.list_version(running.store)
    for hours in (0, 1, 2):
        feeds.watch(running, START + timedelta(days=42) + hours * HOUR)
    assert meta.list_version(running.store) == before + 1  # the page is not refreshed for nothing
    (words,) = feeds.alarms(running.store)
    assert words.startswith("CT1 has sent no study since 10 Apr 20:00, longer than its own pattern of 40 days allows")
    assert "once in 30 days" in words
    send(running, "CT1", [START + timedelta(days=42)], 4)
    feeds.watch(running, START + timedelta(days=42) + 3 * HOUR)
    assert feeds.alarms(running.store) == ()


def test_check_says_of_each_sender_how_it_stands(running):
    send(running, "CT1", hourly(40), 1)
    send(running, "NEW", hourly(2), 2)
    lines = dict(feeds.lines(running.store, running.settings, START + timedelta(days=40)))
    ct1 = next(what for what in lines if what.startswith("feed CT1"))
    assert ct1.startswith("feed CT1: last study 10 Apr 20:00; may be silent until 11 Apr ")
    assert lines[ct1] == ""
    assert lines["feed NEW: last study 03 Mar 20:00; not enough history: 11 studies in 2 days"] == ""
    assert lines["reconciliation: off; no archive is asked which head CTs never came"] == ""
    later = dict(feeds.lines(running.store, running.settings, START + timedelta(days=43)))
    assert "does it still forward?" in later[ct1]
    gone = dict(feeds.lines(running.store, running.settings, START + timedelta(days=80)))
    assert gone["feed CT1: last study 10 Apr 20:00; silent for longer than any alarm lasts"] == ""


MISSING = {
    "archive": "pacs",
    "first": "2026-11-20",
    "last": "2026-11-20",
    "tried_at": "2026-11-21T03:00:00+00:00",
    "problem": "",
    "studies": 12,
    "missing": [{"study_instance_uid": f"1.9.{k}", "station": "CT2" if k < 5 else "CT1"} for k in range(7)],
}


def said(running: Running, **more) -> None:
    with running.store.write() as c:
        feed_store.say(c, feed_store.RECONCILIATION, MISSING | more)


def test_head_cts_that_never_came_are_counted_by_station_until_they_come(running):
    said(running)
    assert feeds.alarms(running.store) == (
        "7 head CTs of 20 Nov in pacs never reached this node: from CT2 (5), CT1 (2).",
    )
    header = InstanceHeader("1.9.0.1", CT, "1.9.0", "1.9.0.2")
    instances.record_batch(
        running.store, [ReceivedInstance("a" * 64, 1, "1.9.0.1", CT, "1.2.840.10008.1.2.1", START, header)]
    )
    (words,) = feeds.alarms(running.store)
    assert words.startswith("6 head CTs")
    assert words.endswith("from CT2 (4), CT1 (2).")


def test_names_of_stations_cannot_break_the_sentence(running):
    said(
        running,
        missing=[{"study_instance_uid": "1.9.1", "station": "\u202eCT\n<b>" + "x" * 500}, MISSING["missing"][6]],
    )
    (words,) = feeds.alarms(running.store)
    assert "\n" not in words
    assert "\u202e" not in words
    assert len(words) < 200
    said(running, missing=[{"study_instance_uid": "1.9.1", "station": ""}])
    assert feeds.alarms(running.store) == (
        "1 head CT of 20 Nov in pacs never reached this node: from an unnamed station (1).",
    )


def test_pages_and_api_show_alarms_without_uids_and_administrators_get_the_uids(running):
    said(running, missing=[{"study_instance_uid": "1.9.1", "station": "CT <2>"}], problem="no answer")
    client = page_of(running)
    page = client.get("/").text
    assert "<strong>Studies may be missing.</strong> 1 head CT of 20 Nov in pacs never reached" in page
    assert "CT &lt;2&gt; (1)" in page
    assert "CT <2>" not in page
    assert "1.9.1" not in page
    assert "pacs could not be asked which head CTs never reached this node: no answer." in page
    assert "Not re-ordered everywhere" not in page
    assert len(client.get("/health").json()["feed_alarms"]) == 2
    assert len(client.get("/api/worklist").json()["feed_alarms"]) == 2
    found = client.get("/api/feeds").json()
    assert found["reconciliation"]["missing"] == [{"study_instance_uid": "1.9.1", "station": "CT <2>"}]
    assert found["one_false_alarm_in_days"] == 30


def test_readers_do_not_get_the_uids(running):
    assert page_of(running, Role.READER).get("/api/feeds").status_code == 403


def test_audit_chain_holds_and_no_name_is_in_what_is_said(running):
    send(running, "CT1", hourly(40), 1)
    feeds.watch(running, START + timedelta(days=43))
    assert "SECRET" not in "".join(feeds.alarms(running.store))
    assert audit.first_broken(running.store) is None
