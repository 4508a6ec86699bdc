import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from tests.instances.requests import CT, EXPLICIT, data_set
from triage_node.instances.elements import Unreadable
from triage_node.instances.part10 import file_head, read_file_head


def test_head_is_what_pydicom_reads_and_nothing_of_us_or_of_now():
    head = file_head(CT, "1.2.4", EXPLICIT)
    ds = dcmread(io.BytesIO(head + data_set()))
    assert ds.file_meta.MediaStorageSOPClassUID == CT
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID == "1.2.4"
    assert ds.file_meta.TransferSyntaxUID == EXPLICIT
    assert "SourceApplicationEntityTitle" not in ds.file_meta
    assert "ImplementationVersionName" not in ds.file_meta


def test_head_never_changes():
    """The name of a blob is the hash of head and data set: a head that changes would store each re-send twice."""
    import hashlib

    digest = hashlib.sha256(file_head(CT, "1.2.4", EXPLICIT)).hexdigest()
    assert digest == "ca9498e75ee0f70363a989da67989135c7f33f3d2f7c97a20da53e042c7dbabe"


def test_head_is_read_back():
    head = file_head(CT, "1.2.45", EXPLICIT)
    meta = read_file_head(head + data_set())
    assert (meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid) == (CT, "1.2.45", EXPLICIT)
    assert meta.data_set_at == len(head)


@pytest.mark.parametrize("cut", [0, 100, 131, 140, 150, 200])
def test_cut_head_is_refused(cut):
    with pytest.raises(Unreadable):
        read_file_head(file_head(CT, "1.2.4", EXPLICIT)[:cut])


@given(st.integers(132, 280), st.integers(0, 255))
def test_damaged_head_is_read_or_refused(position, value):
    data = bytearray(file_head(CT, "1.2.4", EXPLICIT) + data_set())
    data[position] = value
    try:
        read_file_head(bytes(data))
    except Unreadable:
        return
