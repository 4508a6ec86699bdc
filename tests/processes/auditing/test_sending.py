"""Entries of the trail at a real receiver over TLS: valid DICOM audit messages, none lost whatever the receiver does."""

from __future__ import annotations

import base64
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from tests.support.certificates import server_certificate
from tests.support.deciding import Site
from tests.support.pacs import free_port
from tests.support.syslog_receiver import Ends, SyslogReceiver
from triage_node.config.load import load
from triage_node.domain.audit import heads_in
from triage_node.domain.errors import TransientDeliveryError
from triage_node.processes.auditing import heads, sending
from triage_node.processes.auditing.names import SYSLOG
from triage_node.processes.auditing.sending import Repository
from triage_node.processes.running import Running, now
from triage_node.store import audit, audit_position

UID = "1.2.1"
HEADER = re.compile(
    rb"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (\S+) triage-node - (\S+) - \xef\xbb\xbf(.*)\Z", re.DOTALL
)
SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).parents[2] / "support" / "audit_message.rng"))


@pytest.fixture
def receiver(tmp_path: Path) -> SyslogReceiver:
    """Not listening yet."""
    tls, _ = server_certificate(tmp_path, "repository")
    return SyslogReceiver(tls, free_port())


@pytest.fixture
def running(tmp_path: Path, receiver: SyslogReceiver) -> Iterator[Running]:
    site = Site(tmp_path)
    lines = [
        "[audit.syslog]",
        "host = '127.0.0.1'",
        f"port = {receiver.port}",
        f"tls_ca = '{tmp_path / 'repository.crt'}'",
    ]
    site.config.write_text("\n".join([site.config.read_text(), *lines]))
    site.arrive(UID, patient_name="Geheim^Gerda", patient_id="P-4711", accession_number="ACC-815")
    yield Running("scheduler", load(site.config)[0], site.store, threading.Event())
    site.store.close()


def asked(running: Running, **changes: object) -> Running:
    """The same node with other settings of the receiver."""
    syslog = running.settings.audit.syslog.model_copy(update=changes)
    of_audit = running.settings.audit.model_copy(update={"syslog": syslog})
    return replace(running, settings=running.settings.model_copy(update={"audit": of_audit}))


def say(running: Running, *actions: str, subject: str = UID) -> None:
    with running.store.write() as c:
        for action in actions:
            audit.record(c, now(), "dr.lee", action, subject, old="<a>", new="b \x01 \N{SNOWMAN}")


def entry_numbers(messages: list[bytes]) -> list[int]:
    found = []
    for message in messages:
        root = etree.fromstring(HEADER.match(message)[5])
        (value,) = root.xpath("//ParticipantObjectDetail[@type='entry']/@value")
        found.append(int(base64.b64decode(value)))
    return found


def test_every_entry_arrives_once_and_in_order_as_a_valid_dicom_audit_message(running, receiver):
    say(running, "study viewed", "login failed", "mode: pause", "feed reconciliation", "never heard of")
    with receiver:
        Repository(running).tick()
        Repository(running).tick()  # nothing is left
    last = audit_position.of(running.store, SYSLOG).last_id
    assert entry_numbers(receiver.messages) == list(range(1, last + 1))
    assert receiver.broken == []
    for message in receiver.messages:
        _, _, node, kind, text = HEADER.match(message).groups()
        assert (node, kind) == (b"TRIAGE1", b"DICOM+RFC3881")
        SCHEMA.assertValid(etree.fromstring(text))
    viewed, failed = receiver.messages[-5:-3]
    assert (viewed[:4], failed[:4]) == (b"<85>", b"<84>")
    root = etree.fromstring(HEADER.match(viewed)[5])
    assert root.xpath("EventIdentification/EventID/@csd-code") == ["110103"]
    assert root.xpath("//ActiveParticipant[@UserIsRequestor='true']/@UserID") == ["dr.lee"]
    assert root.xpath("ParticipantObjectIdentification[@ParticipantObjectTypeCodeRole='3']/@ParticipantObjectID") == [
        UID
    ]


@pytest.mark.parametrize(
    ("identifiers", "told"), [("none", []), ("accession", ["ACC-815"]), ("patient", ["ACC-815", "P-4711"])]
)
def test_patient_is_named_as_far_as_the_site_allows_and_never_by_name(running, receiver, identifiers, told):
    say(running, "study viewed")
    with receiver:
        Repository(asked(running, identifiers=identifiers)).tick()
    text = b"".join(receiver.messages).decode()
    assert [number for number in ("ACC-815", "P-4711") if number in text] == told
    assert "Geheim" not in text
    assert "Gerda" not in text


def test_nothing_is_lost_while_nobody_listens_and_a_restart_goes_on_where_it_stood(running, receiver, monkeypatch):
    monkeypatch.setattr(sending, "BATCH", 2)
    with receiver:
        Repository(running).tick()
    before = len(receiver.messages)
    say(running, "study viewed", "image shown", "feedback")
    down = Repository(running)
    down.tick()
    stands = audit_position.of(running.store, SYSLOG)
    assert (stands.last_id, stands.problem != "") == (before, True)
    with receiver:
        down.tick()  # a moment after a failure nobody is asked
        assert len(receiver.messages) == before
        Repository(running).tick()
    assert entry_numbers(receiver.messages) == list(range(1, before + 4))
    assert audit_position.of(running.store, SYSLOG).problem == ""


@pytest.mark.parametrize(
    ("ends", "is_received"),
    [(Ends.IN_ORDER, True), (Ends.WITHOUT_A_WORD, True), (Ends.UNREAD, False), (Ends.RESET, False)],
)
def test_what_the_receiver_may_not_have_read_is_sent_again(running, receiver, ends, is_received):
    receiver.ends = ends
    with receiver:
        Repository(running).tick()
        assert (audit_position.of(running.store, SYSLOG).last_id > 0) is is_received
        receiver.ends = Ends.IN_ORDER
        Repository(running).tick()
    last = audit_position.of(running.store, SYSLOG).last_id
    assert entry_numbers(receiver.messages) == list(range(1, last + 1))


def test_receiver_that_is_somebody_else_gets_nothing(running, receiver, tmp_path):
    (tmp_path / "other").mkdir()
    _, other = server_certificate(tmp_path / "other", "other")
    wrong = [
        (asked(running, tls_ca=other), "not trusted"),
        (asked(running, host="localhost"), "not trusted"),  # the certificate is for 127.0.0.1
        (asked(running, tls_ca=tmp_path / "nowhere"), "cannot be used"),
        (asked(running, host="repository.example"), "a simulation"),
    ]
    with receiver:
        for asked_wrongly, why in wrong:
            with pytest.raises(TransientDeliveryError, match=why):
                Repository(asked_wrongly).send_batch(asked_wrongly.settings.audit.syslog)
    assert receiver.messages == []


def test_receiver_that_hangs_is_cut_off(running, receiver):
    hanging = asked(running, timeout_s=0.3)
    with socket.create_server(("127.0.0.1", receiver.port)), pytest.raises(TransientDeliveryError):
        Repository(hanging).send_batch(hanging.settings.audit.syslog)


def test_head_goes_there_too_and_verify_takes_it_from_the_log(running, receiver, tmp_path):
    with receiver:
        Repository(running).tell_head()
    (message,) = receiver.messages
    assert HEADER.match(message)[4] == sending.HEAD_ID.encode()
    log = tmp_path / "received.log"
    log.write_bytes(message)
    assert heads_in([message.decode()], "TRIAGE1")
    verdict = heads.verdict_of(running.store, running.settings, log)
    assert (verdict.problem, verdict.compared) == ("", 1)
