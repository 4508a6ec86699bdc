"""The node's MLLP listener over sockets: every message is answered, and what senders do wrong harms nobody else."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.counterparts.hl7_node import program
from tests.support.store_place import database_url
from tests.support.waiting import wait_until
from triage_node.config.hl7_inbound import Hl7InboundSettings
from triage_node.domain.clinical import ClinicalEntry
from triage_node.domain.orders import OrderEvent, PatientKey
from triage_node.domain.priority import OrderClass
from triage_node.gateway.hl7_facts import TAKEN, facts_of
from triage_node.gateway.hl7_inbound import Hl7Inbound
from triage_node.hl7v2.mllp import BEGIN, END, MllpServer, framed
from triage_node.hl7v2.parse import Acknowledgement, acknowledgement, parse
from triage_node.store import orders
from triage_node.store.engine import Store, open_store
from triage_node.store.upgrade import upgrade

BOUND_S = 30.0
ZONE = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
BODY = "PID|1||P77^^^^MR||MÜLLER^ZOË\rORC|NW\rTQ1|1||||||||S\rOBR|1||A1\r"


def head(kind: str = "ORM^O01", control_id: str = "X1", character_set: str = "UNICODE UTF-8", **more: str) -> str:
    fields = ["MSH", "^~\\&", "HIS", "WARD", "TRIAGE", "", "20261121030000", "", kind, control_id, "P", "2.5.1"]
    fields += ["", "", more.get("accept", ""), more.get("application", ""), "", character_set]
    fields[10], fields[11] = more.get("processing", "P"), more.get("version", "2.5.1")
    return "|".join(fields) + "\r"


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    store = open_store(database_url(tmp_path, is_upgraded=True))
    upgrade(store)
    yield store
    store.close()


def inbound(store: Store, simulation: bool = False, **settings) -> Hl7Inbound:
    values = {"port": 0} | settings
    return Hl7Inbound(store, Hl7InboundSettings(**values), ZONE, simulation, lambda: AT)


@contextlib.contextmanager
def serving(store: Store, **settings) -> Iterator[MllpServer]:
    server = inbound(store, **settings).serve()
    try:
        yield server
    finally:
        server.stop()


def ask(server: MllpServer, message: bytes) -> Acknowledgement:
    with socket.create_connection(("127.0.0.1", server.port), timeout=BOUND_S) as s:
        s.sendall(framed(message))
        data = b""
        while not data.endswith(END):
            data += s.recv(65536)
        return acknowledgement(data[len(BEGIN) : -len(END)])


def answer(gateway: Hl7Inbound, text: str) -> Acknowledgement:
    return acknowledgement(gateway.answer(text.encode(), "127.0.0.1"))


def test_a_message_is_answered_when_it_is_kept_also_when_no_study_is_known(store):
    with serving(store) as server:
        got = ask(server, (head() + BODY).encode())
    assert (got.code, got.of, got.error) == ("AA", "X1", "")
    assert orders.outcomes(store) == [("X1", "order", "")]


@pytest.mark.parametrize(
    "kind", ["ORM^O01", "OMI^O23", "OMG^O19", "ORU^R01", "ADT^A01", "ADT^A04", "ADT^A08", "ADT^A40"]
)
def test_every_type_that_is_stated_is_taken(store, kind):
    assert answer(inbound(store), head(kind) + BODY + "MRG|P76\r").code == "AA"


@pytest.mark.parametrize(
    ("text", "code", "error"),
    [
        (head("ADT^A03") + BODY, "AR", "200"),
        (head("SIU^S12") + BODY, "AR", "200"),
        (head(processing="T") + BODY, "AR", "202"),
        (head(character_set="EBCDIC") + BODY, "AR", "100"),
        (head(control_id="") + BODY, "AR", "100"),
        ("PID|1||P77\r", "AR", "100"),
        ("\x00\x00\x00", "AR", "100"),
        ("MSH", "AR", "100"),
        (head() + BODY + "PID|\x00\r", "AR", "100"),
        (head() + "ORC|NW\rOBR|1||A1\r" * 51, "AR", "100"),
        (head() + "PID|" + "^~&" * 80_000 + "\r", "AR", "100"),
    ],
)
def test_what_cannot_be_taken_is_rejected_for_good_and_kept_nowhere(store, text, code, error):
    got = answer(inbound(store), text)
    assert (got.code, got.error) == (code, error)
    assert orders.outcomes(store) == []


def test_a_node_of_simulated_patients_takes_training_messages(store):
    assert answer(inbound(store, simulation=True), head(processing="T") + BODY).code == "AA"


LINES = st.tuples(
    st.sampled_from(["PID", "MRG", "ORC", "OBR", "OBX", "TQ1", "IPC", "ZDS", "XXX", "pid", ""]),
    st.text(alphabet='|^~&\\\r\n\x0b"AS10279-6.F\u0664ü山\U0001f9e0', max_size=60),
)


@given(st.sampled_from(sorted("^".join(k) for k in TAKEN)), st.lists(LINES, max_size=8))
@settings(max_examples=150, deadline=None)
def test_whatever_somebody_sends_gets_an_answer(kind, lines):
    gateway = Hl7Inbound(None, Hl7InboundSettings(), ZONE, True, lambda: AT)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as m:
        m.setattr(orders, "take", lambda store, sender, control_id, facts, at: True)
        text = head(kind) + "\r".join(f"{name}|{rest}" for name, rest in lines)
        assert answer(gateway, text).code in ("AA", "AR")


@pytest.mark.parametrize("processing", ["P\\X1C0D\\Q", "P\\X0D\\ZZZ\\F\\x", "P^T", "\\X00\\"])
def test_an_odd_processing_id_gets_an_answer_that_holds_nothing_of_it(store, processing):
    got = inbound(store).answer((head(processing=processing) + BODY).encode(), "127.0.0.1")
    assert framed(got)
    assert [line.split(b"|")[0] for line in got.split(b"\r") if line][:2] == [b"MSH", b"MSA"]
    assert b"ZZZ" not in got
    assert got.split(b"|")[10] == b"P"


def test_a_store_that_is_down_is_an_error_and_the_sender_may_come_again(store):
    gateway = inbound(store)
    with store.write() as c:
        c.exec_driver_sql("ALTER TABLE order_message RENAME TO away")
    got = answer(gateway, head() + BODY)
    assert (got.code, got.error) == ("AE", "207")
    with store.write() as c:
        c.exec_driver_sql("ALTER TABLE away RENAME TO order_message")
    assert answer(gateway, head() + BODY).code == "AA"


def test_the_same_control_id_is_kept_once_by_sender_and_day(store):
    gateway = inbound(store)
    for text in (head() + BODY, head() + BODY, head().replace("HIS", "LAB") + BODY, head(control_id="X2") + BODY):
        assert answer(gateway, text).code == "AA"
    assert [c for c, _, _ in orders.outcomes(store)] == ["X1", "X1", "X2"]


@pytest.mark.parametrize(
    ("accept", "application", "code"), [("", "", "AA"), ("AL", "NE", "CA"), ("AL", "AL", "AA"), ("NE", "AL", "AA")]
)
def test_who_asks_for_commit_acknowledgement_alone_gets_it(store, accept, application, code):
    assert answer(inbound(store), head(accept=accept, application=application) + BODY).code == code


@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5", "2.5.1", "2.9"])
def test_the_answer_is_a_valid_message_from_whom_was_asked_to_who_asked(store, version):
    text = inbound(store).answer((head(version=version) + BODY).encode(), "127.0.0.1").decode()
    if version != "2.3.1":  # hl7apy has no ACK with three components there
        assert parse_message(text, validation_level=VALIDATION_LEVEL.STRICT).validate()
    got = parse(text.encode())
    assert (got.head.get(3), got.head.get(5), got.head.get(6)) == ("TRIAGE", "HIS", "WARD")
    assert got.kind == ("ACK", "O01")


@pytest.mark.parametrize(
    ("character_set", "codec", "name"),
    [
        ("UNICODE UTF-8", "utf-8", "MÜLLER^ZOË"),
        ("8859/1", "latin-1", "MÜLLER^ZOË"),
        ("", "latin-1", "MÜLLER^ZOË"),
        ("GB 18030-2000", "gb18030", "王^小明丂"),
        ("~ISO IR87", "iso2022_jp", "山田^太郎"),
        ("UNICODE UTF-8", "utf-8", "W" * 64),
    ],
)
def test_names_come_in_the_character_set_of_the_sender(character_set, codec, name):
    text = head(character_set=character_set) + BODY.replace("MÜLLER^ZOË", name)
    [facts] = facts_of(parse(text.encode(codec)), {}, ZONE)
    assert facts.patient_name == name
    assert facts.order_class is OrderClass.STAT


def test_a_message_says_what_it_says_and_notes_what_it_could_not(store):
    text = head() + (
        "PID|1||P1^^^NORTH~P2^^^SOUTH||MÜLLER^ZOË^^^DR||19510302080000|f\r"
        "ORC|NW|PLACER|FILLER\rTQ1|1||||||||NOW\r"
        f"OBR|1|||{'|' * 13}|A1\r"
        "OBX|1|NM|9269-2^GCS^LN||7||||||F\rOBX|2|NM|9269-2^GCS^LN||||||||F\r"
        "OBX|3|TS|11368-8^Onset^LN||202611210130\rOBX|4|TS|72089-6^NIHSS^LN||a lot\r"
        "OBX|5|ST|110180^Study^DCM||not a uid\r"
    )
    [facts] = facts_of(parse(text.encode()), Hl7InboundSettings().observations, ZONE)
    assert facts.event is OrderEvent.ORDER
    assert facts.patients == (PatientKey("P1", "NORTH"), PatientKey("P2", "SOUTH"))
    assert (facts.patient_name, facts.birth_date, facts.sex) == ("MÜLLER^ZOË^^DR", "19510302", "F")
    assert (facts.accession_number, facts.study_instance_uid) == ("A1", "")
    assert facts.entry == ClinicalEntry(gcs=7, onset_at=datetime(2026, 11, 21, 0, 30, tzinfo=UTC))
    assert facts.notes == ("nihss: 'a lot'", "Study Instance UID that is none", "priority 'NOW'")


@pytest.mark.parametrize(
    "name", ["age_years", "onset_unknown", "nonsense"], ids=["computed", "a person's word", "unknown"]
)
def test_a_code_can_be_mapped_to_a_clinical_fact_only(name):
    with pytest.raises(ValueError, match="no clinical fact"):
        Hl7InboundSettings(observations={"X": name})


@pytest.mark.parametrize(
    "sent",
    [BEGIN + b"MSH|" + b"A" * 300_000, b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 1000, END * 100],
    ids=["300 KB without an end", "http", "nulls", "ends"],
)
def test_hostile_bytes_end_their_connection_and_the_next_sender_is_served(store, sent):
    with serving(store, maximum_message_kb=256) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=BOUND_S) as s:
            with contextlib.suppress(ConnectionError):
                s.sendall(sent)
                while s.recv(65536):
                    pass
        assert ask(server, (head() + BODY).encode()).code == "AA"


def test_a_report_that_carries_its_pdf_is_taken(store):
    pdf = "JVBERi0xLjQK" * 100_000
    report = f"PID|1||P77\rOBR|1||A1{'|' * 22}F\rOBX|1|ED|1^Report^L||^application^pdf^Base64^{pdf}\r"
    with serving(store) as server:
        assert ask(server, (head("ORU^R01") + report).encode()).code == "AA"
    assert [e for _, e, _ in orders.outcomes(store)] == ["final report"]


def test_a_hundred_connections_leave_the_listener_alive(store):
    with serving(store, maximum_connections=10, maximum_connections_per_address=10) as server:
        held = [socket.create_connection(("127.0.0.1", server.port), timeout=BOUND_S) for _ in range(100)]
        wait_until(lambda: server.connections() == 10, BOUND_S, "ten are let in")
        for s in held:
            s.close()
        wait_until(lambda: server.connections() == 0, BOUND_S, "they have gone")
        assert ask(server, (head() + BODY).encode()).code == "AA"


def test_a_client_of_other_peoples_making_is_understood_and_understands(store):
    with serving(store) as server, program("client.js", server.port) as his:
        sent = {
            "type": ["ORM", "O01"],
            "id": "N1",
            "segments": [
                ["PID", {"3.1": "P77", "5.1": "Müller\\F\\山田", "5.2": "Zoë"}],
                ["ORC", {"1": "NW"}],
                ["TQ1", {"9.1": "S"}],
                ["OBR", {"18": "A1"}],
                ["OBX", {"2": "NM", "3.1": "9269-2", "5": "7"}],
            ],
        }
        his.tell(json.dumps(sent))
        assert his.wait(lambda o: o.get("of") == "N1", "an answer to N1")["code"] == "AA"
        his.tell(json.dumps(sent | {"id": "N2", "type": ["SIU", "S12"]}))
        refused = his.wait(lambda o: o.get("of") == "N2", "an answer to N2")
        assert (refused["code"], refused["error"]) == ("AR", "200")
        adt = [["PID", {"3.1": "P99", "5.1": "Müller"}], ["MRG", {"1.1": "P77"}]]
        his.tell(json.dumps({"type": ["ADT", "A40"], "id": "N3", "segments": adt}))
        assert his.wait(lambda o: o.get("of") == "N3", "an answer to N3")["code"] == "AA"
        report = [["PID", {"3.1": "P77"}], ["OBR", {"18": "A1", "25": "F"}], ["OBX", {"2": "TX", "5": "Bleed"}]]
        his.tell(json.dumps({"type": ["ORU", "R01"], "id": "N4", "segments": report}))
        assert his.wait(lambda o: o.get("of") == "N4", "an answer to N4")["code"] == "AA"
    assert [(c, e) for c, e, _ in orders.outcomes(store)] == [
        ("N1", "order"),
        ("N3", "patient merged"),
        ("N4", "final report"),
    ]
    merged = orders.patient_changes_after(store, 0)[0].facts
    assert (merged.merged_from, merged.patients) == (PatientKey("P77"), (PatientKey("P99"),))
