"""What an archive gets is what lies on disk, and what it can do to us ends in an outcome, in bounded time."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading

import pytest
from pydicom.uid import (
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AllStoragePresentationContexts, evt

from tests.delivery.files import data_set_of, write
from tests.delivery.peers import (
    at_most,
    no_answer_to_syn,
    raw_peer,
    receiver,
    settings_for,
    stops_reading,
)
from tests.support.certificates import server_certificate
from tests.support.waiting import wait_until
from triage_node.delivery.outgoing import Outgoing
from triage_node.delivery.retry import Outcome, Verdict
from triage_node.delivery.store_scu import associate, send_batch
from triage_node.dimse.calling import release

SC = SecondaryCaptureImageStorage
LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"


def verdicts(outcomes: dict[str, Outcome]) -> list[str]:
    return [o.verdict.value for o in outcomes.values()]


# ---- what goes out


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda s: s.name,
)
def test_archive_receives_the_bytes_that_lie_on_disk_in_their_own_syntax(tmp_path, syntax):
    o = write(tmp_path, 1, transfer_syntax_uid=syntax)
    with receiver([(SC, syntax)]) as pacs:
        assert verdicts(send_batch(pacs.settings(), [o])) == ["stored"]
    assert pacs.received == {o.sop_instance_uid: [data_set_of(o.path)]}


def test_bytes_that_no_reader_accepts_still_go_out_as_they_are(tmp_path):
    """Nothing decodes the data set on its way out, so nothing can change it."""
    o = write(tmp_path, 1)
    o.path.write_bytes(o.path.read_bytes() + b"\x09\x00\x10\x10XX\xff\xff and more")
    with receiver() as pacs:
        assert verdicts(send_batch(pacs.settings(), [o])) == ["stored"]
    assert pacs.received[o.sop_instance_uid][0].endswith(b"XX\xff\xff and more")


def test_sending_again_sends_the_same_bytes(tmp_path):
    o = write(tmp_path, 1)
    with receiver() as pacs:
        for _ in range(2):
            send_batch(pacs.settings(), [o])
    first, second = (hashlib.sha256(d).hexdigest() for d in pacs.received[o.sop_instance_uid])
    assert first == second == hashlib.sha256(data_set_of(o.path)).hexdigest()


def test_a_batch_is_one_association_and_every_object_has_its_outcome(tmp_path):
    objects = [write(tmp_path, n) for n in range(30)]
    with receiver() as pacs:
        outcomes = send_batch(pacs.settings(), objects)
    assert pacs.associations == 1
    assert list(outcomes) == [o.sop_instance_uid for o in objects]
    assert set(verdicts(outcomes)) == {"stored"}
    assert sorted(pacs.received) == sorted(outcomes)


def test_objects_do_not_stall_on_delayed_acknowledgements():
    """Without TCP_NODELAY each object waits 40 ms (MEASUREMENTS.md section 5)."""
    with receiver() as pacs:
        connected = associate(pacs.settings(), [(SC, ExplicitVRLittleEndian)])
        assert not isinstance(connected, Outcome)
        association, line = connected
        own = association.dul.socket.socket
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        release(association, line, 30)


def test_more_kinds_than_an_association_can_hold_take_two(tmp_path):
    classes = [str(c.abstract_syntax) for c in AllStoragePresentationContexts[:130]]
    objects = [write(tmp_path, n, sop_class) for n, sop_class in enumerate(classes)]
    with receiver([(c, ExplicitVRLittleEndian) for c in classes]) as pacs:
        outcomes = send_batch(pacs.settings(response_timeout_s=20), objects)
    assert (len(outcomes), set(verdicts(outcomes)), pacs.associations) == (130, {"stored"}, 2)


def test_nothing_to_send_opens_no_association():
    with receiver() as pacs:
        assert send_batch(pacs.settings(), []) == {}
    assert pacs.associations == 0


# ---- what the archive refuses


def test_one_refused_sop_class_does_not_lose_the_rest(tmp_path):
    objects = [write(tmp_path, 1), write(tmp_path, 2, LABELMAP), write(tmp_path, 3)]
    with receiver() as pacs:
        outcomes = send_batch(pacs.settings(), objects)
    assert verdicts(outcomes) == ["stored", "never", "stored"]
    assert outcomes[objects[1].sop_instance_uid].words == f"SOP class {LABELMAP} not accepted"
    assert sorted(pacs.received) == sorted([objects[0].sop_instance_uid, objects[2].sop_instance_uid])


def test_contexts_are_by_class_and_syntax_and_nothing_is_converted(tmp_path):
    objects = [write(tmp_path, 1), write(tmp_path, 2, transfer_syntax_uid=ImplicitVRLittleEndian)]
    with receiver([(SC, ImplicitVRLittleEndian)]) as pacs:
        assert verdicts(send_batch(pacs.settings(), objects)) == ["never", "stored"]


def test_no_context_accepted_is_one_final_answer(tmp_path):
    objects = [write(tmp_path, n, SegmentationStorage) for n in range(3)]
    with receiver() as pacs, at_most(20):
        outcomes = send_batch(pacs.settings(), objects)
    assert set(outcomes.values()) == {Outcome(Verdict.NEVER, "no presentation context accepted")}
    assert pacs.associations <= 1


@pytest.mark.parametrize(
    ("status", "verdict", "words"),
    [
        (0xA900, "never", "refused with 0xA900"),
        (0xC000, "never", "refused with 0xC000"),
        (0x0122, "never", "refused with 0x0122"),
        (0xA700, "again", "answered 0xA700"),
        (0x0110, "again", "answered 0x0110"),
        (0xB000, "stored", "0xB000"),
        (0x0111, "stored", "0x0111"),
    ],
)
def test_status_of_one_object_is_its_own_outcome(tmp_path, status, verdict, words):
    objects = [write(tmp_path, n) for n in range(3)]
    with receiver(status={objects[1].sop_instance_uid: status}) as pacs:
        outcomes = send_batch(pacs.settings(), objects)
    assert verdicts(outcomes) == ["stored", verdict, "stored"]
    assert outcomes[objects[1].sop_instance_uid].words == words


def test_archive_that_does_not_know_the_called_title_rejects_for_ever(tmp_path):
    with receiver(require_called_aet=True) as pacs:
        (outcome,) = send_batch(pacs.settings(ae_title="OTHER"), [write(tmp_path, 1)]).values()
    assert outcome.verdict is Verdict.NEVER
    assert "rejected" in outcome.words
    assert "Called AE title not recognised" in outcome.words


def test_archive_that_is_full_is_asked_again(tmp_path):
    o = write(tmp_path, 1)
    with receiver(maximum_associations=1) as pacs:
        other = associate(pacs.settings(), [(SC, ExplicitVRLittleEndian)])
        (outcome,) = send_batch(pacs.settings(), [o]).values()
        release(*other, 1)
    assert outcome.verdict is Verdict.UNTRIED
    assert "rejected" in outcome.words


# ---- what goes wrong on the way


def test_abort_in_mid_batch_blames_one_object_only(tmp_path):
    objects = [write(tmp_path, n) for n in range(4)]

    def status(event: evt.Event) -> int:
        if event.request.AffectedSOPInstanceUID == objects[1].sop_instance_uid:
            event.assoc.abort()
        return 0x0000

    with receiver(status=status) as pacs, at_most(20):
        outcomes = send_batch(pacs.settings(), objects)
    assert verdicts(outcomes) == ["stored", "again", "untried", "untried"]
    assert [o.perhaps_there for o in outcomes.values()] == [False, True, False, False]


def test_archive_that_hangs_after_the_association_ends_it(tmp_path):
    hold = threading.Event()
    objects = [write(tmp_path, n) for n in range(3)]
    aborted = threading.Event()
    with (
        receiver(status=lambda e: 0 * hold.wait(20), handlers=[(evt.EVT_ABORTED, lambda e: aborted.set())]) as pacs,
        at_most(20),
    ):
        try:
            assert verdicts(send_batch(pacs.settings(response_timeout_s=2), objects)) == ["again", "untried", "untried"]
        finally:
            hold.set()
        assert aborted.wait(30)


@pytest.mark.slow
def test_archive_that_stops_reading_does_not_hold_us(tmp_path):
    """The thread that writes is blocked then, and pynetdicom waits for it without end (PEERS.md 2.1, no. 12)."""
    big = write(tmp_path, 1, rows=2048)
    small = write(tmp_path, 2)
    with receiver() as pacs, stops_reading(pacs.port, 20_000) as port, at_most(30):
        assert verdicts(send_batch(settings_for(port, response_timeout_s=2), [big, small])) == ["again", "untried"]
    assert not [t for t in threading.enumerate() if t.name.startswith("RequestorThread") and t.is_alive()]


def _close_at_once(connection: socket.socket) -> None:
    connection.close()


def _reset(connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _silence(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def _http(connection: socket.socket) -> None:
    connection.recv(10)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def _garbage(connection: socket.socket) -> None:
    connection.recv(10)
    connection.sendall(bytes(range(256)) * 40)


def _endless_pdu(connection: socket.socket) -> None:
    """An A-ASSOCIATE-AC that announces 4 GB and trickles."""
    connection.recv(10)
    connection.sendall(b"\x02\x00\xff\xff\xff\xff")
    while True:
        connection.sendall(b"\x00")
        threading.Event().wait(0.05)


def _half_accept(connection: socket.socket) -> None:
    connection.recv(10)
    connection.sendall(b"\x02\x00\x00\x00\x00\xb8\x00\x01")


def _release_unasked(connection: socket.socket) -> None:
    connection.recv(10)
    connection.sendall(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00")


@pytest.mark.parametrize(
    "answer",
    [_close_at_once, _reset, _silence, _http, _garbage, _half_accept, _endless_pdu, _release_unasked],
    ids=lambda f: f.__name__.strip("_"),
)
def test_peer_that_is_no_archive_is_tried_again_later(tmp_path, answer):
    objects = [write(tmp_path, n) for n in range(2)]
    with raw_peer(answer) as port, at_most(20):
        outcomes = send_batch(settings_for(port), objects)
    assert verdicts(outcomes) == ["untried", "untried"]


def test_closed_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (outcome,) = send_batch(settings_for(port), [write(tmp_path, 1)]).values()
    assert outcome == Outcome(Verdict.UNTRIED, f"no TCP connection to 127.0.0.1:{port} within 0.6 s")


def test_address_that_does_not_answer_costs_the_connect_timeout_only(tmp_path):
    with no_answer_to_syn() as port, at_most(20):
        (outcome,) = send_batch(settings_for(port, response_timeout_s=60), [write(tmp_path, 1)]).values()
    assert outcome == Outcome(Verdict.UNTRIED, f"no TCP connection to 127.0.0.1:{port} within 0.6 s")


def test_host_name_that_nobody_knows_is_tried_again(tmp_path):
    (outcome,) = send_batch(settings_for(104, host="no-such-host.invalid"), [write(tmp_path, 1)]).values()
    assert outcome.verdict is Verdict.UNTRIED


def test_what_is_left_when_the_node_stops_is_untried(tmp_path):
    objects = [write(tmp_path, n) for n in range(3)]
    with receiver() as pacs:
        outcomes = send_batch(pacs.settings(), objects, stopping=lambda: len(pacs.received) >= 1)
    assert verdicts(outcomes) == ["stored", "untried", "untried"]


def test_no_thread_stays_after_many_associations_at_either_side(tmp_path):
    """A bare connect before each association took all ten places of the archive for 30 s."""
    o = write(tmp_path, 1)
    with receiver() as pacs:
        before = threading.active_count()
        for _ in range(20):
            send_batch(pacs.settings(), [o])
        wait_until(lambda: threading.active_count() <= before + 1, 30, "threads of released associations end")


# ---- our own files


def test_damaged_missing_and_foreign_files_never_go_out_and_the_rest_does(tmp_path):
    good, missing, garbage, cut, other = (write(tmp_path, n) for n in range(5))
    missing.path.unlink()
    garbage.path.write_bytes(b"\x00" * 200)
    cut.path.write_bytes(cut.path.read_bytes()[:150])
    other.path.write_bytes(good.path.read_bytes())
    with receiver() as pacs:
        outcomes = send_batch(pacs.settings(), [missing, garbage, cut, other, good])
    assert verdicts(outcomes) == ["never", "never", "never", "never", "stored"]
    assert outcomes[missing.sop_instance_uid].words == "our own file is gone"
    assert outcomes[other.sop_instance_uid].words == "our own file is damaged: it does not hold this object"
    assert list(pacs.received) == [good.sop_instance_uid]


def test_folder_in_place_of_a_file_is_no_end(tmp_path):
    o = write(tmp_path, 1)
    with receiver() as pacs:
        outcomes = send_batch(pacs.settings(), [Outgoing("2.25.7", SC, tmp_path), o])
    assert verdicts(outcomes) == ["again", "stored"]


# ---- TLS


def test_tls_to_an_archive_whose_certificate_is_known(tmp_path):
    context, ca = server_certificate(tmp_path, "pacs")
    with receiver(tls=context) as pacs:
        assert verdicts(send_batch(pacs.settings(tls=True, tls_ca=ca), [write(tmp_path, 1)])) == ["stored"]


def test_nothing_is_sent_to_an_archive_with_another_certificate(tmp_path):
    context, _ = server_certificate(tmp_path, "impostor")
    _, ca = server_certificate(tmp_path, "pacs")
    with receiver(tls=context) as pacs, at_most(20):
        assert verdicts(send_batch(pacs.settings(tls=True, tls_ca=ca), [write(tmp_path, 1)])) == ["untried"]
    assert pacs.received == {}


def test_tls_with_a_peer_without_and_with_a_ca_that_is_not_there(tmp_path):
    _, ca = server_certificate(tmp_path, "pacs")
    with receiver() as pacs, at_most(20):
        assert verdicts(send_batch(pacs.settings(tls=True, tls_ca=ca), [write(tmp_path, 1)])) == ["untried"]
        (outcome,) = send_batch(pacs.settings(tls=True, tls_ca=tmp_path / "no"), [write(tmp_path, 1)]).values()
    assert (outcome.verdict, "cannot be read" in outcome.words) == (Verdict.UNTRIED, True)
    assert pacs.received == {}


def test_archive_that_wants_tls_gets_nothing_in_the_clear(tmp_path):
    context, _ = server_certificate(tmp_path, "pacs")
    with receiver([(ComprehensiveSRStorage, ExplicitVRLittleEndian)], tls=context) as pacs, at_most(20):
        assert verdicts(send_batch(pacs.settings(), [write(tmp_path, 1)])) == ["untried"]
