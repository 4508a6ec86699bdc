"""A listener in this process: what it offers changes while it runs, and what was answered before must not outlive that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.association.raw_client import CT, EXPLICIT, RELEASE_RQ, RawClient
from triage_node.association import negotiation
from triage_node.association.limits import Limits
from triage_node.association.listener import Endpoint, Listener
from triage_node.association.peers import ANY, Sender

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
ACCEPTED, NO_TRANSFER_SYNTAX = 0, 4  # PS3.8 table 9-18


@pytest.fixture
def read(monkeypatch) -> list[bytes]:
    """Requests that were parsed."""
    found: list[bytes] = []
    original = negotiation.read_request
    monkeypatch.setattr(negotiation, "read_request", lambda data: found.append(data) or original(data))
    return found


@pytest.fixture
def listener(read) -> Iterator[Listener]:
    def nothing(*_: object) -> None: ...

    made = Listener(Endpoint(port=0), [Sender(ANY, ("127.0.0.0/8",))], Limits(), nothing, nothing, nothing, nothing)
    made.start()
    yield made
    assert made.stop(30)


def answered(listener: Listener, calling: str = "CT1") -> tuple[int, int]:
    """Results of the presentation contexts JPEG lossless and explicit little endian."""
    with RawClient(listener.port) as client:
        assert client.associate([(CT, [JPEG_LOSSLESS]), (CT, [EXPLICIT])], calling=calling) == 2
        client.send(RELEASE_RQ)
        assert client.receive()[0] == 6
        items, results = client.answer[68:], {}
        while items:
            length = int.from_bytes(items[2:4], "big")
            if items[0] == 0x21:  # PS3.8 table 9-18
                results[items[4]] = items[6]
            items = items[4 + length :]
    return results[1], results[3]


def test_request_that_was_seen_before_is_not_parsed_again(listener, read):
    assert [answered(listener) for _ in range(3)] == [(NO_TRANSFER_SYNTAX, ACCEPTED)] * 3
    assert len(read) == 1
    assert answered(listener, "CT2") == (NO_TRANSFER_SYNTAX, ACCEPTED)
    assert len(read) == 2


def test_same_request_is_answered_anew_when_more_can_be_decoded(listener):
    assert answered(listener) == (NO_TRANSFER_SYNTAX, ACCEPTED)
    listener.offer([JPEG_LOSSLESS])
    assert answered(listener) == (ACCEPTED, ACCEPTED)
    listener.offer([])
    assert answered(listener) == (NO_TRANSFER_SYNTAX, ACCEPTED)


def test_what_is_no_request_is_refused_each_time(listener, read):
    damaged = bytes((1, 0)) + (100).to_bytes(4, "big") + bytes(100)
    for _ in range(2):
        with RawClient(listener.port) as client:
            client.send(damaged)
            assert client.receive()[0] == 7  # A-ABORT
    assert len(read) == 2
