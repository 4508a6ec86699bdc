"""What a peer may send in what order, over both receive paths, plain and TLS."""

from __future__ import annotations

import contextlib
import hashlib
import random
import struct

import pytest
from pydicom.uid import generate_uid

from tests.association.node import Node
from tests.association.raw_client import (
    ABORT,
    CT,
    EXPLICIT,
    IMPLICIT,
    RELEASE_RQ,
    VERIFICATION,
    RawClient,
    association_request,
    command,
    data_set,
    element,
    p_data,
    pdv,
    pixel_data,
)
from tests.support.waiting import wait_until

C_STORE, C_ECHO, C_FIND, C_CANCEL = 0x0001, 0x0030, 0x0020, 0x0FFF
DEVICE_SERIAL = 0x00281000  # any tag above the pixels' description


def instance(size: int = 20_000) -> tuple[str, bytes]:
    """(SOP Instance UID, data set bytes)."""
    uid = generate_uid()
    return uid, data_set(uid) + pixel_data(size) + random.Random(uid).randbytes(size)


def stored_data_sets(node: Node) -> set[str]:
    """Digests of the data sets on disk, without their file meta information."""
    return {hashlib.sha256(b[144 + struct.unpack_from("<L", b, 140)[0] :]).hexdigest() for b in node.blobs().values()}


