"""QIDO-RS at servers that behave and that do not."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.pacs import free_port
from triage_node.config.reconciliation import ReconciliationSettings
from triage_node.delivery import qido_rs
from triage_node.delivery.qido_rs import QidoRs
from triage_node.domain.archived import ArchivedSeries, ArchivedStudy, SearchFailed

DAY = date(2026, 11, 20)


@contextmanager
def server(answer):
    """`answer(path, {key: value})` gives (status, body)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            status, body = answer(parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()})
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                pass  # the caller has given up

        def log_message(self, *_):
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}/dicom-web"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def search(url: str, timeout_s: float = 30.0) -> QidoRs:
    return QidoRs(ReconciliationSettings(qido_url=url), url, timeout_s)


def study(uid: str, *modalities: str):
    found = {"0020000D": {"vr": "UI", "Value": [uid]}, "00081030": {"vr": "LO", "Value": ["CT Schädel"]}}
    return found | ({"00080061": {"vr": "CS", "Value": list(modalities)}} if modalities else {})


@pytest.mark.parametrize("page", [3, 1000])
def test_all_pages_are_read_even_when_they_are_shorter_than_asked_for(page):
    held, asked = [study(f"1.2.{k}", "CT") for k in range(8)], []

    def answer(path, said):
        asked.append((path, said))
        start = int(said["offset"])
        part = held[start : start + page]
        return (200, json.dumps(part).encode()) if part else (204, b"")

    with server(answer) as url, search(url) as archive:
        found = archive.studies(date(2026, 11, 19), DAY)
    assert found == [ArchivedStudy(f"1.2.{k}", "CT Schädel", ("CT",)) for k in range(8)]
    path, said = asked[0]
    assert path == "/dicom-web/studies"
    assert (said["StudyDate"], said["ModalitiesInStudy"]) == ("20261119-20261120", "CT")


def test_server_that_knows_no_offset_is_asked_twice_only():
    asked = []

    def answer(path, said):
        asked.append(said)
        return 200, json.dumps([study("1.2.3")]).encode()

    with server(answer) as url, search(url) as archive:
        assert archive.studies(DAY, DAY) == [ArchivedStudy("1.2.3", "CT Schädel", ())]
    assert len(asked) == 2


def test_series_of_a_study():
    def answer(path, said):
        assert path == "/dicom-web/studies/1.2.3/series"
        one = {"0020000E": {"Value": ["1.2.3.1"]}, "00080060": {"Value": ["CT"]}, "00081010": {"Value": ["CT2"]}}
        return 200, json.dumps([one | {"00180015": {"vr": "CS"}}]).encode()

    with server(answer) as url, search(url) as archive:
        assert archive.series("1.2.3") == [ArchivedSeries("CT", "", "", "CT2")]


@pytest.mark.parametrize(
    ("told", "counts"),
    [([28], {"1.2.3.1": 28}), (["28"], {"1.2.3.1": 28}), ([0], {}), ([-3], {}), ([10**9], {}), ([2.5], {}), ([None], {}),
     ([], {}), ("28", {}), ([{"a": 1}], {}), ([10**30], {})],
)  # fmt: skip
def test_counts_are_read_where_they_are_some(told, counts):
    one = {"0020000E": {"Value": ["1.2.3.1"]}, "00201209": {"vr": "IS", "Value": told}}
    with server(lambda path, said: (200, json.dumps([one]).encode())) as url, search(url) as archive:
        assert archive.counts("1.2.3") == counts


def floods(path, said):
    start = int(said["offset"])
    return 200, json.dumps([study(f"1.2.{start + k}") for k in range(40)]).encode()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (floods, "more than 100 answers"),
        (lambda *_: (200, b"x" * (5 << 20)), "more than 4 MiB"),
        (lambda *_: (200, b"\xff\xfe<html>"), "no JSON"),
        (lambda *_: (200, b"[" * 100_000), "no JSON"),
        (lambda *_: (200, b'{"a": 1}'), "no list"),
        (lambda *_: (200, b"[1, 2]"), "no list"),
        (lambda *_: (200, b'[{"0020000D": 7}]'), "without a UID"),
        (lambda *_: (200, b'[{"0020000D": {"Value": [null]}}]'), "without a UID"),
        (lambda *_: (200, b'[{"0020000D": {"Value": ["../../etc"]}}]'), "without a UID"),
        (lambda *_: (302, b""), "answered 302"),
        (lambda *_: (401, b""), "answered 401"),
        (lambda *_: (500, b"[]"), "answered 500"),
    ],
)
def test_server_that_floods_refuses_or_talks_garbage_is_a_failure(answer, words, monkeypatch):
    monkeypatch.setattr(qido_rs, "MOST_ANSWERS", 100)
    with server(answer) as url, search(url) as archive, pytest.raises(SearchFailed, match=words):
        archive.studies(DAY, DAY)


def test_nobody_listens():
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    with search(url) as archive, pytest.raises(SearchFailed, match="no valid answer"):
        archive.studies(DAY, DAY)


def test_server_that_hangs_is_left_after_its_time():
    gate = threading.Event()
    with server(lambda *_: (gate.wait(30), (200, b"[]"))[1]) as url, search(url, 0.3) as archive:
        with pytest.raises(SearchFailed, match="no valid answer"):
            archive.studies(DAY, DAY)
        gate.set()
