"""Who may associate, what is offered, what becomes of what arrives."""

from __future__ import annotations

import io
import signal
import struct
from datetime import UTC, datetime

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import ComprehensiveSRStorage, EnhancedCTImageStorage, SecondaryCaptureImageStorage

from tests.association.node import running
from tests.association.raw_client import (
    CT,
    EXPLICIT,
    IMPLICIT,
    RELEASE_RQ,
    STORAGE_COMMITMENT,
    VERIFICATION,
    RawClient,
    command,
    data_set,
    element,
    p_data,
    pdv,
)
from tests.association.test_protocol import instance, is_stored
from tests.support.store_place import SHARED
from tests.support.waiting import wait_until
from triage_node.store import heartbeat

JPEG_LS, RLE, DEFLATED = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.99"
REJECTED = 3


def context_results(answer: bytes) -> dict[int, tuple[int, str]]:
    """Presentation context ID -> (result, transfer syntax) of an A-ASSOCIATE-AC. Source: PS3.8 table 9-18."""
    found, position = {}, 68
    while position < len(answer):
        kind, length = answer[position], int.from_bytes(answer[position + 2 : position + 4], "big")
        if kind == 0x21:
            item = answer[position + 4 : position + 4 + length]
            found[item[0]] = (item[2], item[8:].decode().rstrip("\0"))
        position += 4 + length
    return found


class TestWhoMayAssociate:
    def test_any_title_from_a_listed_address(self, node):
        with RawClient(node.port, source="127.0.0.2") as client:
            assert client.associate(calling="WHOEVER") == 2

    def test_no_title_from_an_unlisted_address(self, node):
        with RawClient(node.port, source="127.0.0.9") as client:
            assert client.associate(calling="WHOEVER") == REJECTED
            assert client.answer[1:] == bytes((1, 1, 3))  # permanent, service user, calling AE title not recognized
        assert "association rejected calling_ae_title='WHOEVER'" in node.log()

    @pytest.mark.parametrize(("title", "answer"), [("CT1", 2), ("CT2", REJECTED), ("ct1", REJECTED)])
    def test_title_that_is_bound_to_an_address(self, node, title, answer):
        with RawClient(node.port, source="127.0.0.4") as client:
            assert client.associate(calling=title) == answer

    def test_called_title_is_not_looked_at_by_default(self, node):
        with RawClient(node.port) as client:
            assert client.associate(called="SOMEBODY") == 2

    def test_called_title_must_be_ours_when_it_is_required(self, sparing):
        with RawClient(sparing.port) as client:
            assert client.associate(called="SOMEBODY") == REJECTED
            assert client.answer[1:] == bytes((1, 1, 7))
        with RawClient(sparing.port) as client:
            assert client.associate(called="TRIAGE") == 2


class TestWhatIsOffered:
    def test_uncompressed_only_until_something_was_decoded(self, node):
        proposed = [(CT, [JPEG_LS]), (CT, [IMPLICIT]), (CT, [EXPLICIT, IMPLICIT, JPEG_LS]), ("1.2.3.4.5", [EXPLICIT])]
        with RawClient(node.port) as client:
            assert client.associate(proposed) == 2
        results = context_results(client.answer)
        assert results[1][0] == 4  # transfer syntaxes not supported
        assert results[3] == (0, IMPLICIT)
        assert results[5] == (0, EXPLICIT)
        assert results[7][0] == 3  # abstract syntax not supported

    def test_what_the_decoding_child_decoded_is_offered_without_a_restart(self, node):
        def offered(syntax: str) -> bool:
            with RawClient(node.port) as client:
                client.associate([(CT, [syntax])])
            return context_results(client.answer)[1][0] == 0

        assert not offered(JPEG_LS)
        decodable = [JPEG_LS, DEFLATED, "1.2.840.10008.1.2.4.100"]
        heartbeat.beat(node.store, "analysis", datetime.now(UTC), {"decodable": decodable})
        wait_until(lambda: offered(JPEG_LS), 30, "JPEG-LS to be offered")
        assert not offered(RLE)
        assert not offered(DEFLATED)  # a bomb unpacks before anything can be checked
        assert not offered("1.2.840.10008.1.2.4.100")  # MPEG-2
        heartbeat.beat(node.store, "analysis", datetime.now(UTC), {"decodable": []})
        wait_until(lambda: not offered(JPEG_LS), 30, "JPEG-LS not to be offered any more")

    @pytest.mark.parametrize(
        "sop_class",
        [
            EnhancedCTImageStorage,
            "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
            SecondaryCaptureImageStorage,
            "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color SC
            ComprehensiveSRStorage,
            "1.2.840.10008.5.1.4.1.1.88.67",  # X-Ray Radiation Dose SR
            "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection
            "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State
            "1.2.840.10008.5.1.4.1.1.4",  # MR
            "1.2.840.10008.5.1.4.1.1.66",  # Raw Data
            "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
        ],
    )
    def test_object_that_modalities_send_along_is_stored(self, node, sop_class):
        uid = generate_uid()
        data = data_set(uid, sop_class=sop_class)
        with RawClient(node.port) as client:
            client.associate([(sop_class, [EXPLICIT])])
            assert client.store(data, uid, sop_class=sop_class) == 0
        assert is_stored(node, data)

    def test_implicit_instance_is_stored_and_read(self, node):
        uid, study = generate_uid(), generate_uid()
        parts = [(0x00080016, CT), (0x00080018, uid), (0x00100020, "P 7"), (0x0020000D, study), (0x0020000E, "1.2")]
        data = b""
        for tag, text in parts:
            value = text.encode() + b"\0" * (len(text) % 2)
            data += struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value
        with RawClient(node.port) as client:
            client.associate([(CT, [IMPLICIT])])
            assert client.store(data, uid) == 0
        wait_until(lambda: node.study(study), 30, "the row")
        assert node.study(study)[0].header.patient_id == "P 7"


