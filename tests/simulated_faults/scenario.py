"""What one seed brings: the site, its studies, what people do, and what goes wrong when."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.simulated_faults import seams, senders
from tests.simulated_faults.ledger import Ledger
from tests.simulated_faults.node import Database, Node
from tests.simulated_faults.people import Reader
from tests.simulated_faults.studies import SLICES, Slice, Study, Verdict
from tests.simulated_faults.world import World
from triage_node.config.contacts import ContactSettings
from triage_node.config.schema import (
    ArchiveSettings,
    CompletenessSettings,
    IntakeRule,
    ListenerSettings,
    ModelSettings,
    NodeSettings,
    OperationsSettings,
    PrognosisSettings,
    SenderSettings,
    Settings,
    StoreSettings,
    WorklistSettings,
)
from triage_node.config.worklist_peers import UpsPeerSettings
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.priority import Mode
from triage_node.domain.study import StudyIdentity

BEGINNINGS = (
    datetime(2026, 11, 3, 9, 0, tzinfo=UTC),
    datetime(2026, 3, 29, 0, 59, 30, tzinfo=UTC),  # Berlin's clocks go from 02:00 to 03:00 half a minute later
    datetime(2026, 10, 25, 0, 59, 30, tzinfo=UTC),  # and from 03:00 back to 02:00
    datetime(2026, 12, 31, 22, 59, 30, tzinfo=UTC),
)
MODALITY, ROUTER = "CT1", "ROUTER"
"""The router may correct identities, the modality may not."""
_ANSWERS = (950, 700, 450, 100)
"""In thousandths, as a stand-in reads them: notify, raise, not sure, not raised."""
_FURTHER = {"weaker": 100, "less sure": 700, "stronger": 950}
_HOSTILE_UIDS = ("../../etc/passwd", "1.2.3/../../x", "1" * 65, "1.2.x", "", "1.2\\..\\x")


def settings(chance: random.Random, folder: Path) -> Settings:
    """A site with two archives, a reading list of somebody else and a pager; zone with daylight saving."""
    kinds = [
        k for k in ObjectKind if k not in (ObjectKind.REJECTION_NOTE, ObjectKind.HEATMAP_SC, ObjectKind.LOCATION_SR)
    ]
    commits = chance.random() < 0.5
    archives = (
        ArchiveSettings(
            name="pacs", ae_title="PACS", host="127.0.0.1", kinds=tuple(kinds), storage_commitment=commits, batch=3
        ),
        ArchiveSettings(
            name="research", ae_title="RES", host="127.0.0.1", clinical=False, kinds=(ObjectKind.FINDINGS_SR,)
        ),
    )
    page = folder / "pager"
    page.write_text("json://127.0.0.1/", encoding="utf-8")
    return Settings(
        node=NodeSettings(time_zone="Europe/Berlin"),
        store=StoreSettings(data_folder=folder, stop_free_gb=0.1, warn_free_gb=0.2),
        listener=ListenerSettings(
            senders=(
                SenderSettings(ae_title=ROUTER, may_correct_identity=True),
                SenderSettings(ae_title="*"),
            )
        ),
        completeness=CompletenessSettings(deadline_s=20.0),
        intake=(IntakeRule(name="no spines", study_description="*SPINE*", out_of_scope=True),),
        model=ModelSettings(),
        prognosis=PrognosisSettings(bundles=()),
        archives=archives[: chance.choice((0, 1, 2, 2, 2, 2, 2, 2))],
        worklist=WorklistSettings(
            mode=Mode.ACTIVE if chance.random() < 0.9 else Mode.OBSERVE,
            claim_for_min=chance.choice((0.2, 60)),
            expires_after_h=chance.choice((0.01, 24, 24)),
        ),
        ups_peers=(UpsPeerSettings(name="ris", host="127.0.0.1", ae_title="RIS", timeout_s=2.0),),
        contacts=(ContactSettings(name="pager", url_file=page),),
        operations=OperationsSettings(heartbeat_min=0),
    )


class Scenario:
    """Everything outside the node. `begin` lets it loose; after `calm` nothing goes wrong any more."""

    def __init__(
        self, seed: int, world: World, node: Node, database: Database, around: seams.Surroundings, ledger: Ledger
    ) -> None:
        self.chance = random.Random(f"scenario {seed}")
        self.world, self.node, self.database, self.around, self.ledger = world, node, database, around, ledger
        self.lasts_s = self.chance.uniform(20, 45)
        self.unfinished = 0
        self.is_calm = False
        self._lock: sqlite3.Connection | None = None

    def begin(self) -> None:
        chance, world = self.chance, self.world
        world.chances.kill = chance.choice((0.0, 0.0, 0.0005, 0.002, 0.005))
        world.chances.switch = chance.uniform(0.05, 0.6)
        world.chances.delay = chance.choice((0.0, 0.02, 0.1))
        world.chances.longest_delay_s = chance.choice((0.05, 0.5, 3.0))
        disk = self.around.disk
        disk.takes_direct_writes = chance.random() < 0.5
        bad = chance.choice((0.0, 0.1, 0.3))
        for line in (self.around.pacs.line, self.around.pager, *(r.line for r in self.around.lists.values())):
            line.bad = bad
        self.node.start("ingest", "scheduler", "delivery", *(["analysis", "analysis-2"][: chance.choice((1, 1, 2))]))
        for number in range(chance.choice((1, 1, 1, 2, 2, 3))):
            self._one("sender", self._send, self._study(number), chance.choice((0.0, 0.05, 0.2)))
        if chance.random() < 0.3:
            self._one("stranger", self._send_nonsense)
        for number in range(chance.choice((0, 1, 1, 2))):
            reader = Reader(f"reader {number}", self.node, self.ledger, chance.getrandbits(32))
            self._one(reader.person.name, self._read, reader)
        for fault in chance.choices(self._faults(), k=chance.choice((0, 1, 2, 3, 5))):
            self._one(fault.__name__.strip("_"), self._later, fault)

    def calm(self) -> None:
        """Whatever was wrong is right again: what remains is for the node to do."""
        self.is_calm = True
        self.world.chances.kill = self.world.chances.delay = 0.0
        self.world.longest_idle_s = 30.0
        self.around.disk.is_full = self.around.disk.fails_to_flush = self.database.is_full = False
        self._unlock()
        for line in (self.around.pacs.line, self.around.pager, *(r.line for r in self.around.lists.values())):
            line.bad, line.is_down = 0.0, False
        self._one("administrator", Reader("reader of the night", self.node, self.ledger, 0).switch_on)

    def close(self) -> None:
        self._unlock()

    def _one(self, name: str, do: Callable[..., None], *args: object) -> None:
        def run() -> None:
            try:
                do(*args)
            finally:
                self.unfinished -= 1

        self.unfinished += 1
        self.world.spawn(name, run)

    def _later(self, fault: Callable[[], None]) -> None:
        self.world.pause(self.world.rng.random() * self.lasts_s)
        if not self.is_calm:
            fault()

    # studies

    def _study(self, number: int) -> Study:
        chance = self.chance
        uid = f"1.2.826.0.1.{chance.randrange(10**6)}.{number}"
        verdict = chance.choices((*_ANSWERS, *Verdict), (6, 2, 1, 2, 0, 1, 1, 2))[0]
        age = chance.choice(
            (timedelta(minutes=5), timedelta(minutes=5), timedelta(minutes=5), timedelta(hours=5), timedelta(days=3))
        )
        study = Study(
            uid,
            StudyIdentity(f"P{number}", "", f"SIMULATED^{number}", "19600101", "M", f"A{number}"),
            int(verdict),
            chance.choice((5, 34, 60)),
            (self.world.now() - age).replace(tzinfo=None),
            missing=frozenset({5}) if chance.random() < 0.07 else frozenset(),
            description="CT SPINE" if chance.random() < 0.05 else "CT HEAD",
        )
        self.ledger.studies[uid] = study
        for ris in self.around.lists.values():
            ris.knows_from[uid] = chance.choice((0.0, 0.0, 40.0))
        return study

    def _send(self, study: Study, restless: float) -> None:
        world, chance = self.world, random.Random(f"{study.uid} sending")
        world.pause(chance.random() * self.lasts_s / 3)
        instances = study.slices()
        if chance.random() < 0.5:
            chance.shuffle(instances)
        late = [instances.pop()] if chance.random() < 0.25 else []
        gap_s = chance.choice((0.05, 0.3, 1.0))
        parts = [instances]
        if chance.random() < 0.3:  # two associations at once share the study
            parts = [instances[::2], instances[1::2]]
            self._one("second association", senders.send, self.around.network, MODALITY, parts[1], gap_s, restless)
        senders.send(self.around.network, MODALITY, parts[0], gap_s, restless)
        for follow_up in self._follow_ups(study, late, chance):
            world.pause(chance.choice((0.2, 4.0, 8.0, 16.0)))
            ae_title, more = follow_up
            senders.send(self.around.network, ae_title, more, gap_s, restless)

    def _follow_ups(self, study: Study, late: list[Slice], chance: random.Random) -> Iterator[tuple[str, list[Slice]]]:
        """What comes after a study: its last slice, all of it again, other pixels, another identity, a weaker answer."""
        if late:
            yield MODALITY, late
        kind = chance.choice(
            (
                "",
                "again",
                "weaker",
                "weaker",
                "less sure",
                "less sure",
                "stronger",
                "identity",
                "stranger",
                "other pixels",
            )
        )
        if kind == "again":
            yield MODALITY, study.slices()
        elif kind in _FURTHER:
            # a further slice above the others: what it says counts
            yield MODALITY, [replace(study, verdict=_FURTHER[kind], ml=60).slice(SLICES)]
        elif kind == "other pixels":
            yield MODALITY, [replace(study, ml=study.ml + 1).slice(3)]
        elif kind:
            other = replace(study.identity, patient_id=f"{study.identity.patient_id}X", accession_number="A99")
            if kind == "identity":
                self.ledger.corrected[study.uid].append((self.world.seconds, other))
            yield ROUTER if kind == "identity" else MODALITY, study.under(other).slices()

    def _send_nonsense(self) -> None:
        """Identifiers that would be paths, and data sets that are none."""
        good = self._study(77).slice(0)
        for uid in self.chance.sample(_HOSTILE_UIDS, 3):
            self._try(replace(good, sop_instance_uid=uid))
            self._try(
                replace(
                    good, sop_instance_uid=uid, data=good.data.replace(good.sop_instance_uid.encode(), uid.encode())
                )
            )
        self._try(replace(good, data=bytes(self.world.rng.randrange(256) for _ in range(300))))
        del self.ledger.studies[good.study_instance_uid]

    def _try(self, instance: Slice) -> None:
        with contextlib.suppress(senders.Lost):
            connection = senders.Connection(self.around.network, MODALITY)
            connection.store(instance)
            connection.release()

    # people

    def _read(self, reader: Reader) -> None:
        while not self.is_calm:
            reader.do_something()
            self.world.pause(self.world.rng.random() * 10)

    # faults

    def _faults(self) -> list[Callable[[], None]]:
        return [
            self._kill, self._kill, self._kill, self._stop, self._power_loss, self._power_loss, self._disk_full, self._flush_fails,
            self._database_locked, self._database_full, self._clock_steps, self._clock_steps, self._archive_away, self._list_away,
            self._frozen, self._torn_file,
        ]  # fmt: skip

    def _kill(self) -> None:
        living = [p for p, _ in self.node.running.values() if p.alive]
        if living:
            self.world.kill(self.world.rng.choice(living))

    def _stop(self) -> None:
        self.node.stop(self.world.rng.choice(sorted(self.node.running)))

    def _power_loss(self) -> None:
        self.node.is_off = True
        for process, _ in list(self.node.running.values()):
            self.world.kill(process)
        lost = self.around.disk.lose_power()
        self.world.note(f"power loss: {lost} files changed")
        self.world.pause(3.0)
        self.node.is_off = False

    def _disk_full(self) -> None:
        self.around.disk.is_full = self.database.is_full = True
        self._for_a_while()
        self.around.disk.is_full = self.database.is_full = False

    def _flush_fails(self) -> None:
        self.around.disk.fails_to_flush = True
        self._for_a_while()
        self.around.disk.fails_to_flush = False

    def _database_full(self) -> None:
        self.database.is_full = True
        self._for_a_while()
        self.database.is_full = False

    def _database_locked(self) -> None:
        """Somebody else holds the lock for longer than anybody waits."""
        if self._lock is not None:
            return
        self._lock = sqlite3.connect(self.database.at, isolation_level=None)
        self._lock.execute("BEGIN IMMEDIATE")
        self._for_a_while()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.rollback()
            self._lock.close()
            self._lock = None

    def _clock_steps(self) -> None:
        step = self.world.rng.choice((-300, -60, -20, 20, 300, 3600))
        self.world.note(f"the clock steps by {step} s")
        self.world.skew += timedelta(seconds=step)

    def _archive_away(self) -> None:
        self.around.pacs.line.is_down = True
        self._for_a_while()
        self.around.pacs.line.is_down = False

    def _list_away(self) -> None:
        for line in (self.around.pager, *(r.line for r in self.around.lists.values())):
            line.is_down = True
        self._for_a_while()
        for line in (self.around.pager, *(r.line for r in self.around.lists.values())):
            line.is_down = False

    def _frozen(self) -> None:
        """A process stands still, longer than its lease lasts, and goes on."""
        living = [p for p, _ in self.node.running.values() if p.alive]
        if living:
            self.world.freeze(self.world.rng.choice(living), self.world.rng.choice((5.0, 30.0, 700.0)))

    def _torn_file(self) -> None:
        """The disk loses bytes that it had promised to keep; no software brings them back, but it must not go unseen."""
        held = sorted(self.ledger.answered)
        if not held:
            return
        sha256 = self.world.rng.choice(held)
        path = self.node.settings.store.data_folder / "blobs" / sha256[:2] / f"{sha256}.dcm"
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-20])
            self.ledger.spoiled.add(sha256)
            self.world.note("a stored file loses its end")

    def _for_a_while(self) -> None:
        self.world.pause(self.world.rng.choice((1.0, 4.0, 15.0)))
