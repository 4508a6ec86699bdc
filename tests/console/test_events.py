"""Event streams: who listens hears, and who goes leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from urllib.parse import urlsplit

import httpx
import pytest

from tests.console.sample import SampleNode, night
from tests.console.serving import served
from tests.support.waiting import wait_until
from triage_node.console import events as events_module
from triage_node.console.app import create_app
from triage_node.console.events import Events


def open_stream(address: str, cookie: str = "none=none") -> socket.socket:
    """A stream as a browser opens it; read until the first event is there."""
    parts = urlsplit(address)
    stream = socket.create_connection((parts.hostname, parts.port), timeout=30)
    asked = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nCookie: {cookie}\r\n\r\n"
    stream.sendall(asked.encode())
    heard = b""
    while b"event: hello" not in heard:
        more = stream.recv(4096)
        assert more, heard
        heard += more
    return stream


def hear(stream: socket.socket, what: bytes) -> bytes:
    heard = b""
    while what not in heard:
        more = stream.recv(4096)
        assert more, heard
        heard += more
    return heard


@pytest.fixture
def node() -> SampleNode:
    return night()


def test_a_change_is_told_to_every_stream(node):
    app = create_app(node.deps())
    with served(app) as address:
        streams = [open_stream(address) for _ in range(3)]
        wait_until(lambda: node.list_version_calls > 0, 30, "the watcher to look once")
        node.version += 1
        for stream in streams:
            assert b"data: 2" in hear(stream, b"event: list")
            stream.close()


def test_time_alone_is_told_too(node, monkeypatch):
    monkeypatch.setattr(events_module, "TICK_S", 0.2)
    with served(create_app(node.deps())) as address:
        stream = open_stream(address)
        assert b"data: 1" in hear(stream, b"event: tick")
        stream.close()


def test_200_streams_opened_and_dropped_leave_nothing_behind(node):
    app = create_app(node.deps())
    with served(app) as address:
        open_stream(address).close()
        wait_until(lambda: app.events.streams == 0, 30, "the first stream to be left")
        threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            streams = [open_stream(address) for _ in range(20)]
            assert app.events.streams == 20
            for stream in streams:
                stream.close()
            wait_until(lambda: app.events.streams == 0, 30, "20 streams to be left")
        assert not app.events.is_watching
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= files, 30, "the sockets to be closed")
        assert threading.active_count() <= threads + 1
        calls = node.list_version_calls
        httpx.get(f"{address}/health", trust_env=False)
        assert node.list_version_calls - calls <= 1, "nobody listens, so nobody watches"


def test_a_stream_that_is_cut_without_a_word_is_left_as_well(node):
    """A browser that is killed sends a reset, not a goodbye."""
    app = create_app(node.deps())
    with served(app) as address:
        stream = open_stream(address)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        stream.close()
        wait_until(lambda: app.events.streams == 0, 30, "the stream to be left")


def test_too_many_streams_are_refused_and_the_rest_goes_on(node, monkeypatch):
    monkeypatch.setattr(events_module, "MOST_STREAMS", 3)
    with served(create_app(node.deps())) as address:
        streams = [open_stream(address) for _ in range(3)]
        refused = httpx.get(f"{address}/events", trust_env=False)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        assert httpx.get(f"{address}/", trust_env=False).status_code == 200
        for stream in streams:
            stream.close()


def test_open_streams_do_not_keep_the_server_from_stopping(node):
    with served(create_app(node.deps())) as address:
        stream = open_stream(address)
    assert stream.recv(4096) in (b"", b"0\r\n\r\n")
    stream.close()


def test_the_watcher_outlives_a_store_that_fails(node):
    answers = iter([1, RuntimeError("database is locked"), RuntimeError("database is locked"), 2])

    def list_version() -> int:
        answer = next(answers, 2)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def first_event() -> str:
        events = Events(list_version)
        stream = events.stream()
        assert "hello" in await anext(stream)
        event = await asyncio.wait_for(anext(stream), 30)
        await stream.aclose()
        assert (events.streams, events.is_watching) == (0, False)
        return event

    assert asyncio.run(first_event()) == "id: 1\nevent: list\ndata: 2\n\n"


def test_a_slow_page_skips_events_instead_of_collecting_them():
    version = 0

    async def heard() -> list[str]:
        nonlocal version
        events = Events(lambda: version)
        stream = events.stream()
        await anext(stream)
        for number in range(50):
            await events._tell("list", number)
        late = [await asyncio.wait_for(anext(stream), 30)]
        await stream.aclose()
        return late

    assert asyncio.run(heard()) == ["id: 50\nevent: list\ndata: 49\n\n"]
