"""One TCP connection to the listener, as its bytes: negotiation, then the fast receive path into a real archive.

The first PDU is what the lobby would take for an A-ASSOCIATE-RQ; where it is refused, the rest comes to an association that
accepted CT in explicit VR and verification.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.association import raw_client as raw
from triage_node.association.contexts import supported_contexts
from triage_node.association.fast_path import FastAssociation
from triage_node.association.limits import ASSOCIATE_PDU_BYTES, Limits
from triage_node.association.negotiation import Context, NotARequest, accept, read_request
from triage_node.association.session import Services
from triage_node.association.wire import Wire
from triage_node.domain.reception import Peer
from triage_node.instances.archive import Archive
from triage_node.instances.backlog import Backlog
from triage_node.instances.intake import Intake, IntakeLimits, Stored

LONGEST = 1 << 16
_CONTEXTS = {1: Context(raw.CT, raw.EXPLICIT), 3: Context(raw.VERIFICATION, raw.IMPLICIT)}
_ALL = [(raw.CT, [raw.EXPLICIT]), (raw.VERIFICATION, [raw.IMPLICIT]), (raw.STORAGE_COMMITMENT, [raw.EXPLICIT])]


def seeds() -> Iterator[bytes]:
    request = raw.association_request(_ALL, roles=(raw.STORAGE_COMMITMENT,))
    echo = raw.p_data(raw.pdv(3, 3, raw.command(0x0030, raw.VERIFICATION, has_data=False)))
    whole = raw.data_set("1.2.9", raw.pixel_data(8) + bytes(8))
    store = raw.p_data(raw.pdv(1, 3, raw.command(0x0001, raw.CT, "1.2.9")), raw.pdv(1, 2, whole))
    halves = raw.p_data(raw.pdv(1, 3, raw.command(0x0001, raw.CT, "1.2.9")))
    halves += raw.p_data(raw.pdv(1, 0, whole[:50])) + raw.p_data(raw.pdv(1, 2, whole[50:]))
    told = raw.element(0x00081195, b"UI", b"1.2.77")
    report = raw.command(0x0100, raw.STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1", event_type=1)
    for rest in (
        echo,
        store,
        halves,
        raw.p_data(raw.pdv(5, 3, report), raw.pdv(5, 2, told)),
        raw.p_data(raw.pdv(3, 3, raw.command(0x0020, raw.VERIFICATION)), raw.pdv(3, 2, told)),
        raw.p_data(raw.pdv(3, 3, raw.command(0x8030, raw.VERIFICATION, has_data=False, responded_to=1))),
        raw.RELEASE_RQ,
        raw.ABORT,
    ):
        yield request + rest + echo + raw.RELEASE_RQ
        yield rest


class _Rows:
    """Takes what would become a row, makes it, and takes the file away again."""

    def __init__(self, archive: Archive) -> None:
        self._archive, self.backlog = archive, Backlog()

    def received(self, number: int, instance: Stored) -> None:
        self._archive.remove(instance(True).sha256)


def prepare(folder: Path) -> Callable[[bytes], None]:
    archive = Archive(folder)
    archive.prepare()
    unbounded = IntakeLimits(instance_bytes=LONGEST, instances_per_study=1 << 60, stop_free_bytes=0)
    intake = Intake(archive, _Rows(archive), unbounded, direct=False)  # type: ignore[arg-type]
    services = Services(Limits(), intake.open, lambda *_: None, lambda: False, folder)
    supported = supported_contexts(())

    def check(data: bytes) -> None:
        length = 6 + int.from_bytes(data[2:6], "big")
        contexts, rest = dict(_CONTEXTS), data
        if data[:1] == b"\x01" and length <= min(len(data), ASSOCIATE_PDU_BYTES):
            rest = data[length:]
            with suppress(NotARequest):
                contexts = accept(read_request(data[:length]), supported, 131072)[1]
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.settimeout(0.0)
            for connection in (ours, theirs):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * LONGEST)
            theirs.sendall(rest)
            theirs.shutdown(socket.SHUT_WR)
            FastAssociation(Wire(ours), Peer(1, "FUZZ", "TRIAGE", "127.0.0.1"), contexts, services).serve()
        left = [entry.name for entry in os.scandir(archive.blobs) if not entry.is_dir()]
        assert not left, f"left behind: {left}"

    return check
