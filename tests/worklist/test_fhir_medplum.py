"""Raising at a FHIR server of other people: Medplum's router over its repository in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.counterparts.fhir_node import Medplum
from tests.worklist.adapter_contract import KNOWN, AdapterContract, message
from triage_node.domain.priority import Urgency
from triage_node.rest.calling import calling
from triage_node.worklist.adapter import Outcome
from triage_node.worklist.fhir import FhirAdapter, Found, _Server
from triage_node.worklist.fhir_report import OURS, observations_of, report_id

REPORT = f"DiagnosticReport/{report_id(KNOWN)}"


@pytest.fixture(scope="module")
def process():
    medplum = Medplum()
    yield medplum
    medplum.stop()


class TestMedplum(AdapterContract):
    @pytest.fixture(autouse=True)
    def _medplum(self, process):
        process.ready()
        self.medplum = process

    def make(self):
        self.medplum.adapter = FhirAdapter(self.medplum.settings())
        return self.medplum.adapter, self.medplum

    def test_report_and_observations_are_stored_and_withdrawn_as_they_were_sent(self):
        adapter, medplum = self.make()
        words = "Suspected IPH für 山田太郎, " + "ö" * 64 + ". Not for diagnostic use."
        told = replace(
            message(urgency=Urgency.CRITICAL),
            words=words,
            finding="iph",
            probability=0.97,
            hematoma_volume_ml=34.2,
            issued_at=datetime(2026, 11, 21, tzinfo=UTC),
        )
        raised = adapter.raise_study(told)
        assert (raised.outcome, raised.held, raised.written) == (
            Outcome.ACKNOWLEDGED,
            "ServiceRequest/o1=routine",
            "ServiceRequest/o1=stat",
        )
        report = medplum.now(REPORT)
        assert (report["status"], report["conclusion"]) == ("preliminary", words)
        assert medplum.now(observations_of(KNOWN)[2])["valueQuantity"]["value"] == 34.2
        version = report["meta"]["versionId"]
        assert adapter.raise_study(told).outcome is Outcome.ACKNOWLEDGED
        assert medplum.now(REPORT)["meta"]["versionId"] == version
        assert adapter.withdraw_raise(told, raised).outcome is Outcome.ACKNOWLEDGED
        assert {medplum.now(r)["status"] for r in (REPORT, *observations_of(KNOWN))} == {"entered-in-error"}
        assert medplum.now("ServiceRequest/o1")["priority"] == "routine"

    def test_a_server_that_takes_no_ids_of_ours_gets_the_report_once_and_its_revision_and_withdrawal(self):
        adapter, medplum = self.make()
        medplum.take_ids(False)
        told = replace(message(urgency=Urgency.CRITICAL), finding="iph", hematoma_volume_ml=34.2)

        def held():
            (report,) = medplum.named("DiagnosticReport", OURS, report_id(KNOWN))
            names = [o.partition("/")[2] for o in observations_of(KNOWN)]
            observations = [o for n in names for o in medplum.named("Observation", OURS, n)]
            assert [f"Observation/{o['id']}" for o in observations] == [r["reference"] for r in report["result"]]
            return report, observations

        raised = adapter.raise_study(told)
        assert (raised.outcome, medplum.priority(KNOWN)) == (Outcome.ACKNOWLEDGED, 2)
        report, observations = held()
        assert report["id"] != report_id(KNOWN)
        assert (report["status"], len(observations)) == ("preliminary", 3)
        assert adapter.raise_study(told).outcome is Outcome.ACKNOWLEDGED
        assert held()[0]["meta"]["versionId"] == report["meta"]["versionId"], "it is known again by its identifier"
        for entry in medplum.ask("GET", "Device")[1]["entry"]:
            medplum.ask("DELETE", f"Device/{entry['resource']['id']}")  # as when a new version of the node comes
        revised = replace(told, message_id="m2", result_revision=2, hematoma_volume_ml=40.1)
        assert adapter.raise_study(revised).outcome is Outcome.ACKNOWLEDGED
        again, observations = held()
        assert again["id"] == report["id"]
        assert observations[2]["valueQuantity"]["value"] == 40.1
        assert adapter.withdraw_raise(revised, raised).outcome is Outcome.ACKNOWLEDGED
        report, observations = held()
        assert {r["status"] for r in (report, *observations)} == {"entered-in-error"}

    def test_a_patch_whose_test_failed_means_that_somebody_was_faster(self):
        """This server knows no If-Match with a patch and answers 400 to a failed test."""
        _, medplum = self.make()
        known = medplum.now("ServiceRequest/o1")
        medplum.set_priority(KNOWN, 2)
        settings = medplum.settings()
        with calling(settings, settings.url, 30.0, "application/fhir+json") as caller:
            server = _Server(caller, settings.url, 30.0)
            assert server.change_priority(Found("ServiceRequest/o1", known, ""), "asap") is False
        assert medplum.now("ServiceRequest/o1")["priority"] == "stat"
