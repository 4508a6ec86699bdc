"""A made-up study with a bleed through a whole node and out of it again; and what counts as a failure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from threading import Event

import pytest
from sqlalchemy import func, select

from tests.store.test_operations import ours
from tests.support.deciding import Site
from tests.support.node import node
from tests.support.pacs import free_port
from tests.support.store_place import database_url, keep_built
from tests.support.waiting import wait_until
from triage_node.blobs.opened import open_blobs
from triage_node.domain.delivery import BuiltObject, ObjectKind, OutboxState
from triage_node.domain.study import StudyEvent
from triage_node.processes.operations import beating, sink
from triage_node.processes.operations.names import SINK
from triage_node.processes.running import Running, now
from triage_node.store import (
    audit,
    instances,
    meta,
    operations_drift,
    operations_synthetic,
    outbox,
    results,
    schema,
    studies,
)
from triage_node.store.engine import open_store

UID = "2.25.77"
KINDS = {ObjectKind.FINDINGS_SR: b"report", ObjectKind.SEG: b"segmentation"}


@pytest.mark.timeout(600)
def test_heartbeat_goes_the_whole_way_and_leaves_nothing_but_its_line(tmp_path):
    away = {"host": "127.0.0.1", "port": free_port()}
    with node(
        tmp_path,
        archives=[{"name": "PACS", "ae_title": "PACS", **away}],
        hl7_peers=[{"name": "RIS", **away}],
        operations={"heartbeat_min": 0.1},
        # a site that takes nothing but its own scanner and analyses nothing else is watched like any other
        listener={"senders": [{"ae_title": "CT1", "addresses": ["10.1.1.1"]}, {"ae_title": "PROBE"}]},
        intake=[{"name": "nothing else", "out_of_scope": True}],
    ) as running:
        wait_until(
            lambda: running.get("/api/operations")["heartbeat"]["last_success_at"], 480, "a heartbeat to come through"
        )
        store = open_store(database_url(running.data))
        done = wait_until(
            lambda: [r for r in operations_synthetic.last(store, 9) if r.erased_at], 60, "it to be erased"
        )
        assert running.rows() == []
    run = done[-1]
    uid = run.study_instance_uid
    assert (run.passed, run.spoiled_at) == (True, None), run.words
    assert "2 objects arrived byte for byte" in run.words
    assert run.probability > run.raise_probability
    assert rows_about(store, uid) == {"synthetic_study": 1, "audit": len(audit.entries(store, uid))}
    said = [(actor, action) for _, actor, action in audit.entries(store, uid)]
    assert said[0] == ("heartbeat", "heartbeat sent")
    assert said[-1] == ("heartbeat", "heartbeat passed")
    with store.read() as c:
        for table in (schema.worklist_row, schema.result, schema.message, schema.worklist_move, schema.drift_sample):
            assert c.execute(select(func.count()).select_from(table)).scalar_one() == 0, table.name
        sent_to = set(
            c.execute(select(schema.audit.c.new).where(schema.audit.c.action == "object delivered")).scalars()
        )
    assert sent_to
    assert all(words.endswith(f"to {SINK}") for words in sent_to)
    assert meta.list_version(store) == 0
    # what lies on the disk is that of the next one, if it is on its way already
    kept = {d for r in operations_synthetic.unfinished(store) for d in digests(store, r.study_instance_uid)}
    there = {p.stem for p in running.data.rglob("blobs/??/*.dcm")}
    assert there <= kept
    store.close()


def rows_about(store, uid: str) -> dict[str, int]:
    """Table -> rows in which a study is named."""
    found = {}
    with store.read() as c:
        for table in schema.metadata.sorted_tables:
            column = table.c.get("study_instance_uid", table.c.get("subject"))
            if column is not None and (n := c.execute(select(func.count()).where(column == uid)).scalar_one()):
                found[table.name] = n
    return found


def digests(store, uid: str) -> set[str]:
    files = operations_synthetic.files_of(store, uid)
    return {*files.received, *files.built}


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.store.close()


def announced(site: Site, before: timedelta = timedelta(0)) -> beating.Heartbeat:
    """A heartbeat that was sent some time ago and is looked at by the scheduler."""
    operations_synthetic.announce(site.store, UID, "TRIAGE-BEAT", "127.0.0.1", now() - before)
    return beating.Heartbeat(Running("scheduler", site.settings, site.store, Event()))


def come_through(site: Site, probability: float = 0.98, kinds=KINDS) -> None:
    """What ingest, analysis and delivery do with it."""
    store = site.store
    instances.record_batch(store, [replace(ours(1), sha256="c" * 64)])
    with store.write() as c:
        studies.close(c, UID, "released", False, now(), 1)
        studies.advance(c, UID, StudyEvent.CLAIMED, now())
        studies.advance(c, UID, StudyEvent.REPORTED, now())
        built = [
            BuiltObject(f"2.25.{k}", "1.2", "2.25.9", UID, kind, 1, hashlib.sha256(data).hexdigest(), len(data))
            for k, (kind, data) in enumerate(kinds.items())
        ]
        results.save_objects(c, built, now())
        outbox.put(c, SINK, built, now())
    for row in outbox.claim_batch(store, SINK, "d1", now(), timedelta(seconds=9), 9):
        outbox.record_outcome(store, row.id, OutboxState.DELIVERED, now())
    operations_synthetic.decided(store, UID, probability, 0.5, now())
    blobs = open_blobs(site.settings.store)
    sink.folder(site.settings).mkdir(parents=True)
    for o in built:
        there = sink.path_of(site.settings, o.sop_instance_uid)
        there.write_bytes(kinds[o.kind])
        blobs.publish(there)
        keep_built(site.settings.store, kinds[o.kind])


def concluded(site: Site) -> operations_synthetic.Run:
    (run,) = operations_synthetic.last(site.store, 9)
    return run


def test_run_that_arrived_as_built_passes_and_is_erased_at_the_next_look(site):
    beats = announced(site)
    come_through(site)
    beats.tick()
    assert (concluded(site).passed, concluded(site).erased_at) == (True, None)
    beats.tick()
    assert concluded(site).erased_at is not None
    assert studies.get(site.store, UID) is None
    assert list(sink.folder(site.settings).iterdir()) == []
    assert list(open_blobs(site.settings.store).built.digests()) == []
    assert operations_drift.scanners(site.store, now() - timedelta(days=1)) == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"probability": 0.31}, "the bleed was not flagged: probability 0.31, raised from 0.50"),
        ({"kinds": {ObjectKind.FINDINGS_SR: b"report"}}, "flagged, but not sent: seg"),
        ({"altered": True}, "flagged, but not in the folder as built: findings_sr"),
    ],
)
def test_run_that_came_out_otherwise_fails_and_says_how(site, what, words):
    beats = announced(site)
    altered = what.pop("altered", False)
    come_through(site, **what)
    if altered:
        sink.path_of(site.settings, "2.25.0").write_bytes(b"rePort")
    beats.tick()
    assert (concluded(site).passed, concluded(site).words) == (False, words)


def test_run_that_is_declined_fails_with_the_reason(site):
    beats = announced(site)
    instances.record_batch(site.store, [ours(1)])
    with site.store.write() as c:
        studies.close(c, UID, "released", False, now(), 1)
        studies.advance(c, UID, StudyEvent.CLAIMED, now())
        studies.advance(c, UID, StudyEvent.DECLINED, now(), "no head")
    beats.tick()
    assert (concluded(site).passed, concluded(site).words) == (False, "it ended as declined: no head")


def test_run_of_which_nothing_arrives_fails_in_time_and_the_next_one_may_go(site):
    beats = announced(site, before=beating.PATIENCE + timedelta(minutes=1))
    beats.tick()
    assert concluded(site).words == "after 10 min nothing of it was received"
    beats.tick()
    assert operations_synthetic.unfinished(site.store) == []


def test_study_that_others_sent_images_of_is_never_erased_by_the_scheduler(site):
    beats = announced(site, before=beating.PATIENCE)
    instances.record_batch(site.store, [ours(1), replace(ours(2), calling_ae_title="CT1", peer_address="10.1.1.1")])
    beats.tick()
    beats.tick()
    assert not operations_synthetic.is_synthetic(site.store, UID)
    assert studies.get(site.store, UID).instances == 2
