"""The demo's archive: keeps what it is sent, answers storage commitment on a new association, keeps no odd names."""

import socket
import threading
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    CTImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from tests.support.waiting import wait_until
from triage_node.simulation.archive import NO_SUCH_OBJECT, Archive


class Node:
    """Listens for storage commitment results."""

    def __init__(self) -> None:
        self.reports: list[Dataset] = []
        self.lock = threading.Lock()
        ae = AE(ae_title="TRIAGE")
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        self.server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.heard)]
        )
        self.address = ("TRIAGE", "127.0.0.1", self.server.server_address[1])

    def heard(self, event: evt.Event) -> tuple[int, None]:
        with self.lock:
            self.reports.append(event.event_information)
        return 0x0000, None


@pytest.fixture
def node():
    node = Node()
    yield node
    node.server.shutdown()


@pytest.fixture
def archive(node, tmp_path):
    archive = Archive(tmp_path / "archive", node=node.address)
    yield archive
    archive.close()


def instance(study: str = "2.25.1", sop: str = "") -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID = CTImageStorage, sop or generate_uid(), study
    ds.PatientName = "SIMULATED^ARCHIVE"
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


@pytest.fixture
def association(archive):
    ae = AE(ae_title="TEST")
    contexts = [
        build_context(Verification),
        build_context(CTImageStorage, ExplicitVRLittleEndian),
        build_context(StorageCommitmentPushModel),
    ]
    association = ae.associate("127.0.0.1", archive.port, contexts)
    assert association.is_established
    yield association
    association.release()


def test_an_echo_is_answered_and_an_instance_is_kept_under_its_study(association, tmp_path):
    ds = instance()
    assert association.send_c_echo().Status == 0x0000
    assert association.send_c_store(ds).Status == 0x0000
    [path] = (tmp_path / "archive").rglob("*.dcm")
    assert path == tmp_path / "archive" / "2.25.1" / f"{ds.SOPInstanceUID}.dcm"
    assert pydicom.dcmread(path).PatientName == "SIMULATED^ARCHIVE"


@pytest.mark.parametrize("study", ["../../evil", "", "2.25.x"])
def test_a_study_uid_that_is_none_is_refused_and_leaves_no_file(association, tmp_path, study):
    ds = instance()
    ds.add_new("StudyInstanceUID", "LO", study)
    ds[0x0020, 0x000D].VR = "UI"
    assert association.send_c_store(ds).Status == 0xC000
    assert [p for p in Path(tmp_path).rglob("*") if p.is_file()] == []


def test_commitment_says_what_is_kept_and_what_is_not(association, node):
    kept, unknown = instance(), generate_uid()
    association.send_c_store(kept)
    asked = Dataset()
    asked.TransactionUID = generate_uid()
    asked.ReferencedSOPSequence = [Dataset(), Dataset()]
    for item, uid in zip(asked.ReferencedSOPSequence, (kept.SOPInstanceUID, unknown), strict=True):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
    status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    assert status.Status == 0x0000
    wait_until(lambda: node.reports, 10, "the storage commitment result")
    [report] = node.reports
    assert report.TransactionUID == asked.TransactionUID
    assert [i.ReferencedSOPInstanceUID for i in report.ReferencedSOPSequence] == [kept.SOPInstanceUID]
    [failed] = report.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (unknown, NO_SUCH_OBJECT)


def test_a_commitment_request_that_names_nothing_is_refused(association):
    asked = Dataset()
    asked.TransactionUID = generate_uid()
    status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    assert status.Status == 0x0110


def test_connections_that_say_nothing_leave_room_for_the_next_association(archive, association):
    probes = [socket.create_connection(("127.0.0.1", archive.port)) for _ in range(30)]
    assert association.send_c_echo().Status == 0x0000
    late = AE(ae_title="LATE").associate("127.0.0.1", archive.port, [build_context(Verification)])
    assert late.is_established
    late.release()
    for probe in probes:
        probe.close()
