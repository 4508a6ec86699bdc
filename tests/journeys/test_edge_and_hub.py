"""A hospital's own node works with the line cut; when it is back, the region's node comes to the same objects by itself."""

from pathlib import Path

import pytest

from tests.journeys import modality
from tests.support.door import Door
from tests.support.node import Node, node
from tests.support.pacs import free_port, storescp
from tests.support.prove import record
from tests.support.store_place import database_url
from tests.support.waiting import wait_until
from triage_node.store import instances, results
from triage_node.store.engine import open_store

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1200)]


def test_an_edge_flags_alone_and_the_hub_comes_to_the_same_objects_when_the_line_is_back(tmp_path: Path) -> None:
    quiet = modality.phantom(tmp_path, "quiet", modality.now(), seed=9071, size=128)
    bleeds = modality.phantom(tmp_path, "bleeds", modality.now(), (modality.LARGE_BLEED,), seed=9072, size=128)
    hub_port = free_port()
    line = Door(hub_port, took=lambda: 0)
    to_hub = {
        "name": "region",
        "ae_title": "HUB",
        "host": "127.0.0.1",
        "port": line.port,
        "received": True,
        "kinds": [],
    }
    with storescp(tmp_path / "pacs") as pacs_port, node(tmp_path / "edge", [pacs(pacs_port), to_hub]) as edge:
        for study in (quiet, bleeds):
            modality.send(study.files, edge.dicom_port)
            edge.wait_for_state(study.uid, {"delivered"}, 120)
        first, second = edge.rows()
        assert (first["study_instance_uid"], second["study_instance_uid"]) == (bleeds.uid, quiet.uid)
        assert first["flag"] is not None
        built = held(edge, bleeds.uid)
        assert built[1], "its reports are there with the line cut"
        with node(tmp_path / "hub", [pacs(pacs_port)], dicom_port=hub_port, listener={"ae_title": "HUB"}) as hub:
            try:
                line.open()
                wait_until(lambda: len(hub.rows()) == 2, 120, "the hub has both studies")
                for study in (quiet, bleeds):
                    hub.wait_for_state(study.uid, {"delivered"}, 120)
                assert hub.rows()[0]["study_instance_uid"] == bleeds.uid
                for study in (quiet, bleeds):
                    assert held(hub, study.uid) == held(edge, study.uid)
            finally:
                line.close()
    record(
        "edge_and_hub",
        "A hospital's own node flags with the line cut, and the hub comes to the same objects when it is back",
        {"studies": 2, "instances": len(quiet.files) + len(bleeds.files), "objects_of_the_flagged_one": len(built[1])},
    )


def pacs(port: int) -> dict[str, object]:
    return {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port, "kinds": ["findings_sr", "seg"]}


def held(served: Node, study_instance_uid: str) -> tuple[set[str], set[str]]:
    """SHA-256 of what was received, and the UIDs of what was built from it."""
    store = open_store(database_url(served.data))
    received = {i.sha256 for i in instances.of_study(store, study_instance_uid)}
    made = {o.sop_instance_uid for o in results.objects_of(store, study_instance_uid)}
    store.close()
    return received, made
