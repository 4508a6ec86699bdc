"""A sender that can break every rule of the protocol, and the polite one beside it."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from dataclasses import dataclass, field

from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import build_context

CT, ENHANCED_CT, VERIFICATION = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
EXPLICIT, IMPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
ATTACKER, PROBE = "127.0.0.2", "127.0.0.3"
RELEASE_RQ = bytes((5, 0, 0, 0, 0, 4, 0, 0, 0, 0))
ABORT = bytes((7, 0, 0, 0, 0, 4, 0, 0, 0, 0))


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """Explicit VR little endian."""
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"OB", b"OW", b"UN", b"SQ", b"UT"):
        return head + struct.pack("<HL", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def data_set(uid: str, *more: bytes, sop_class: str = CT, study: str = "1.2.3", series: str = "1.2.3.4") -> bytes:
    """The least that an instance needs, then `more`, whose tags must be above (0020,000E)."""
    return b"".join(
        (
            element(0x00080016, b"UI", sop_class.encode()),
            element(0x00080018, b"UI", uid.encode()),
            element(0x00100010, b"PN", b"Raw^Client"),
            element(0x0020000D, b"UI", study.encode()),
            element(0x0020000E, b"UI", series.encode()),
            *more,
        )
    )


def pixel_data(count: int) -> bytes:
    return struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, count)


def association_request(
    contexts: list[tuple[str, list[str]]], calling: str = "RAW", called: str = "TRIAGE", roles: tuple[str, ...] = ()
) -> bytes:
    """An A-ASSOCIATE-RQ; context IDs are 1, 3, 5 ... `roles`: classes for which the requestor wants to be SCP."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID("1.2.840.10008.3.1.1.1")
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    proposed = []
    for number, (abstract, transfer) in enumerate(contexts):
        context = build_context(abstract, transfer)
        context.context_id = 2 * number + 1
        proposed.append(context)
    primitive.presentation_context_definition_list = proposed
    length = MaximumLengthNotification()
    length.maximum_length_received = 16384
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID("1.2.3.9")
    items = [length, implementation]
    for uid in roles:
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = UID(uid), False, True
        items.append(role)
    primitive.user_information = items
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return pdu.encode()


def command(
    field_: int, sop_class: str, uid: str = "", has_data: bool = True, message_id: int = 1, **more: int
) -> bytes:
    """A command set. `more`: event_type, responded_to."""
    elements = [
        (0x0002, _padded(sop_class)),
        (0x0100, struct.pack("<H", field_)),
        (0x0110, struct.pack("<H", message_id)),
        (0x0800, struct.pack("<H", 1 if has_data else 0x0101)),
    ]
    if uid:
        elements.append((0x1000, _padded(uid)))
    if "event_type" in more:
        elements.append((0x1002, struct.pack("<H", more["event_type"])))
    if "responded_to" in more:
        elements[2] = (0x0120, struct.pack("<H", more["responded_to"]))
    body = b"".join(struct.pack("<HHL", 0, e, len(v)) + v for e, v in sorted(elements))
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _padded(text: str) -> bytes:
    value = text.encode("latin-1")
    return value + b"\0" * (len(value) % 2)


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">LBB", len(data) + 2, context_id, control) + data


def p_data(*values: bytes) -> bytes:
    body = b"".join(values)
    return struct.pack(">BBL", 4, 0, len(body)) + body


@dataclass
class RawClient:
    """One TCP connection. Raises OSError or ConnectionError when the node ends it."""

    port: int
    source: str = ATTACKER
    tls: ssl.SSLContext | None = None
    timeout_s: float = 60.0
    socket: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), self.timeout_s, (self.source, 0))
        if self.tls is not None:
            self.socket = self.tls.wrap_socket(self.socket)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive_exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError("closed")
            data += part
        return data

    def receive(self) -> tuple[int, bytes]:
        """(PDU type, body)."""
        kind, _, length = struct.unpack(">BBL", self.receive_exactly(6))
        return kind, self.receive_exactly(length)

    def associate(self, contexts: list[tuple[str, list[str]]] | None = None, **more: object) -> int:
        """Returns the type of the answer: 2 accepted, 3 rejected."""
        self.send(association_request(contexts or [(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT])], **more))  # type: ignore[arg-type]
        kind, self.answer = self.receive()
        return kind

    def status(self) -> int:
        """The status of the response that comes next."""
        kind, body = self.receive()
        if kind != 4:
            raise ConnectionError(f"PDU of type {kind}")
        position = body.index(b"\0\0\0\x09\x02\0\0\0")
        return int(struct.unpack_from("<H", body, position + 8)[0])

    def store(self, data: bytes, uid: str, sop_class: str = CT, context_id: int = 1, pdu_bytes: int = 100_000) -> int:
        """C-STORE these bytes as they are. Returns the status."""
        self.send(p_data(pdv(context_id, 3, command(0x0001, sop_class, uid))))
        for k in range(0, len(data), pdu_bytes):
            part = data[k : k + pdu_bytes]
            self.send(p_data(pdv(context_id, 2 if k + pdu_bytes >= len(data) else 0, part)))
        return self.status()

    def echo(self, context_id: int = 3) -> int:
        self.send(p_data(pdv(context_id, 3, command(0x0030, VERIFICATION, has_data=False))))
        return self.status()

    def ended_within(self, seconds: float) -> bool:
        """True when the node closes the connection within this time."""
        self.socket.settimeout(seconds)
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                if not self.socket.recv(65536):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        return False


def echo_seconds(port: int, source: str = PROBE, timeout_s: float = 60.0) -> float:
    """Associate as a stranger to all attacks, C-ECHO, release. Returns how long it took; fails when it is not answered."""
    ae = AE("PROBE")
    ae.add_requested_context(VERIFICATION)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = timeout_s
    began = time.monotonic()
    association = ae.associate("127.0.0.1", port, bind_address=(source, 0))
    assert association.is_established, "the probe's association was not accepted"
    status = association.send_c_echo()
    association.release()
    assert status.Status == 0x0000
    return time.monotonic() - began
