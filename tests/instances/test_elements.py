from __future__ import annotations

import io
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless

from tests.support.data import shared_data
from triage_node.instances.elements import MAXIMUM_DEPTH, Unreadable, read_elements

UNDEFINED = 0xFFFFFFFF
PATIENT_ID = 0x00100020
ITEM, ITEM_END, SEQUENCE_END = (
    struct.pack("<HHL", 0xFFFE, e, n) for e, n in ((0xE000, UNDEFINED), (0xE00D, 0), (0xE0DD, 0))
)
OPEN = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, UNDEFINED)


def short(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def read(data: bytes, explicit: bool = True, wanted=(PATIENT_ID,)) -> dict[int, bytes]:
    return read_elements(data, 0, len(data), explicit, wanted)


def written(ds: Dataset, implicit: bool, **more) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, implicit_vr=implicit, little_endian=True, **more)
    return buffer.getvalue()


def example(undefined: bool) -> Dataset:
    """A data set with what real ones have: private elements, nested sequences, pixels."""
    ds = Dataset()
    ds.PatientID = "P1"
    ds.add_new(0x00091010, "UN", b"private!")
    inner = Dataset()
    inner.CodeValue = "X"
    inner.ReferencedSOPSequence = Sequence([Dataset(), Dataset()])
    ds.ProcedureCodeSequence = Sequence([inner, Dataset(), inner])
    ds.ReferencedStudySequence = Sequence([])
    for sequence in (ds["ProcedureCodeSequence"], ds["ReferencedStudySequence"], inner["ReferencedSOPSequence"]):
        sequence.is_undefined_length = undefined
    for item in (*ds.ProcedureCodeSequence, *inner.ReferencedSOPSequence):
        item.is_undefined_length_sequence_item = undefined
    ds.Rows = 2
    ds.PixelData = b"12345678"
    ds["PixelData"].VR = "OW"
    return ds


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("implicit", [False, True])
def test_elements_after_sequences_are_found(implicit, undefined):
    values = read(written(example(undefined), implicit), not implicit, (PATIENT_ID, 0x00280010, 0x00080100))
    assert values == {PATIENT_ID: b"P1", 0x00280010: b"\2\0"}  # a code value inside a sequence is none of the top


def test_encapsulated_pixels_are_jumped_over():
    fragments = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(f)) + f for f in (b"", b"abcd", b"efghij"))
    data = short(PATIENT_ID, b"LO", b"P1") + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, UNDEFINED) + fragments
    assert read(data + SEQUENCE_END + short(0x7FE10010, b"LO", b"ab")) == {PATIENT_ID: b"P1"}
    for bad in (data, data + b"\xfe\xff", data + struct.pack("<HHL", 0xFFFE, 0xE000, 99) + SEQUENCE_END):
        with pytest.raises(Unreadable):
            read(bad)


def test_long_value_is_cut():
    assert len(read(short(PATIENT_ID, b"LO", b"x" * 60_000))[PATIENT_ID]) == 4096


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x10", id="one byte"),
        pytest.param(short(PATIENT_ID, b"LO", b"P1")[:-1], id="last byte missing"),
        pytest.param(struct.pack("<HH2sHL", 0x42, 0x11, b"OB", 0, 0xFFFFFFF0) + bytes(100), id="four gigabytes"),
        pytest.param(short(PATIENT_ID, b"??", b"P1"), id="no VR"),
        pytest.param(short(PATIENT_ID, b"LO", b"P1") + short(PATIENT_ID, b"LO", b"P2"), id="two patients"),
        pytest.param(struct.pack("<HH2sHL", 0x42, 0x11, b"OB", 0, UNDEFINED) + SEQUENCE_END, id="OB without length"),
        pytest.param(OPEN + ITEM + ITEM_END, id="sequence that does not end"),
        pytest.param(OPEN + ITEM, id="item that does not end"),
        pytest.param(OPEN + short(PATIENT_ID, b"LO", b"P1") + SEQUENCE_END, id="element where an item belongs"),
        pytest.param(OPEN + ITEM + short(PATIENT_ID, b"LO", b"P1")[:-1], id="element in an item is cut"),
        pytest.param(ITEM, id="item at the top"),
    ],
)
def test_data_set_that_does_not_hold_what_it_says_is_refused(data):
    with pytest.raises(Unreadable) as caught:
        read(data)
    assert caught.value.status == 0xC000


@pytest.mark.parametrize(("depth", "refused"), [(MAXIMUM_DEPTH, False), (MAXIMUM_DEPTH + 1, True), (50_000, True)])
def test_depth_is_bounded(depth, refused):
    data = (OPEN + ITEM) * depth + (ITEM_END + SEQUENCE_END) * depth
    if refused:
        with pytest.raises(Unreadable):
            read(data)
    else:
        assert read(data) == {}


def test_million_items_end_at_the_budget():
    began = time.process_time()
    with pytest.raises(Unreadable):
        read(OPEN + struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 1_000_000 + SEQUENCE_END)
    with pytest.raises(Unreadable):
        read(short(0x00211001, b"LO", b"ab") * 1_000_000)
    assert time.process_time() - began < 10


@settings(max_examples=300)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_read_or_refused(data, explicit):
    try:
        values = read(data, explicit)
    except Unreadable:
        return
    assert set(values) <= {PATIENT_ID}


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6), st.booleans(), st.booleans())
def test_damaged_data_set_is_read_or_refused(changes, implicit, undefined):
    data = bytearray(written(example(undefined), implicit))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        read(bytes(data), not implicit)
    except Unreadable:
        return


def test_memory_map_reads_as_bytes_do(tmp_path):
    import mmap

    data = written(example(True), False)
    (tmp_path / "x").write_bytes(data)
    with (tmp_path / "x").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert read_elements(mapped, 0, len(data), True, (PATIENT_ID,)) == {PATIENT_ID: b"P1"}  # type: ignore[arg-type]


def test_real_instances_read_as_pydicom_reads_them(tmp_path):
    import tarfile

    with tarfile.open(shared_data() / "ge_head" / "ge_head.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    files = sorted(tmp_path.rglob("*.dcm"))
    assert len(files) == 28
    wanted = (0x00080018, 0x0020000D, 0x00100020, 0x00200032, 0x00280010)
    for path in files:
        data = path.read_bytes()
        ds = dcmread(path, stop_before_pixels=True)
        start = 144 + ds.file_meta.FileMetaInformationGroupLength
        assert ds.file_meta.TransferSyntaxUID in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless)
        explicit = ds.file_meta.TransferSyntaxUID != ImplicitVRLittleEndian
        values = read_elements(data, start, len(data), explicit, wanted)
        assert values[0x00080018].rstrip(b"\0").decode() == ds.SOPInstanceUID
        assert [float(v) for v in values[0x00200032].split(b"\\")] == [float(v) for v in ds.ImagePositionPatient]
        assert struct.unpack("<H", values[0x00280010])[0] == ds.Rows
