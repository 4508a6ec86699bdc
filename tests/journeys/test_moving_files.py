"""The files of a node move to an object store while studies arrive, and back while more arrive."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.journeys import modality
from tests.journeys.test_moving import command, send_all
from tests.support.node import SETTLED, node
from tests.support.object_store import object_server
from tests.support.prove import record, sized
from triage_node.blobs.opened import by_keys
from triage_node.config.load import load
from triage_node.store import audit_chain, instances, outbox
from triage_node.store.engine import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NOWHERE = {"name": "away", "ae_title": "AWAY", "host": "127.0.0.1", "port": 9}


@pytest.mark.prove
def test_nothing_is_lost_when_the_files_of_a_node_move_out_and_back_while_studies_arrive(tmp_path: Path) -> None:
    first = modality.phantom(tmp_path, "moving", modality.now(), (modality.LARGE_BLEED,), seed=9056, size=128)
    studies = modality.copies(first, tmp_path, sized("moved_files", short=5, proven=40), own_patients=True)
    early, *others = studies
    half = len(others) // 2
    stood_still = []
    with object_server(tmp_path / "objects") as objects, node(tmp_path / "node", [NOWHERE]) as running:
        modality.send(early.files, running.dicom_port)
        running.wait_for_state(early.uid, SETTLED | {"reported"}, 120)
        there = ("--blobs-to", objects.place(), "--blobs-credentials", str(objects.credentials))
        for arrive, to in ((others[:half], there), (others[half:], ("--blobs-to", "data_folder"))):
            arriving = threading.Thread(target=send_all, args=(arrive, running.dicom_port))
            arriving.start()
            moved = command(running, "migrate", *to)
            arriving.join()
            assert moved.returncode == 0, moved.stdout + moved.stderr
            stood_still.append(next(line for line in moved.stdout.splitlines() if "stood still" in line))
            for study in arrive:
                running.wait_for_state(study.uid, SETTLED | {"reported"}, 120)
        flagged = {row["study_instance_uid"] for row in running.rows() if row["flag"] is not None}
        settings, _ = load(running.config)
        place = by_keys(settings.store)
        with closing(open_store(settings.database_url)) as store:
            slices = {i.sha256 for s in studies for i in instances.of_study(store, s.uid)}
            objects_built = {r.sha256 for s in studies for r in outbox.of_study(store, s.uid)}
            assert audit_chain.verify(store).problem == ""
        assert settings.store.blob_url == ""
        assert len(slices) == sum(len(s.files) for s in studies)
        assert objects_built
        for kind, digests in (("blobs", slices), ("built/blobs", objects_built)):
            assert all(place.digest(f"{kind}/{d[:2]}/{d}.dcm")[1] == d for d in digests)
        assert flagged == {s.uid for s in studies}
        record(
            "moving_files",
            "the files of a node move to an object store while studies arrive, and back while more arrive: nothing that was answered "
            "or built is lost, every study is read",
            {"studies": len(studies), "slices": len(slices), "objects": len(objects_built), "moves": stood_still},
        )
