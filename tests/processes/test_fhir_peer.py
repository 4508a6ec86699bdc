"""From a decision to a FHIR server and back: the outbox, the gates and the registry hold for it as for every peer."""

from __future__ import annotations

import json
import sys

import pytest

from tests.support.deciding import Site
from tests.support.sending import HANGING_S, sending, wait_little
from tests.support.waiting import wait_until
from tests.worklist.fhir_server import answer, fhir_server
from triage_node.config.load import load
from triage_node.config.schema import Settings
from triage_node.config.worklist_peers import FhirPeerSettings
from triage_node.domain.errors import ConfigError
from triage_node.domain.message import MessageState
from triage_node.processes import messages, withdrawal
from triage_node.processes.peers import adapter_for
from triage_node.processes.running import now
from triage_node.processes.wiring import listener
from triage_node.worklist.fhir import FhirAdapter
from triage_node.worklist.fhir_report import report_id

STUDY = "1.2.1"
REPORT = f"DiagnosticReport/{report_id(STUDY)}"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    wait_little(monkeypatch)


def site_with(folder, server) -> Site:
    site = Site(folder)
    url = json.dumps(server.settings().url)
    more = f"\n[[fhir_peers]]\nname = 'his'\nurl = {url}\ntimeout_s = 30\n"
    site.config.write_text(site.config.read_text() + more)
    site.settings = load(site.config)[0]
    return site


def test_a_server_that_was_down_is_told_once_and_a_disagreement_takes_it_back(tmp_path):
    with fhir_server() as server:
        site = site_with(tmp_path, server)
        tries = []

        def down(request, verb, path):
            tries.append(verb)
            request.close_connection = True
            return len(tries) < 6

        server.instead = down
        site.arrive(STUDY)
        site.decide(STUDY)
        with sending(site, messages.threads):
            wait_until(lambda: site.told(STUDY)[0].state is MessageState.ACKNOWLEDGED, HANGING_S, "it is told")
            assert server.now("ServiceRequest/o1")["priority"] == "asap"
            assert "Suspected ICH, 34 mL, likely" in server.now(REPORT)["conclusion"]
            assert len(server.store[REPORT]) == 1
            withdrawal.withdraw(site.store, STUDY, "Dr. A", now())
            wait_until(lambda: site.told(STUDY)[-1].final_at, HANGING_S, "it is taken back")
        raised, back = site.told(STUDY)
        assert (raised.held, raised.written) == ("ServiceRequest/o1=routine", "ServiceRequest/o1=asap")
        assert (back.state, back.written) == (MessageState.ACKNOWLEDGED, "ServiceRequest/o1=routine")
        assert server.now("ServiceRequest/o1")["priority"] == "routine"
        assert server.now(REPORT)["status"] == "entered-in-error"


def test_a_server_that_refuses_for_good_parks_the_message(tmp_path):
    with fhir_server() as server:
        site = site_with(tmp_path, server)
        server.instead = lambda request, verb, path: answer(request, 403)
        site.arrive(STUDY)
        site.decide(STUDY)
        with sending(site, messages.threads):
            wait_until(lambda: site.told(STUDY)[0].state is MessageState.PARKED, HANGING_S, "it is parked")
    assert site.told(STUDY)[0].words == "searching ImagingStudy answered 403"


@pytest.mark.parametrize(("url", "local"), [("http://127.0.0.1/fhir", True), ("https://his.site/fhir", False)])
def test_the_gate_knows_where_a_fhir_peer_is(url, local):
    assert listener(FhirPeerSettings(name="his", url=url)).loopback is local


def test_the_registry_makes_the_adapter_and_says_which_library_is_missing(monkeypatch):
    peer = FhirPeerSettings(name="his", url="http://127.0.0.1/fhir")
    assert isinstance(adapter_for(peer), FhirAdapter)
    monkeypatch.setitem(sys.modules, "triage_node.worklist.fhir", None)
    with pytest.raises(ConfigError, match="triage-node\\[fhir\\]"):
        adapter_for(peer)


def test_names_of_peers_are_unique_across_kinds():
    peer = {"name": "his", "url": "http://127.0.0.1/fhir"}
    with pytest.raises(ValueError, match="same name"):
        Settings(fhir_peers=(peer,), ups_rs_peers=(peer,))


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://his/fhir"},
        {"url": "http://me@his/fhir"},
        {"url": "http://his/fhir", "token_file": "/t"},
        {"url": "https://his/fhir", "user": "me"},
        {"url": "https://his/fhir", "accession_system": "a|b"},
        {"url": "https://his/fhir", "raises": "Patient"},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError):
        FhirPeerSettings(**({"name": "his"} | wrong))
