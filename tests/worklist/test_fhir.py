"""Raising at a FHIR R4 server: a small one over HTTP, which can be late, wrong, or changed by somebody else."""

from __future__ import annotations

import json
import ssl
import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.support.pacs import program
from tests.worklist.adapter_contract import KNOWN, UNKNOWN, AdapterContract, message
from tests.worklist.fhir_server import answer, fhir_server
from triage_node.domain.errors import PermanentDeliveryError, TransientDeliveryError
from triage_node.domain.priority import Urgency
from triage_node.worklist.adapter import Outcome
from triage_node.worklist.fhir import LOOKS, FhirAdapter
from triage_node.worklist.fhir_report import held_of, message_of, observations_of, report_id

REPORT = f"DiagnosticReport/{report_id(KNOWN)}"
AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


class _AtAServer(AdapterContract):
    raises = "ServiceRequest"

    @pytest.fixture(autouse=True)
    def _server(self):
        with fhir_server(self.raises) as self.server:
            yield

    def make(self):
        self.server.adapter = FhirAdapter(self.server.settings())
        return self.server.adapter, self.server


class TestOrders(_AtAServer): ...


class TestTasks(_AtAServer):
    raises = "Task"


@pytest.fixture
def server():
    with fhir_server() as s:
        yield s


def adapter(server, **more):
    return FhirAdapter(server.settings(**more))


def full(**more):
    known = message(urgency=Urgency.CRITICAL)
    told = {"finding": "iph", "subtype": "ivh", "probability": 0.971, "hematoma_volume_ml": 34.26, "issued_at": AT}
    return replace(known, **(told | {"link": "https://viewer/1"} | more))


# ---- what the peer holds afterwards


def test_order_goes_up_and_the_answer_says_from_what_to_what(server):
    raised = adapter(server).raise_study(message())
    assert (raised.outcome, raised.held, raised.written) == (
        Outcome.ACKNOWLEDGED,
        "ServiceRequest/o1=routine",
        "ServiceRequest/o1=asap",
    )
    order = server.now("ServiceRequest/o1")
    assert order["priority"] == "asap"
    assert order["note"] == [{"text": "Größe, 頭部, and what else the server keeps"}]


@pytest.mark.parametrize(
    ("urgency", "priority"), [(Urgency.CRITICAL, "stat"), (Urgency.HIGH, "asap"), (Urgency.MODERATE, "urgent")]
)
def test_urgency_has_its_priority(server, urgency, priority):
    adapter(server).raise_study(message(urgency=urgency))
    assert server.now("ServiceRequest/o1")["priority"] == priority


def test_an_order_without_priority_has_none_again_after_the_raise_is_taken_back(server):
    del server.now("ServiceRequest/o1")["priority"]
    raised = adapter(server).raise_study(message())
    assert (raised.held, raised.written) == ("ServiceRequest/o1=", "ServiceRequest/o1=asap")
    assert adapter(server).withdraw_raise(message(), raised).outcome is Outcome.ACKNOWLEDGED
    assert "priority" not in server.now("ServiceRequest/o1")


def test_report_is_preliminary_with_coded_finding_probability_volume_and_device(server):
    adapter(server).raise_study(full())
    report = server.now(REPORT)
    assert report["status"] == "preliminary"
    assert report["subject"] == {"reference": "Patient/p1"}
    assert report["basedOn"] == [{"reference": "ServiceRequest/o1"}]
    assert report["imagingStudy"] == [{"reference": "ImagingStudy/s1"}]
    assert report["conclusion"] == "Suspected IPH. Not for diagnostic use. https://viewer/1"
    assert report["result"] == [{"reference": r} for r in observations_of(KNOWN)]
    finding, probability, volume = (server.now(r) for r in observations_of(KNOWN))
    assert {o["status"] for o in (finding, probability, volume)} == {"preliminary"}
    assert finding["valueCodeableConcept"]["coding"] == [
        {"system": "http://snomed.info/sct", "code": "274100004", "display": "Cerebral hemorrhage"}
    ]
    assert finding["component"][0]["valueCodeableConcept"]["coding"][0]["code"] == "23276006"
    assert [n["text"] for n in finding["note"]] == [
        "Suggested reading priority: critical.",
        "Evidence E0: simulated data only.",
        "Not for diagnostic use.",
    ]
    ucum = "http://unitsofmeasure.org"
    assert probability["valueQuantity"] == {"value": 0.971, "system": ucum, "code": "1"}
    assert volume["valueQuantity"] == {"value": 34.3, "system": ucum, "code": "mL", "unit": "mL"}
    device = server.now(finding["device"]["reference"])
    assert device["deviceName"] == [{"name": "Triage Node", "type": "manufacturer-name"}]


