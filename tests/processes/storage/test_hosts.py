"""A study is received on one host, read on another, sent from a third and looked at on a fourth; or all of it on one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.support.analysed import analysis, close
from triage_node.blobs import shared
from triage_node.blobs.opened import open_blobs
from triage_node.cli import check
from triage_node.delivery.retry import Outcome, Verdict
from triage_node.domain.delivery import OutboxState
from triage_node.domain.priority import OrderClass, ReadingState, WorklistRow
from triage_node.domain.study import StudyState
from triage_node.instances.archive import Archive
from triage_node.processes import analysis as role_of_analysis
from triage_node.processes import housekeeping, identity
from triage_node.processes.console.viewer import viewer_deps
from triage_node.processes.delivery import Queue
from triage_node.processes.operations import standing
from triage_node.processes.running import now
from triage_node.processes.study_details import object_file, study_details
from triage_node.processes.trials.stored import why_not
from triage_node.processes.wiring import built_folder
from triage_node.store import instances, outbox, results, studies, uploads, worklist
from triage_node.store.schema import study as study_table


def arrive(hosts, role, sent, host="receiving"):
    """A study arrives at a host and is closed. Returns its UID."""
    made = hosts.receive(host, sent.files)
    uid = made[0].header.study_instance_uid
    with hosts.store.write() as c:
        worklist.add_row(c, WorklistRow(uid, OrderClass.ROUTINE, now() - timedelta(seconds=5)), "acquired now")
    close(role, uid)
    return uid


def state(hosts, uid):
    study = studies.get(hosts.store, uid)
    return study.state, study.tries


def problems(hosts):
    return [p.what for p in standing.standing(hosts.store, hosts.settings("looking"), now()).problems]


@pytest.fixture
def reading(hosts):
    with analysis(hosts.settings("reading")) as role:
        yield role


def test_study_is_read_sent_shown_and_removed_from_other_hosts(hosts, reading, phantoms, monkeypatch):
    monkeypatch.setattr(shared, "LOOKED_AT_S", 0.0)  # a page asks at most once a second whether a file is still there
    uid = arrive(hosts, reading, phantoms[0])
    hosts.upload("receiving")
    assert reading.work()
    assert state(hosts, uid) == (StudyState.REPORTED, 0)

    got = {}

    def send(archive, files, stopping):
        got.update({f.sop_instance_uid: f.path.read_bytes() for f in files})
        return {f.sop_instance_uid: Outcome(Verdict.STORED) for f in files}

    sending = hosts.running("sending", "delivery")
    queue = Queue(sending, sending.settings.archives[0], send)
    while queue.send_some():
        continue
    rows = outbox.of_study(hosts.store, uid)
    assert {r.state for r in rows} == {OutboxState.DELIVERED}
    assert {u: hashlib.sha256(data).hexdigest() for u, data in got.items()} == {
        r.sop_instance_uid: r.sha256 for r in rows
    }

    looking = hosts.settings("looking")
    blobs = open_blobs(looking.store)
    assert viewer_deps(hosts.store, blobs, built_folder(looking)).shown(uid).frame.slices == 24
    assert study_details(hosts.store, blobs.built, uid, shows_names=True).sr_text
    built = results.objects_of(hosts.store, uid)
    assert all(object_file(hosts.store, blobs.built, o.sop_instance_uid).read_bytes() for o in built)
    held = instances.of_study(hosts.store, uid)
    assert why_not(looking, StudyState.DELIVERED, held) == "", "it may be read again"

    corrected = replace(studies.get(hosts.store, uid).identity, patient_id="CORRECTED")
    told = identity.correct(hosts.store, blobs.received, uid, corrected, "HL7 HIS")
    assert "the images are gone" not in told
    assert reading.work() is False, "it is opened again, and arrives"
    close(reading, uid)
    assert reading.work()
    assert results.latest(hosts.store, uid).revision == 2

    with hosts.store.write() as c:
        worklist.set_reading_state(c, uid, ReadingState.READ, now(), "Dr. Lee")
        values = {"state": StudyState.DELIVERED.value, "last_instance_at": now() - timedelta(days=30)}
        c.execute(update(study_table).where(study_table.c.study_instance_uid == uid).values(**values))
    housekeeping.remove_old_sources(hosts.running("cleaning", "scheduler"))
    assert list(blobs.received.digests()) == []
    assert viewer_deps(hosts.store, blobs, built_folder(looking)).shown(uid) is None
    assert "The images are gone" in why_not(looking, StudyState.DELIVERED, held)


def test_study_whose_slices_have_not_come_up_waits_and_no_try_is_counted(mounted, phantoms):
    with analysis(mounted.settings("reading")) as role:
        uid = arrive(mounted, role, phantoms[1])
        uploads.make_due(mounted.store, Archive(mounted.settings("receiving").store.data_folder).digests())
        assert role.work()
        assert state(mounted, uid) == (StudyState.COMPLETE, 0)
        assert role.work() is False, "nobody tries before they are there"
        mounted.upload("receiving")
        assert role.work()
        assert state(mounted, uid) == (StudyState.REPORTED, 0)


def test_bleed_is_flagged_while_the_store_is_away_and_reported_when_it_is_back(mounted, phantoms, monkeypatch):
    monkeypatch.setattr(role_of_analysis, "ASK_BLOBS_S", 0.0)
    away = mounted.mount.with_name("away")
    with analysis(mounted.settings("receiving")) as role:
        uid = arrive(mounted, role, phantoms[2])
        uploads.make_due(mounted.store, Archive(mounted.settings("receiving").store.data_folder).digests())
        mounted.mount.rename(away)
        assert role.work()
        assert state(mounted, uid) == (StudyState.COMPLETE, 0)
        (row,) = [r.row for r in worklist.rows(mounted.store)]
        assert row.flag is not None
        assert row.status_words == "objects wait for the store of images"
        assert results.latest(mounted.store, uid).flagged
        assert outbox.of_study(mounted.store, uid) == []
        assert role.work() is False
        assert any("image store does not take or give" in p and "mounted" in p for p in problems(mounted))
        told = dict(check._state(mounted.settings("looking")))
        assert "mounted" in next(wrong for what, wrong in told.items() if what.startswith("image store"))
        assert told["images on their way to the image store: 24"] is not None

        away.rename(mounted.mount)
        mounted.upload("receiving")
        assert role.work()
        assert state(mounted, uid) == (StudyState.REPORTED, 0)
        assert results.latest(mounted.store, uid).revision == 1, "nothing was found twice"
        assert outbox.of_study(mounted.store, uid)
        assert not any("image store" in p for p in problems(mounted))


def test_study_does_not_end_while_its_images_lie_on_one_host_only(mounted, phantoms, monkeypatch):
    monkeypatch.setattr(role_of_analysis, "UPLOADS_S", 0.0)
    with analysis(mounted.settings("receiving")) as role:
        uid = arrive(mounted, role, phantoms[0])
        uploads.make_due(mounted.store, Archive(mounted.settings("receiving").store.data_folder).digests())
        assert role.work()
        assert state(mounted, uid) == (StudyState.COMPLETE, 0)
        assert results.latest(mounted.store, uid).flagged, "the bleed is on the list meanwhile"
        assert outbox.of_study(mounted.store, uid) == []


def test_object_that_is_gone_is_parked_and_one_that_is_away_is_tried_again(mounted, phantoms):
    with analysis(mounted.settings("reading")) as role:
        uid = arrive(mounted, role, phantoms[0])
        mounted.upload("receiving")
        assert role.work()
    sending = mounted.running("sending", "delivery")
    queue = Queue(sending, sending.settings.archives[0], lambda *_: pytest.fail("there is nothing to send"))
    away = mounted.mount.with_name("away")
    mounted.mount.rename(away)
    queue.send_some()
    tried = [r for r in outbox.of_study(mounted.store, uid) if r.tries]
    assert tried
    assert all(r.state is OutboxState.PENDING and "mounted" in r.reason for r in tried)
    away.rename(mounted.mount)
    for file in (mounted.mount / "built").rglob("*.dcm"):
        file.unlink()
    later = Queue(sending, sending.settings.archives[0], lambda *_: pytest.fail("there is nothing to send"))
    with mounted.store.write() as c:
        c.execute(update(outbox.outbox).values(not_before=now() - timedelta(minutes=1), lease_until=None))
    later.send_some()
    assert {r.state for r in outbox.of_study(mounted.store, uid) if r.tries} >= {OutboxState.PARKED}