def is_stored(node: Node, data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() in stored_data_sets(node)


def nothing_left(node: Node) -> bool:
    return node.leftovers() == []


def test_echo_is_answered(node):
    with RawClient(node.port) as client:
        assert client.associate() == 2
        assert [client.echo() for _ in range(3)] == [0, 0, 0]


def test_instance_is_stored_byte_for_byte(node):
    uid, data = instance()
    with RawClient(node.port) as client:
        client.associate()
        assert client.store(data, uid) == 0
        assert is_stored(node, data)


def test_release_is_confirmed_and_the_connection_closed(node):
    with RawClient(node.port) as client:
        client.associate()
        client.send(RELEASE_RQ)
        assert client.receive() == (6, bytes(4))
        assert client.ended_within(30)


def test_command_and_data_in_one_pdu_are_read(node):
    uid, data = instance(5000)
    with RawClient(node.port) as client:
        client.associate()
        client.send(p_data(pdv(1, 3, command(C_STORE, CT, uid)), pdv(1, 0, data[:1000]), pdv(1, 2, data[1000:])))
        assert client.status() == 0
        assert is_stored(node, data)


def test_command_in_many_fragments_is_read(node):
    uid, data = instance(3000)
    whole = command(C_STORE, CT, uid)
    with RawClient(node.port) as client:
        client.associate()
        for k in range(0, len(whole), 7):
            client.send(p_data(pdv(1, 1 | 2 * (k + 7 >= len(whole)), whole[k : k + 7])))
        client.send(p_data(*(pdv(1, 0, data[k : k + 100]) for k in range(0, len(data), 100)), pdv(1, 2, b"")))
        assert client.status() == 0
        assert is_stored(node, data)


def test_bytes_that_come_one_at_a_time_are_read(node):
    uid, data = instance(300)
    stream = p_data(pdv(1, 3, command(C_STORE, CT, uid))) + p_data(pdv(1, 2, data))
    with RawClient(node.port) as client:
        client.associate()
        for k in range(len(stream)):
            client.send(stream[k : k + 1])
        assert client.status() == 0
        assert is_stored(node, data)


def test_two_instances_without_waiting_for_the_answer_are_both_answered(node):
    """No asynchronous window was negotiated, so nobody should; what comes is answered in order all the same."""
    instances = [instance(200_000) for _ in range(2)]
    with RawClient(node.port) as client:
        client.associate()
        for uid, data in instances:
            client.send(p_data(pdv(1, 3, command(C_STORE, CT, uid))))
            for k in range(0, len(data), 100_000):
                client.send(p_data(pdv(1, 2 * (k + 100_000 >= len(data)), data[k : k + 100_000])))
        assert [client.status(), client.status()] == [0, 0]
        assert all(is_stored(node, data) for _, data in instances)


def test_instance_larger_than_the_buffer_is_stored_byte_for_byte(node):
    uid, data = instance(9_000_001 // 2 * 2)
    with RawClient(node.port) as client:
        client.associate()
        assert client.store(data, uid) == 0
        assert is_stored(node, data)
        assert nothing_left(node)


def test_abort_midway_leaves_nothing(node):
    uid, data = instance(6_000_000)
    before = set(node.archive.digests())
    with RawClient(node.port) as client:
        client.associate()
        client.send(p_data(pdv(1, 3, command(C_STORE, CT, uid))))
        for k in range(0, 5_000_000, 100_000):
            client.send(p_data(pdv(1, 0, data[k : k + 100_000])))
        client.send(ABORT)
        assert client.ended_within(30)
    wait_until(lambda: nothing_left(node), 30, "the temporary file to go")
    assert set(node.archive.digests()) == before


def test_connection_that_breaks_midway_leaves_nothing(node):
    uid, data = instance(6_000_000)
    before = set(node.archive.digests())
    with RawClient(node.port) as client:
        client.associate()
        client.send(p_data(pdv(1, 3, command(C_STORE, CT, uid))))
        client.send(p_data(pdv(1, 0, data[:100_000])))
    wait_until(lambda: nothing_left(node) and "outcome=lost" in node.log(), 30, "the association to end as lost")
    assert set(node.archive.digests()) == before


def test_cancel_between_instances_changes_nothing(node):
    first, second = instance(), instance()
    with RawClient(node.port) as client:
        client.associate()
        assert client.store(first[1], first[0]) == 0
        client.send(p_data(pdv(1, 3, command(C_CANCEL, CT, has_data=False, responded_to=1))))
        assert client.store(second[1], second[0]) == 0
        assert is_stored(node, first[1])
        assert is_stored(node, second[1])


def test_cancel_inside_a_data_set_does_not_store_it(node):
    uid, data = instance()
    before = set(node.archive.digests())
    with RawClient(node.port) as client:
        client.associate()
        client.send(p_data(pdv(1, 3, command(C_STORE, CT, uid))))
        client.send(p_data(pdv(1, 0, data[:9000])))
        client.send(p_data(pdv(1, 3, command(C_CANCEL, CT, has_data=False, responded_to=1))))
        client.send(ABORT)
        assert client.ended_within(30)
    assert set(node.archive.digests()) == before


def test_operation_that_is_not_offered_is_not_performed(node):
    with RawClient(node.port) as client:
        client.associate()
        client.send(p_data(pdv(1, 3, command(C_FIND, CT))) + p_data(pdv(1, 2, data_set("1.2"))))
        try:
            assert client.status() != 0
        except ConnectionError:
            assert client.ended_within(30)  # pynetdicom aborts


def test_presentation_context_that_was_not_accepted_ends_the_association(node):
    uid, data = instance()
    with RawClient(node.port) as client:
        client.associate()
        client.send(p_data(pdv(99, 3, command(C_STORE, CT, uid))) + p_data(pdv(99, 2, data)))
        assert client.ended_within(30)
    assert not is_stored(node, data)


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="http"),
        pytest.param(bytes(64), id="zeros"),
        pytest.param(b"\xff" * 64, id="ones"),
        pytest.param(p_data(pdv(1, 3, b"")), id="data before association"),
        pytest.param(RELEASE_RQ, id="release before association"),
        pytest.param(struct.pack(">BBL", 1, 0, 68) + bytes(68), id="association request of zeros"),
        pytest.param(struct.pack(">BBL", 1, 0, 4) + b"\0\1\0\0", id="association request of four bytes"),
    ],
)
def test_what_is_no_association_request_is_sent_away(node, garbage):
    with RawClient(node.port) as client:
        client.send(garbage)
        assert client.ended_within(30)
    with RawClient(node.port) as client:
        assert client.associate() == 2


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(p_data(), id="P-DATA without a value"),
        pytest.param(struct.pack(">BBLLBB", 4, 0, 6, 0, 1, 3), id="value shorter than its head"),
        pytest.param(struct.pack(">BBLLBB", 4, 0, 6, 999, 1, 3), id="value longer than its PDU"),
        pytest.param(p_data(pdv(1, 3, b"\xff" * 40)), id="command of ones"),
        pytest.param(p_data(pdv(1, 3, b"")), id="empty command"),
        pytest.param(p_data(pdv(1, 2, b"abc")), id="data without command"),
        pytest.param(bytes((9, 0, 0, 0, 0, 4, 0, 0, 0, 0)), id="PDU type 9"),
        pytest.param(bytes((2, 0, 0, 0, 0, 4, 0, 0, 0, 0)), id="A-ASSOCIATE-AC"),
        pytest.param(association_request([(CT, [EXPLICIT])]), id="a second request"),
        pytest.param(p_data(pdv(1, 3, command(0x8001, CT, has_data=False))), id="a response to nothing"),
    ],
)
def test_what_breaks_the_protocol_ends_the_association_and_nothing_else(node, garbage):
    with RawClient(node.port) as client, RawClient(node.port) as other:
        client.associate()
        other.associate()
        client.send(garbage)
        with contextlib.suppress(OSError):  # it may have hung up already
            client.send(ABORT)  # pynetdicom passes over some of these
        assert client.ended_within(30)
        assert other.echo() == 0


