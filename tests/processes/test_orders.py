"""What messages of others do to the studies they are about, whichever came first."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.support.deciding import Site
from tests.support.pacs import free_port
from tests.support.waiting import wait_until
from triage_node.config.hl7_inbound import Hl7InboundSettings
from triage_node.domain.clinical import ClinicalEntry, ClinicalRevision
from triage_node.domain.errors import StatementConflict
from triage_node.domain.priority import Flag, OrderClass, ReadingState, Urgency
from triage_node.gateway.hl7_inbound import Hl7Inbound
from triage_node.hl7v2.mllp import MllpClient
from triage_node.hl7v2.parse import acknowledgement
from triage_node.processes import clinical, gateway
from triage_node.processes.orders import VIA, Orders, joined
from triage_node.processes.running import Running, now
from triage_node.store import audit, orders, studies, worklist
from triage_node.store.clinical import history_of

BOUND_S = 30.0
UID, ZONE = "1.2.3", ZoneInfo("UTC")
SCANNED = {"acquisition_date": "20261121", "acquisition_time": "030000"}


class Node:
    """A store, the gateway's answers and the scheduler's tick."""

    def __init__(self, site: Site, **inbound) -> None:
        settings = Hl7InboundSettings(**inbound)
        self.site, self.store = site, site.store
        self.gateway = Hl7Inbound(site.store, settings, ZONE, simulation=True, clock=now)
        self.orders = Orders(site.store, site.settings.model_copy(update={"hl7_inbound": settings}))
        self._ids = 0

    def hears(self, kind: str, *segments: str, control_id: str = "") -> str:
        """One message from the HIS, then a tick. Returns the code of the answer."""
        self._ids += 1
        head = f"MSH|^~\\&|HIS|WARD|TRIAGE||20261121030000||{kind}|{control_id or f'C{self._ids}'}|P|2.5.1||||||UNICODE UTF-8"
        answer = self.gateway.answer("\r".join((head, *segments, "")).encode(), "127.0.0.1")
        self.orders.tick()
        return answer.split(b"MSA|")[1][:2].decode()

    def arrives(self, uid: str = UID, **header) -> None:
        self.site.arrive(uid, **header)
        self.orders.tick()

    @property
    def row(self):
        return worklist.row_of(self.store, UID).row

    @property
    def identity(self):
        return studies.get(self.store, UID).identity

    def outcomes(self) -> list[str]:
        return [outcome for _, _, outcome in orders.outcomes(self.store)]

    def known(self) -> ClinicalEntry:
        history = history_of(self.store, UID)
        return history[-1].entry if history else ClinicalEntry()


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.store.close()


@pytest.fixture
def node(site) -> Node:
    return Node(site)


PID = "PID|1||P77^^^^MR||DOE^JANE||19510302|F"
STAT = ("ORC|NW", "TQ1|1||||||||S", "OBR|1||A1||||||||||||||||||")
GCS = "OBX|1|NM|9269-2^GCS^LN||7||||||F"
REPORT = (PID, "OBR|1||A1|||||||||||||||A1|||||||F", "OBX|1|TX|59776-5^Findings^LN||Large bleed on the left.||||||F")


@pytest.mark.parametrize("first", ["images", "order"])
def test_an_order_gives_its_class_and_facts_whichever_came_first(node, first):
    if first == "images":
        node.arrives(**SCANNED)
    message = ("ORM^O01", PID, *STAT, GCS, "OBX|2|TS|11368-8^Onset^LN||202611210130", "OBX|3|CE|711150003^x^SCT||Y")
    assert node.hears(*message) == "AA"
    if first == "order":
        assert node.outcomes() == [""]
        node.arrives(**SCANNED)
    assert node.row.order_class is OrderClass.STAT
    assert (node.known().gcs, node.known().on_anticoagulant, node.known().age_years) == (7, True, 75)
    assert node.known().onset_at.isoformat() == "2026-11-21T01:30:00+00:00"
    [statement] = history_of(node.store, UID)
    assert (statement.via, statement.by) == (VIA, "HIS|WARD C1")
    assert "order class STAT" in node.outcomes()[0]
    assert {a for _, _, a in audit.entries(node.store, UID)} >= {"order class", "clinical facts stated"}
    assert audit.first_broken(node.store) is None


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        (("ORC|NW", "TQ1|1||||||||S^Stat", "OBR|1||A1"), OrderClass.STAT),
        (("ORC|XO|||||||", "TQ1|1||||||||A", "OBR|1||A1"), OrderClass.URGENT),
        (("ORC|NW||A1||||^^^^^S", "OBR|1"), OrderClass.STAT),
        (("ORC|NW", "OBR|1||A1||S"), OrderClass.STAT),
        (("ORC|NW", f"OBR|1||A1{'|' * 24}^^^^^A"), OrderClass.URGENT),
        (("ORC|NW", "OBR|1||A1||as you like"), OrderClass.ROUTINE),
    ],
)
def test_the_priority_is_found_in_each_of_its_places(node, segments, expected):
    node.arrives()
    node.hears("ORM^O01", PID, *segments)
    assert node.row.order_class is expected


@pytest.mark.parametrize(
    ("kind", "segments"),
    [
        ("OMI^O23", ("ORC|NW", "TQ1|1||||||||S", "OBR|1", f"IPC|X9|X9|{UID}|X9")),
        ("OMG^O19", ("ORC|NW", "TQ1|1||||||||S", "OBR|1||A1")),
        ("ORM^O01", ("ORC|NW", "OBR|1||||S", f"ZDS|{UID}^HIS^Application^DICOM")),
        ("ORU^R01", ("OBR|1||X9||S", f"OBX|1|ST|110180^u^DCM||{UID}")),
    ],
)
def test_a_study_is_found_by_its_uid_or_its_accession_number(node, kind, segments):
    node.arrives()
    node.hears(kind, PID, *segments)
    assert node.row.order_class is OrderClass.STAT


def test_two_orders_in_one_message_go_to_their_own_studies(node):
    node.arrives()
    node.arrives("1.2.4", accession_number="A2")
    node.hears("ORM^O01", PID, *STAT, "ORC|NW", "TQ1|1||||||||A", "OBR|2||A2")
    assert worklist.row_of(node.store, UID).row.order_class is OrderClass.STAT
    assert worklist.row_of(node.store, "1.2.4").row.order_class is OrderClass.URGENT


def test_the_same_message_twice_has_the_effect_of_once(node):
    node.arrives()
    assert node.hears("ORM^O01", PID, *STAT, GCS, control_id="SAME") == "AA"
    assert node.hears("ORM^O01", PID, *STAT, GCS, control_id="SAME") == "AA"
    assert len(history_of(node.store, UID)) == 1
    assert len(node.outcomes()) == 1


def test_what_a_person_stated_stays_and_what_they_left_open_is_filled(node):
    node.arrives(**SCANNED)
    clinical.take_in(node.store, ZONE, UID, ClinicalEntry(gcs=9), "Dr. A", "page", 0, now())
    node.hears("ORU^R01", PID, "OBR|1||A1", GCS, "OBX|2|NM|8480-6^BP^LN||190|mm[Hg]")
    assert (node.known().gcs, node.known().systolic_mmhg) == (9, 190)
    node.hears("ORU^R01", PID, "OBR|1||A1", "OBX|1|NM|8480-6^BP^LN||170|mm[Hg]")
    assert (node.known().gcs, node.known().systolic_mmhg) == (9, 170)


def test_facts_of_another_patient_are_not_taken_in_and_the_list_says_so(node):
    node.arrives()
    node.hears("ORM^O01", PID.replace("P77", "P78"), *STAT, GCS)
    assert node.row.order_class is OrderClass.ROUTINE
    assert history_of(node.store, UID) == []
    assert "another patient" in node.row.status_words
    assert "another patient" in node.outcomes()[0]


def test_facts_that_cannot_be_true_are_refused_with_the_reason(node):
    node.arrives()
    node.hears("ORU^R01", PID, "OBR|1||A1", GCS.replace("||7|", "||77|"))
    assert history_of(node.store, UID) == []
    assert "not possible" in node.outcomes()[0]


@pytest.mark.parametrize(
    ("obx", "known", "note"),
    [
        ("OBX|1|NM|14749-6^Glucose^LN||10|mmol/L", 180.2, ""),
        ("OBX|1|NM|2345-7^Glucose^LN||150|mg/dL", 150, ""),
        ("OBX|1|NM|2345-7^Glucose^LN||150|", None, "glucose"),
        ("OBX|1|NM|2345-7^Glucose^LN||much|mg/dL", None, "glucose"),
        ("OBX|1|NM|2345-7^Glucose^LN||150|mg/dL|||||D", None, ""),
    ],
)
def test_a_value_counts_with_its_unit_or_is_noted_as_not_understood(node, obx, known, note):
    node.arrives()
    node.hears("ORU^R01", PID, "OBR|1||A1", obx)
    assert node.known().glucose_mg_dl == known
    assert note in node.outcomes()[0]


def test_codes_of_the_site_take_the_place_of_the_defaults(site):
    node = Node(site, observations={"COMA": "gcs"})
    node.arrives()
    node.hears("ORU^R01", PID, "OBR|1||A1", "OBX|1|NM|COMA^x^L||8", GCS)
    assert node.known().gcs == 8


def flagged(node: Node) -> None:
    with node.store.write() as c:
        worklist.raise_flag(c, UID, Flag("ich", Urgency.HIGH, "Suspected ICH", now()))


@pytest.mark.parametrize("status", ["F", "C"])
def test_a_final_report_closes_the_row_as_read_by_a_report_message(node, status):
    node.arrives()
    flagged(node)
    assert orders.last_report_at(node.store) is None
    node.hears("ORU^R01", *(s.replace("|||||||F", f"|||||||{status}") for s in REPORT), control_id="R1")
    assert node.row.reading_state is ReadingState.READ
    assert ("report message R1", "reading state") in {(who, what) for _, who, what in audit.entries(node.store, UID)}
    assert orders.last_report_at(node.store) is not None


@pytest.mark.parametrize(
    "segments",
    [
        (REPORT[0], REPORT[1].replace("|||||||F", "|||||||P"), REPORT[2]),
        (REPORT[0], REPORT[1], GCS),
        (REPORT[0], REPORT[1], "OBX|1|NM|6301-6^INR^LN||2.8||||||F"),
        (REPORT[0], REPORT[1], "OBX|1|TX|121106^Comment^DCM||Suspected", "OBX|2|ST|PRIORITY^x^99TRIAGE||high"),
        REPORT[1:],
        (REPORT[0].replace("P77", "P78"), *REPORT[1:]),
        (REPORT[0], REPORT[1].replace("A1", "A9"), REPORT[2]),
    ],
    ids=["preliminary", "a final GCS", "a laboratory value", "another triage node", "no patient", "other patient", "other order"],
)  # fmt: skip
def test_what_is_no_report_of_this_study_closes_nothing(node, segments):
    node.arrives()
    flagged(node)
    node.hears("ORU^R01", *segments)
    assert node.row.reading_state is ReadingState.WAITING


@pytest.mark.parametrize("orc", ["ORC|CA||A1", "ORC|OC||A1", "ORC|SC||A1||CA"])
def test_a_cancelled_order_leaves_the_list_but_a_flag_stays_in_sight(node, orc):
    node.arrives()
    node.arrives("1.2.4", accession_number="A2")
    flagged(node)
    node.hears("ORM^O01", PID, orc, "OBR|1||A1")
    node.hears("ORM^O01", PID, orc.replace("A1", "A2"), "OBR|1||A2")
    assert node.row.reading_state is ReadingState.NOT_CONFIRMED
    assert "the order was cancelled" in node.row.status_words
    assert worklist.row_of(node.store, "1.2.4").row.reading_state is ReadingState.STATUS_UNKNOWN


@pytest.mark.parametrize(("means", "state"), [(False, ReadingState.WAITING), (True, ReadingState.READ)])
def test_completed_closes_a_row_only_where_the_site_says_that_it_means_read(site, means, state):
    node = Node(site, completed_means_read=means)
    node.arrives()
    node.hears("ORM^O01", PID, "ORC|SC||A1||CM", "OBR|1||A1")
    assert node.row.reading_state is state


A08 = ("ADT^A08", "EVN|A08", "PID|1||P77^^^^MR||DOE-MÜLLER^JANE||19510303|F")
A40 = ("ADT^A40", "EVN|A40", "PID|1||P99^^^^MR||DOE^JANE||19510302|F", "MRG|P77")


def test_an_update_of_the_patient_corrects_the_identity_with_a_notice(node):
    node.arrives(patient_birth_date="19510302")
    assert node.hears(*A08) == "AA"
    assert (node.identity.patient_name, node.identity.patient_birth_date) == ("DOE-MÜLLER^JANE", "19510303")
    assert (node.identity.patient_id, node.identity.accession_number) == ("P77", "A1")
    assert "identity corrected: patient name, patient birth date" in node.row.status_words
    assert studies.identity_was_corrected(node.store, UID)


def test_a_merge_moves_every_study_of_the_old_id_read_ones_too(node):
    node.arrives()
    with node.store.write() as c:
        worklist.set_reading_state(c, UID, ReadingState.READ, now(), "Dr. A")
    node.arrives("1.2.4", patient_id="P80")
    node.hears(*A40)
    assert node.identity.patient_id == "P99"
    assert studies.get(node.store, "1.2.4").identity.patient_id == "P80"


def test_images_that_come_under_the_old_id_after_a_merge_are_moved_once(node):
    node.hears(*A40)
    node.arrives()
    assert node.identity.patient_id == "P99"
    node.hears("ADT^A40", "PID|1||P77^^^^MR||DOE^JANE", "MRG|P99")  # a merge back: they do not chase each other
    assert node.identity.patient_id == "P77"
    node.hears("ADT^A04", "PID|1||P0")
    assert node.identity.patient_id == "P77"


def test_the_same_id_of_another_issuer_is_another_patient(node):
    node.arrives(issuer_of_patient_id="NORTH")
    node.hears("ADT^A40", "PID|1||P99^^^SOUTH||DOE^JANE", "MRG|P77^^^SOUTH")
    assert node.identity.patient_id == "P77"


def test_without_trust_a_change_of_identity_is_a_conflict_for_a_person(site):
    node = Node(site, may_correct_identity=False)
    node.arrives()
    node.hears(*A08)
    assert node.identity.patient_name == "DOE^JANE"
    assert "identity conflict" in node.row.status_words


@pytest.mark.parametrize(
    ("kind", "segments", "accession"),
    [
        ("OMI^O23", (PID, "ORC|NW", "OBR|1", f"IPC|A9|X|{UID}|X"), "A9"),
        ("ORM^O01", (PID, "ORC|XO", f"OBR|1{'|' * 17}A9", f"ZDS|{UID}^HIS^Application^DICOM"), "A9"),
        ("ORM^O01", (PID, "ORC|XO", "OBR|1||A9", f"ZDS|{UID}^HIS^Application^DICOM"), "A1"),
        ("ORU^R01", (PID, f"OBR|1{'|' * 17}A9", f"OBX|1|ST|110180^u^DCM||{UID}"), "A1"),
        ("OMI^O23", (PID.replace("P77", "P78"), "ORC|NW", "OBR|1", f"IPC|A9|X|{UID}|X"), "A1"),
        ("OMI^O23", ("ORC|NW", "OBR|1", f"IPC|A9|X|{UID}|X"), "A1"),
        ("OMI^O23", (PID, "ORC|NW", "OBR|1", f"IPC|A9|X|{UID}|X", "ORC|NW", "OBR|2", f"IPC|A8|X|{UID}|X"), "A1"),
        ("OMI^O23", (PID, "ORC|NW", "OBR|1", "IPC|A9|X|1.2.99|X"), "A1"),
    ],
    ids=[
        "IPC",
        "OBR-18",
        "filler number",
        "result",
        "other patient",
        "no patient",
        "two orders, one scan",
        "other study",
    ],
)
def test_the_order_that_names_the_study_by_its_uid_says_its_accession_number(node, kind, segments, accession):
    node.arrives()
    node.hears(kind, *segments)
    assert node.identity.accession_number == accession
    assert len(studies.identity_corrections(node.store, UID)) == (accession != "A1")


def test_another_spelling_of_the_same_name_changes_nothing(node):
    node.arrives(patient_birth_date="19510302", patient_sex="F")
    node.hears("ADT^A08", "PID|1||P77||Doe^Jane^^^^^L||19510302|F")
    assert node.row.status_words == "waiting for analysis"
    assert node.outcomes() == ["nothing new"]


def test_an_admission_gives_the_age_where_the_images_have_none(node):
    node.hears("ADT^A01", PID)
    node.arrives(**SCANNED)
    assert node.known().age_years == 75


def test_messages_are_forgotten_and_facts_are_not(node):
    node.arrives()
    node.hears("ORM^O01", PID, *STAT, GCS)
    assert orders.forget_before(node.store, now() + timedelta(seconds=1)) == 1
    assert node.outcomes() == []
    assert node.known().gcs == 7


def test_after_a_restart_what_waits_still_waits_and_what_was_applied_is_not_again(node, site):
    node.arrives()
    node.hears("ORM^O01", PID, *STAT)
    node.hears("ORM^O01", PID, "ORC|NW", "TQ1|1||||||||S", "OBR|1||A2")
    with node.store.write() as c:
        orders.set_order_class(c, UID, OrderClass.URGENT, now(), "a person")
    again = Node(site)
    again.orders.tick()
    assert again.row.order_class is OrderClass.URGENT
    again.arrives("1.2.4", accession_number="A2")
    assert worklist.row_of(node.store, "1.2.4").row.order_class is OrderClass.STAT


def test_facts_for_a_study_in_quarantine_wait_until_it_is_clear_whose_it_is(node, monkeypatch):
    node.arrives()
    refuse = StatementConflict("This study is in quarantine.")
    with monkeypatch.context() as m:
        m.setattr(clinical, "take_in", lambda *_: (_ for _ in ()).throw(refuse))
        node.hears("ORU^R01", PID, "OBR|1||A1", GCS)
        assert node.outcomes() == [""]
    node.orders.tick()
    assert node.known().gcs == 7


def test_a_message_that_the_node_stumbles_over_holds_up_no_other(node, monkeypatch):
    with monkeypatch.context() as m:
        m.setattr(Orders, "_with_age", lambda *_: 1 / 0)
        node.arrives()
        node.hears("ORU^R01", PID, "OBR|1||A1", GCS)
        node.hears("ORU^R01", *REPORT)
    assert "could not be applied: ZeroDivisionError" in node.outcomes()[0]
    assert node.row.reading_state is ReadingState.READ


def stated(via: str, **facts) -> ClinicalRevision:
    return ClinicalRevision(UID, 1, now(), "x", via, "", ClinicalEntry(**facts))


@pytest.mark.parametrize(
    ("history", "told", "expected"),
    [
        ([], {"gcs": 7}, {"gcs": 7}),
        ([stated(VIA, gcs=7)], {"gcs": 9}, {"gcs": 9}),
        ([stated("page", gcs=7)], {"gcs": 9}, {"gcs": 7}),
        ([stated(VIA, gcs=7), stated("page", gcs=7, nihss=4)], {"gcs": 9, "nihss": 5}, {"gcs": 9, "nihss": 4}),
        ([stated(VIA, gcs_eye=1, gcs_verbal=1, gcs_motor=4, gcs=6)], {"gcs": 9}, {"gcs": 9}),
        ([stated("page", onset_unknown=True)], {"onset_at": now()}, {"onset_unknown": True}),
        ([stated("page", on_anticoagulant=False)], {"on_anticoagulant": True}, {"on_anticoagulant": False}),
    ],
)
def test_statements_join_field_by_field(history, told, expected):
    assert joined(history, ClinicalEntry(**told)) == ClinicalEntry(**expected)


def test_the_gateway_role_listens_where_it_is_told_to_and_ends_when_it_is_told_to(site):
    port, stop = free_port(), threading.Event()
    inbound = Hl7InboundSettings(port=port)
    settings = site.settings.model_copy(update={"hl7_inbound": inbound})
    role = threading.Thread(target=gateway.main, args=(Running("gateway", settings, site.store, stop),), daemon=True)
    role.start()
    try:
        site.arrive(UID)
        wait_until(lambda: _listens(port), BOUND_S, "the listener is there")
        head = "MSH|^~\\&|HIS|WARD|TRIAGE||20261121030000||ORM^O01|C1|P|2.5.1"
        client = MllpClient("127.0.0.1", port, BOUND_S)
        answer = client.exchange("\r".join((head, PID, *STAT, "")).encode(), lambda a: acknowledgement(a).of == "C1")
        assert acknowledgement(answer).code == "AA"
        client.close()
        Orders(site.store, settings).tick()
        assert worklist.row_of(site.store, UID).row.order_class is OrderClass.STAT
    finally:
        stop.set()
        role.join(BOUND_S)
    assert not role.is_alive()
    assert not _listens(port)


def _listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0
