"""`kill -9` of every process, the supervisor, a receiver and the decoding child too, at random points while studies stream in.

What was answered 0x0000 is there, byte for byte; every study still reaches its end, within the bound that `check` states; its
objects are in the archive once; the audit chain holds; nothing half is left behind, and `check` is content.
The modality does what modalities do: it sends again what was not answered. `make prove` kills a thousand times.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psutil
import pydicom
import pytest
from pynetdicom import _config

from tests.journeys import modality
from tests.journeys.modality import Sent
from tests.support.node import AE_TITLE, BOUND, Node, node
from tests.support.pacs import Archive, free_port, orthanc
from tests.support.prove import record, sized
from tests.support.stubborn import StubbornSender
from tests.support.waiting import wait_until
from triage_node.domain.delivery import OUTBOX_FINAL
from triage_node.domain.study import Moment

VICTIMS = ("ingest", "receiver", "analysis", "decoder", "delivery", "gateway", "scheduler", "web", "supervisor")
KILLS = sized("kills", short=len(VICTIMS), proven=1_000)
STUDIES, SLICES = max(5, KILLS // len(VICTIMS)), 24
ENDS = {Moment.REPORTED, Moment.DECLINED, Moment.FAILED}
pytestmark = [pytest.mark.slow, pytest.mark.prove(short=True), pytest.mark.timeout(900 + 30 * KILLS)]


class Killer:
    """Kills one victim after each of a rising series of answered instances, in the midst of the ones that come next.

    Each is killed as often as the others, in an order of chance: the supervisor waits longer for a role that dies again and
    again. A victim dies at an age of chance too, up to `grown_s`: some while they start, some at work.
    """

    def __init__(self, running: Node, chance: random.Random, grown_s: float) -> None:
        self._node, self._chance, self._grown_s = running, chance, grown_s
        self._victims = self._in_turn()
        self._points = sorted(chance.sample(range(1, STUDIES * SLICES), KILLS))
        self.killed: Counter[str] = Counter()
        self._last: threading.Thread | None = None

    def answered(self, count: int) -> None:
        """Called after each answered instance: nothing is sent before the next victim is there and old enough."""
        if self._points and count >= self._points[0]:
            self._points.pop(0)
            self.wait()
            victim, age_s = next(self._victims), self._chance.uniform(0, self._grown_s)
            wait_until(lambda: self._age_s(victim) > age_s, 120, f"{victim} runs")
            self._last = threading.Timer(self._chance.uniform(0, 0.05), self.kill, [victim])
            self._last.start()

    def kill(self, victim: str) -> None:
        """SIGKILL. A supervisor that dies is started again, as the service manager does."""
        wait_until(lambda: self._is_hit(victim), 120, f"{victim} runs")
        self.killed[victim] += 1
        if victim == "supervisor":
            process = self._node.process
            assert process is not None
            process.wait(60)
            self._node.serve()

    def wait(self) -> None:
        if self._last is not None:
            self._last.join()

    def _in_turn(self) -> Iterator[str]:
        while True:
            yield from self._chance.sample(VICTIMS, len(VICTIMS))

    def _age_s(self, victim: str) -> float:
        """-1 while it is not there."""
        try:
            return time.time() - psutil.Process(self._node.pids()[victim]).create_time()
        except (KeyError, psutil.NoSuchProcess):
            return -1.0

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


@pytest.fixture
def studies(tmp_path: Path) -> list[Sent]:
    bleed = (modality.LARGE_BLEED,)
    first = modality.phantom(tmp_path, "kills", modality.now(), bleed, SLICES, 6.0, seed=9057, size=128)
    return modality.copies(first, tmp_path, STUDIES, own_patients=True)


def test_no_kill_loses_an_answered_instance_a_study_or_an_object(
    tmp_path: Path, studies: list[Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # the files' own bytes go out
    seed = sized(
        "seed", short=random.SystemRandom().randrange(1 << 32), proven=random.SystemRandom().randrange(1 << 32)
    )
    print(f"seed of the kills: {seed} (TRIAGE_PROVE_SEED)")
    port, started = free_port(), time.monotonic()
    with (
        orthanc(tmp_path / "orthanc", modalities={AE_TITLE: (AE_TITLE, "127.0.0.1", port)}) as archive,
        node(tmp_path / "node", [archive], dicom_port=port, gateway={"ups_port": free_port()}) as running,
    ):
        killer = Killer(running, random.Random(seed), time.monotonic() - started)
        began = time.monotonic()
        sender = StubbornSender("127.0.0.1", port, AE_TITLE, killer.answered)
        for study in studies:
            sender.send(study.files)
        killer.wait()
        minutes = (time.monotonic() - began) / 60
        assert len(sender.answered) == STUDIES * SLICES
        # and once more while they are known to be at work
        wait_until(lambda: "analysing" in states(running, studies), 120, "a study is being analysed")
        killer.kill("analysis")
        wait_until(lambda: archive.count() > 0, 180, "the archive has a first object")
        killer.kill("delivery")
        print("killed:", dict(killer.killed), f"{KILLS / minutes:.1f} a minute")
        assert killer.killed.total() == KILLS + 2
        for study in studies:
            running.wait_for_state(study.uid, {"delivered"}, 300)
        took_s = [until_its_end_s(running, study) for study in studies]
        record(
            "storm_of_kills",
            "kill -9 of every process again and again while studies stream in: no answered instance, study or object is lost or doubled",
            {
                "kills": dict(sorted(killer.killed.items())),
                "kills a minute": round(KILLS / minutes, 1),
                "instances answered": len(sender.answered),
                "studies": STUDIES,
                "failed for a while": sum(has_failed(running, study) for study in studies),
                "objects at the archive": archive.count(),
                "last slice to an end, longest s": round(max(took_s)),
                "seed": seed,
            },
        )
        assert max(took_s) < BOUND.total_seconds()
        assert_every_answered_instance_is_there(running, sender.answered)
        assert_every_object_is_there_once(running, archive, studies)
        assert {r["study_instance_uid"] for r in running.rows() if r["flag"]} == {s.uid for s in studies}
        assert_nothing_is_left_behind(running)


def until_its_end_s(running: Node, study: Sent) -> float:
    """From the last slice to the first end that the list showed after it."""
    entries = [(datetime.fromisoformat(e["at"]), e["moment"]) for e in running.timeline(study.uid)]
    last = max(at for at, moment in entries if moment == Moment.LAST_SLICE)
    return min((at - last).total_seconds() for at, moment in entries if moment in ENDS and at >= last)


def has_failed(running: Node, study: Sent) -> bool:
    return any(e["moment"] == Moment.FAILED for e in running.timeline(study.uid))


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


def assert_nothing_is_left_behind(running: Node) -> None:
    half = [p for p in running.data.rglob("*") if p.suffix in (".tmp", ".part")]
    assert half == [], "a file that nobody finishes"
    if (running.data / "triage.db").is_file():  # on a shared store the end is seen by the states alone
        with sqlite3.connect(f"file:{running.data / 'triage.db'}?mode=ro", uri=True) as database:
            held = database.execute("SELECT study_instance_uid FROM study WHERE state = 'analysing'").fetchall()
            marks = ", ".join("?" for _ in OUTBOX_FINAL)
            waiting = f"SELECT sop_instance_uid, state FROM outbox WHERE state NOT IN ({marks})"
            waits = database.execute(waiting, [state.value for state in OUTBOX_FINAL]).fetchall()
        assert held == []
        assert waits == []
    verified = running.command("audit", "verify")
    assert "The audit chain holds" in verified.stdout, verified.stdout
    checked = running.command("check")
    assert checked.returncode == 0, [line for line in checked.stdout.splitlines() if "WRONG" in line]