def test_fuzzed_pdus_never_stop_the_node(node):
    """Two hundred valid conversations with bytes changed, cut or repeated; the node answers the next one."""
    chance = random.Random(20261121)
    uid, data = instance(2000)
    good = [
        association_request([(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]),
        p_data(pdv(1, 3, command(C_STORE, CT, uid))) + p_data(pdv(1, 2, data)),
        p_data(pdv(3, 3, command(C_ECHO, VERIFICATION, has_data=False))),
        RELEASE_RQ,
    ]
    threads, descriptors = node.threads(), node.descriptors()
    for _ in range(200):
        parts = [bytearray(p) for p in good]
        part = chance.choice(parts)
        for _ in range(chance.randint(1, 8)):
            part[chance.randrange(min(len(part), 400))] = chance.randrange(256)
        if chance.random() < 0.3:
            del part[chance.randrange(len(part)) :]
        with RawClient(node.port) as client:
            try:
                for p in parts:
                    client.send(p)
            except OSError:
                continue  # the node has closed it already
    with RawClient(node.port) as client:
        wait_until(lambda: client.socket.fileno() < 0 or _answers(node), 30, "an association after the fuzzing")
    wait_until(lambda: node.threads() <= threads + 2, 30, "the threads to end")
    wait_until(lambda: node.descriptors() <= descriptors + 4, 30, "the sockets to close")
    wait_until(lambda: nothing_left(node), 30, "temporary files to go")
    for found in node.blobs().values():
        assert found[128:132] == b"DICM"


def _answers(node: Node) -> bool:
    with RawClient(node.port, source="127.0.0.3") as client:
        return client.associate() == 2 and client.echo() == 0


def test_private_elements_and_odd_lengths_come_through_unchanged(node):
    uid = generate_uid()
    data = data_set(uid, element(0x00211001, b"LO", b"private"), element(0x00281055, b"LO", b"window"))
    with RawClient(node.port) as client:
        client.associate()
        assert client.store(data, uid) == 0
    assert is_stored(node, data)


class TestTLS:
    def test_instance_arrives_byte_for_byte(self, secure, certificate):
        uid, data = instance(3_000_000)
        with RawClient(secure.port, tls=certificate.client()) as client:
            assert client.associate() == 2
            assert client.store(data, uid) == 0
            assert client.echo() == 0
            client.send(RELEASE_RQ)
            assert client.receive() == (6, bytes(4))
        assert is_stored(secure, data)

    def test_abort_midway_leaves_nothing(self, secure, certificate):
        uid, data = instance(6_000_000)
        before = set(secure.archive.digests())
        with RawClient(secure.port, tls=certificate.client()) as client:
            client.associate()
            client.send(p_data(pdv(1, 3, command(C_STORE, CT, uid))))
            for k in range(0, 5_000_000, 100_000):
                client.send(p_data(pdv(1, 0, data[k : k + 100_000])))
            client.send(ABORT)
            assert client.ended_within(30)
        wait_until(lambda: nothing_left(secure), 30, "the temporary file to go")
        assert set(secure.archive.digests()) == before

    def test_plain_speech_is_sent_away_and_others_are_served(self, secure, certificate):
        with RawClient(secure.port) as plain:
            plain.send(association_request([(CT, [EXPLICIT])]))
            assert plain.ended_within(30)
        with RawClient(secure.port, tls=certificate.client()) as client:
            assert client.associate() == 2

    def test_silence_in_the_handshake_holds_up_nobody(self, secure, certificate):
        with RawClient(secure.port), RawClient(secure.port) as half:
            half.send(b"\x16\x03\x01")
            with RawClient(secure.port, tls=certificate.client()) as client:
                assert client.associate() == 2
                assert client.echo() == 0
            assert half.ended_within(30)

    def test_tls_1_1_is_refused(self, secure, certificate):
        import ssl

        context = certificate.client()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(OSError):
            RawClient(secure.port, tls=context)
