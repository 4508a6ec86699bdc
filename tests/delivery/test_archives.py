"""The delivery role against real archives: everything arrives, once, whatever happens in between."""

from __future__ import annotations

import hashlib
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.uid import ImplicitVRLittleEndian

from tests.delivery.files import STUDY, data_set_of, write
from tests.delivery.peers import receiver
from tests.delivery.roles import Site
from tests.support.pacs import Archive, free_port, orthanc
from tests.support.waiting import wait_until
from triage_node.blobs.opened import open_blobs
from triage_node.domain.delivery import ObjectKind, OutboxState
from triage_node.domain.study import Moment
from triage_node.processes.delivery import Queue
from triage_node.processes.running import now
from triage_node.store import outbox, studies

LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"


def to(port: int, name: str = "pacs", ae_title: str = "ORTHANC", **more):
    return {"name": name, "ae_title": ae_title, "host": "127.0.0.1", "port": port, "clinical": False} | more


def digests(archive: Archive) -> dict[str, str]:
    """SOP Instance UID -> digest of the data set that the archive keeps."""
    found = {}
    for uid, orthanc_id in archive.instances().items():
        path = Path(f"/tmp/triage-{orthanc_id}.dcm")
        path.write_bytes(archive.file(orthanc_id))
        found[uid] = hashlib.sha256(data_set_of(path)).hexdigest()
        path.unlink()
    return found


def test_study_is_delivered_when_orthanc_holds_every_object_byte_for_byte(tmp_path):
    objects = [write(tmp_path, n) for n in range(20)]
    with orthanc(tmp_path / "orthanc") as archive:
        site = Site(tmp_path / "site", [to(archive.dicom_port)])
        site.queue(objects)
        with site.role("delivery"):
            wait_until(site.is_delivered, 20, "the study is delivered")
        assert digests(archive) == {
            o.sop_instance_uid: hashlib.sha256(data_set_of(o.path)).hexdigest() for o in objects
        }
        assert [s["0020000E"]["Value"] for s in archive.series(STUDY)] == [["2.25.4712"]]
    assert site.states() == ["delivered"] * 20
    sent = [e for e in studies.timeline_of(site.store, STUDY) if e.moment == Moment.SENT]
    assert len(sent) == 20
    assert sent[0].detail == "heatmap_sc to pacs"
    assert "Marked" not in site.log()


def test_commitment_that_orthanc_answers_on_a_new_association_makes_it_delivered(tmp_path):
    """Orthanc tells our listener, which is another process; the two know each other through the store only."""
    objects = [write(tmp_path, n) for n in range(3)]
    port = free_port()
    site = Site(tmp_path / "site", [to(port, storage_commitment=True)])
    nodes = {"node": ("TRIAGE", "127.0.0.1", site.listener_port)}
    with (
        orthanc(tmp_path / "orthanc", dicom_port=port, modalities=nodes) as archive,
        site.role("ingest"),
        site.role("delivery"),
    ):
        site.queue(objects)
        wait_until(site.is_delivered, 30, "the archive committed")
        assert archive.count() == 3
    assert site.states() == ["committed"] * 3
    assert len({r.transaction_uid for r in site.rows()}) == 1
    moments = [e.moment for e in studies.timeline_of(site.store, STUDY)]
    assert moments.count(Moment.COMMITTED) == 3


def test_archive_that_does_not_commit_is_sent_the_object_again(tmp_path):
    """Removed at the archive between C-STORE and commitment: the node finds out and mends it."""
    objects = [write(tmp_path, 1)]
    port = free_port()
    site = Site(tmp_path / "site", [to(port, storage_commitment=True)])
    nodes = {"node": ("TRIAGE", "127.0.0.1", site.listener_port)}
    site.queue(objects)
    (row,) = outbox.claim_batch(site.store, "pacs", "test", now(), timedelta(seconds=1), 1)
    outbox.record_outcome(site.store, row.id, OutboxState.SENT, now())
    with (
        orthanc(tmp_path / "orthanc", dicom_port=port, modalities=nodes) as archive,
        site.role("ingest"),
    ):
        queue = Queue(site.running(), site.settings.archives[0])
        queue._unasked = [row]
        queue.ask()
        wait_until(lambda: site.states() == ["pending"], 20, "Orthanc says that it does not have it")
        assert site.rows()[0].reason == "not committed, reason 0x0112"
        with site.role("delivery"):
            wait_until(site.is_delivered, 30, "sent again and committed")
        assert list(archive.instances()) == [objects[0].sop_instance_uid]


def test_archive_without_commitment_is_delivered_at_its_word(tmp_path):
    with receiver() as pacs:
        site = Site(tmp_path / "site", [to(pacs.port, ae_title="PACS", storage_commitment=True)])
        site.queue([write(tmp_path, 1)])
        with site.role("delivery"):
            wait_until(site.is_delivered, 20, "the study is delivered")
    assert site.rows()[0].reason == "no presentation context accepted"


