"""`triage-node send` against a real storage SCP on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, evt
from typer.testing import CliRunner

from tests.support.pacs import free_port
from triage_node.cli import send
from triage_node.cli.main import app
from triage_node.domain.errors import TriageNodeError


class Archive:
    """A storage SCP that keeps what it was sent, byte for byte."""

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}
        self.associations = 0
        self.status = 0x0000
        self.hang_up_after: int | None = None
        self.lock = threading.Lock()
        ae = AE(ae_title="ARCHIVE")
        ae.require_called_aet = True
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(
                context.abstract_syntax, [ImplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGLSLossless]
            )
        handlers = [(evt.EVT_C_STORE, self.store), (evt.EVT_ACCEPTED, self.accepted)]
        self.server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = self.server.server_address[1]

    def accepted(self, event: evt.Event) -> None:
        with self.lock:
            self.associations += 1

    def store(self, event: evt.Event) -> int:
        with self.lock:
            self.received[event.request.AffectedSOPInstanceUID] = event.request.DataSet.getvalue()
            if self.hang_up_after is not None and len(self.received) >= self.hang_up_after:
                event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        return self.status

    @property
    def peer(self) -> send.Peer:
        return send.Peer("ARCHIVE", "127.0.0.1", self.port)


@pytest.fixture
def archive() -> Iterator[Archive]:
    archive = Archive()
    yield archive
    archive.server.shutdown()


def write(path: Path, sop_class: str = CTImageStorage, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
    ds.PatientID = "SIM-SEND"
    ds.add_new((0x0009, 0x0010), "LO", "PRIVATE")
    ds.add_new((0x0009, 0x1001), "UN", b"\x00\x01odd length ")
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return path


def data_set_bytes(path: Path) -> bytes:
    content = path.read_bytes()
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]


def send_folder(folder: Path, peer: send.Peer, **options: object) -> send.Sent:
    files, _ = send.find_dicom(folder)
    return send.send_files(files, peer, **options)


def test_bytes_arrive_unchanged_in_the_files_own_transfer_syntax(archive, tmp_path):
    syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless)
    paths = [write(tmp_path / f"{i}.dcm", transfer_syntax=s) for i, s in enumerate(syntaxes)]
    sent = send_folder(tmp_path, archive.peer)
    assert sent.ok
    assert dict(sent.statuses) == {0x0000: 3}
    for path in paths:
        uid = pydicom.dcmread(path).SOPInstanceUID
        assert archive.received[uid] == data_set_bytes(path)


def test_several_associations_carry_each_file_once(archive, tmp_path):
    for i in range(9):
        write(tmp_path / f"{i}.dcm")
    seen: list[Path] = []
    sent = send_folder(tmp_path, archive.peer, associations=3, on_progress=lambda path, status: seen.append(path))
    assert sent.files == len(archive.received) == 9
    assert archive.associations == 3
    assert sorted(seen) == sorted(tmp_path.iterdir())


def test_more_pairs_of_class_and_syntax_than_one_association_can_offer_are_all_sent(archive, tmp_path):
    classes = [c.abstract_syntax for c in AllStoragePresentationContexts][:75]
    for i, sop_class in enumerate(classes):
        write(tmp_path / f"{i:03d}a.dcm", sop_class, ImplicitVRLittleEndian)
        write(tmp_path / f"{i:03d}b.dcm", sop_class, ExplicitVRLittleEndian)
    sent = send_folder(tmp_path, archive.peer)
    assert sent.ok
    assert sent.files == len(archive.received) == 150
    assert archive.associations == 2


def test_what_is_no_dicom_file_is_named_and_skipped(archive, tmp_path):
    write(tmp_path / "ct.dcm")
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "empty").touch()
    (tmp_path / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM\x02\x00\x10\x00UI\x14\x001.2.840")
    (tmp_path / "no-meta.dcm").write_bytes(b"\0" * 128 + b"DICM")
    files, skipped = send.find_dicom(tmp_path)
    assert [f.path.name for f in files] == ["ct.dcm"]
    assert {p.name for p, _ in skipped} == {"notes.txt", "empty", "cut.dcm", "no-meta.dcm"}
    result = CliRunner().invoke(app, ["send", str(tmp_path), "--to", str(archive.peer)])
    assert result.exit_code == 0
    assert "notes.txt: no DICOM file" in result.output
    assert "1 files" in result.output


def test_a_refused_instance_gives_a_failing_exit_status_and_the_reason(archive, tmp_path):
    write(tmp_path / "ct.dcm")
    archive.status = 0xA700
    result = CliRunner().invoke(app, ["send", str(tmp_path), "--to", str(archive.peer)])
    assert result.exit_code == 1
    assert "0xA700" in result.output
    assert "out of resources" in result.output


def test_a_warning_status_counts_as_sent(archive, tmp_path):
    write(tmp_path / "ct.dcm")
    archive.status = 0xB000
    sent = send_folder(tmp_path, archive.peer)
    assert sent.ok
    assert dict(sent.statuses) == {0xB000: 1}


def test_a_wrong_called_ae_title_says_which_part_to_correct(archive, tmp_path):
    write(tmp_path / "ct.dcm")
    sent = send_folder(tmp_path, send.Peer("WRONG", "127.0.0.1", archive.port))
    assert not sent.ok
    assert "before the @" in sent.failures[0][1]


def test_a_syntax_that_the_peer_does_not_take_fails_that_file_only(archive, tmp_path):
    write(tmp_path / "a.dcm")
    write(tmp_path / "b.dcm", transfer_syntax="1.2.840.10008.1.2.4.57")
    sent = send_folder(tmp_path, archive.peer)
    assert sent.files == 1
    [(path, reason)] = sent.failures
    assert path.name == "b.dcm"
    assert "does not take CT Image Storage in JPEG Lossless" in reason


def test_an_association_that_breaks_leaves_no_file_unaccounted(archive, tmp_path):
    for i in range(5):
        write(tmp_path / f"{i}.dcm")
    archive.hang_up_after = 2
    sent = send_folder(tmp_path, archive.peer)
    assert sent.files + len(sent.failures) == 5
    assert len(sent.failures) >= 3


def test_a_closed_port_an_unknown_host_and_a_missing_folder_are_told_apart(tmp_path):
    port = free_port()
    write(tmp_path / "ct.dcm")
    with pytest.raises(TriageNodeError, match="nothing listens"):
        send_folder(tmp_path, send.Peer("X", "127.0.0.1", port))
    with pytest.raises(TriageNodeError, match="host name"):
        send_folder(tmp_path, send.Peer("X", "no-such-host.invalid", port))
    with pytest.raises(TriageNodeError, match="does not exist"):
        send.find_dicom(tmp_path / "nowhere")


def test_an_empty_folder_is_a_failure(tmp_path):
    result = CliRunner().invoke(app, ["send", str(tmp_path), "--to", "A@127.0.0.1:1"])
    assert result.exit_code == 1
    assert "nothing was sent" in result.output


@pytest.mark.parametrize(
    "text", ["", "AE", "AE@host", "@host:1", "AE@host:0", "AE@host:65536", "AE@:104", "A" * 17 + "@h:104", "A\\B@h:104"]
)
def test_a_malformed_peer_is_refused_with_an_example_or_a_reason(text):
    with pytest.raises(TriageNodeError, match="AE@host:port|AE title|port"):
        send.parse_peer(text)


def test_peers_are_read_with_names_addresses_and_ipv6():
    assert send.parse_peer("TRIAGE@node.example:104") == send.Peer("TRIAGE", "node.example", 104)
    assert send.parse_peer("A B@[::1]:11112") == send.Peer("A B", "::1", 11112)


def test_the_connection_does_not_wait_for_delayed_acknowledgements():
    with socket.socket() as s:
        send._opened(SimpleNamespace(assoc=SimpleNamespace(dul=SimpleNamespace(socket=SimpleNamespace(socket=s)))))
        assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