def test_what_was_not_measured_is_said_to_be_unknown(server):
    adapter(server).raise_study(message())
    _, probability, volume = (server.now(r) for r in observations_of(KNOWN))
    assert [o["dataAbsentReason"]["coding"][0]["code"] for o in (probability, volume)] == ["unknown", "unknown"]


def test_a_simulation_is_marked_for_people_and_for_machines(server):
    adapter(server).raise_study(full(simulation=True))
    report = server.now(REPORT)
    assert "SIMULATED DATA: no real patient." in report["conclusion"]
    assert [t["code"] for t in report["meta"]["tag"]] == ["HTEST"]


def test_nothing_of_the_patient_is_sent_but_the_servers_own_reference(server):
    told = full(patient_id="PAT-4711", patient_name="Müller^Jörg", patient_birth_date="19500101", patient_sex="M")
    adapter(server).raise_study(told)
    written = str([v for k, v in server.store.items() if not k.startswith(("Patient", "ServiceRequest"))])
    assert not [word for word in ("PAT-4711", "Müller", "1950") if word in written]


def test_words_in_any_script_arrive_whole(server):
    words = "Suspected IPH für 山田太郎, " + "ö" * 64 + ". Not for diagnostic use."
    adapter(server).raise_study(full(words=words, link=""))
    assert server.now(REPORT)["conclusion"] == words


# ---- once


def test_the_same_message_twice_writes_nothing_twice(server):
    for _ in range(2):
        adapter(server).raise_study(message())
    assert {k: len(v) for k, v in server.store.items() if k == REPORT or k.startswith("Observation")} == dict.fromkeys(
        [REPORT, *observations_of(KNOWN)], 1
    )
    assert len(server.store["ServiceRequest/o1"]) == 2


@pytest.mark.parametrize("lost", [1, 2], ids=["of the report", "of the priority"])
def test_a_lost_answer_is_made_up_for_by_the_next_try(server, lost):
    """What was held before the first try is known after the second: else nothing could be given back."""
    answers = iter([n == lost for n in (1, 2)])
    server.loses = lambda verb: verb != "GET" and next(answers, False)
    with pytest.raises(TransientDeliveryError):
        adapter(server).raise_study(message())
    raised = adapter(server).raise_study(message())
    assert (raised.outcome, raised.held, raised.written) == (
        Outcome.ACKNOWLEDGED,
        "ServiceRequest/o1=routine",
        "ServiceRequest/o1=asap",
    )
    assert len(server.store[REPORT]) == 1
    adapter(server).withdraw_raise(message(), raised)
    assert server.now("ServiceRequest/o1")["priority"] == "routine"


def test_a_later_revision_replaces_the_report_and_keeps_its_id(server):
    adapter(server).raise_study(message(urgency=Urgency.MODERATE))
    second = adapter(server).raise_study(message(message_id="m2", urgency=Urgency.CRITICAL))
    assert (second.held, second.written) == ("ServiceRequest/o1=urgent", "ServiceRequest/o1=stat")
    assert [message_of(v) for v in server.store[REPORT]] == ["m1", "m2"]
    assert held_of(server.now(REPORT)) == "ServiceRequest/o1=urgent"


# ---- taking back


def test_withdrawal_takes_back_priority_report_and_observations(server):
    raised = adapter(server).raise_study(full(simulation=True))
    back = adapter(server).withdraw_raise(full(), raised)
    assert (back.outcome, back.held, back.written, back.words) == (
        Outcome.ACKNOWLEDGED,
        "ServiceRequest/o1=stat",
        "ServiceRequest/o1=routine",
        "report withdrawn",
    )
    assert {server.now(r)["status"] for r in (REPORT, *observations_of(KNOWN))} == {"entered-in-error"}
    assert server.now(REPORT)["meta"]["tag"][0]["code"] == "HTEST"
    adapter(server).raise_study(full(message_id="m3"))
    assert server.now(REPORT)["status"] == "preliminary"
    assert server.now("ServiceRequest/o1")["priority"] == "stat"


def test_a_report_that_a_person_made_final_is_left_by_raise_and_withdrawal(server):
    raised = adapter(server).raise_study(message())
    server.put(server.now(REPORT) | {"status": "final"})
    adapter(server).raise_study(message(message_id="m2", urgency=Urgency.CRITICAL))
    back = adapter(server).withdraw_raise(message(), raised)
    assert back.outcome is Outcome.TOO_LATE  # m2 raised it to stat meanwhile, which is not what `raised` wrote
    assert "the report is final by now and was left" in back.words
    assert server.now(REPORT)["status"] == "final"


def test_an_order_that_was_begun_or_is_gone_is_not_given_back(server):
    raised = adapter(server).raise_study(message())
    server.put(server.now("ServiceRequest/o1") | {"status": "completed"})
    assert adapter(server).withdraw_raise(message(), raised).outcome is Outcome.TOO_LATE
    assert server.now("ServiceRequest/o1")["priority"] == "asap"
    del server.store["ServiceRequest/o1"]
    assert "is gone" in adapter(server).withdraw_raise(message(), raised).words


