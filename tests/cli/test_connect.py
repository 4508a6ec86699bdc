"""`triage-node connect` against real peers over sockets, as a person or a script would run it."""

from __future__ import annotations

import io
import os
import pty
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from tests.counterparts.hl7_node import program as node_program
from tests.counterparts.ups_peer import dcmjs_managers
from tests.delivery.web_archive import web_archive
from tests.support.certificates import server_certificate
from tests.support.deciding import Site
from tests.support.pacs import free_port, orthanc
from tests.support.ris import accepts, answers_garbage, knows_no_such_study, refuses, ris
from tests.worklist.fhir_server import answer as fhir_answer
from tests.worklist.fhir_server import fhir_server
from tests.worklist.http_manager import answer, http_manager
from tests.worklist.pynetdicom_manager import pynetdicom_manager
from tests.worklist.ups_items import Item
from triage_node.cli.connect import connect
from triage_node.cli.terminal import terminal
from triage_node.config.load import load
from triage_node.domain.errors import TriageNodeError
from triage_node.processes import connecting_archive
from triage_node.processes.connecting import TEST_ACCESSION, TEST_PATIENT_ID, TEST_STUDY_UID
from triage_node.store.schema import audit as audit_table

PROGRAM = Path(sys.executable).with_name("triage-node")
BEFORE = '# ours\n[worklist]\nmode = "observe"  # for now\n'


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(BEFORE)
    path.chmod(0o640)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    with orthanc(tmp_path_factory.mktemp("orthanc"), DicomCheckCalledAet=True) as running:
        yield running


class Run:
    """One run: `status` is the exit status, `text` what was printed, `asked` each question that was put."""

    def __init__(self, kind, name, address, *given, config=None, yes=False, dry_run=False, says=None):
        self.asked: list[str] = []
        console = terminal(width=200, record=True, file=io.StringIO())

        def ask(question):
            self.asked.append(question)
            return says

        self.status = connect(
            kind, name, address, list(given), config, yes, dry_run, console, None if says is None else ask
        )
        self.text = console.export_text()

    def line(self, step):
        return next(row for row in self.text.splitlines() if row.startswith(f"│ {step}"))


def untouched(config):
    return config.read_text() == BEFORE and [p.name for p in config.parent.iterdir()] == [config.name]


# ---- archives


def test_an_archive_gets_sr_and_sc_they_are_found_again_and_the_file_gets_its_section(archive, config):
    before = set(archive.instances())
    run = Run("archive", "pacs", f"ORTHANC@127.0.0.1:{archive.dicom_port}", config=config, yes=True)
    assert run.status == 0, run.text
    assert "2 series of this run are there" in run.line("found by C-FIND")
    assert "takes SR, SEG, SC" in run.line("presentation contexts")
    tags = [archive.get(f"/instances/{i}/simplified-tags") for u, i in archive.instances().items() if u not in before]
    assert {t["Modality"] for t in tags} == {"SR", "OT"}
    assert {(t["PatientID"], t["PatientName"], t["StudyInstanceUID"]) for t in tags} == {
        (TEST_PATIENT_ID, "TEST^TRIAGE NODE", TEST_STUDY_UID)
    }
    settings, _ = load(config)
    (written,) = settings.archives
    assert (written.name, written.port, written.clinical) == ("pacs", archive.dicom_port, True)
    assert config.read_text().startswith(BEFORE)
    assert config.stat().st_mode & 0o777 == 0o640
    (backup,) = config.parent.glob("*.bak")
    assert backup.read_text() == BEFORE


def test_a_second_run_proves_its_own_objects_not_those_of_the_first(archive):
    before = archive.count()
    address = f"ORTHANC@127.0.0.1:{archive.dicom_port}"
    assert [Run("archive", "pacs", address, yes=True).status for _ in range(2)] == [0, 0]
    assert archive.count() == before + 4


def test_stow_rs_is_tried_when_the_address_is_a_url(archive, config):
    url = f"http://127.0.0.1:{archive.http_port}/dicom-web"
    run = Run("archive", "pacs", url, config=config, yes=True)
    assert run.status == 0, run.text
    assert "2 series of this run are there" in run.line("found by QIDO-RS")
    assert load(config)[0].archives[0].stow_url == url


