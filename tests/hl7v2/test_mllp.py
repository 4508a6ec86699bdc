"""MLLP over real sockets: one message at a time, and limits against whoever does not keep to it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from triage_node.hl7v2.mllp import BEGIN, END, LARGEST, Limits, MllpClient, MllpError, MllpServer, framed

BOUND_S = 30.0
ANY: Callable[[bytes], bool] = lambda _: True  # noqa: E731


@contextlib.contextmanager
def serving(handle=lambda m, _: b"got " + m, limits: Limits = Limits(), tls=None) -> Iterator[MllpServer]:  # noqa: B008
    server = MllpServer("127.0.0.1", 0, handle, limits, tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def client(port: int, timeout_s: float = BOUND_S, tls=None) -> MllpClient:
    return MllpClient("127.0.0.1", port, timeout_s, tls)


def raw(server: MllpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=BOUND_S)


def is_closed(connection: socket.socket) -> bool:
    """Until the server closes, which it must; whatever it says before is dropped."""
    connection.settimeout(BOUND_S)
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return True


@contextlib.contextmanager
def peer(script: Callable[[socket.socket, int], None]) -> Iterator[int]:
    """A server that does what `script` says with its n-th connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        number = 0
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    script(connection, number)
                number += 1

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def received(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(END):
        data += connection.recv(65536)
    return data


def test_messages_go_one_after_the_other_on_one_connection():
    with serving() as server:
        c = client(server.port)
        assert [c.exchange(f"m{i}".encode(), ANY) for i in range(3)] == [b"got m0", b"got m1", b"got m2"]
        assert server.connections() == 1
        c.close()


def test_two_threads_share_a_connection_and_each_gets_its_own_answer():
    with serving() as server:
        c = client(server.port)
        answers: dict[int, bytes] = {}
        threads = [
            threading.Thread(target=lambda i=i: answers.__setitem__(i, c.exchange(f"m{i}".encode(), ANY)))
            for i in range(8)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join(BOUND_S)
        assert answers == {i: f"got m{i}".encode() for i in range(8)}
        c.close()


def test_a_message_that_arrives_in_pieces_and_two_in_one_piece_are_both_read():
    with serving() as server, raw(server) as s:
        for byte in framed(b"slow"):
            s.sendall(bytes([byte]))
        assert received(s) == framed(b"got slow")
        s.sendall(framed(b"one") + b"\r\n" + framed(b"two"))
        wanted = framed(b"got one") + framed(b"got two")
        data = b""
        while len(data) < len(wanted):
            data += s.recv(65536)
        assert data == wanted


def test_answers_for_others_are_passed_over():
    def script(connection, _):
        received(connection)
        connection.sendall(framed(b"late") + framed(b"foreign") + framed(b"mine"))

    with peer(script) as port:
        assert client(port).exchange(b"m", lambda a: a == b"mine") == b"mine"


def test_only_foreign_answers_are_a_timeout():
    def script(connection, _):
        received(connection)
        connection.sendall(framed(b"late"))
        is_closed(connection)

    with peer(script) as port, pytest.raises(TimeoutError):
        client(port, 0.5).exchange(b"m", lambda a: a == b"mine")


def test_a_connection_that_the_peer_closed_between_messages_is_opened_again_with_the_same_message():
    taken = []

    def script(connection, number):
        taken.append(received(connection))
        connection.sendall(framed(b"ok"))  # and then the connection ends

    with peer(script) as port:
        c = client(port)
        assert [c.exchange(m, ANY) for m in (b"one", b"two", b"three")] == [b"ok"] * 3
        assert taken == [framed(b"one"), framed(b"two"), framed(b"three")]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", MllpError),
        (b"no frame at all", MllpError),
        (BEGIN + b"half", MllpError),
        (BEGIN + b"x" * (LARGEST + 10), MllpError),
    ],
    ids=["closes", "garbage", "half", "endless"],
)
def test_a_peer_that_does_not_keep_to_mllp_is_an_error_and_the_connection_ends(said, error):
    def script(connection, _):
        received(connection)
        connection.sendall(said)

    with peer(script) as port:
        c = client(port)
        with pytest.raises(error):
            c.exchange(b"m", ANY)
        assert c._connection is None


