"""MLLP, the minimal lower layer protocol: 0x0B message 0x1C 0x0D (HL7 v2.5.1 implementation guide, appendix C).

The client has one outstanding message per connection and waits for the answer that names it. The server answers each
message before it reads the next, and every connection has limits: the `hl7` library's own has none (STANDARDS.md 3.3.5).
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

BEGIN, END = b"\x0b", b"\x1c\r"
_READ = 65536
LARGEST = 262144
"""Bytes of one message, unless somebody says otherwise: ten times what an order takes."""

log = logging.getLogger(__name__)


class MllpError(ConnectionError):
    """The other side does not keep to MLLP, or closed the connection; it is closed here as well."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server grants. `message_s`: from the first to the last byte of one message, and for a TLS handshake."""

    message_bytes: int = LARGEST
    message_s: float = 30.0
    idle_s: float = 600.0
    connections: int = 32
    connections_per_address: int = 8
    addresses: tuple[str, ...] = ("127.0.0.0/8", "::1/128")

    def allows(self, address: str) -> bool:
        caller = ip_address(address.partition("%")[0])
        caller = getattr(caller, "ipv4_mapped", None) or caller
        return any(caller in ip_network(a, strict=False) for a in self.addresses)


class Frames:
    """Takes bytes off one connection and gives whole messages. Raises: MllpError, TimeoutError, OSError."""

    def __init__(self, connection: socket.socket, most_bytes: int) -> None:
        self._connection, self._most, self._held = connection, most_bytes, bytearray()

    def next(self, deadline: float, message_s: float | None = None) -> bytes | None:
        """The next message, or None when the other side closed between two messages.

        `deadline` on the monotonic clock; with `message_s`, that long after a first byte has come instead.
        """
        searched, begun = 0, False
        while True:
            if not begun and self._held:
                self._drop_line_ends()
            if not begun and self._held:
                if self._held[:1] != BEGIN:
                    raise MllpError("bytes outside a message")
                begun = True
                deadline = deadline if message_s is None else time.monotonic() + message_s
            end = self._held.find(END, searched)
            if begun and end >= 0:
                if end > self._most:
                    raise MllpError(f"a message of more than {self._most} bytes")
                message = bytes(self._held[1:end])
                del self._held[: end + len(END)]
                return message
            if len(self._held) > self._most:
                raise MllpError(f"a message of more than {self._most} bytes")
            searched = max(0, len(self._held) - 1)
            received = self._receive(deadline)
            if not received:
                if begun:
                    raise MllpError("closed in the middle of a message")
                return None
            self._held += received

    def _drop_line_ends(self) -> None:
        """Some senders put CR or LF between messages."""
        while self._held.startswith((b"\r", b"\n")):
            del self._held[:1]

    def _receive(self, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no whole message in time")
        self._connection.settimeout(left)
        return self._connection.recv(_READ)


def framed(message: bytes) -> bytes:
    if END in message or BEGIN in message:
        raise ValueError("a message must not contain the marks of MLLP")
    return BEGIN + message + END


class MllpClient:
    """One connection, opened when first needed and closed after every failure. Safe to call from several threads."""

    def __init__(self, host: str, port: int, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._host, self._port, self._timeout_s, self._tls = host, port, timeout_s, tls
        self._connection: socket.socket | None = None
        self._frames: Frames | None = None
        self._turn = threading.Lock()

    def exchange(self, message: bytes, is_answer: Callable[[bytes], bool]) -> bytes:
        """Send, and wait for the answer that `is_answer` accepts; others (late, of somebody else) are dropped.

        A connection that the peer closed since the last message is opened again once; the same message goes again then, so
        it must have a control ID of its own. Raises: OSError (TimeoutError, ssl.SSLError, MllpError among them), and
        what `is_answer` raises.
        """
        deadline = time.monotonic() + self._timeout_s
        if not self._turn.acquire(timeout=self._timeout_s):
            raise TimeoutError("another message of this connection waits for its answer")
        try:
            if self._connection is not None and _has_something_to_say(self._connection):
                self._drop()
            if self._connection is not None:
                try:
                    return self._once(message, is_answer, deadline)
                except TimeoutError:
                    raise
                except ConnectionError:
                    self._drop()
            return self._once(message, is_answer, deadline)
        except BaseException:
            self._drop()  # what comes on it later belongs to a message that nobody waits for
            raise
        finally:
            self._turn.release()

    def close(self) -> None:
        with self._turn:
            self._drop()

    def _once(self, message: bytes, is_answer: Callable[[bytes], bool], deadline: float) -> bytes:
        if self._connection is None or self._frames is None:
            self._connection = self._connect(deadline)
            self._frames = Frames(self._connection, LARGEST)
        self._connection.settimeout(_left(deadline))
        self._connection.sendall(framed(message))
        while True:
            answer = self._frames.next(deadline)
            if answer is None:
                raise MllpError("closed without an answer")
            if is_answer(answer):
                return answer

    def _connect(self, deadline: float) -> socket.socket:
        connection = socket.create_connection((self._host, self._port), timeout=_left(deadline))
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection.settimeout(_left(deadline))
                connection = self._tls.wrap_socket(connection, server_hostname=self._host)
        except BaseException:
            connection.close()
            raise
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._frames = None


def _has_something_to_say(connection: socket.socket) -> bool:
    """Between two messages that is the end of the connection or a late answer. A peer that has closed its half may still read
    what we send, act on it, and be unable to answer.
    """
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


class MllpServer:
    """Listens and hands every message to `handle`, whose answer goes back. One thread a connection."""

    def __init__(
        self,
        host: str,
        port: int,
        handle: Callable[[bytes, str], bytes],
        limits: Limits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handle, self._limits, self._tls = handle, limits, tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._open: dict[socket.socket, str] = {}
        self._changes = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._stopped = threading.Event()
        self._accepting = threading.Thread(target=self._accept, name="mllp-accept", daemon=True)

    def start(self) -> None:
        self._accepting.start()

    def connections(self) -> int:
        with self._changes:
            return len(self._open)

    def stop(self) -> None:
        """Close everything. A message in hand is answered only if its answer is out already; its sender sends it again."""
        self._stopped.set()
        self._listener.close()
        with self._changes:
            threads = set(self._threads)
            for connection in self._open:
                _shut(connection)
        for thread in (self._accepting, *threads):
            if thread.ident is not None:
                thread.join(5.0)

    def _accept(self) -> None:
        self._listener.settimeout(0.2)  # closing a listener wakes nobody who waits on it
        while not self._stopped.is_set():
            try:
                connection, peer = self._listener.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if self._stopped.wait(0.2):
                    return
                log.warning("accept: %s", error)  # out of file descriptors: wait, then go on
                continue
            if (why := self._refusal(peer[0])) or self._stopped.is_set():
                log.warning("from=%s refused: %s", peer[0], why)
                connection.close()
                continue
            thread = threading.Thread(target=self._serve, args=(connection, peer[0]), name="mllp", daemon=True)
            with self._changes:
                self._open[connection] = peer[0]
                self._threads.add(thread)
            thread.start()

    def _refusal(self, address: str) -> str:
        if not self._limits.allows(address):
            return "address not allowed"
        with self._changes:
            if len(self._open) >= self._limits.connections:
                return f"{self._limits.connections} connections are open"
            if Counter(self._open.values())[address] >= self._limits.connections_per_address:
                return f"{self._limits.connections_per_address} connections from there are open"
        return ""

    def _serve(self, accepted: socket.socket, address: str) -> None:
        connection = accepted
        try:
            connection.settimeout(self._limits.message_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                with self._changes:
                    self._open[connection] = self._open.pop(accepted)
            frames = Frames(connection, self._limits.message_bytes)
            while not self._stopped.is_set():
                message = frames.next(time.monotonic() + self._limits.idle_s, self._limits.message_s)
                if message is None:
                    return
                answer = framed(self._handle(message, address))
                connection.settimeout(self._limits.message_s)
                connection.sendall(answer)
        except OSError as error:
            if not self._stopped.is_set():
                log.warning("from=%s closed: %s", address, error)
        except Exception:
            log.exception("from=%s closed", address)
        finally:
            connection.close()
            accepted.close()
            with self._changes:
                self._open.pop(connection, None)
                self._open.pop(accepted, None)
                self._threads.discard(threading.current_thread())


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        connection.close()  # it was gone already
