"""An archive that is down the whole time and then comes up gets everything once; it holds up no other archive."""

from pathlib import Path

import pytest

from tests.journeys import modality
from tests.support.node import node
from tests.support.pacs import free_port, orthanc, storescp
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_archive_that_comes_up_late_gets_everything_once(tmp_path: Path) -> None:
    first = modality.phantom(tmp_path, "down", modality.now(), (modality.LARGE_BLEED,), seed=9056, size=256)
    sent = modality.copies(first, tmp_path, 2)
    dicom_port, http_port = free_port(), free_port()
    absent = {"name": "absent", "ae_title": "ABSENT", "host": "127.0.0.1", "port": dicom_port}
    with storescp(tmp_path / "present") as present_port:
        present = {"name": "present", "ae_title": "PRESENT", "host": "127.0.0.1", "port": present_port}
        with node(tmp_path / "node", [absent, present]) as running:
            for study in sent:
                modality.send(study.files, running.dicom_port)
            for study in sent:
                running.wait_for_state(study.uid, {"reported"}, 120)
            built = {o["sop_instance_uid"] for s in sent for o in running.study(s.uid)["objects"] if o["deliveries"]}
            assert len(built) >= 2 * 5

            def states(archive: str) -> set[str]:
                objects = [o for s in sent for o in running.study(s.uid)["objects"]]
                return {d["state"] for o in objects for d in o["deliveries"] if d["peer"] == archive}

            wait_until(lambda: states("present") == {"delivered"}, 60, "the other archive has everything")
            assert len(list((tmp_path / "present").iterdir())) == len(built)
            assert states("absent") == {"pending"}, "nothing is given up while the archive is away"
            with orthanc(tmp_path / "late", dicom_port=dicom_port, http_port=http_port, ae_title="ABSENT") as archive:
                for study in sent:
                    running.wait_for_state(study.uid, {"delivered"}, 120)
                assert set(archive.instances()) == built
                assert archive.count() == len(built)
                stores = [e for s in sent for e in running.timeline(s.uid) if e["moment"] == "object sent"]
                assert len(stores) == 2 * len(built), "each object was sent once to each archive"
