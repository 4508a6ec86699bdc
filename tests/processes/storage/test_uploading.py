"""What a host received goes up whatever happens in between; its spool is not touched before that is confirmed."""

from __future__ import annotations

import hashlib

import pytest

from tests.support.waiting import wait_until
from triage_node.blobs.opened import open_blobs
from triage_node.instances.archive import Archive
from triage_node.processes.operations.names import IMAGE_STORE
from triage_node.processes.storage import uploading
from triage_node.store import instances, operations, uploads
from triage_node.store.uploads import Upload


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(uploading, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(uploading, "LONGEST_PAUSE_S", 0.05)


def spool_of(hosts, host="receiving"):
    return Archive(hosts.settings(host).store.data_folder)


def failure(hosts):
    record = operations.peers(hosts.store).get(IMAGE_STORE)
    return record.last_failure if record is not None else ""


def test_upload_goes_on_where_a_process_that_was_killed_stopped(mounted, phantoms):
    held = {i.sha256 for i in mounted.receive("receiving", phantoms[0].files)}
    first = sorted(held)[:7]
    uploads.make_due(mounted.store, held)
    here = open_blobs(mounted.settings("receiving").store).received
    for digest in first:
        here.upload(digest)
    uploads.record(mounted.store, first[:5], Upload.DONE)  # two were confirmed and not recorded when it was killed
    mounted.upload("receiving")
    assert set(open_blobs(mounted.settings("other").store).received.digests()) == held
    assert set(spool_of(mounted).digests()) == held
    assert all(spool_of(mounted).verify(d) for d in held)


def test_what_comes_while_the_store_is_away_goes_up_when_it_is_back(mounted, phantoms):
    away = mounted.mount.with_name("away")
    mounted.mount.rename(away)
    held = mounted.receive("receiving", phantoms[0].files[:6])
    with mounted.uploading("receiving") as uploader:
        wait_until(lambda: "mounted" in failure(mounted), 60, "the operations page knows")
        uploader.record_batch(held)
        assert uploads.on_the_way(mounted.store).count == 6
        away.rename(mounted.mount)
        wait_until(lambda: not uploads.on_the_way(mounted.store).count, 60, "everything has gone up")
        wait_until(lambda: not failure(mounted), 60, "and that is known too")
    assert len(list(spool_of(mounted).digests())) == 6


def test_upload_that_the_store_spoils_is_not_confirmed(mounted, phantoms, monkeypatch):
    mounted.receive("receiving", phantoms[0].files[:2])
    settings = mounted.settings("receiving")
    store = open_blobs(settings.store).received._store  # type: ignore[attr-defined]
    whole = store.put
    monkeypatch.setattr(store, "put", lambda key, source: whole(key, source.read_bytes()[:-1]))
    with mounted.uploading("receiving"):
        wait_until(lambda: "that are not the" in failure(mounted), 60, "it is told")
        assert uploads.safe(mounted.store, spool_of(mounted).digests()) == set()
        monkeypatch.setattr(store, "put", whole)
        wait_until(lambda: not uploads.on_the_way(mounted.store).count, 60, "everything has gone up")


def test_slice_whose_spool_copy_changed_is_quarantined_and_holds_up_nobody(mounted, phantoms):
    held = mounted.receive("receiving", phantoms[0].files[:4])
    changed, gone = held[0].sha256, held[1].sha256
    uploads.make_due(mounted.store, [i.sha256 for i in held])
    spool_of(mounted).path(changed).write_bytes(b"something else")
    with mounted.uploading("receiving") as uploader:
        wait_until(lambda: len(instances.quarantined(mounted.store)) == 1, 60, "the one that changed is seen")
        wait_until(lambda: not uploads.on_the_way(mounted.store).count, 60, "the others have gone up")
        wait_until(lambda: not uploader._waiting, 60, "nothing waits")  # noqa: SLF001
    (_, digest, reason) = instances.quarantined(mounted.store)[0]
    assert digest == changed
    assert reason.startswith("lost before it was uploaded")
    shared = set(open_blobs(mounted.settings("other").store).received.digests())
    assert shared == {i.sha256 for i in held} - {changed}
    assert gone in shared


def test_row_that_was_erased_during_its_upload_leaves_nothing_behind(mounted, phantoms, monkeypatch):
    """As a heartbeat does, which is erased after its way."""
    held = mounted.receive("receiving", phantoms[0].files[:1])
    monkeypatch.setattr(uploads, "due", lambda store, digests: set(digests))
    digest = hashlib.sha256(b"erased").hexdigest()
    with mounted.uploading("receiving") as uploader:
        spool_of(mounted).path(digest).write_bytes(b"erased")
        uploader._add([digest])  # noqa: SLF001
        wait_until(lambda: not spool_of(mounted).path(digest).exists(), 60, "it is removed here and there")
    assert set(open_blobs(mounted.settings("other").store).received.digests()) == {held[0].sha256}
