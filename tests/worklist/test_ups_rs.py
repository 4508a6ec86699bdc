"""Raising at a UPS manager over UPS-RS: a manager on the standard library's HTTP server."""

from __future__ import annotations

import base64
import gzip
import json
import time
from contextlib import ExitStack, suppress

import pytest

from tests.support.certificates import server_certificate
from tests.worklist.adapter_contract import KNOWN
from tests.worklist.http_manager import answer, http_manager
from tests.worklist.raising_suite import RaisingSuite
from tests.worklist.ups_items import SHORT_S, Item, raise_of
from triage_node.domain.errors import PermanentDeliveryError, TransientDeliveryError
from triage_node.worklist import ups_rs
from triage_node.worklist.adapter import Outcome


@pytest.fixture(scope="module")
def http():
    """A manager as at its start; the same server as long as nobody stops it."""
    with ExitStack() as servers:
        running = []

        def fresh(*items):
            if not running or not running[-1].runs:
                running.append(servers.enter_context(http_manager()))
            running[-1].reset(*items)
            return running[-1]

        yield fresh


class TestAtAnHttpManager(RaisingSuite):
    @pytest.fixture(autouse=True)
    def _manager(self, http):
        self.manager = http


# ---- what goes over the wire


def test_search_update_and_retrieve_are_those_of_the_standard(http):
    manager = http()
    manager.make().raise_study(raise_of())
    (_, search, headers), update, retrieve = manager.requests
    assert search.startswith("/dicom-web/workitems?ReferencedRequestSequence.StudyInstanceUID=1.2.1&includefield=")
    assert (update[1], retrieve[1]) == ("/dicom-web/workitems/1.3.1",) * 2
    assert (headers["Accept"], update[2]["Content-Type"]) == ("application/dicom+json",) * 2
    assert "Authorization" not in headers


def test_create_names_the_uid_as_a_parameter(http):
    manager = http(Item("1.3.9", "1.2.9"))
    raised = manager.make(create_missing=True).raise_study(raise_of())
    (created,) = (path for verb, path, _ in manager.requests if verb == "create")
    assert created == f"/dicom-web/workitems?{raised.held.removesuffix('=')}"


def test_a_manager_that_does_not_know_the_keys_has_only_the_right_workitem_raised(http):
    manager = http(Item("1.3.1", KNOWN, "A1"), Item("1.3.2", "1.2.9", "A1"), Item("1.3.3", "", "A2"))
    manager.knows_keys = False
    assert manager.make().raise_study(raise_of()).outcome is Outcome.ACKNOWLEDGED
    assert [i.priority for i in manager.held().values()] == ["HIGH", "LOW", "LOW"]


def test_a_reading_of_ours_that_the_manager_does_not_find_by_study_is_known_by_its_uid(http):
    manager = http(Item("1.3.9", "1.2.9"))
    adapter = manager.make(create_missing=True)
    adapter.raise_study(raise_of())
    manager.results = 0
    again = adapter.raise_study(raise_of())
    assert (again.outcome, len(manager.held())) == (Outcome.ACKNOWLEDGED, 2)


def test_token_and_password_come_from_their_files(http, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    manager = http()
    manager.make(token_file=secret).raise_study(raise_of())
    assert manager.requests[-1][2]["Authorization"] == "Bearer s3cret"
    manager.make(user="node", password_file=secret).raise_study(raise_of())
    assert base64.b64decode(manager.requests[-1][2]["Authorization"].removeprefix("Basic ")) == b"node:s3cret"


@pytest.mark.parametrize("content", [None, b"", b"two\nlines", b"\xff\xfe"])
def test_a_secret_that_cannot_be_read_is_a_transient_error_and_nothing_goes_out(http, tmp_path, content):
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    manager = http()
    with pytest.raises(TransientDeliveryError, match="secret"):
        manager.make(token_file=secret).raise_study(raise_of())
    assert manager.requests == []


def test_a_proxy_that_nobody_configured_here_is_not_used(http, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert http().make().raise_study(raise_of()).outcome is Outcome.ACKNOWLEDGED


# ---- statuses


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
@pytest.mark.parametrize("verb", ["search", "update"])
def test_a_manager_in_trouble_is_a_transient_error(http, verb, status):
    manager = http()
    manager.instead[verb] = lambda request: answer(request, status)
    with pytest.raises(TransientDeliveryError, match=f"{verb} answered with {status}"):
        manager.make().raise_study(raise_of())


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("search", 400),
        ("search", 401),
        ("search", 403),
        ("search", 404),
        ("update", 415),
        ("create", 400),
    ],
)
def test_a_refusal_for_good_is_a_permanent_error(http, verb, status):
    manager = http(*([Item("1.3.9", "1.2.9")] if verb == "create" else []))
    manager.instead[verb] = lambda request: answer(request, status)
    with pytest.raises(PermanentDeliveryError, match=f"{verb} answered with {status}"):
        manager.make(create_missing=True).raise_study(raise_of())


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_refused_and_the_other_address_never_asked(http, status):
    manager = http()
    with http_manager() as elsewhere:
        to = f"http://127.0.0.1:{elsewhere.port}/dicom-web/workitems"
        manager.instead["search"] = lambda request: answer(request, status, Location=to)
        with pytest.raises(PermanentDeliveryError, match=f"{status}"):
            manager.make().raise_study(raise_of())
        assert elsewhere.requests == []