class TestWhatBecomesOfIt:
    def test_stored_file_is_part_10_with_the_data_set_unchanged(self, node):
        uid, data = instance()
        with RawClient(node.port) as client:
            client.associate()
            client.store(data, uid)
        stored = next(b for b in node.blobs().values() if b.endswith(data))
        read = dcmread(io.BytesIO(stored))
        assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID == uid
        assert read.file_meta.TransferSyntaxUID == EXPLICIT

    def test_row_tells_who_sent_it_over_which_association(self, node):
        uid, study = generate_uid(), generate_uid()
        data = data_set(uid, study=study)
        with RawClient(node.port, source="127.0.0.4") as client:
            client.associate(calling="CT1", called="TRIAGE")
            client.store(data, uid)
            wait_until(lambda: node.study(study), 30, "the row")
            client.send(RELEASE_RQ)
        row = node.study(study)[0]
        assert (row.calling_ae_title, row.called_ae_title, row.peer_address) == ("CT1", "TRIAGE", "127.0.0.4")
        assert row.association_id is not None
        assert row.header.patient_name == "Raw^Client"

    def test_same_bytes_again_are_stored_once(self, node):
        uid, study = generate_uid(), generate_uid()
        data = data_set(uid, study=study)
        before = set(node.archive.digests())
        for source in ("127.0.0.2", "127.0.0.3"):
            with RawClient(node.port, source=source) as client:
                client.associate(calling="A" + source[-1])
                assert [client.store(data, uid), client.store(data, uid)] == [0, 0]
        wait_until(lambda: node.study(study), 30, "the row")
        assert len(set(node.archive.digests()) - before) == 1
        assert len(node.study(study)) == 1

    def test_other_bytes_under_the_same_uid_are_kept_too(self, node):
        uid, study = generate_uid(), generate_uid()
        with RawClient(node.port) as client:
            client.associate()
            assert client.store(data_set(uid, study=study), uid) == 0
            assert client.store(data_set(uid, element(0x00280010, b"US", b"\0\2"), study=study), uid) == 0
        from triage_node.store import instances

        wait_until(lambda: instances.repeats(node.store, study), 30, "the second row")
        assert len(node.study(study)) == 1
        assert len(instances.repeats(node.store, study)) == 1

    def test_pynetdicom_as_sender_is_served(self, node):
        uid, data = instance()
        read = dcmread(io.BytesIO(data), force=True)
        read.file_meta.TransferSyntaxUID = EXPLICIT
        ae = AE("PYNET")
        ae.add_requested_context(CT, EXPLICIT)
        association = ae.associate("127.0.0.1", node.port, bind_address=("127.0.0.3", 0))
        assert association.is_established
        statuses = [association.send_c_store(read).Status for _ in range(3)]
        association.release()
        assert statuses == [0, 0, 0]
        assert is_stored(node, data)


