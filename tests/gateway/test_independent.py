"""The node's own UPS manager, asked by a reading station on dcmjs-dimse and raised at by the node's own adapters."""

from __future__ import annotations

import pytest

from tests.counterparts.ups_peer import dcmjs_reader
from tests.gateway.site import WATCHER
from tests.support.waiting import wait_until
from tests.worklist.ups_items import PATIENCE_S, raise_of
from triage_node.config.worklist_peers import UpsPeerSettings, UpsRsPeerSettings
from triage_node.domain.priority import ReadingState
from triage_node.workitems.follow import workitem_uid
from triage_node.worklist.adapter import Outcome
from triage_node.worklist.ups import UpsAdapter
from triage_node.worklist.ups_rs import UpsRsAdapter

STUDY = "1.2.3"
ITEM = workitem_uid(STUDY, 1)


def test_a_reading_station_on_another_library_reads_a_study_from_claim_to_completed(site):
    site.arrive(STUDY, patient_name="Müller^Zoë")
    ports = {"calling": "READ1", "receiving": WATCHER, "listen": site.watcher_port}
    with dcmjs_reader(site.ups_port, "TRIAGE", STUDY, **ports) as reader:
        told = reader.tell(do="read")
        assert (told["found"], told["uid"], told["patient"]) == (1, ITEM, "Müller^Zoë")
        steps = (
            "subscribe",
            "find",
            "claim",
            "secondClaim",
            "wrongTransaction",
            "progress",
            "complete",
            "completeAgain",
        )
        assert [told[s] for s in steps] == [0, 0, 0, 0xC302, 0xC301, 0, 0, 0xB306]
        assert told["state"] == "COMPLETED"

        def states():
            return [e["ProcedureStepState"] for e in reader.tell(do="events")["events"] if e["type"] == 1]

        wait_until(lambda: "COMPLETED" in states(), 30, "the event report of COMPLETED")
    assert site.row(STUDY).reading_state is ReadingState.READ


def over_dimse(site):
    peer = {"name": "self", "host": "127.0.0.1", "port": site.ups_port, "ae_title": "TRIAGE", "timeout_s": PATIENCE_S}
    return UpsAdapter(UpsPeerSettings(**peer, calling_ae_title="READ1"))


def over_http(site):
    return UpsRsAdapter(UpsRsPeerSettings(name="self", url=site.rs, timeout_s=PATIENCE_S))


@pytest.mark.parametrize("adapter_at", [over_dimse, over_http], ids=["DIMSE", "UPS-RS"])
def test_one_node_raises_a_reading_at_another_one(site, client, adapter_at):
    site.arrive(STUDY)
    adapter = adapter_at(site)
    raised = adapter.raise_study(raise_of(STUDY))
    assert (raised.outcome, raised.held, raised.written) == (Outcome.ACKNOWLEDGED, f"{ITEM}=LOW", f"{ITEM}=HIGH")
    assert client.get(ITEM)[1].ScheduledProcedureStepPriority == "HIGH"
    assert adapter.withdraw_raise(raise_of(STUDY), raised).outcome is Outcome.ACKNOWLEDGED
    assert client.get(ITEM)[1].ScheduledProcedureStepPriority == "LOW"
    assert adapter.raise_study(raise_of("1.2.4", accession_number="A9")).outcome is Outcome.UNKNOWN_STUDY


@pytest.mark.parametrize("adapter_at", [over_dimse, over_http], ids=["DIMSE", "UPS-RS"])
def test_a_reading_that_was_claimed_at_another_node_is_too_late(site, client, adapter_at):
    site.arrive(STUDY)
    client.change_state(ITEM, "IN PROGRESS", "2.25.7")
    assert adapter_at(site).raise_study(raise_of(STUDY)).outcome is Outcome.TOO_LATE
