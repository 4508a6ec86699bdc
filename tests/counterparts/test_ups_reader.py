"""The two programs on dcmjs-dimse at each other: neither holds anything that is ours."""

from __future__ import annotations

from tests.counterparts.ups_peer import dcmjs_managers, dcmjs_reader
from tests.support.waiting import wait_until
from tests.worklist.adapter_contract import KNOWN


def test_the_reading_station_finds_claims_completes_and_is_told_of_it():
    with dcmjs_managers() as managers:
        manager = managers.fresh()
        with dcmjs_reader(manager.port, "UPS", KNOWN) as reader:
            manager.tell(do="receiver", ae="READER", port=reader.port)
            told = reader.tell(do="read")
            wait_until(lambda: len(reader.tell(do="events")["events"]) == 2, 30, "both event reports")
            events = [(e["type"], e["ProcedureStepState"]) for e in reader.tell(do="events")["events"]]
    assert (told["found"], told["uid"], told["priority"]) == (1, "1.3.1", "LOW")
    steps = ("subscribe", "find", "claim", "secondClaim", "wrongTransaction", "progress", "complete", "completeAgain")
    assert [told[s] for s in steps] == [0, 0, 0, 0xC302, 0xC301, 0, 0, 0xB306]
    assert sorted(events) == [(1, "COMPLETED"), (1, "IN PROGRESS")]
