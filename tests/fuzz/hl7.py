"""Bytes on the MLLP port: framing, then the answer of the listener on a real store."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from triage_node.config.hl7_inbound import Hl7InboundSettings
from triage_node.gateway.hl7_inbound import Hl7Inbound
from triage_node.hl7v2.mllp import BEGIN, END, Frames, MllpError
from triage_node.hl7v2.parse import acknowledgement
from triage_node.store.engine import open_store
from triage_node.store.upgrade import upgrade

LONGEST = 1 << 15
AT = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
_PID = "PID|1||P77^^^H&1.2&ISO^MR~P78||M\\T\\LLER^ZO^A^^DR||19500102|F\r"
_ORDER = "ORC|NW|1|2^A||CM||1^^^20261121^^S\rTQ1|1||||||||S\rOBR|1||A1|CT^HEAD^L||||||||||||||A1\rIPC|A1|1|1.2.3|4\r"
_FACTS = (
    "OBX|1|NM|9269-2^GCS^LN||13||||||F\rOBX|2|TS|11368-8^^LN||202611210100+0100||||||F\r"
    "OBX|3|NM|2345-7^^LN||7.4|mmol/L|||||F\rOBX|4|CWE|711150003^^SCT||Y^yes^L||||||F\rOBX|5|FT|18748-4||No bleed\\.br\\||||||F\r"
)


def seeds() -> Iterator[bytes]:
    for number, (kind, body) in enumerate(
        (
            ("ORM^O01", _PID + _ORDER),
            ("OMG^O19", _PID + _ORDER + _ORDER),
            ("OMI^O23^OMI_O23", _PID + _ORDER),
            ("ORU^R01", _PID + "OBR|1||A1|||||||||||||||||||||F\r" + _FACTS),
            ("ADT^A08", _PID),
            ("ADT^A40", _PID + "MRG|P76^^^H\r"),
            ("SIU^S12", _PID),
        )
    ):
        for character_set in ("UNICODE UTF-8", "8859/1", "ASCII~ISO IR87", ""):
            head = f"MSH|^~\\&|HIS|W|TRIAGE||20261121||{kind}|X{number}|P|2.5.1|||AL|NE||{character_set}\r"
            yield BEGIN + (head + body).encode() + END
    yield b"\r\n" + BEGIN + b"MSH|^~\\&|" + END + BEGIN + b"x" + END


def prepare(folder: Path) -> Callable[[bytes], None]:
    store = open_store(f"sqlite:///{folder / 'triage.db'}")
    upgrade(store)
    inbound = Hl7Inbound(store, Hl7InboundSettings(), ZoneInfo("Europe/Berlin"), True, lambda: AT)

    def check(data: bytes) -> None:
        for message in _messages(data):
            told = acknowledgement(inbound.answer(message, "127.0.0.1"))
            assert told.code in ("AA", "CA", "AR", "CR"), told

    return check


def _messages(data: bytes) -> Iterator[bytes]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * LONGEST)
        theirs.settimeout(0.0)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        frames = Frames(ours, LONGEST)
        while True:
            try:
                message = frames.next(time.monotonic() + 60)
            except MllpError:
                return
            if message is None:
                return
            yield message
