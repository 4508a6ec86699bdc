"""STOW-RS: an archive gets what lies on disk, and what it can do to us ends in an outcome, in bounded time."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tests.delivery.files import write
from tests.delivery.peers import SLOW_S, at_most, no_answer_to_syn, raw_peer
from tests.delivery.web_archive import settings_for, told, web_archive
from tests.support.pacs import free_port, program
from triage_node.config.schema import ArchiveSettings
from triage_node.delivery.retry import Verdict
from triage_node.delivery.stow_rs import problem_with, send_batch

SHORT = {"connect_timeout_s": SLOW_S, "response_timeout_s": SLOW_S}


def verdicts(outcomes):
    return [o.verdict.value for o in outcomes.values()]


# ---- what goes out


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda s: s.name,
)
def test_archive_receives_the_file_as_it_lies_on_disk(tmp_path, syntax):
    o = write(tmp_path, 1, transfer_syntax_uid=syntax)
    with web_archive() as archive:
        assert verdicts(send_batch(archive.settings(), [o])) == ["stored"]
    assert archive.received == {o.sop_instance_uid: [o.path.read_bytes()]}


def test_a_batch_is_one_request_and_every_object_has_its_outcome(tmp_path):
    objects = [write(tmp_path, n) for n in range(30)]
    with web_archive() as archive:
        outcomes = send_batch(archive.settings(), objects)
    assert [r["path"] for r in archive.requests] == ["/dicom-web/studies"]
    assert archive.requests[0]["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert list(outcomes) == [o.sop_instance_uid for o in objects]
    assert set(verdicts(outcomes)) == {"stored"}
    assert {u: len(parts) for u, parts in archive.received.items()} == dict.fromkeys(outcomes, 1)


def test_our_own_damaged_or_lost_file_never_goes_out_and_holds_up_no_other(tmp_path):
    good, gone, damaged = (write(tmp_path, n) for n in range(3))
    gone.path.unlink()
    damaged.path.write_bytes(b"no DICOM")
    with web_archive() as archive:
        outcomes = send_batch(archive.settings(), [gone, damaged, good])
    assert verdicts(outcomes) == ["never", "never", "stored"]
    assert list(archive.received) == [good.sop_instance_uid]


def test_credentials_come_from_files_that_are_read_anew(tmp_path):
    o, token, password = write(tmp_path, 1), tmp_path / "token", tmp_path / "password"
    token.write_text("first\n")
    password.write_text("secret\n")
    with web_archive() as archive:
        bearer = archive.settings(token_file=token)
        send_batch(bearer, [o])
        token.write_text("renewed\n")
        send_batch(bearer, [o])
        send_batch(archive.settings(user="node", password_file=password), [o])
        token.unlink()
        assert verdicts(send_batch(bearer, [o])) == ["untried"]
    assert [r["Authorization"] for r in archive.requests] == [
        "Bearer first",
        "Bearer renewed",
        "Basic bm9kZTpzZWNyZXQ=",
    ]


# ---- what it answers


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        (0xA700, "again"),
        (0xA900, "never"),
        (0xC000, "never"),
        (0xC122, "never"),
        (0x0110, "again"),
        (0x0111, "stored"),
        (0x0122, "never"),
        (0x0124, "never"),
    ],
)
def test_failure_reason_decides_for_that_object_alone(tmp_path, reason, verdict):
    objects = [write(tmp_path, n) for n in range(3)]
    with web_archive() as archive:
        archive.reasons[objects[1].sop_instance_uid] = reason
        outcomes = send_batch(archive.settings(), objects)
    assert verdicts(outcomes) == ["stored", verdict, "stored"]
    assert f"0x{reason:04X}" in outcomes[objects[1].sop_instance_uid].words
    assert len(archive.requests) == 1


def test_a_conflict_that_names_all_is_told_for_all(tmp_path):
    objects = [write(tmp_path, n) for n in range(2)]
    with web_archive() as archive:
        archive.reasons |= {o.sop_instance_uid: 0xA700 for o in objects}
        outcomes = send_batch(archive.settings(), objects)
    assert verdicts(outcomes) == ["again", "again"]
    assert len(archive.requests) == 1


def test_warning_of_the_archive_is_stored_and_told(tmp_path):
    o = write(tmp_path, 1)
    item = {"00081155": {"vr": "UI", "Value": [o.sop_instance_uid]}, "00081196": {"vr": "US", "Value": [0xB000]}}
    body = json.dumps([{"00081199": {"vr": "SQ", "Value": [item]}}]).encode()
    with web_archive() as archive:
        archive.instead = lambda _: (202, body, {})
        (outcome,) = send_batch(archive.settings(), [o]).values()
    assert outcome.verdict is Verdict.STORED
    assert outcome.words == "stored with warning 0xB000"


def test_what_a_success_does_not_name_counts_as_not_stored(tmp_path):
    objects = [write(tmp_path, n) for n in range(2)]
    with web_archive() as archive:
        archive.instead = lambda uids: told([objects[0].sop_instance_uid], {})
        outcomes = send_batch(archive.settings(), objects)
    assert verdicts(outcomes) == ["stored", "again"]


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 405, 429, 503])
def test_an_archive_that_does_not_let_us_in_is_asked_once_and_every_object_waits(tmp_path, status):
    with web_archive() as archive, web_archive() as elsewhere:
        target = {"Location": f"http://127.0.0.1:{elsewhere.port}/dicom-web/studies"}
        archive.instead = lambda _: (status, b"", target)
        outcomes = send_batch(archive.settings(), [write(tmp_path, n) for n in range(3)])
    assert verdicts(outcomes) == ["untried"] * 3
    assert {o.words for o in outcomes.values()} == {f"answered {status}"}
    assert len(archive.requests) == 1
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("status", "verdict"), [(400, "never"), (413, "never"), (415, "never"), (500, "again"), (409, "again")]
)
def test_a_batch_refused_as_a_whole_goes_out_one_by_one_and_the_bad_object_is_found(tmp_path, status, verdict):
    objects = [write(tmp_path, n) for n in range(3)]
    bad = objects[1].sop_instance_uid
    with web_archive() as archive:
        archive.instead = lambda uids: (status, b"", {}) if bad in uids else None
        outcomes = send_batch(archive.settings(), objects)
    assert verdicts(outcomes) == ["stored", verdict, "stored"]
    assert len(archive.requests) == 4


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>welcome to the guest network</html>",
        b"[1, 2]",
        b"null",
        b'{"00081199": 7}',
        b'{"00081199": {"Value": [3, {"00081155": {"Value": []}}]}}',
        b"[" * 100_000,
        b'{"00081198": {"Value": [{"00081155": {"Value": ["2.25.1000"]}, "00081197": {"Value": ["x"]}}]}}',
    ],
    ids=lambda b: b[:20].decode(),
)
def test_success_with_garbage_is_no_success(tmp_path, body):
    with web_archive() as archive:
        archive.instead = lambda _: (200, body, {})
        assert verdicts(send_batch(archive.settings(), [write(tmp_path, 0)])) == ["again"]


# ---- what it can do to us


def test_nobody_there_tells_nothing_of_the_objects(tmp_path):
    objects = [write(tmp_path, n) for n in range(2)]
    assert verdicts(send_batch(settings_for(free_port()), objects)) == ["untried", "untried"]
    with at_most(30), no_answer_to_syn() as port:
        assert verdicts(send_batch(settings_for(port, **SHORT), objects)) == ["untried", "untried"]


@pytest.mark.parametrize(
    "said",
    [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{", b"\x00\xff" * 5000],
    ids=["silence", "another protocol", "half an answer", "noise"],
)
def test_a_peer_that_talks_garbage_and_closes_ends_in_an_outcome(tmp_path, said):
    def answer(connection):
        connection.recv(65536)
        connection.sendall(said)
        connection.close()

    with raw_peer(answer) as port:
        outcomes = send_batch(settings_for(port), [write(tmp_path, n) for n in range(3)])
    assert verdicts(outcomes) == ["again", "untried", "untried"]


def _hangs(connection):
    connection.recv(65536)
    connection.recv(1 << 20)
    while connection.recv(1 << 20):
        pass


def _drips(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    connection.settimeout(0.05)
    while True:
        connection.sendall(b"X-More: and more\r\n")
        try:
            if not connection.recv(65536):
                return
        except TimeoutError:
            continue


@pytest.mark.parametrize("answer", [_hangs, _drips])
def test_a_peer_that_hangs_or_drips_is_cut(tmp_path, answer):
    with raw_peer(answer) as port, at_most(30):
        outcomes = send_batch(settings_for(port, **SHORT), [write(tmp_path, n) for n in range(3)])
    assert verdicts(outcomes) == ["again", "untried", "untried"]
    assert [o.perhaps_there for o in outcomes.values()] == [True, False, False]


def test_a_peer_that_stops_reading_is_cut(tmp_path):
    ended = threading.Event()
    with raw_peer(lambda c: (c.recv(10), ended.wait(60))) as port, at_most(60):
        big = write(tmp_path, 1, rows=2048)
        assert verdicts(send_batch(settings_for(port, **SHORT), [big])) == ["again"]
        ended.set()


def test_an_endless_answer_is_read_up_to_a_limit(tmp_path):
    def answer(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n\r\n")
        while True:
            connection.sendall(b" " * 65536)

    with raw_peer(answer) as port:
        (outcome,) = send_batch(settings_for(port), [write(tmp_path, 1)]).values()
    assert outcome.verdict is Verdict.AGAIN
    assert outcome.words == "an answer of more than 4 MiB"


def test_a_node_that_stops_begins_no_further_object(tmp_path):
    with web_archive() as archive:
        archive.instead = lambda _: (500, b"", {})
        outcomes = send_batch(archive.settings(), [write(tmp_path, n) for n in range(3)], stopping=lambda: True)
    assert verdicts(outcomes) == ["untried"] * 3


# ---- TLS


def _certificate(folder, name):
    key, cert = folder / f"{name}.key", folder / f"{name}.pem"
    command = [
        program("openssl"),
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


def test_over_tls_an_archive_of_another_ca_gets_nothing(tmp_path):
    key, cert = _certificate(tmp_path, "archive")
    _, other = _certificate(tmp_path, "somebody")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    o = write(tmp_path, 1)
    with web_archive(tls) as archive:
        for wrong in ({}, {"tls_ca": other}, {"tls_ca": tmp_path / "none.pem"}):
            assert verdicts(send_batch(archive.settings(**wrong), [o])) != ["stored"]
        assert archive.requests == []
        assert verdicts(send_batch(archive.settings(tls_ca=cert), [o])) == ["stored"]


# ---- settings and check


def test_check_says_in_words_who_does_not_answer(tmp_path):
    with web_archive() as archive:
        assert problem_with(archive.settings()) == ""
        archive.instead = lambda _: (401, b"", {})
        assert problem_with(archive.settings()) == "answered 401"
    assert "no valid answer" in problem_with(archive.settings())


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"host": "10.0.0.1"},
        {"stow_url": "http://pacs/dw", "host": "10.0.0.1", "ae_title": "PACS"},
        {"stow_url": "http://pacs/dw", "storage_commitment": True},
        {"stow_url": "ftp://pacs/dw"},
        {"stow_url": "http://me@pacs/dw"},
        {"stow_url": "http://pacs/dw", "token_file": "/t"},
        {"stow_url": "https://pacs/dw", "user": "me"},
        {"host": "10.0.0.1", "ae_title": "PACS", "token_file": "/t"},
    ],
)
def test_settings_that_name_no_way_or_two_are_refused(wrong):
    with pytest.raises(ValueError):
        ArchiveSettings(**({"name": "pacs"} | wrong))
