import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.association.raw_client import command
from triage_node.association.messages import NotACommand, read_command, response

CT = "1.2.840.10008.5.1.4.1.1.2"


def test_command_is_read():
    read = read_command(command(0x0001, CT, "1.2.3", message_id=7))
    assert (read.field, read.message_id, read.has_data_set) == (0x0001, 7, True)
    assert (read.sop_class_uid, read.sop_instance_uid) == (CT, "1.2.3")


def test_response_is_what_pynetdicom_reads():
    from pynetdicom.dimse_messages import C_STORE_RSP
    from pynetdicom.dsutils import decode

    pdu = response(5, read_command(command(0x0001, CT, "1.2.3", message_id=7)), 0xA700)
    assert struct.unpack_from(">BBLLBB", pdu) == (4, 0, len(pdu) - 6, len(pdu) - 10, 5, 3)
    from io import BytesIO

    message = C_STORE_RSP()
    message.command_set = decode(BytesIO(pdu[12:]), True, True)
    answer = message.message_to_primitive()
    assert (answer.Status, answer.MessageIDBeingRespondedTo) == (0xA700, 7)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CT, "1.2.3")


def test_response_does_not_grow_with_what_was_sent():
    long = read_command(command(0x0001, CT, "9" * 60_000))
    assert len(response(1, long, 0)) < 300


@given(st.binary(max_size=300))
def test_any_bytes_are_a_command_or_refused(data):
    try:
        read = read_command(data)
    except NotACommand:
        return
    assert 0 <= read.field <= 0xFFFF


@given(st.integers(0, 200), st.integers(0, 255))
def test_damaged_command_is_read_or_refused(position, value):
    data = bytearray(command(0x0001, CT, "1.2.3"))
    data[position % len(data)] = value
    try:
        read_command(data)
    except NotACommand:
        return


@pytest.mark.parametrize("cut", range(0, 8))
def test_command_that_is_cut_off_is_refused(cut):
    with pytest.raises(NotACommand):
        read_command(command(0x0001, CT)[: -1 - cut])
