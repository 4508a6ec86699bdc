"""`kill -9` of each process in turn, the supervisor, a receiver and the decoding child too, at random points while 200 instances arrive.

What was answered 0x0000 is there, byte for byte; every study still reaches its end; its objects are in the archive once.
The modality does what modalities do: it sends again what was not answered.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
from pathlib import Path

import pydicom
import pytest
from pynetdicom import _config

from tests.journeys import modality
from tests.journeys.modality import Sent
from tests.support.node import AE_TITLE, Node, node
from tests.support.pacs import Archive, free_port, orthanc
from tests.support.stubborn import StubbornSender
from tests.support.waiting import wait_until

STUDIES, SLICES = 5, 40
VICTIMS = ("ingest", "receiver", "analysis", "decoder", "delivery", "scheduler", "web", "supervisor")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Killer:
    """Kills one victim after each of a rising series of answered instances, a random moment later."""

    def __init__(self, running: Node, chance: random.Random) -> None:
        self._node, self._chance = running, chance
        victims = chance.sample(VICTIMS, len(VICTIMS))
        points = sorted(chance.sample(range(5, STUDIES * SLICES - 5), len(VICTIMS)))
        self.plan = list(zip(points, victims, strict=True))
        self.killed: list[str] = []
        self._timers: list[threading.Timer] = []

    def answered(self, count: int) -> None:
        """Called after each answered instance."""
        if self.plan and count >= self.plan[0][0]:
            victim = self.plan.pop(0)[1]
            timer = threading.Timer(self._chance.uniform(0, 0.05), self.kill, [victim])
            self._timers.append(timer)
            timer.start()

    def kill(self, victim: str) -> None:
        """SIGKILL. A supervisor that dies is started again, as the service manager does."""
        wait_until(lambda: self._is_hit(victim), 60, f"{victim} runs")
        self.killed.append(victim)
        if victim == "supervisor":
            self._node.restart()

    def _is_hit(self, victim: str) -> bool:
        """False while it is not there, or went with another one just now."""
        pid = self._node.pids().get(victim)
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def wait(self) -> None:
        for timer in self._timers:
            timer.join()


@pytest.fixture
def studies(tmp_path: Path) -> list[Sent]:
    """Five studies of forty slices."""
    bleed = (modality.LARGE_BLEED,)
    first = modality.phantom(tmp_path, "kills", modality.now(), bleed, SLICES, 4.0, seed=9057, size=256)
    return modality.copies(first, tmp_path, STUDIES)


def test_no_kill_loses_an_answered_instance_a_study_or_an_object(
    tmp_path: Path, studies: list[Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # the files' own bytes go out
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed of the kills: {seed}")
    chance = random.Random(seed)
    port = free_port()
    with (
        orthanc(tmp_path / "orthanc", modalities={AE_TITLE: (AE_TITLE, "127.0.0.1", port)}) as archive,
        node(tmp_path / "node", [archive], dicom_port=port) as running,
    ):
        killer = Killer(running, chance)
        print("plan of the kills:", killer.plan)
        sender = StubbornSender("127.0.0.1", port, AE_TITLE, killer.answered)
        for study in studies:
            sender.send(study.files)
        killer.wait()
        assert len(sender.answered) == STUDIES * SLICES
        assert sorted(killer.killed) == sorted(VICTIMS)
        # and once more while they are known to be at work
        wait_until(lambda: "analysing" in states(running, studies), 120, "a study is being analysed")
        killer.kill("analysis")
        wait_until(lambda: archive.count() > 0, 180, "the archive has a first object")
        killer.kill("delivery")
        for study in studies:
            running.wait_for_state(study.uid, {"delivered"}, 300)
        assert_every_answered_instance_is_there(running, sender.answered)
        assert_every_object_is_there_once(running, archive, studies)
        assert {r["study_instance_uid"] for r in running.rows() if r["flag"]} == {s.uid for s in studies}


def states(running: Node, studies: list[Sent]) -> set[str]:
    try:
        return {running.study(s.uid).get("state", "") for s in studies}
    except OSError:  # the web role is one of the victims
        return set()


def assert_every_answered_instance_is_there(running: Node, answered: list[Path]) -> None:
    blobs = list((running.data / "blobs").rglob("*.dcm"))
    stored = {data_set_digest(p) for p in blobs}
    assert [p for p in answered if data_set_digest(p) not in stored] == []
    for blob in blobs:
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.stem, "a half file has a name"


def data_set_digest(path: Path) -> str:
    """Digest of the bytes after the file meta: what went over the wire."""
    with path.open("rb") as stream:
        pydicom.filereader.read_preamble(stream, force=False)
        pydicom.filereader._read_file_meta_info(stream)
        return hashlib.sha256(stream.read()).hexdigest()


def assert_every_object_is_there_once(running: Node, archive: Archive, studies: list[Sent]) -> None:
    objects = [o for s in studies for o in running.study(s.uid)["objects"] if o["deliveries"]]
    uids = [o["sop_instance_uid"] for o in objects]
    assert len(set(uids)) == len(uids)
    held = archive.instances()
    assert set(uids) <= set(held)
    assert archive.count() == len(held)
    first_revisions = [s for s in studies if running.study(s.uid)["revision"] == 1]
    theirs = {s.uid for s in first_revisions}
    by_study = [i for s in theirs for i in archive.series(s)]
    assert sum(s["00201209"]["Value"][0] for s in by_study) == sum(
        len([o for o in running.study(uid)["objects"] if o["deliveries"]]) for uid in theirs
    ), "nothing stands in the archive that the node does not know"
