"""A node moves to PostgreSQL while studies arrive, is kept while one arrives, is destroyed, and is there again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.journeys import modality
from tests.support.databases import Databases
from tests.support.node import PROGRAM, SETTLED, Node, node
from tests.support.pacs import postgres
from tests.support.prove import record, sized
from triage_node.config.load import load
from triage_node.store import audit_chain, instances
from triage_node.store.engine import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.prove
def test_nothing_is_lost_when_a_node_moves_under_load_is_destroyed_and_restored(tmp_path: Path) -> None:
    first = modality.phantom(tmp_path, "moving", modality.now(), (modality.LARGE_BLEED,), seed=9056, size=128)
    studies = modality.copies(first, tmp_path, sized("moved_studies", short=4, proven=40), own_patients=True)
    early, *while_moving, last = studies
    (tmp_path / "pg").mkdir()
    with postgres(tmp_path / "pg") as server, node(tmp_path / "node") as running:
        databases = Databases(tmp_path, server)
        url = databases.new("postgresql")
        modality.send(early.files, running.dicom_port)
        running.wait_for_state(early.uid, SETTLED, 120)

        arriving = threading.Thread(target=send_all, args=(while_moving, running.dicom_port))
        arriving.start()
        moved = command(running, "migrate", "--to", url)
        assert moved.returncode == 0, moved.stdout + moved.stderr
        arriving.join()
        assert load(running.config)[0].database_url == url
        for study in while_moving:
            running.wait_for_state(study.uid, SETTLED, 120)

        half = len(last.files) // 2
        modality.send(last.files[:half], running.dicom_port)
        kept = command(running, "backup", str(tmp_path / "backups"))
        assert kept.returncode == 0, kept.stdout + kept.stderr
        modality.send(last.files[half:], running.dicom_port)
        destroy(running)
        databases.say("DROP SCHEMA public CASCADE", url)
        databases.say("CREATE SCHEMA public", url)

        back = command(running, "restore", str(tmp_path / "backups"))
        assert back.returncode == 0, back.stdout + back.stderr
        running.start()
        for study in studies:
            running.wait_for_state(study.uid, SETTLED, 120)
        flagged = {row["study_instance_uid"] for row in running.rows() if row["flag"] is not None}
        with closing(open_store(url)) as store:
            held = {s.uid: len(instances.of_study(store, s.uid)) for s in studies}
            assert held == {s.uid: len(s.files) for s in studies}
            assert audit_chain.verify(store).problem == ""
        assert flagged == {s.uid for s in studies}
        record(
            "moving",
            "a node moves to PostgreSQL while studies arrive, is kept while one arrives, is destroyed and restored: nothing that was "
            "answered is lost, every study is read",
            {
                "studies": len(studies),
                "slices": sum(held.values()),
                "writes_stood_still": next(line for line in moved.stdout.splitlines() if "stood still" in line),
            },
        )


def send_all(studies: list[modality.Sent], port: int) -> None:
    for study in studies:
        modality.send(study.files, port, associations=1)


def command(running: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As long as it takes: a loaded machine is no failure."""
    line = [str(PROGRAM), *arguments, "--config", str(running.config)]
    return subprocess.run(line, capture_output=True, text=True, timeout=600, env={**os.environ, "COLUMNS": "200"})


def destroy(running: Node) -> None:
    """Every process killed, everything gone but the files that were received."""
    pids = running.pids()
    for pid in (pids.pop("supervisor"), *pids.values()):
        os.kill(pid, signal.SIGKILL)
    assert running.process is not None
    running.process.wait(60)
    for path in running.data.iterdir():
        if path.name != "blobs":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
