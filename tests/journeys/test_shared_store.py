"""The whole node on PostgreSQL and an object store, by `database_url` and `blob_url` alone; the store is killed while a study arrives."""

import os
import signal
from pathlib import Path

import pydicom
import pytest

from tests.journeys import modality
from tests.support.node import Node, node
from tests.support.object_store import object_server
from tests.support.pacs import postgres, storescp
from tests.support.prove import record
from tests.support.waiting import wait_until
from triage_node.blobs.opened import open_blobs
from triage_node.config.load import load
from triage_node.domain.study import Moment
from triage_node.store import instances, outbox, uploads
from triage_node.store.engine import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.prove
def test_study_goes_its_whole_way_and_waits_for_a_store_that_was_killed(tmp_path: Path) -> None:
    first = modality.phantom(tmp_path, "shared", modality.now(), (modality.LARGE_BLEED,), seed=9056, size=256)
    (hit,) = modality.copies(first, tmp_path, 1)
    (tmp_path / "pg").mkdir()
    with (
        postgres(tmp_path / "pg") as database,
        object_server(tmp_path / "objects") as objects,
        storescp(tmp_path / "present") as port,
    ):
        archive = {"name": "present", "ae_title": "PRESENT", "host": "127.0.0.1", "port": port}
        shared = {
            "database_url": database,
            "blob_url": objects.place(),
            "blob_credentials_file": str(objects.credentials),
        }
        with node(tmp_path / "node", [archive], store=shared) as running:
            half = len(hit.files) // 2
            modality.send(hit.files[:half], running.dicom_port)
            objects.kill()
            modality.send(hit.files[half:], running.dicom_port)
            wait_until(
                lambda: _is_flagged(running, hit.uid), 120, "the bleed stands on the list without the object store"
            )
            os.kill(running.pids()["ingest"], signal.SIGKILL)
            assert "cannot be reached" in running.command("check").stdout
            moments = {e["moment"] for e in running.timeline(hit.uid)}
            assert str(Moment.DECIDED) in moments
            assert str(Moment.REPORTED) not in moments, "no report while its images lie on one host only"
            assert _arrived(tmp_path / "present") == []

            objects.start()
            running.wait_for_state(hit.uid, {"delivered"}, 120)
            everything = set(_arrived(tmp_path / "present"))
            assert everything == _sent(running, hit.uid)
            sent = [e for e in running.timeline(hit.uid) if e["moment"] == str(Moment.SENT)]
            assert len(sent) == len(everything), "each object was sent once"
            _check_the_store(running, hit.uid)
            record(
                "shared_store",
                "PostgreSQL and an object store that is killed while a study arrives: no slice is lost, the bleed is flagged "
                "meanwhile, every object leaves once",
                {
                    "slices": len(hit.files),
                    "objects": len(everything),
                    "killed": "object store, ingest",
                },
            )


def _check_the_store(running: Node, uid: str) -> None:
    """Every slice and every object lies there, whole; what was received stays in the spool, what was built does not."""
    settings, _ = load(running.config)
    store, blobs = open_store(settings.database_url), open_blobs(settings.store)
    try:
        assert uploads.on_the_way(store).count == 0
        held = {i.sha256 for i in instances.of_study(store, uid)}
        built = {r.sha256 for r in outbox.of_study(store, uid)}
    finally:
        store.close()
    assert set(blobs.received.digests()) == held
    assert built <= set(blobs.built.digests())
    assert {p.stem for p in (running.data / "blobs").rglob("*.dcm")} == held
    assert not list((running.data / "built" / "blobs").rglob("*.dcm"))


def _is_flagged(running: Node, uid: str) -> bool:
    return any(r["study_instance_uid"] == uid and r.get("flag") for r in running.rows())


def _sent(running: Node, uid: str) -> set[str]:
    return {o["sop_instance_uid"] for o in running.study(uid)["objects"] if o["deliveries"]}


def _arrived(folder: Path) -> list[str]:
    return [str(pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID) for f in folder.iterdir()]
