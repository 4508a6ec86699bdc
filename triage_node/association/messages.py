"""The few DIMSE messages that the fast path reads and writes by hand. Source: PS3.7 section 6.3.1, 9.3, 10.3."""

from __future__ import annotations

import struct
from dataclasses import dataclass

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ, N_EVENT_REPORT_RQ = 0x0001, 0x0030, 0x0FFF, 0x0100
RESPONSE = 0x8000
NO_DATA_SET = 0x0101

_ELEMENT = struct.Struct("<HHL")
_AFFECTED_CLASS, _COMMAND, _MESSAGE_ID, _DATA_SET_TYPE = 0x0002, 0x0100, 0x0110, 0x0800
_RESPONDED_TO, _STATUS, _AFFECTED_INSTANCE, _EVENT_TYPE = 0x0120, 0x0900, 0x1000, 0x1002
_ECHOED_IN_RESPONSE = (_AFFECTED_CLASS, _AFFECTED_INSTANCE, _EVENT_TYPE)


class NotACommand(Exception):
    """The bytes are no command set."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request: what of it matters. UIDs as text, not checked."""

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str
    sop_instance_uid: str
    event_type: int
    _values: dict[int, bytes]


def read_command(data: bytes | bytearray) -> Command:
    """Parse a command set (implicit VR little endian, group 0000). Raises: NotACommand."""
    values: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        if len(data) - position < 8:
            raise NotACommand
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += 8
        if group != 0 or length > len(data) - position:
            raise NotACommand
        values[element] = bytes(data[position : position + length])
        position += length
    try:
        return Command(
            field=_short(values[_COMMAND]),
            message_id=_short(values.get(_MESSAGE_ID, b"\0\0")),
            has_data_set=_short(values[_DATA_SET_TYPE]) != NO_DATA_SET,
            sop_class_uid=_uid(values.get(_AFFECTED_CLASS, b"")),
            sop_instance_uid=_uid(values.get(_AFFECTED_INSTANCE, b"")),
            event_type=_short(values.get(_EVENT_TYPE, b"\0\0")),
            _values=values,
        )
    except (KeyError, struct.error) as error:
        raise NotACommand from error


def response(context_id: int, command: Command, status: int) -> bytes:
    """The P-DATA-TF PDU that answers a request; what identifies the instance comes back as it came."""
    body = b"".join(
        _element(tag, value)
        for tag, value in sorted(
            {
                **{t: v for t, v in command._values.items() if t in _ECHOED_IN_RESPONSE and len(v) <= 64},
                _COMMAND: struct.pack("<H", command.field | RESPONSE),
                _RESPONDED_TO: struct.pack("<H", command.message_id),
                _DATA_SET_TYPE: struct.pack("<H", NO_DATA_SET),
                _STATUS: struct.pack("<H", status),
            }.items()
        )
    )
    fragment = _element(0, struct.pack("<L", len(body))) + body
    return struct.pack(">BBLLBB", 4, 0, len(fragment) + 6, len(fragment) + 2, context_id, 0x03) + fragment


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value


def _short(value: bytes) -> int:
    return int(struct.unpack("<H", value)[0])


def _uid(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")
