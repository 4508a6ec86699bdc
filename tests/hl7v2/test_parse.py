"""Messages of others, well-formed and hostile."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triage_node.hl7v2.parse import MOST_SEGMENTS, Unreadable, acknowledgement, instant, parse

MSH = "MSH|^~\\&|HIS|WARD|TRIAGE||20261121030000||ORM^O01|X1|P|2.5.1||||||UNICODE UTF-8"


def test_fields_count_as_in_the_standard():
    message = parse(f'{MSH}\rPID|1||P1^^^A~P2^^^B||O\\F\\X^Y||""\rOBR|1|||\r'.encode())
    assert message.kind == ("ORM", "O01")
    assert (message.control_id, message.sender) == ("X1", "HIS|WARD")
    pid = message.first("PID")
    assert pid.repetitions(3, 4) == [["P1", "", "", "A"], ["P2", "", "", "B"]]
    assert (pid.get(5), pid.get(5, 2), pid.get(7), pid.get(30), pid.get(3, 1, 9)) == ("O|X", "Y", "", "", "")


@pytest.mark.parametrize("field", [3, 5])
def test_what_an_escape_sequence_stands_for_is_not_read_again_and_is_no_null_character(field):
    """A null character in a name or in MSH-3 had PostgreSQL refuse the message, which its sender then sent for ever."""
    for sequence, text in (("\\E\\F\\E\\", "\\F\\"), ("a\\X00\\b", "ab"), ("a\\X0000\\b", "ab"), ("\\T\\", "&")):
        head = MSH.replace("HIS", sequence)
        message = parse(f"{head}\rPID|1||{sequence}^x||{sequence}&x\r".encode())
        assert message.first("PID").get(field) == text
        assert message.sender == f"{text}|WARD"


def test_escape_sequences_are_those_of_the_delimiters_that_msh_names():
    message = parse(b"MSH#$*!@#HIS#WARD#T##2026##ORM$O01#X1#P#2.5.1\rPID#1##P!F!1!S!!E!!X41!\\F\\\r")
    assert message.first("PID").get(3) == "P#1$!A\\F\\"


def test_line_ends_of_every_kind_end_a_segment():
    for end in ("\r", "\n", "\r\n"):
        assert [s.name for s in parse(end.join((MSH, "PID|1", "PV1|1", "")).encode()).segments] == ["MSH", "PID", "PV1"]


def test_other_delimiters_are_those_that_msh_names():
    message = parse(b"MSH#$*!@#HIS#WARD#T##2026##ORM$O01#X1#P#2.5.1\rPID#1##P1$$$A*P2\r")
    assert message.kind == ("ORM", "O01")
    assert message.first("PID").repetitions(3, 4) == [["P1", "", "", "A"], ["P2", "", "", ""]]


def test_the_whole_message_is_decoded_before_it_is_split():
    text = f"{MSH.replace('UNICODE UTF-8', 'GB 18030-2000')}\rPID|1||P1||丂^王\r"
    assert parse(text.encode("gb18030")).first("PID").get(5) == "丂"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"PID|1||P1",
        b"MSH",
        b"MSH|",
        b"MSH|^~\\&",
        b"MSHA^~\\&A",
        b"\xff\xfe\x00\x00",
        MSH.encode() + b"\rPID|\x00",
        MSH.replace("|X1|", "||").encode(),
        MSH.replace("UNICODE UTF-8", "EBCDIC").encode(),
        MSH.encode() + b"\rPID|1||\xff\xff",
        MSH.encode() + b"\r" + b"OBX|1\r" * (MOST_SEGMENTS + 1),
        MSH.encode() + b"\rlower|1",
        MSH.encode() + b"\r|||",
        b"\r\n" + MSH.encode(),
        b"MSH||||||||||||||||||",
    ],
)
def test_what_cannot_be_read_is_refused_in_words(payload):
    with pytest.raises(Unreadable) as caught:
        parse(payload)
    assert caught.value.words


def test_the_control_id_of_an_unreadable_message_is_told_where_it_can_be():
    with pytest.raises(Unreadable) as caught:
        parse(MSH.encode() + b"\rPID|1||\xff")
    assert caught.value.control_id == "X1"


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_after_a_head_are_read_or_refused(rest):
    try:
        message = parse(MSH.encode() + b"\r" + rest)
    except Unreadable:
        return
    for segment in message.segments:
        segment.get(3, 2)
        segment.repetitions(5, 3)


def test_a_quarter_megabyte_of_delimiters_is_refused_before_it_becomes_objects():
    with pytest.raises(Unreadable, match="fields and components"):
        parse(f"{MSH}\rPID|{'^~&' * 80_000}\r".encode())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("202611210300", datetime(2026, 11, 21, 2, 0, tzinfo=UTC)),
        ("20261121030005.123", datetime(2026, 11, 21, 2, 0, 5, tzinfo=UTC)),
        ("20261121030000-0500", datetime(2026, 11, 21, 8, 0, tzinfo=UTC)),
        ("20261121", None),
        ("2026112103", None),
        ("202613210300", None),
        ("202611210300+9900", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_an_instant_tells_at_least_the_minute(text, expected):
    assert instant(text, ZoneInfo("Europe/Berlin")) == expected


@pytest.mark.parametrize(
    ("err", "error"),
    [
        ("ERR|||204^Unknown key identifier^HL70357|E||||no such order", "204"),
        ("ERR|^^^204&Unknown key identifier&HL70357", "204"),
        ("", ""),
    ],
)
def test_the_error_of_an_answer_is_found_in_new_and_old_places(err, error):
    ack = acknowledgement(f"{MSH.replace('ORM^O01', 'ACK')}\rMSA|AE|MINE|words\r{err}\r".encode())
    assert (ack.code, ack.of, ack.error) == ("AE", "MINE", error)
    assert ack.words.startswith("words")


def test_an_answer_without_msa_is_none():
    with pytest.raises(Unreadable):
        acknowledgement(MSH.encode())