@pytest.mark.parametrize("status", [400, 404, 409, 410])
def test_a_workitem_that_the_manager_offers_and_refuses_is_asked_for_once_more_and_then_parked(http, status):
    manager = http()
    manager.instead["update"] = lambda request: answer(request, status)
    with pytest.raises(PermanentDeliveryError):
        manager.make().raise_study(raise_of())
    assert [verb for verb, _, _ in manager.requests] == ["search", "update"] * 2


def test_a_claim_between_search_and_update_is_too_late(http):
    manager = http()

    def claimed(_):
        manager.held()["1.3.1"].state = "IN PROGRESS"
        return False

    manager.instead["update"] = claimed
    assert manager.make().raise_study(raise_of()).outcome is Outcome.TOO_LATE
    assert manager.held()["1.3.1"].priority == "LOW"


def test_a_manager_that_says_yes_and_changes_nothing_is_not_confirmed(http):
    manager = http()
    manager.instead["update"] = lambda request: answer(request, 200)
    written = manager.make().raise_study(raise_of())
    assert (written.outcome, written.written) == (Outcome.NOT_CONFIRMED, "1.3.1=LOW")


# ---- peers that misbehave


def _model(**more):
    return {"00080018": {"vr": "UI", "Value": ["1.3.1"]}, "00741000": {"vr": "CS", "Value": ["SCHEDULED"]}} | more


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"7",
        b'["text"]',
        json.dumps([_model(**{"00741200": {"vr": "CS", "Value": {"a": 1}}})]).encode(),
        json.dumps([_model(**{"00741200": "HIGH"})]).encode(),
        json.dumps([_model(**{"00080018": {"vr": "UI", "Value": ["../../admin"]}})]).encode(),
        json.dumps([_model(**{"0040A370": {"vr": "SQ", "Value": ["text"]}})]).encode(),
        json.dumps([{}]).encode(),
        gzip.compress(b"[]"),
    ],
    ids=["html", "binary", "deep", "number", "text", "object", "no element", "path", "no item", "empty", "packed"],
)
def test_an_answer_that_is_no_workitem_is_a_transient_error(http, body):
    manager = http()
    manager.instead["search"] = lambda request: answer(request, 200, body)
    with pytest.raises(TransientDeliveryError):
        manager.make().raise_study(raise_of())
    assert {verb for verb, _, _ in manager.requests} == {"search"}


def test_a_result_list_without_end_is_cut_off(http):
    manager = http()
    manager.results = ups_rs.MOST_RESULTS + 1
    with pytest.raises(PermanentDeliveryError, match="more than 200 workitems"):
        manager.make().raise_study(raise_of())


def test_an_answer_that_is_too_large_is_cut_off(http):
    manager = http()

    def flood(request):
        request.send_response(200)
        request.end_headers()  # no length: it goes on until somebody hangs up
        with suppress(OSError):
            for _ in range(64):
                request.wfile.write(b" " * (1 << 20))
        request.close_connection = True
        return True

    manager.instead["search"] = flood
    with pytest.raises(TransientDeliveryError, match="4 MiB"):
        manager.make().raise_study(raise_of())


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_peer_that_sends_a_byte_now_and_then_is_left_in_time(http, part):
    manager = http()

    def drip(request):
        if part == "body":
            request.send_response(200)
            request.send_header("Content-Length", "1000")
            request.end_headers()
        with suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 300:
                request.wfile.write(bytes([byte]))
                request.wfile.flush()
                time.sleep(0.1)  # the peer's pace, not a wait of the test
        request.close_connection = True
        return True

    manager.instead["search"] = drip
    start = time.monotonic()
    with pytest.raises(TransientDeliveryError):
        manager.make(timeout_s=SHORT_S).raise_study(raise_of())
    assert time.monotonic() - start < 25  # a bound against hanging; the peer would take 30 s


def test_a_peer_that_hangs_up_is_a_transient_error(http):
    manager = http()

    def hang_up(request):
        request.close_connection = True
        return True

    manager.instead["search"] = hang_up
    with pytest.raises(TransientDeliveryError):
        manager.make().raise_study(raise_of())


def test_a_lost_answer_does_no_harm_the_second_time(http):
    manager = http()

    def takes_and_hangs_up(request):
        manager.held()["1.3.1"].priority = "HIGH"
        request.close_connection = True
        return True

    manager.instead["update"] = takes_and_hangs_up
    adapter = manager.make()
    with pytest.raises(TransientDeliveryError) as lost:
        adapter.raise_study(raise_of())
    # what the second try cannot see any more
    assert (lost.value.held, lost.value.written) == ("1.3.1=LOW", "1.3.1=HIGH")
    manager.instead.clear()
    assert adapter.raise_study(raise_of()).outcome is Outcome.ACKNOWLEDGED
    assert manager.priority(KNOWN) == 2


# ---- TLS


def test_over_https_only_the_manager_whose_certificate_is_known_is_told_anything(tmp_path):
    context, ca = server_certificate(tmp_path, "ris")
    _, other = server_certificate(tmp_path, "other")
    with http_manager(tls=context) as manager:
        with pytest.raises(TransientDeliveryError):
            manager.make(tls_ca=other).raise_study(raise_of())
        with pytest.raises(TransientDeliveryError, match="cannot be read"):
            manager.make(tls_ca=tmp_path / "no").raise_study(raise_of())
        assert manager.requests == []
        assert manager.make(tls_ca=ca).raise_study(raise_of()).outcome is Outcome.ACKNOWLEDGED
