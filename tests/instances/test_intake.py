from __future__ import annotations

import errno
import os
import resource
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.instances.requests import CT, EXPLICIT, IMPLICIT, data_set, fill, receive, request
from triage_node.domain.errors import InstanceRefused
from triage_node.domain.instance import ReceivedInstance
from triage_node.instances import blob_file
from triage_node.instances.archive import Archive
from triage_node.instances.intake import Intake, IntakeLimits, reindex
from triage_node.instances.journal import Journal, Rows

LIMITS = IntakeLimits(instance_bytes=8_000_000, instances_per_study=3, stop_free_bytes=1000)


class Disk:
    free = 10**12

    def __call__(self) -> int:
        return self.free


class Setup:
    def __init__(self, folder) -> None:
        self.rows: list[ReceivedInstance] = []
        self.disk = Disk()
        self.journal = Journal(Rows(lambda *_: 1, lambda *_: None, self.rows.extend), maximum_waiting=4)
        self.archive = Archive(folder)
        self.archive.prepare()
        self.intake = Intake(self.archive, self.journal, LIMITS, self.disk)

    def written(self) -> list[ReceivedInstance]:
        self.journal.start()
        assert self.journal.stop(30)
        return self.rows

    def files(self) -> list:
        return [p for p in self.archive.blobs.rglob("*") if p.is_file()]


@pytest.fixture
def setup(tmp_path):
    made = Setup(tmp_path)
    yield made
    made.archive.close()


def test_instance_for_which_there_is_no_memory_is_refused_and_taken_when_there_is(setup):
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    reception, later = setup.intake.open(request()), request("1.2.5")
    fill(reception, data_set())
    resource.setrlimit(resource.RLIMIT_AS, (1 << 20, hard))  # the kernel gives this process nothing more
    try:
        refused = setup.intake.open(later)
        fill(refused, data_set("1.2.5"))
        statuses = [reception.finish(), refused.finish()]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert statuses == [0, 0xA700]  # the first had its memory
    assert receive(setup.intake.open(later), data_set("1.2.5")) == 0


def test_instance_is_stored_answered_and_has_a_row(setup):
    data = data_set(pixels=512)
    assert receive(setup.intake.open(request()), data) == 0x0000
    row = setup.written()[0]
    assert setup.archive.read(row.sha256).endswith(data)
    assert row.size_bytes == len(setup.archive.read(row.sha256))
    assert (row.sop_instance_uid, row.sop_class_uid, row.transfer_syntax_uid) == ("1.2.4", CT, EXPLICIT)
    assert (row.calling_ae_title, row.called_ae_title, row.peer_address) == ("CT1", "TRIAGE", "10.0.0.5")
    assert row.header.study_instance_uid == "1.2.5"
    assert row.quarantine_reason == ""
    assert datetime.now(UTC) - row.received_at < timedelta(minutes=1)


def test_long_instance_is_checked_to_its_end(setup):
    data = data_set(pixels=5_000_192)
    assert receive(setup.intake.open(request()), data) == 0x0000
    assert receive(setup.intake.open(request()), data[:-2]) == 0xC000
    assert len(setup.files()) == 1


@pytest.mark.parametrize(
    ("asked", "data", "status"),
    [
        (request(uid="../../x"), data_set(uid="../../x"), 0x0117),
        (request(uid="1.2.3\n"), data_set(), 0x0117),
        (request(uid=""), data_set(), 0x0117),
        (request(uid="1" * 65), data_set(), 0x0117),
        (request(sop_class="../y"), data_set(), 0xA900),
        (request(uid="1.2.40"), data_set(), 0xA900),
        (request(sop_class="1.2.3"), data_set(), 0xA900),
        (request(), data_set(study=""), 0xA900),
        (request(), data_set(study="../z"), 0xA900),
        (request(), data_set(series="a" * 10), 0xA900),
        (request(), data_set()[:-1], 0xC000),
        (request(), b"", 0xA900),
        (request(), b"\xff" * 5000, 0xC000),
        (request(syntax=IMPLICIT), data_set(), 0xC000),
        (request(), data_set() + struct.pack("<HH2sHL", 0x42, 0x11, b"OB", 0, 0xFFFFFFF0) + bytes(9), 0xC000),
    ],
)
def test_refused_instance_leaves_neither_file_nor_row(setup, asked, data, status):
    assert receive(setup.intake.open(asked), data) == status
    assert setup.files() == []
    assert setup.written() == []


def test_disk_below_its_floor_takes_nothing(setup):
    setup.disk.free = 999
    assert receive(setup.intake.open(request()), data_set()) == 0xA700
    assert setup.files() == []
    setup.disk.free = 10**9
    assert receive(setup.intake.open(request()), data_set()) == 0x0000


def test_disk_that_fills_while_a_long_instance_arrives_takes_it_not(setup):
    data = data_set(pixels=6_000_128)
    reception = setup.intake.open(request())
    fill(reception, data[:3_000_000])
    setup.disk.free = 1500
    fill(reception, data[3_000_000:])
    assert reception.finish() == 0xA700
    assert setup.files() == []


