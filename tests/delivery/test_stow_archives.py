"""The delivery role against Orthanc's DICOMweb: everything arrives, byte for byte, whatever happens in between."""

from __future__ import annotations

import hashlib
import signal

import pytest
from pydicom.uid import ImplicitVRLittleEndian

from tests.delivery.files import STUDY, write
from tests.delivery.roles import Site
from tests.delivery.web_archive import web_archive
from tests.support.pacs import Archive, free_port, orthanc
from tests.support.waiting import wait_until
from triage_node.config.schema import ArchiveSettings, Settings
from triage_node.delivery.stow_rs import problem_with, send_batch
from triage_node.domain.delivery import OutboxState
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.priority import Mode
from triage_node.domain.study import Moment
from triage_node.processes.delivery import Queue
from triage_node.processes.wiring import effective_mode, is_loopback
from triage_node.store import outbox, studies


def to(http_port: int, **more):
    return {"name": "pacs", "stow_url": f"http://127.0.0.1:{http_port}/dicom-web", "clinical": False} | more


def digests(archive: Archive) -> dict[str, str]:
    """SOP Instance UID -> digest of the file that the archive keeps."""
    return {uid: hashlib.sha256(archive.file(i)).hexdigest() for uid, i in archive.instances().items()}


def of_files(objects) -> dict[str, str]:
    return {o.sop_instance_uid: hashlib.sha256(o.path.read_bytes()).hexdigest() for o in objects}


def test_study_is_delivered_when_orthanc_holds_every_file_byte_for_byte(tmp_path):
    objects = [write(tmp_path, n) for n in range(19)]
    objects.append(write(tmp_path, 19, transfer_syntax_uid=ImplicitVRLittleEndian, rows=1024))
    with orthanc(tmp_path / "orthanc") as archive:
        site = Site(tmp_path / "site", [to(archive.http_port, batch=7)])
        site.queue(objects)
        with site.role("delivery"):
            wait_until(site.is_delivered, 30, "the study is delivered")
        assert digests(archive) == of_files(objects)
        assert [s["0020000E"]["Value"] for s in archive.series(STUDY)] == [["2.25.4712"]]
    assert site.states() == ["delivered"] * 20
    sent = [e for e in studies.timeline_of(site.store, STUDY) if e.moment == Moment.SENT]
    assert len(sent) == 20
    assert "Marked" not in site.log()


def test_orthanc_that_was_away_and_a_node_that_was_killed_lose_and_double_nothing(tmp_path):
    objects = [write(tmp_path, n) for n in range(10)]
    dicom_port, http_port = free_port(), free_port()
    site = Site(tmp_path / "site", [to(http_port, batch=3)])
    site.queue(objects)
    with site.role("delivery") as role:
        wait_until(lambda: any(r.tries for r in site.rows()), 30, "a first try failed")
        role.send_signal(signal.SIGKILL)
        role.wait()
    with (
        orthanc(tmp_path / "orthanc", dicom_port=dicom_port, http_port=http_port) as archive,
        site.role("delivery"),
    ):
        wait_until(site.is_delivered, 60, "the study is delivered")
        assert digests(archive) == of_files(objects)


def test_the_second_sending_of_the_same_object_is_stored_once(tmp_path):
    o = write(tmp_path, 1)
    with orthanc(tmp_path / "orthanc") as archive:
        settings = ArchiveSettings(**to(archive.http_port))
        assert [send_batch(settings, [o])[o.sop_instance_uid].verdict.value for _ in range(2)] == ["stored", "stored"]
        assert archive.count() == 1
        assert problem_with(settings) == ""


def test_what_orthanc_cannot_read_is_told_of_that_object_alone(tmp_path):
    good, bad = write(tmp_path, 1), write(tmp_path, 2)
    whole = bad.path.read_bytes()
    bad.path.write_bytes(whole[: whole.index(b"\x08\x00\x16\x00UI")])  # the file meta, and no data set
    with orthanc(tmp_path / "orthanc") as archive:
        outcomes = send_batch(ArchiveSettings(**to(archive.http_port)), [good, bad])
        assert list(archive.instances()) == [good.sop_instance_uid]
    assert outcomes[good.sop_instance_uid].verdict.value == "stored"
    assert outcomes[bad.sop_instance_uid].verdict.value in ("again", "never")


def test_an_object_refused_for_good_is_parked_and_the_others_are_delivered(tmp_path):
    objects = [write(tmp_path, n) for n in range(3)]
    with web_archive() as archive:
        archive.reasons[objects[1].sop_instance_uid] = 0xC000
        site = Site(tmp_path / "site", [to(archive.port)])
        site.queue(objects)
        Queue(site.running(), site.settings.archives[0]).send_some()
    assert sorted(site.states()) == ["delivered", "delivered", "parked"]
    (parked,) = outbox.parked(site.store)
    assert (parked.sop_instance_uid, parked.reason) == (objects[1].sop_instance_uid, "refused with 0xC000")


def test_absent_web_archive_sees_one_attempt_and_says_why(tmp_path):
    with web_archive() as archive:
        archive.instead = lambda _: (401, b"", {})
        site = Site(tmp_path / "site", [to(archive.port, batch=2)])
        site.queue([write(tmp_path, n) for n in range(6)])
        queue = Queue(site.running(), site.settings.archives[0])
        assert [queue.send_some() for _ in range(5)] == [False] * 5
    assert len(archive.requests) == 1
    assert {r.state for r in site.rows()} == {OutboxState.PENDING}
    assert {r.reason for r in site.rows() if r.tries} == {"answered 401"}


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8042/dicom-web", True),
        ("https://localhost/dw", True),
        ("http://[::1]:80/dw", True),
        ("https://pacs.site/dw", False),
        ("http://127.0.0.1.site/dw", False),
    ],
)
def test_simulated_objects_go_to_a_web_archive_on_this_machine_only(url, local):
    archive = ArchiveSettings(name="pacs", stow_url=url)
    assert is_loopback(archive) is local
    settings = Settings(archives=(archive,), worklist={"mode": "active"})
    mode, why = effective_mode(settings, True, EvidenceLevel.E0)
    assert (mode is Mode.ACTIVE) is local
    assert ("pacs" in why) is not local


def test_a_simulation_sends_nothing_to_a_web_archive_elsewhere(tmp_path):
    site = Site(tmp_path / "site", [{"name": "pacs", "stow_url": "http://192.0.2.1/dicom-web"}])
    site.queue([write(tmp_path, 1)])
    with site.role("delivery"):
        wait_until(lambda: "pacs gets nothing" in site.log(), 30, "the role says so")
    assert [(r.state, r.tries) for r in site.rows()] == [(OutboxState.PENDING, 0)]
