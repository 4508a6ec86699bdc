"""Instances and requests for the tests of this room, as bytes."""

from __future__ import annotations

import struct

from triage_node.domain.reception import Peer, Reception, StoreRequest

CT, EXPLICIT, IMPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
PEER = Peer(7, "CT1", "TRIAGE", "10.0.0.5")


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def data_set(
    uid: str = "1.2.4", study: str = "1.2.5", series: str = "1.2.6", sop_class: str = CT, pixels: int = 0
) -> bytes:
    parts = [(0x00080016, sop_class), (0x00080018, uid), (0x0020000D, study), (0x0020000E, series)]
    data = b"".join(element(tag, b"UI", text.encode()) for tag, text in parts)
    if pixels:
        data += struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, pixels) + bytes(range(256)) * (pixels // 256)
    return data


def request(uid: str = "1.2.4", sop_class: str = CT, syntax: str = EXPLICIT) -> StoreRequest:
    return StoreRequest(PEER, sop_class, uid, syntax)


def fill(reception: Reception, data: bytes, part: int = 100_000) -> None:
    """What the listener does: ask for room, write, say how much."""
    position = 0
    while position < len(data):
        room = reception.room(min(part, len(data) - position))
        room[:] = data[position : position + len(room)]
        reception.filled(len(room))
        position += len(room)


def receive(reception: Reception, data: bytes, part: int = 100_000) -> int:
    fill(reception, data, part)
    return reception.finish()