class TestStorageCommitment:
    def report(self, transaction: str, uid: str) -> bytes:
        item = element(0x00081150, b"UI", CT.encode()) + element(0x00081155, b"UI", uid.encode())
        sequence = struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
        return element(0x00081195, b"UI", transaction.encode()) + element(0x00081199, b"SQ", sequence)

    @pytest.mark.parametrize(("transaction", "status"), [("1.2.3.77", 0x0000), ("../x", 0x0110)])
    def test_report_of_an_archive_that_calls_back_is_answered(self, node, transaction, status):
        with RawClient(node.port) as archive:
            kind = archive.associate([(STORAGE_COMMITMENT, [EXPLICIT])], roles=(STORAGE_COMMITMENT,))
            assert kind == 2
            assert context_results(archive.answer)[1][0] == 0
            role = struct.pack(">H", len(STORAGE_COMMITMENT)) + STORAGE_COMMITMENT.encode()
            assert role + b"\0\1" in archive.answer  # requestor is SCP (PS3.7 table D.3-10)
            request = command(0x0100, STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1", event_type=1)
            archive.send(p_data(pdv(1, 3, request)) + p_data(pdv(1, 2, self.report(transaction, "1.2.3.78"))))
            assert archive.status() == status
        if status == 0:
            assert f"transaction={transaction} committed=1 failed=0" in node.log()

    def test_report_that_cannot_be_read_is_refused(self, node):
        with RawClient(node.port) as archive:
            archive.associate([(STORAGE_COMMITMENT, [EXPLICIT])], roles=(STORAGE_COMMITMENT,))
            request = command(0x0100, STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1", event_type=1)
            archive.send(p_data(pdv(1, 3, request)) + p_data(pdv(1, 2, b"\xff" * 40)))
            assert archive.status() == 0x0110


class TestLimits:
    def test_idle_association_is_ended(self, impatient):
        with RawClient(impatient.port) as client:
            client.associate()
            assert client.ended_within(30)

    def test_message_that_does_not_go_on_is_ended(self, impatient):
        uid, _ = instance()
        with RawClient(impatient.port) as client:
            client.associate()
            client.send(p_data(pdv(1, 3, command(0x0001, CT, uid))))
            assert client.ended_within(30)

    def test_more_associations_than_there_may_be_are_rejected_for_now(self, sparing):
        def fill() -> list[RawClient]:
            clients = [RawClient(sparing.port, source=f"127.0.0.{2 + k % 2}") for k in range(8)]
            answers = [client.associate() for client in clients]
            if answers.count(2) == 6:
                return clients
            for client in clients:  # associations of the test before are still ending
                client.socket.close()
            return []

        clients = wait_until(fill, 30, "six places of six to be taken")
        assert [c.answer[1:] for c in clients if len(c.answer) == 4] == [bytes((2, 3, 2))] * 2
        for client in clients:
            client.socket.close()

        def accepted() -> bool:
            with RawClient(sparing.port) as client:
                return client.associate() == 2

        wait_until(accepted, 30, "places to be free again")

    def test_instance_that_is_too_long_ends_the_association_and_leaves_nothing(self, sparing):
        uid, data = instance(5_000_000)
        with RawClient(sparing.port) as client:
            client.associate()
            try:
                assert client.store(data, uid) != 0
            except OSError:
                assert client.ended_within(30)
        wait_until(lambda: sparing.leftovers() == [], 30, "the temporary file to go")
        assert not is_stored(sparing, data)

    def test_study_with_too_many_instances_is_out_of_resources(self, sparing):
        study = generate_uid()
        with RawClient(sparing.port) as client:
            client.associate()
            uids = [generate_uid() for _ in range(5)]
            statuses = [client.store(data_set(u, study=study), u) for u in uids]
            assert statuses == [0, 0, 0, 0xA700, 0xA700]
            assert client.store(data_set(uids[0], study=study), uids[0]) == 0  # is there already
            other = generate_uid()
            assert client.store(data_set(other, study=generate_uid()), other) == 0

    def test_disk_below_its_floor_is_out_of_resources(self, tmp_path):
        with running(tmp_path / "data", store={"stop_free_gb": 1e9}) as node, RawClient(node.port) as client:
            client.associate()
            uid, data = instance(3_000_000)
            assert client.store(data, uid) == 0xA700
            assert client.echo() == 0
            assert list(node.archive.digests()) == []


class TestStop:
    @pytest.mark.parametrize("path", ["fast", "stock"])
    def test_instance_in_hand_is_finished_and_its_row_written(self, tmp_path, path):
        uid, study = generate_uid(), generate_uid()
        data = data_set(uid, element(0x00281050, b"DS", b"1"), study=study)
        with (
            running(tmp_path / "data", path=path) as node,
            RawClient(node.port) as client,
            RawClient(node.port) as idle,
        ):
            client.associate()
            idle.associate()
            client.send(p_data(pdv(1, 3, command(0x0001, CT, uid))) + p_data(pdv(1, 0, data[:50])))
            wait_until(lambda: node.threads() > 3, 30, "the association to be served")
            if path == "fast":  # its first bytes open a file
                wait_until(node.leftovers, 30, "the instance to be in hand")
            node.process.send_signal(signal.SIGTERM)
            assert idle.ended_within(30)
            client.send(p_data(pdv(1, 2, data[50:])))
            assert client.status() == 0
            assert client.ended_within(30)
            assert node.process.wait(60) == 0
            assert len(node.study(study)) == 1


def test_ten_thousand_bare_connects_leak_nothing(node):
    """The health check of a load balancer; in 2021 it cost pynetdicom listeners their memory (pynetdicom #669)."""

    def settled() -> bool:
        return node.threads() <= threads and node.descriptors() <= descriptors

    with RawClient(node.port) as client:
        client.associate([(VERIFICATION, [IMPLICIT])])
        client.echo(1)
        client.send(RELEASE_RQ)
        client.receive()
    threads, descriptors, memory = node.threads(), node.descriptors(), node.rss_mb()
    # up to four connections to the database are opened when they are needed, and stay; SQLite's hold two descriptors each
    descriptors += 4 if SHARED else 8
    for _ in range(10_000):
        RawClient(node.port).socket.close()
    wait_until(settled, 30, "sockets and threads to go")
    assert node.rss_mb() <= memory + 5
    wait_until(
        lambda: _takes_an_association(node.port), 30, "an association after the last of them was seen to be gone"
    )


def _takes_an_association(port: int) -> bool:
    try:
        with RawClient(port) as client:
            return client.associate() == 2
    except ConnectionError:
        return False