def test_disk_that_fills_before_the_end_takes_it_not(setup):
    reception = setup.intake.open(request())
    fill(reception, data_set(pixels=256))
    setup.disk.free = 0
    assert reception.finish() == 0xA700
    assert setup.files() == []


def test_a_disk_that_takes_not_even_a_new_name_is_out_of_resources(setup, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(blob_file.os, "open", refused)
    assert receive(setup.intake.open(request()), data_set()) == 0xA700
    assert setup.files() == []


def test_full_journal_is_out_of_resources(setup):
    for k in range(4):
        assert receive(setup.intake.open(request(f"1.2.{k}")), data_set(f"1.2.{k}", study=f"1.3.{k}")) == 0
    assert receive(setup.intake.open(request("1.2.9")), data_set("1.2.9")) == 0xA700


def test_instance_that_is_too_long_is_cut_off(setup):
    reception = setup.intake.open(request())
    with pytest.raises(InstanceRefused):
        fill(reception, data_set(pixels=12_000_000))
    reception.abandon()
    assert setup.files() == []


def test_refused_instance_that_never_ends_is_cut_off_too(setup):
    with pytest.raises(InstanceRefused):
        fill(setup.intake.open(request(uid="x")), bytes(12_000_000))


def test_study_takes_no_more_than_its_limit_but_repeats(setup):
    statuses = [receive(setup.intake.open(request(f"1.2.{k}")), data_set(f"1.2.{k}")) for k in range(4)]
    assert statuses == [0, 0, 0, 0xA700]
    assert receive(setup.intake.open(request("1.2.1")), data_set("1.2.1")) == 0
    assert len(setup.files()) == 3


def test_abandoned_instance_leaves_nothing(setup):
    for size in (300, 5_000_000):
        reception = setup.intake.open(request())
        fill(reception, data_set(pixels=size)[: size - 10])
        reception.abandon()
    assert setup.files() == []
    assert setup.written() == []


def test_same_bytes_from_two_senders_are_one_file(setup):
    other = replace(request(), peer=replace(request().peer, calling_ae_title="CT2", address="10.0.0.6"))
    assert receive(setup.intake.open(request()), data_set()) == 0
    assert receive(setup.intake.open(other), data_set()) == 0
    assert len(setup.files()) == 1
    assert len({r.sha256 for r in setup.written()}) == 1


class TestReindex:
    def index(self, setup, known=()) -> list[ReceivedInstance]:
        again = Setup(setup.archive.blobs.parent)
        count = reindex(again.archive, lambda d: set(d) - set(known), again.journal)
        rows = again.written()
        assert count == len(rows)
        return rows

    def test_blob_without_a_row_gets_the_row_it_would_have_had(self, setup):
        receive(setup.intake.open(request()), data_set(pixels=512))
        lost = setup.written()[0]
        found = self.index(setup)[0]
        unknown = {"calling_ae_title": "", "called_ae_title": "", "peer_address": "", "association_id": None}
        assert found == replace(lost, **unknown, received_at=found.received_at)
        assert abs(found.received_at - lost.received_at) < timedelta(seconds=5)

    def test_blob_from_the_future_counts_as_received_now(self, setup):
        """The clock was wrong for a while. Found by a seed of tests/simulated_faults: its study was never complete."""
        receive(setup.intake.open(request()), data_set())
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).timestamp()
        os.utime(setup.files()[0], (tomorrow, tomorrow))
        assert self.index(setup)[0].received_at <= datetime.now(UTC)

    def test_blob_with_a_row_is_left_alone(self, setup):
        receive(setup.intake.open(request()), data_set())
        known = [r.sha256 for r in setup.written()]
        assert self.index(setup, known) == []

    @pytest.mark.parametrize("size", [0, 50, 200, 400, 600])
    def test_blob_that_rotted_is_quarantined_not_dropped(self, setup, size):
        receive(setup.intake.open(request()), data_set(pixels=512))
        path = setup.files()[0]
        path.write_bytes(path.read_bytes()[:size])
        found = self.index(setup)[0]
        assert found.header is None
        assert found.quarantine_reason != ""
        assert found.sha256 == path.stem

    def test_blob_that_went_meanwhile_is_shown_and_holds_up_nothing(self, setup):
        for uid in ("1.2.1", "1.2.2"):
            receive(setup.intake.open(request(uid)), data_set(uid))
        again = Setup(setup.archive.blobs.parent)
        reindex(again.archive, set, again.journal)
        gone = setup.files()[0]
        gone.unlink()
        rows = {r.sha256: r for r in again.written()}
        assert len(rows) == 2
        assert "cannot be read" in rows[gone.stem].quarantine_reason

    def test_blob_with_one_flipped_bit_is_quarantined(self, setup):
        receive(setup.intake.open(request()), data_set(pixels=512))
        path = setup.files()[0]
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        assert self.index(setup)[0].quarantine_reason == "the bytes on disk are not those that were received"
