"""Connections that say nothing, half of something, or come by the hundred from one address, on a real server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from tests.support.waiting import wait_until
from triage_node.processes import http_connections
from triage_node.processes.http_connections import PromptProtocol
from triage_node.processes.web import listen

BOUND_S = 20.0
MOST = 12
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope, receive, send) -> None:
    """Answers with what it was sent; /stream begins an answer and never ends it."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body + b"answered", "more_body": True})
    if scope["path"] == "/stream":
        await receive()  # until the client is gone
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def patience(monkeypatch) -> None:
    monkeypatch.setattr(http_connections, "PATIENCE_S", 0.2)


@contextmanager
def serving() -> Iterator[int]:
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, log_config=None, limit_concurrency=MOST, http=PromptProtocol, timeout_keep_alive=60)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, BOUND_S, "the server to start")
        yield listener.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(BOUND_S)
        assert not thread.is_alive()


def connected(port: int, said: bytes = b"") -> socket.socket:
    s = socket.create_connection(("127.0.0.1", port), timeout=BOUND_S)
    s.sendall(said)
    return s


def heard(s: socket.socket, last: bytes = b"\0") -> bytes:
    """Until the server says so, or closes."""
    data = b""
    while last not in data:
        part = s.recv(65536)
        if not part:
            return data
        data += part
    return data


@pytest.mark.parametrize(
    "said",
    [b"", b"G", b"GET / HTTP/1.1\r\nHost:", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"],
    ids=["nothing", "a letter", "half a head", "half a body"],
)
def test_connection_on_which_nothing_comes_that_was_due_is_closed(patience, said):
    with serving() as port, connected(port, said) as s:
        assert b"answered" not in heard(s)


def test_half_a_request_after_an_answered_one_is_closed_too(patience):
    with serving() as port, connected(port, GET) as s:
        assert b"answered" in heard(s, b"answered\r\n0\r\n\r\n")
        s.sendall(b"GET /again")
        assert heard(s) == b""


def test_silent_connections_of_one_client_leave_the_pages_to_others(patience):
    with serving() as port:
        silent = [connected(port) for _ in range(MOST)]
        for s in silent:
            heard(s)  # closed by the server
            s.close()
        with connected(port, GET) as s:
            assert b"200 OK" in heard(s, b"answered")


class Wire(asyncio.Transport):
    """A connection from elsewhere: no second machine can be had here."""

    def __init__(self, host: str) -> None:
        super().__init__({"peername": (host, 50000), "sockname": ("192.0.2.1", 443)})
        self.said, self.is_closed = b"", False

    def set_protocol(self, protocol) -> None:
        self.protocol = protocol

    def get_protocol(self):
        return self.protocol

    def write(self, data: bytes) -> None:
        self.said += data

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def opened(host: str, state: uvicorn.server.ServerState) -> tuple[PromptProtocol, Wire]:
    config = uvicorn.Config(app, log_config=None, limit_concurrency=MOST, http=PromptProtocol)
    config.load()
    config.loaded_app = app
    wire = Wire(host)
    protocol = PromptProtocol(config=config, server_state=state, app_state={})
    wire.set_protocol(protocol)
    protocol.connection_made(wire)
    return protocol, wire


def test_stream_and_slow_but_steady_body_go_on():
    async def closed_after(said: bytes, more: bytes) -> list[bool]:
        """At each of six looks; `more` comes before the first three of them."""
        protocol, wire = opened("192.0.2.7", uvicorn.server.ServerState())
        protocol.data_received(said)
        found = []
        for look in range(6):
            if more and look < 3:
                protocol.data_received(more)
            await asyncio.sleep(0)
            protocol._look()
            found.append(wire.is_closed)
        protocol.connection_lost(None)
        await asyncio.gather(*protocol.tasks)
        return found

    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n"
    assert asyncio.run(closed_after(post, b".")) == [False] * 3 + [True] * 3
    assert asyncio.run(closed_after(GET.replace(b"GET /", b"GET /stream"), b"")) == [False] * 6


def test_no_address_but_our_own_holds_more_than_half():
    async def closed(host: str) -> list[bool]:
        state = uvicorn.server.ServerState()
        return [opened(host, state)[1].is_closed for _ in range(MOST)]

    half = [False] * (MOST // 2) + [True] * (MOST // 2)
    assert asyncio.run(closed("192.0.2.7")) == half
    assert asyncio.run(closed("2001:db8::7")) == half
    assert asyncio.run(closed("127.0.0.1")) == [False] * MOST