def test_archive_that_was_down_gets_everything_once_when_it_is_up(tmp_path):
    """And the archive beside it waits for nothing."""
    objects = [write(tmp_path, n) for n in range(60)]
    port = free_port()
    with receiver(maximum_associations=50) as other:
        site = Site(tmp_path / "site", [to(port), to(other.port, "other", "PACS")])
        site.queue(objects, ("pacs", "other"))
        with site.role("delivery") as role:
            wait_until(lambda: site.states().count("delivered") == 60, 20, "the other archive has everything")
            wait_until(lambda: any(r.tries > 1 for r in site.rows()), 20, "the absent archive was tried twice")
            assert not site.is_delivered()
            role.send_signal(signal.SIGTERM)
            assert role.wait(10) == 0
        with orthanc(tmp_path / "orthanc", dicom_port=port) as archive, site.role("delivery"):
            wait_until(site.is_delivered, 40, "both archives have everything")
            assert archive.count() == 60
            assert set(archive.instances()) == {o.sop_instance_uid for o in objects}
    assert set(site.states()) == {"delivered"}
    assert {len(data) for data in other.received.values()} == {1}


def test_refused_class_is_parked_and_the_rest_arrives(tmp_path):
    """Orthanc 1.10.1 does not accept LABELMAP (STANDARDS.md 9.2)."""
    objects = [write(tmp_path, 1), write(tmp_path, 2, LABELMAP), write(tmp_path, 3)]
    with orthanc(tmp_path / "orthanc") as archive:
        site = Site(tmp_path / "site", [to(archive.dicom_port)])
        site.queue(objects)
        with site.role("delivery"):
            wait_until(site.is_delivered, 20, "all rows are final")
        assert set(archive.instances()) == {objects[0].sop_instance_uid, objects[2].sop_instance_uid}
    assert site.states() == ["delivered", "parked", "delivered"]
    assert outbox.parked(site.store)[0].reason == f"SOP class {LABELMAP} not accepted"
    assert "ERROR" in site.log()
    assert "state=parked" in site.log()


def test_report_follows_what_it_refers_to(tmp_path):
    picture, report = write(tmp_path, 1), write(tmp_path, 2)
    order: list[str] = []
    with receiver(status=lambda e: order.append(str(e.request.AffectedSOPInstanceUID)) or 0) as pacs:
        site = Site(tmp_path / "site", [to(pacs.port, ae_title="PACS")])
        site.queue([report], kind=ObjectKind.FINDINGS_SR, refers_to=(picture.sop_instance_uid,), reported=False)
        site.queue([picture])
        with site.role("delivery"):
            wait_until(site.is_delivered, 20, "the study is delivered")
    assert order == [picture.sop_instance_uid, report.sop_instance_uid]


@pytest.mark.slow
def test_role_that_is_killed_in_mid_batch_loses_nothing(tmp_path):
    objects = [write(tmp_path, n, transfer_syntax_uid=ImplicitVRLittleEndian) for n in range(400)]
    with orthanc(tmp_path / "orthanc", OverwriteInstances=False) as archive:
        site = Site(tmp_path / "site", [to(archive.dicom_port, batch=30)])
        site.queue(objects)
        with site.role("delivery") as role:
            wait_until(lambda: archive.count() > 0, 20, "the first has arrived")
            role.kill()
            role.wait()
        assert not site.is_delivered()
        with site.role("delivery"):
            wait_until(site.is_delivered, 60, "the rest has arrived")
        assert archive.count() == 400
        assert set(archive.instances()) == {o.sop_instance_uid for o in objects}


def test_simulated_study_is_sent_to_no_other_machine(tmp_path):
    """The gate was open when it was queued, then somebody changed the address in the configuration."""
    site = Site(tmp_path / "site", [to(104, host="192.0.2.1")])
    site.queue([write(tmp_path, 1)])
    with site.role("delivery"):
        wait_until(lambda: "gets nothing" in site.log(), 10, "the role says so")
    assert site.states() == ["pending"]
    assert site.rows()[0].tries == 0
    assert "simulated studies go to this machine only" in site.log()


def test_file_that_vanished_from_the_store_is_parked_with_an_alarm(tmp_path):
    o = write(tmp_path, 1)
    with receiver() as pacs:
        site = Site(tmp_path / "site", [to(pacs.port, ae_title="PACS")])
        site.queue([o])
        open_blobs(site.settings.store).built.remove(site.rows()[0].sha256)
        with site.role("delivery"):
            wait_until(site.is_delivered, 20, "the row is final")
    assert (site.states(), site.rows()[0].reason) == (["parked"], "our own file is gone")
