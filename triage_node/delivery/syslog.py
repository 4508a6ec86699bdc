"""Messages to a syslog receiver over TLS: RFC 5424 in the frames of RFC 5425, and when they count as received.

The protocol has no acknowledgement, and what the kernel took is not what the receiver took. So every batch has a connection of
its own that is closed in order: the receiver's close_notify (RFC 5425 4.4) comes after everything we sent. Some receivers end
the connection without it; then all bytes must have been acknowledged and no reset may follow, since a closed socket that had
unread data, or gets more, answers with a reset. Anything else counts as not received, and is sent again.
"""

from __future__ import annotations

import fcntl
import socket
import ssl
import struct
import termios
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from triage_node.dimse.line import Line
from triage_node.domain.errors import TransientDeliveryError

FACILITY = 10
"""Security and authorization messages (RFC 5424 table 1; PS3.15 A.6)."""
NOTICE, WARNING = 5, 4
_LOOK_EVERY_S = 0.02
_SETTLE_S = 2.0


def message(at: datetime, severity: int, host: str, message_id: str, text: str) -> bytes:
    """RFC 5424 section 6. `text` is sent as UTF-8 with its byte order mark."""
    stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    head = f"<{FACILITY * 8 + severity}>1 {stamp} {_name(host, 255)} triage-node - {_name(message_id, 32)} - "
    return head.encode("ascii") + "\N{ZERO WIDTH NO-BREAK SPACE}".encode() + text.encode("utf-8", "replace")


def context(ca: Path | None, certificate: Path | None, private_key: Path | None) -> ssl.SSLContext:
    """Verifies the receiver and its name; TLS 1.2 or later. Raises: OSError when a file cannot be used."""
    made = ssl.create_default_context(cafile=ca)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        made.load_cert_chain(certificate, private_key)
    return made


def send(messages: Iterable[bytes], host: str, port: int, tls: ssl.SSLContext, timeout_s: float) -> None:
    """Returns when the receiver has them all. Raises: TransientDeliveryError; any of them may have arrived then."""
    frames = b"".join(b"%d %b" % (len(m), m) for m in messages)
    line = Line()
    try:
        with socket.create_connection((host, port), timeout_s) as plain:
            made = tls.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
            line.hold(made)
            with line.cut_after(timeout_s), made as connection:
                connection.do_handshake()
                connection.sendall(frames)
                _close(connection)
    except ssl.SSLCertVerificationError as error:
        raise TransientDeliveryError(f"its certificate is not trusted: {error.verify_message}") from error
    except (OSError, ValueError) as error:
        raise TransientDeliveryError(f"no connection to its end: {getattr(error, 'strerror', '') or error}") from error


def _close(connection: ssl.SSLSocket) -> None:
    """Raises: OSError when it may not have read everything."""
    try:
        connection.unwrap()
    except (ssl.SSLEOFError, ssl.SSLSyscallError):
        _all_read(connection)
    except OSError as error:
        if error.errno != 0:  # the library's way to say: the other end is closed
            raise
        _all_read(connection)


def _all_read(connection: ssl.SSLSocket) -> None:
    """The other end closed without a word: wait until every byte was acknowledged. Raises: OSError."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        if error := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, "the receiver closed before it had read everything")
        waiting = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
        if waiting == 0:
            return
        if time.monotonic() > deadline:
            raise OSError("the receiver closed and did not acknowledge everything")
        time.sleep(_LOOK_EVERY_S)


def _name(text: str, longest: int) -> str:
    """Of a header field: printable ASCII without blanks, "-" for nothing (RFC 5424 6.2)."""
    return "".join(c for c in text if "!" <= c <= "~")[:longest] or "-"