def test_withdrawing_what_never_was_raised_sends_nothing(server):
    nothing = replace(adapter(server).raise_study(message(UNKNOWN)), outcome=Outcome.NOT_CONFIRMED)
    assert adapter(server).withdraw_raise(message(), nothing).outcome is Outcome.NOTHING_SENT
    assert {verb for verb, _, _ in server.requests} == {"GET"}


# ---- somebody else at the same time


def test_a_change_in_between_is_looked_at_again_and_kept_if_higher(server):
    def somebody(verb, path):
        if verb == "PATCH" and len(server.store["ServiceRequest/o1"]) == 1:
            server.put(server.now("ServiceRequest/o1") | {"priority": "stat"})

    server.before = somebody
    raised = adapter(server).raise_study(message())
    assert (raised.outcome, raised.written) == (Outcome.ACKNOWLEDGED, "ServiceRequest/o1=stat")
    assert server.now("ServiceRequest/o1")["priority"] == "stat"
    assert [h["If-Match"] for v, _, h in server.requests if v == "PATCH"] == ['W/"1"']


def test_a_reading_that_begins_in_between_is_left_and_its_report_withdrawable(server):
    def somebody(verb, path):
        if verb == "PATCH":
            server.put(server.now("ServiceRequest/o1") | {"status": "completed"})

    server.before = somebody
    told = adapter(server).raise_study(message())
    assert (told.outcome, told.written) == (Outcome.NOT_CONFIRMED, "")
    assert told.words == "report received; the request was begun or ended while we looked"
    assert server.priority(KNOWN) == 0
    again = adapter(server).raise_study(message())
    assert again.words == "report received; the request is completed"
    assert adapter(server).withdraw_raise(message(), again).words == "report withdrawn"
    assert server.now(REPORT)["status"] == "entered-in-error"


def test_a_server_that_takes_the_report_and_refuses_the_priority_has_the_report_withdrawable(server):
    server.instead = lambda request, verb, path: verb == "PATCH" and answer(request, 403)
    told = adapter(server).raise_study(message())
    assert (told.outcome, told.held, told.written) == (Outcome.IN_PART, "", "")
    assert told.words == "report received; priority not changed: changing ServiceRequest/o1 answered 403"
    assert adapter(server).withdraw_raise(message(), told).words == "report withdrawn"


def test_a_change_that_falls_silent_tells_what_it_would_have_replaced(server):
    server.loses = lambda verb: verb == "PATCH"
    with pytest.raises(TransientDeliveryError) as error:
        adapter(server).raise_study(message())
    assert (error.value.held, error.value.written) == ("ServiceRequest/o1=routine", "ServiceRequest/o1=asap")


def test_a_request_that_never_stands_still_is_tried_again_later(server):
    server.before = lambda verb, path: verb == "PATCH" and server.put(server.now("ServiceRequest/o1"))
    with pytest.raises(TransientDeliveryError):
        adapter(server).raise_study(message())
    assert [v for v, _, _ in server.requests].count("PATCH") == LOOKS


def test_accepted_but_not_done_is_not_confirmed(server):
    server.instead = lambda request, verb, path: verb == "PATCH" and answer(request, 200)
    raised = adapter(server).raise_study(message())
    assert (raised.outcome, raised.written) == (Outcome.NOT_CONFIRMED, "ServiceRequest/o1=routine")


# ---- which study


def test_order_is_found_by_its_accession_number_where_there_is_no_imaging_study(server):
    server.add_study("9", "1.2.9", "ACC9", imaging=False)
    told = replace(message("1.2.9"), accession_number="ACC9")
    assert adapter(server).raise_study(told).written == "ServiceRequest/o9=asap"
    other = adapter(server, accession_system="urn:another:system")
    assert other.raise_study(told).outcome is Outcome.UNKNOWN_STUDY
    assert adapter(server, accession_system="urn:site:accession").raise_study(told).outcome is Outcome.ACKNOWLEDGED


def test_an_accession_number_of_two_patients_raises_neither(server):
    for n in ("8", "9"):
        server.add_study(n, f"1.2.{n}", "SAME", imaging=False)
    found = adapter(server).raise_study(replace(message("1.2.9"), accession_number="SAME"))
    assert (found.outcome, found.words) == (
        Outcome.UNKNOWN_STUDY,
        "study UID and accession number lead to several patients there",
    )
    assert {v for v, _, _ in server.requests} == {"GET"}


@pytest.mark.parametrize("accession", ["", "  ", "*", "A,ACC1", "A|ACC1", "NONE"])
def test_a_server_that_ignores_what_is_asked_for_raises_no_other_patient(server, accession):
    server.knows_parameters = False
    found = adapter(server).raise_study(replace(message(UNKNOWN), accession_number=accession))
    assert found.outcome is Outcome.UNKNOWN_STUDY
    assert {v for v, _, _ in server.requests} == {"GET"}