def test_a_wrong_port_fails_at_once_with_its_cause_and_leaves_the_file(config):
    run = Run("archive", "pacs", f"ORTHANC@127.0.0.1:{free_port()}", config=config, yes=True)
    assert run.status == 1
    assert "FAILED" in run.line("TCP connection")
    assert "is the port right?" in run.text
    assert "not tried" in run.line("C-STORE")
    assert untouched(config)


def test_a_wrong_ae_title_is_named(archive, config):
    run = Run("archive", "pacs", f"NOBODY@127.0.0.1:{archive.dicom_port}", config=config, yes=True)
    assert run.status == 1
    assert "FAILED" in run.line("association, C-ECHO")
    assert "correct the part before the @" in run.text
    assert untouched(config)


def test_an_unknown_host_name_is_said_to_be_one(config):
    run = Run("hl7", "ris", "no-such-host.invalid:2575", config=config, yes=True)
    assert run.status == 1
    assert "The host name cannot be resolved" in run.text


@contextmanager
def pynetdicom_archive(classes, tls=None, **more):
    """An archive of our own making. `more`: names of the AE's attributes, and `handlers`."""
    entity = AE(ae_title="PACS")
    for sop_class in classes:
        entity.add_supported_context(sop_class)
    handlers = more.pop("handlers", [])
    for key, value in more.items():
        setattr(entity, key, value)
    stored = []

    def store(event):
        stored.append(event.request.AffectedSOPClassUID)
        return 0x0000

    handlers = [*handlers, (evt.EVT_C_STORE, store)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
    try:
        yield server.socket.getsockname()[1], stored
    finally:
        entity.shutdown()


def test_an_archive_that_does_not_know_us_says_so():
    with pynetdicom_archive([Verification], require_calling_aet=["OTHER"]) as (port, _):
        run = Run("archive", "pacs", f"PACS@127.0.0.1:{port}", yes=True)
    assert run.status == 1
    assert "have our AE title (calling_ae_title) registered there" in run.text


def test_a_kind_of_object_that_is_not_taken_is_left_out_of_the_section(config):
    with pynetdicom_archive([Verification, Comprehensive3DSRStorage, SecondaryCaptureImageStorage]) as (port, stored):
        run = Run("archive", "pacs", f"PACS@127.0.0.1:{port}", config=config, yes=True)
    assert run.status == 0, run.text
    assert sorted(stored) == sorted([Comprehensive3DSRStorage, SecondaryCaptureImageStorage])
    assert "not SEG" in run.line("presentation contexts")
    assert "not offered" in run.line("found by C-FIND")
    assert [k.value for k in load(config)[0].archives[0].kinds] == ["findings_sr", "heatmap_sc", "summary_sc"]


def test_an_archive_that_takes_nothing_of_ours_is_not_sent_anything(config):
    with pynetdicom_archive([Verification]) as (port, stored):
        run = Run("archive", "pacs", f"PACS@127.0.0.1:{port}", config=config, yes=True)
    assert run.status == 1
    assert "no presentation context accepted" in run.line("presentation contexts")
    assert stored == []
    assert untouched(config)


def test_objects_that_are_accepted_and_not_filed_are_a_failure(monkeypatch):
    monkeypatch.setattr(connecting_archive, "FILED_WITHIN_S", 0.2)
    classes = [Verification, Comprehensive3DSRStorage, SecondaryCaptureImageStorage]

    def finds_nothing(event):
        yield 0x0000, None

    with pynetdicom_archive(
        [*classes, StudyRootQueryRetrieveInformationModelFind], handlers=[(evt.EVT_C_FIND, finds_nothing)]
    ) as (port, _):
        run = Run("archive", "pacs", f"PACS@127.0.0.1:{port}", yes=True)
    assert run.status == 1
    assert "2 of 2 series are not listed" in run.line("found by C-FIND")
    assert "Accepted, but not filed" in run.text


def test_a_refusal_of_stow_rs_is_told_with_its_status(config):
    with web_archive() as peer:
        peer.instead = lambda stored: (401, b"", {})
        run = Run("archive", "pacs", f"http://127.0.0.1:{peer.port}/dicom-web", config=config, yes=True)
    assert run.status == 1
    assert "answered 401" in run.line("DICOMweb answers")
    assert "Not let in" in run.text
    assert untouched(config)


# ---- TLS


def test_tls_with_the_right_ca_goes_through_and_its_file_is_written_as_a_whole_path(tmp_path, config, monkeypatch):
    context, ca = server_certificate(tmp_path, "pacs")
    monkeypatch.chdir(tmp_path)
    classes = [Verification, Comprehensive3DSRStorage, SecondaryCaptureImageStorage]
    with pynetdicom_archive(classes, tls=context) as (port, _):
        address = f"PACS@127.0.0.1:{port}"
        run = Run("archive", "pacs", address, "tls=true", f"tls_ca={ca.name}", config=config, yes=True)
    assert run.status == 0, run.text
    assert "certificate is good for 127.0.0.1" in run.line("TLS handshake")
    assert load(config)[0].archives[0].tls_ca == ca


def test_a_certificate_of_an_unknown_ca_is_told_from_one_of_another_host(tmp_path, config):
    context, ca = server_certificate(tmp_path, "pacs")
    _, other = server_certificate(tmp_path, "other")
    with pynetdicom_archive([Verification], tls=context) as (port, _):
        wrong_ca = Run("archive", "pacs", f"PACS@127.0.0.1:{port}", "tls=true", f"tls_ca={other}", config=config)
        wrong_host = Run("archive", "pacs", f"PACS@localhost:{port}", "tls=true", f"tls_ca={ca}", config=config)
        no_file = Run("archive", "pacs", f"PACS@localhost:{port}", "tls=true", "tls_ca=/none", config=config)
    assert "comes from a CA that is not known here" in wrong_ca.text
    assert "belongs to another host" in wrong_host.text
    assert "The file is not there" in no_file.text
    assert (wrong_ca.status, wrong_host.status, no_file.status) == (1, 1, 1)
    assert config.read_text() == BEFORE


def test_tls_towards_a_peer_without_it_is_told(archive):
    run = Run("hl7", "ris", f"127.0.0.1:{archive.http_port}", "tls=true", yes=True)
    assert run.status == 1
    assert "does not speak TLS on this port" in run.text


# ---- HL7


def test_each_run_stands_in_the_audit_of_the_node_whose_configuration_it_was_given(tmp_path):
    site = Site(tmp_path)
    with ris() as peer:
        assert Run("hl7", "ris", f"127.0.0.1:{peer.port}", config=site.config, yes=True).status == 0
        peer.reply = refuses
        assert Run("hl7", "other", f"127.0.0.1:{peer.port}", config=site.config, yes=True).status == 1
    with site.store.read() as c:
        said = {r.subject: (r.actor, r.new) for r in c.execute(audit_table.select()) if r.action == "peer tried"}
    at = f"hl7 at 127.0.0.1:{peer.port}"
    assert said["ris"] == ("triage-node connect", f"{at}: 3 of 3 steps ok; added to the configuration")
    assert said["other"][1].startswith(f"{at}: 1 of 3 steps ok, failed: ORU^R01 and its ACK; the configuration is left")
    with site.store.write() as c:
        c.exec_driver_sql("DROP TABLE audit")
    run = Run("hl7", "third", f"127.0.0.1:{peer.port}", config=site.config, yes=True)
    assert "The audit trail was not written: the database does not answer or refuses" in run.text
    site.store.close()


def test_a_ris_gets_a_test_result_and_its_correction_and_both_acks_are_explained(config):
    with ris() as peer:
        run = Run("hl7", "ris", f"127.0.0.1:{peer.port}", "receiving_application=RIS", config=config, yes=True)
    assert run.status == 0, run.text
    assert "MSA-1 AA: application accept" in run.line("ORU^R01 and its ACK")
    assert "MSA-1 AA" in run.line("correction and its ACK")
    heads = [text.split("\r")[0].split("|") for text in peer.texts.values()]
    assert [(h[4], h[8][:7], h[10]) for h in heads] == [("RIS", "ORU^R01", "T")] * 2
    assert all(f"|{TEST_PATIENT_ID}^" in text for text in peer.texts.values())
    (written,) = load(config)[0].hl7_peers
    assert (written.receiving_application, written.order_update, written.result_status) == ("RIS", "none", "R")


def test_an_independent_hl7_server_reads_the_result_and_knows_no_such_order():
    port = free_port()
    with node_program("server.js", port) as peer:
        run = Run("hl7", "ris", f"127.0.0.1:{port}", yes=True)
        assert run.status == 0, run.text
        told = peer.wait(lambda o: "raw" in o, "the server tells the message")
    assert "read and answered: AE 204" in run.line("ORU^R01 and its ACK")
    assert "not tried" in run.line("correction"), "nothing is held there that would have to be corrected"
    assert (told["uid"], told["family"], told["raw"].split("|")[10]) == (TEST_STUDY_UID, "TEST", "T")


def test_two_runs_are_two_messages_so_that_a_ris_does_not_take_the_second_for_a_resend():
    with ris() as peer:
        for _ in range(2):
            assert Run("hl7", "ris", f"127.0.0.1:{peer.port}", yes=True).status == 0
    assert len(set(peer.taken)) == 4


def test_a_ris_without_the_order_has_read_the_message():
    with ris() as peer:
        peer.reply = knows_no_such_study
        run = Run("hl7", "ris", f"127.0.0.1:{peer.port}", yes=True)
    assert run.status == 0, run.text
    assert "as it should be" in run.line("ORU^R01 and its ACK")


def fails(ris, connection, control_id, text):
    accepts(ris, connection, control_id, text, "AE")


@pytest.mark.parametrize(
    ("reply", "cause"),
    [(refuses, "rejects the message"), (fails, "could not work on"), (answers_garbage, "no HL7 acknowledgement")],
)
def test_what_is_no_acceptance_fails_with_its_cause_and_leaves_the_file(reply, cause, config):
    with ris() as peer:
        peer.reply = reply
        run = Run("hl7", "ris", f"127.0.0.1:{peer.port}", config=config, yes=True)
    assert run.status == 1
    assert "FAILED" in run.line("ORU^R01 and its ACK")
    assert cause in run.text
    assert ("not tried" in run.line("correction")) == (reply is refuses), "what may have arrived is corrected"
    assert untouched(config)


def test_a_ris_that_never_answers_ends_within_its_timeout():
    with ris() as peer:
        peer.reply = lambda *_: None
        run = Run("hl7", "ris", f"127.0.0.1:{peer.port}", "timeout_s=0.5", yes=True)
    assert run.status == 1
    assert "FAILED" in run.line("ORU^R01 and its ACK")


# ---- UPS


@pytest.mark.parametrize(
    ("kind", "manager", "table"), [("ups", pynetdicom_manager, "ups_peers"), ("ups-rs", http_manager, "ups_rs_peers")]
)
def test_a_raise_is_seen_to_arrive_and_put_back(kind, manager, table, config):
    with manager() as peer:
        address = f"UPS@127.0.0.1:{peer.port}" if kind == "ups" else peer.settings().url
        run = Run(kind, "ris", address, config=config, yes=True)
        item = peer.of_study(TEST_STUDY_UID)
    assert run.status == 0, run.text
    assert "MEDIUM before, HIGH read back" in run.line("raise, read back")
    assert (item.priority, item.created["PatientID"]) == ("MEDIUM", TEST_PATIENT_ID)
    assert {i.priority for i in peer.items.values()} == {"LOW", "MEDIUM"}, "no other workitem was touched"
    (written,) = getattr(load(config)[0], table)
    assert (written.name, written.create_missing) == ("ris", False)


def test_an_independent_manager_shows_the_raise_too():
    with dcmjs_managers() as managers:
        peer = managers.fresh()
        run = Run("ups", "ris", f"UPS@127.0.0.1:{peer.port}", yes=True)
        held = peer.of_study(TEST_STUDY_UID).priority
    assert run.status == 0, run.text
    assert "MEDIUM before, HIGH read back" in run.line("raise, read back")
    assert held == "MEDIUM"


def test_a_manager_that_answers_success_and_changes_nothing_fails(config):
    with http_manager() as peer:
        peer.instead["update"] = lambda request: answer(request, 200) or True
        run = Run("ups-rs", "ris", peer.settings().url, config=config, yes=True)
    assert run.status == 1
    assert "FAILED" in run.line("raise, read back")
    assert "ok" in run.line("put back")
    assert untouched(config)


def test_a_manager_that_refuses_the_raise_has_its_status_told(config):
    with pynetdicom_manager() as peer:
        peer.instead["N-SET"] = lambda event: 0x0124
        run = Run("ups", "ris", f"UPS@127.0.0.1:{peer.port}", config=config, yes=True)
    assert run.status == 1
    assert "0x0124" in run.line("raise, read back")
    assert untouched(config)


def test_a_test_workitem_that_somebody_ended_is_said_to_be_in_the_way():
    with pynetdicom_manager() as peer:
        peer.reset(Item("1.3.9", TEST_STUDY_UID, TEST_ACCESSION, state="COMPLETED"))
        run = Run("ups", "ris", f"UPS@127.0.0.1:{peer.port}", yes=True)
    assert run.status == 1
    assert "have it deleted at the manager" in run.text


def test_a_workitem_made_there_is_used_where_nothing_may_be_created():
    with pynetdicom_manager(sop_classes=["1.2.840.10008.5.1.4.34.6.3"]) as peer:
        without = Run("ups", "ris", f"UPS@127.0.0.1:{peer.port}", yes=True)
        peer.reset(Item("1.3.9", "", TEST_ACCESSION))
        with_one = Run("ups", "ris", f"UPS@127.0.0.1:{peer.port}", yes=True)
    assert without.status == 1
    assert f"for accession number {TEST_ACCESSION}" in without.text
    assert with_one.status == 0, with_one.text
    assert peer.items["1.3.9"].priority == "LOW", "as it was before"


def test_a_test_workitem_that_stands_highest_already_proves_no_raise():
    with pynetdicom_manager() as peer:
        peer.reset(Item("1.3.9", TEST_STUDY_UID, TEST_ACCESSION, priority="HIGH"))
        run = Run("ups", "ris", f"UPS@127.0.0.1:{peer.port}", yes=True)
    assert run.status == 1
    assert "no raise can be seen" in run.line("raise, read back")
    assert peer.items["1.3.9"].priority == "HIGH"


# ---- FHIR


CAPABLE = (
    b'{"resourceType": "CapabilityStatement", "fhirVersion": "%s", "rest": [{"mode": "server", "resource": '
    b'[{"type": "ServiceRequest", "interaction": [{"code": "read"}, {"code": "search-type"}, {"code": "%s"}]}]}]}'
)


def states(statement):
    def instead(request, verb, path):
        if path != "metadata":
            return False
        fhir_answer(request, 200, statement)
        return True

    return instead


def test_a_fhir_server_that_can_do_it_is_added_and_was_only_read(config):
    with fhir_server() as peer:
        peer.instead = states(CAPABLE % (b"4.0.1", b"patch"))
        run = Run("fhir", "his", peer.settings().url, config=config, says=True)
    assert run.status == 0, run.text
    assert "FHIR 4.0.1; ServiceRequest: patch, read, search-type" in run.line("capability statement")
    assert {verb for verb, _, _ in peer.requests} == {"GET"}
    assert run.asked == [f"Add it to {config}?"]
    assert load(config)[0].fhir_peers[0].name == "his"


@pytest.mark.parametrize(
    ("statement", "seen"),
    [
        (CAPABLE % (b"5.0.0", b"patch"), "The node speaks R4"),
        (CAPABLE % (b"4.0.1", b"delete"), "lacks patch or update"),
        (b'{"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [1, {"resource": {}}]}', "lacks"),
        (b"<html>login</html>", "no FHIR server under this base URL"),
        (b"[" * 100_000, "no FHIR server under this base URL"),
    ],
)
def test_what_a_fhir_server_says_of_itself_is_not_believed_blindly(statement, seen, config):
    with fhir_server() as peer:
        peer.instead = states(statement)
        run = Run("fhir", "his", peer.settings().url, config=config, yes=True)
    assert run.status == 1
    assert seen in run.text
    assert untouched(config)


# ---- nothing without a yes


def test_a_no_sends_nothing_and_is_no_failure(config):
    with ris() as peer:
        run = Run("hl7", "ris", f"127.0.0.1:{peer.port}", config=config, says=False)
    assert run.status == 0
    assert peer.taken == []
    assert "not asked" in run.line("ORU^R01 and its ACK")
    assert run.asked[0].startswith("Send a result (ORU^R01, MSH-11 T) of the test patient")
    assert run.asked[1].startswith("Not every step was taken")
    assert untouched(config)


def program(*arguments, **more):
    environment = {"PATH": os.environ["PATH"], "COLUMNS": "80", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [PROGRAM, "connect", *arguments], capture_output=True, text=True, timeout=60, env=environment, **more
    )


def test_without_a_terminal_and_without_yes_nothing_is_sent_or_written(config):
    with ris() as peer:
        done = program("hl7", "ris", f"127.0.0.1:{peer.port}", "-c", str(config), stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert peer.taken == []
    assert "Nobody could be asked here" in done.stdout
    assert TEST_PATIENT_ID in done.stdout.partition("TCP connection")[0], "the patient is named before anything is done"
    assert untouched(config)


def test_on_a_terminal_it_asks_for_what_is_missing_and_waits_for_the_yes(config):
    with ris() as peer:
        ours, theirs = pty.openpty()
        environment = {"PATH": os.environ["PATH"], "COLUMNS": "80", "TERM": "dumb"}
        process = subprocess.Popen(
            [PROGRAM, "connect", "hl7", "-c", str(config)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        shown = ""
        for question, said in (
            ("Name of the peer", "ris"),
            ("Its address", f"127.0.0.1:{peer.port}"),
            ("TLS?", "n"),
            ("Send a result", "y"),
            ("Add it to", "y"),
        ):
            shown += until(ours, question)
            if question == "Send a result":
                assert peer.taken == []
            os.write(ours, f"{said}\n".encode())
        shown += until(ours, None)
        assert process.wait(30) == 0, shown
        os.close(ours)
    assert len(peer.taken) == 2
    assert load(config)[0].hl7_peers[0].port == peer.port


def until(terminal, words):
    """What the terminal shows until `words` stand there; None: until its end."""
    shown, deadline = "", time.monotonic() + 60
    while words is None or words not in shown:
        assert time.monotonic() < deadline, shown
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the other side has ended
            assert words is None, shown
            break
        shown += data.decode(errors="replace")
    return shown


def test_a_dry_run_shows_steps_and_section_and_connects_to_nobody(config):
    run = Run("ups", "ris", "UPS@192.0.2.1:104", config=config, yes=True, dry_run=True)
    assert run.status == 0
    assert "after a yes: sends a reading workitem of the test study" in run.text
    assert "[[ups_peers]]" in run.text
    assert untouched(config)


# ---- the file


def test_a_name_that_is_there_is_refused_before_anything_is_sent(config):
    config.write_text(BEFORE + '[[hl7_peers]]\nname = "ris"\nhost = "192.0.2.1"\n')
    with ris() as peer, pytest.raises(TriageNodeError, match="has a 'ris' already"):
        Run("hl7", "ris", f"127.0.0.1:{peer.port}", config=config, yes=True)
    assert peer.taken == []


def test_a_file_that_cannot_take_one_more_section_stays_as_it_is(config):
    config.write_text("hl7_peers = []\n")
    with ris() as peer, pytest.raises(TriageNodeError, match="add the section by hand"):
        Run("hl7", "ris", f"127.0.0.1:{peer.port}", config=config, yes=True)
    assert config.read_text() == "hl7_peers = []\n"
    assert [p.name for p in config.parent.iterdir()] == [config.name]


def test_a_link_to_the_file_stays_a_link(config, tmp_path):
    link = tmp_path / "link.toml"
    link.symlink_to(config)
    with ris() as peer:
        assert Run("hl7", "r\"i's", f"127.0.0.1:{peer.port}", config=link, yes=True).status == 0
    assert link.is_symlink()
    assert load(config)[0].hl7_peers[0].name == "r\"i's"


# ---- what is given wrongly, and hostile answers


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fax", "a", "b"), "archive, ups, ups-rs, hl7, fhir"),
        (("hl7", "ris", "PACS@host:1"), "host:port"),
        (("hl7", "ris", "host:0"), "host:port"),
        (("archive", "pacs", "host"), "AE@host:port"),
        (("archive", "pacs", "file:///etc/passwd"), "http"),
        (("hl7", "ris", "127.0.0.1:1", "colour=red"), "receiving_application"),
        (("hl7", "ris", "127.0.0.1:1", "port=2"), "the address does not tell"),
        (("hl7", "ris", "127.0.0.1:1", "timeout_s=soon"), "timeout_s"),
    ],
)
def test_what_is_given_wrongly_is_said_with_what_is_wanted(arguments, said):
    with pytest.raises(TriageNodeError) as told:
        Run(*arguments)
    assert said in str(told.value)


def test_without_a_terminal_a_missing_address_is_one_line_and_no_traceback():
    done = program("hl7", "ris", stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "connect hl7 needs a name and an address: host:port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_is_not_there_is_said_before_anything_is_sent():
    with ris() as peer, pytest.raises(TriageNodeError, match="triage-node init"):
        Run("hl7", "ris", f"127.0.0.1:{peer.port}", config=Path("/nowhere.toml"), yes=True)
    assert peer.taken == []


@contextmanager
def says(data: bytes):
    """A server that says the same to everybody and then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(data)
                        connection.recv(4096)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


GARBAGE = (b"\x1b]0;owned\x07\x1b[2J" * 50, b"\x02\x00\xff\xff\xff\xff" + b"A" * 5000, b"\x0b[red]MSH|\x1c\r", b"")


@pytest.mark.parametrize("data", GARBAGE)
@pytest.mark.parametrize("kind", ["archive", "hl7", "fhir", "ups", "ups-rs"])
def test_a_hostile_peer_is_a_failed_step_without_a_traceback_or_control_characters(kind, data, config):
    with says(data) as port:
        addresses = {"archive": f"A@127.0.0.1:{port}", "ups": f"A@127.0.0.1:{port}", "hl7": f"127.0.0.1:{port}"}
        short = "response_timeout_s=1" if kind == "archive" else "timeout_s=1"
        run = Run(kind, "x", addresses.get(kind, f"http://127.0.0.1:{port}"), short, config=config, yes=True)
    assert run.status == 1
    assert "\x1b" not in run.text.replace("\n", "")
    assert "FAILED" in run.text
    assert untouched(config)


def test_words_of_a_peer_are_neither_markup_nor_control_characters():
    def speaks(ris, connection, control_id, text):
        ack = f"MSH|^~\\&|R||T||20261121||ACK|1|P|2.5.1\rMSA|AR|{control_id}|[red]\x1b[2Jno[/red] {'x' * 5000}\r"
        connection.sendall(b"\x0b" + ack.encode() + b"\x1c\r")

    with ris() as peer:
        peer.reply = speaks
        run = Run("hl7", "ris", f"127.0.0.1:{peer.port}", yes=True)
    assert run.status == 1
    assert "[red]" in run.text
    assert "\x1b" not in run.text
    assert len(run.text) < 6000


def test_help_names_the_kinds_the_addresses_and_what_sends():
    done = program("--help")
    shown = " ".join(done.stdout.split())
    for word in ("ups-rs", "STOW-RS", "--set", "--yes", "--dry-run", "AE@host:port"):
        assert word in shown
