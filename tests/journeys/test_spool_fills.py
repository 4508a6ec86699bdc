"""The object store is away for so long that the spool's disk fills: senders are told before it is full, nothing is lost, it heals."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from tests.journeys import modality
from tests.support.disks import small_disks
from tests.support.node import PROGRAM, SETTLED, node
from tests.support.object_store import object_server
from tests.support.prove import record
from tests.support.waiting import wait_until
from triage_node.blobs.opened import open_blobs
from triage_node.config.load import load
from triage_node.instances.archive import digest_of
from triage_node.store import uploads
from triage_node.store.engine import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TAKEN, OUT_OF_RESOURCES = 0x0000, 0xA700
MEGABYTES, STOP_MB, WARN_MB = 40, 20, 30
MOST_STUDIES = 30
AN_HOUR_S = 3600


@pytest.mark.prove
def test_spool_that_fills_is_told_before_the_disk_is_full_and_empties_when_the_store_is_back(tmp_path: Path) -> None:
    first = modality.phantom(tmp_path, "spool", modality.now(), (), 16, 10.0, seed=9056, size=256)
    studies = modality.copies(first, tmp_path, MOST_STUDIES, own_patients=True)
    spool = tmp_path / "node/data/blobs"
    with (
        object_server(tmp_path / "objects") as objects,
        small_disks({"spool": spool}, MEGABYTES) as disks,
        node(
            tmp_path / "node",
            program=(*disks.within, str(PROGRAM)),
            store={
                "data_folder": str(tmp_path / "node/data"),
                "blob_url": objects.place(),
                "blob_credentials_file": str(objects.credentials),
                "warn_free_gb": WARN_MB / 1000,
                "stop_free_gb": STOP_MB / 1000,
            },
        ) as running,
    ):
        objects.kill()
        taken: list[Path] = []
        for refused in studies:
            answers = modality.answers(refused.files, running.dicom_port)
            assert len(answers) == len(refused.files), "every slice is answered"
            taken += [f for f, status in zip(refused.files, answers, strict=True) if status == TAKEN]
            if set(answers) != {TAKEN}:
                break
        assert set(answers) <= {TAKEN, OUT_OF_RESOURCES}
        assert OUT_OF_RESOURCES in answers, "the disk filled"
        free = os.statvfs(disks.path(spool))
        left_mb = free.f_bavail * free.f_frsize / 1e6
        assert left_mb > STOP_MB / 2, "told long before nothing can be written any more"
        assert "cannot be reached" in running.command("check").stdout

        objects.start()
        settings, _ = load(running.config)
        with closing(open_store(settings.database_url)) as store:
            wait_until(lambda: uploads.on_the_way(store).count == 0, 120, "everything has gone up")
        there = set(open_blobs(settings.store).received.digests())
        named = [p.stem for p in disks.path(spool).rglob("*.dcm")]
        assert there == set(named), "each slice that was answered 0x0000, and no other"
        assert len(there) == len(taken)
        for path in disks.path(spool).rglob("*.dcm"):
            assert digest_of(path) == path.stem
            os.utime(
                path, (path.stat().st_atime - AN_HOUR_S, path.stat().st_mtime - AN_HOUR_S)
            )  # as if an hour went by
        wait_until(
            lambda: set(modality.answers(refused.files, running.dicom_port)) == {TAKEN}, 180, "senders are served again"
        )
        running.wait_for_state(refused.uid, SETTLED, 120)
        record(
            "spool_fills",
            "the object store is away until the spool's disk is at its mark: 0xA700 before it is full, no slice that was answered is "
            "lost, senders are served again when the store is back",
            {"slices_taken": len(taken), "left_on_the_disk_mb": round(left_mb, 1), "mark_mb": STOP_MB},
        )