@pytest.mark.parametrize(
    "reference",
    [
        "ServiceRequest/../Patient/1",
        "http://elsewhere/fhir/ServiceRequest/o1",
        "//elsewhere/ServiceRequest/o1",
        "ServiceRequest/o1?x",
        7,
        None,
    ],
)
def test_no_reference_leads_elsewhere(server, reference):
    server.now("ImagingStudy/s1")["basedOn"] = [{"reference": reference}]
    assert adapter(server).raise_study(message()).outcome is Outcome.UNKNOWN_STUDY
    assert {p for _, p, _ in server.requests} == {"ImagingStudy", "ServiceRequest"}


# ---- a peer that refuses or talks garbage


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, PermanentDeliveryError),
        (400, PermanentDeliveryError),
        (401, PermanentDeliveryError),
        (403, PermanentDeliveryError),
        (404, PermanentDeliveryError),
        (422, PermanentDeliveryError),
        (429, TransientDeliveryError),
        (500, TransientDeliveryError),
        (503, TransientDeliveryError),
    ],
)
@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_status_decides_between_again_and_never(server, verb, status, error):
    with fhir_server() as elsewhere:
        there = f"http://127.0.0.1:{elsewhere.port}/fhir"
        server.instead = lambda request, v, path: v == verb and answer(request, status, Location=there)
        with pytest.raises(error):
            adapter(server).raise_study(message())
        assert elsewhere.requests == []
    assert server.priority(KNOWN) == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"[]", b"[" * 100_000, b'{"resourceType": "Patient"}', b"\xff\xfe"],
    ids=lambda b: b[:12].decode(errors="replace"),
)
def test_garbage_is_no_answer(server, body):
    server.instead = lambda request, verb, path: answer(request, 200, body)
    with pytest.raises(TransientDeliveryError):
        adapter(server).raise_study(message())


@pytest.mark.parametrize(
    "entry",
    [7, [7], [{}], [{"resource": 7}], [{"resource": {"resourceType": "ImagingStudy", "id": "../x", "identifier": 3}}]],
)
def test_a_bundle_of_nonsense_knows_no_study(server, entry):
    body = json.dumps({"resourceType": "Bundle", "entry": entry}).encode()
    server.instead = lambda request, verb, path: answer(request, 200, body)
    assert adapter(server).raise_study(message()).outcome is Outcome.UNKNOWN_STUDY


def test_more_than_one_page_is_no_answer_to_a_question_about_one_study(server):
    body = b'{"resourceType": "Bundle", "link": [{"relation": "next", "url": "http://elsewhere/"}]}'
    server.instead = lambda request, verb, path: answer(request, 200, body)
    with pytest.raises(PermanentDeliveryError):
        adapter(server).raise_study(message())


@pytest.mark.parametrize("priority", ["STAT, Task/1=x", 7, {"a": 1}, "sometime"])
def test_a_priority_that_r4_does_not_know_is_left(server, priority):
    server.now("ServiceRequest/o1")["priority"] = priority
    raised = adapter(server).raise_study(message())
    assert raised.written in ("ServiceRequest/o1=unreadable", "ServiceRequest/o1=sometime")
    assert server.now("ServiceRequest/o1")["priority"] == priority


def test_an_endless_answer_is_cut_off(server):
    def endless(request, verb, path):
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(b" " * 65536)

    server.instead = endless
    with pytest.raises(TransientDeliveryError, match="more than 4 MiB"):
        adapter(server).raise_study(message())


def test_a_peer_that_was_down_is_told_once_it_is_up(server):
    away = adapter(server, url="http://127.0.0.1:1/fhir")
    for _ in range(3):
        with pytest.raises(TransientDeliveryError):
            away.raise_study(message())
    assert adapter(server).raise_study(message()).outcome is Outcome.ACKNOWLEDGED


# ---- who we are, and who it is


def test_credentials_come_from_a_file_and_a_missing_one_is_no_end(server, tmp_path):
    token = tmp_path / "token"
    with pytest.raises(TransientDeliveryError):
        adapter(server, token_file=token).raise_study(message())
    token.write_text("abc\n")
    adapter(server, token_file=token).raise_study(message())
    assert {h["Authorization"] for _, _, h in server.requests} == {"Bearer abc"}


def test_over_tls_a_server_of_another_ca_is_told_nothing(tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=his"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    with fhir_server(tls=tls) as server:
        with pytest.raises(TransientDeliveryError):
            adapter(server).raise_study(message())
        assert server.requests == []
        assert adapter(server, tls_ca=cert).raise_study(message()).outcome is Outcome.ACKNOWLEDGED