def test_a_peer_that_is_not_there_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        client(port).exchange(b"m", ANY)


def test_a_message_cannot_carry_the_marks_of_its_frame():
    for forged in (b"a\x1c\r\x0bb", b"\x0b"):
        with pytest.raises(ValueError, match="marks"):
            framed(forged)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x00\x00\x00",
        BEGIN + b"A" * 300_000,
        BEGIN + b"\x0b" * 300_000,
        b"MSH|^~\\&|" * 100,
    ],
    ids=["http", "nulls", "300 KB without an end", "marks", "no mark"],
)
def test_what_is_no_message_ends_the_connection_and_no_other(sent):
    with serving() as server, raw(server) as good:
        with raw(server) as bad:
            with contextlib.suppress(ConnectionError):
                bad.sendall(sent)
            assert is_closed(bad)
        good.sendall(framed(b"still"))
        assert received(good) == framed(b"got still")


def test_half_a_message_and_then_silence_ends_after_the_time_for_one_message():
    with serving(limits=Limits(message_s=0.3)) as server, raw(server) as s:
        s.sendall(BEGIN + b"half")
        assert is_closed(s)
        wait_until(lambda: server.connections() == 0, BOUND_S, "the connection is forgotten")


def test_an_idle_connection_ends():
    with serving(limits=Limits(idle_s=0.3)) as server, raw(server) as s:
        assert is_closed(s)


def test_a_hundred_connections_leave_room_within_the_limit_and_none_beyond():
    with serving(limits=Limits(connections=5, connections_per_address=5)) as server:
        held = [raw(server) for _ in range(100)]
        wait_until(lambda: server.connections() == 5, BOUND_S, "five are let in")
        for s in held[:5]:
            s.sendall(framed(b"m"))
            assert received(s) == framed(b"got m")
        assert all(is_closed(s) for s in held[5:])
        for s in held:
            s.close()
        wait_until(lambda: server.connections() == 0, BOUND_S, "all have gone")
        assert client(server.port).exchange(b"again", ANY) == b"got again"


def test_one_address_cannot_take_every_connection():
    with serving(limits=Limits(connections=8, connections_per_address=2)) as server:
        held = [raw(server) for _ in range(3)]
        assert is_closed(held[2])
        for s in held:
            s.close()


def test_an_address_that_is_not_allowed_is_closed_at_once():
    with serving(limits=Limits(addresses=("192.0.2.0/24",))) as server, raw(server) as s:
        assert is_closed(s)


def test_a_handler_that_fails_costs_its_connection_alone():
    def handle(message, _):
        if message == b"bad":
            raise KeyError("bug")
        return b"ok"

    with serving(handle) as server, raw(server) as s:
        s.sendall(framed(b"bad"))
        assert is_closed(s)
        assert client(server.port).exchange(b"good", ANY) == b"ok"


def test_stopping_ends_what_is_open_and_the_port():
    with serving() as server, raw(server) as s:
        s.sendall(framed(b"m"))
        received(s)
        server.stop()
        assert is_closed(s)
        with pytest.raises(ConnectionError):
            raw(server)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate of 127.0.0.1 that is its own CA, with its key in the same file."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    key = file.with_name("key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", file],
        check=True,
        capture_output=True,
    )  # fmt: skip
    file.write_text(file.read_text() + key.read_text())
    return file


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_tls_carries_messages_and_a_plain_or_strange_caller_gets_nothing(certificate):
    with serving(limits=Limits(message_s=2.0), tls=server_side(certificate)) as server:
        trusting = ssl.create_default_context(cafile=certificate)
        assert client(server.port, tls=trusting).exchange(b"m", ANY) == b"got m"
        with pytest.raises(ssl.SSLCertVerificationError):
            client(server.port, tls=ssl.create_default_context()).exchange(b"m", ANY)
        with pytest.raises(OSError):
            client(server.port).exchange(b"m", ANY)
