"""C-FIND at archives that behave and that do not."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from datetime import date

import pytest
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

from tests.support.pacs import free_port
from triage_node.delivery import find_scu
from triage_node.delivery.find_scu import FindScu
from triage_node.dimse.calling import Callee
from triage_node.domain.archived import ArchivedSeries, ArchivedStudy, SearchFailed

DAY = date(2026, 11, 20)


def callee(port: int, response_s: float = 30.0) -> Callee:
    return Callee("127.0.0.1", port, "PACS", "TRIAGE", 30.0, response_s)


@contextmanager
def archive(answers, asked=None):
    """A pynetdicom archive; `answers(identifier)` yields (status, data set)."""

    def find(event):
        if asked is not None:
            asked.append(event.identifier)
        for answer in answers(event.identifier):
            if over.is_set():
                return  # pynetdicom would go on and keep in memory what nobody fetches: 24 GB once
            yield answer

    over = threading.Event()
    entity = AE(ae_title="PACS")
    entity.add_supported_context(FIND)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    try:
        yield server.socket.getsockname()[1]
    finally:
        over.set()
        server.shutdown()


def study(uid, **more):
    answer = Dataset()
    answer.QueryRetrieveLevel, answer.StudyInstanceUID = "STUDY", uid
    for key, value in more.items():
        setattr(answer, key, value)
    return answer


def test_ct_studies_of_the_days_are_asked_for_and_read_in_their_character_set():
    asked = []

    def answers(_):
        yield 0xFF00, study("1.2.3", SpecificCharacterSet="ISO_IR 100", StudyDescription="CT Schädel nativ")
        yield 0xFF01, study("1.2.4", ModalitiesInStudy=["CT", "SR"])
        yield 0xFF00, study("1.2.3")

    with archive(answers, asked) as port, FindScu(callee(port)) as scu:
        found = scu.studies(date(2026, 11, 19), DAY)
    assert (asked[0].StudyDate, asked[0].ModalitiesInStudy, asked[0].QueryRetrieveLevel) == (
        "20261119-20261120",
        "CT",
        "STUDY",
    )
    assert "PatientName" not in asked[0]
    assert {s.study_instance_uid for s in found} == {"1.2.3", "1.2.4"}
    assert ArchivedStudy("1.2.4", "", ("CT", "SR")) in found


def test_umlauts_in_descriptions_arrive():
    def answers(_):
        yield 0xFF00, study("1.2.3", SpecificCharacterSet="ISO_IR 100", StudyDescription="CT Schädel nativ")

    with archive(answers) as port, FindScu(callee(port)) as scu:
        assert scu.studies(DAY, DAY) == [ArchivedStudy("1.2.3", "CT Schädel nativ", ())]


def test_series_are_asked_for_by_study():
    asked = []

    def answers(_):
        answer = Dataset()
        answer.Modality, answer.BodyPartExamined, answer.StationName = "CT", "HEAD", "CT2"
        yield 0xFF00, answer

    with archive(answers, asked) as port, FindScu(callee(port)) as scu:
        assert scu.series("1.2.3") == [ArchivedSeries("CT", "HEAD", "", "CT2")]
    assert (asked[0].StudyInstanceUID, asked[0].QueryRetrieveLevel) == ("1.2.3", "SERIES")


def test_counts_are_read_where_they_are_some():
    told = {"1.2.3.1": "28", "1.2.3.2": "0", "1.2.3.3": "-5", "1.2.3.4": "999999999", "1.2.3.5": "", "1.2.x": "7"}

    def answers(_):
        for uid, count in told.items():
            answer = study("1.2.3")
            answer["SeriesInstanceUID"] = DataElement(0x0020000E, "UI", uid, validation_mode=IGNORE)
            answer.NumberOfSeriesRelatedInstances = count
            yield 0xFF00, answer

    with archive(answers) as port, FindScu(callee(port)) as scu:
        assert scu.counts("1.2.3") == {"1.2.3.1": 28}


def floods(_):
    for k in range(10**6):
        yield 0xFF00, study(f"1.2.{k}")


def floods_with_bytes(_):
    for k in range(200):
        yield 0xFF00, study(f"1.2.{k}", StudyComments="x" * 1_000_000)  # more than buffers hold before the line is cut


def refuses(_):
    yield 0xA700, None


def names_no_study(_):
    yield 0xFF00, study("")


def names_nonsense(_):
    yield 0xFF00, study("1.2.3", StudyDescription="x" * 9000)
    answer = study("1.2.4")
    answer.StudyInstanceUID = "1.2.a"
    yield 0xFF00, answer


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (floods, "more than 50 answers"),
        (floods_with_bytes, "no valid answer"),
        (refuses, "0xA700"),
        (names_no_study, "without a Study Instance UID"),
        (names_nonsense, "without a Study Instance UID"),
    ],
)
def test_archive_that_floods_refuses_or_names_nothing_is_a_failure_and_ends_soon(answers, words, monkeypatch):
    monkeypatch.setattr(find_scu, "MOST_ANSWERS", 50)
    monkeypatch.setattr(find_scu, "MOST_BYTES", 200_000)
    with archive(answers) as port, FindScu(callee(port)) as scu, pytest.raises(SearchFailed, match=words):
        scu.studies(DAY, DAY)


def test_nobody_listens():
    with pytest.raises(SearchFailed, match="no TCP connection"), FindScu(callee(free_port())):
        pass


def test_peer_that_hangs_is_left_after_its_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(SearchFailed), FindScu(callee(silent.getsockname()[1], response_s=0.3)):
            pass


def test_archive_that_takes_no_query_is_told_so():
    entity = AE(ae_title="PACS")
    entity.add_supported_context("1.2.840.10008.1.1")
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        with pytest.raises(SearchFailed, match="no presentation context"):
            FindScu(callee(server.socket.getsockname()[1])).__enter__()
    finally:
        server.shutdown()


def test_peer_that_talks_garbage_is_a_failure():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(SearchFailed), FindScu(callee(listener.getsockname()[1], response_s=5)):
            pass
        thread.join()
