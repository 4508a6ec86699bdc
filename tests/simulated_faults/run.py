"""One seed from the first byte to the last check."""

from __future__ import annotations

import logging
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.simulated_faults import history, invariants, seams
from tests.simulated_faults.disk import Disk
from tests.simulated_faults.ledger import Ledger
from tests.simulated_faults.node import Database, Node, prepare
from tests.simulated_faults.peers import Line, Pacs, Ris
from tests.simulated_faults.scenario import BEGINNINGS, Scenario, settings
from tests.simulated_faults.senders import Network
from tests.simulated_faults.world import Livelock, World

_FAST = "/dev/shm"
"""A folder in memory: which disk forgets what is decided in `disk`, so that the real one need not be asked."""
SETTLES_WITHIN_S = 3600.0
"""Of simulated time, after everything that was wrong is right again: the longest step of the clock, and the longest wait."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one seed. `broken`: what does not hold, empty when everything does."""

    seed: int
    broken: tuple[str, ...]
    trace_hash: str
    steps: int
    tried: dict[str, int]
    """How much of it there was, in words."""
    simulated_s: float
    trace: tuple[str, ...] = ()
    deaths: tuple[str, ...] = ()


class Campaign:
    """Plays seeds, one after another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._databases = {}
        for simulation in (True, False):
            place = folder / ("simulation" if simulation else "real")
            place.mkdir()
            self._databases[simulation] = database = Database(place)
            database.make(prepare(simulation), history.watch)

    def play(self, seed: int, keep_trace: bool = False, within_s: float = SETTLES_WITHIN_S) -> Verdict:
        """Everything that happens follows from `seed`. `within_s`: of simulated time, for what others need not wait for."""
        chance = random.Random(f"site {seed}")
        database = self._databases[chance.random() < 0.85]
        folder = self._folder / f"seed-{seed}"
        folder.mkdir()
        world = World(seed, chance.choice(BEGINNINGS), keep_trace)
        ledger = Ledger()
        network, disk = Network(world, ledger), Disk(world, folder)
        pacs = Pacs(world, ledger, network)
        around = seams.Surroundings(world, disk, network, pacs, {"ris": Ris(world, ledger, "ris")}, Line())
        seams.enter(around)
        database.enter(folder, world)
        node = Node(world, settings(chance, folder), database)
        scenario = Scenario(seed, world, node, database, around, ledger)
        broken: list[str] = []
        try:
            scenario.begin()
            world.run(lambda: False, scenario.lasts_s)
            scenario.calm()
            if not world.run(
                lambda: not scenario.unfinished and not invariants.unsettled(node.store, ledger), within_s
            ):
                still = invariants.unsettled(node.store, ledger) or "somebody outside still waits"
                broken.append(f"liveness: {still}")
        except Livelock as error:
            broken.append(f"liveness: {error}")
        except Exception as error:  # of a thread that nobody in the node listens to
            log.exception("seed=%d", seed)
            broken.append(f"a thread ends with {type(error).__name__}: {error}")
        finally:
            world.end()
            scenario.close()
        try:
            seen = invariants.Seen(node, ledger, around, world)
            broken += invariants.check(seen)
            flags = sum(r.flagged for r in seen.results)
        finally:
            database.leave()
            shutil.rmtree(folder)
        tried = {
            "steps": world.steps,
            "processes ended": world.kills,
            "instances answered": len(ledger.answered),
            "results flagged": flags,
            "objects and messages that arrived": len(ledger.sent_there) + len(ledger.told),
        }
        return Verdict(
            seed,
            tuple(broken),
            world.trace_hash,
            world.steps,
            tried,
            world.seconds,
            tuple(world.lines or ()),
            tuple(node.deaths),
        )


@contextmanager
def campaign() -> Iterator[Campaign]:
    """In a folder of its own, which is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="simulated-", dir=_FAST if os.access(_FAST, os.W_OK) else None) as folder,
        seams.installed(),
    ):
        made = Campaign(Path(folder))
        yield made
        for database in made._databases.values():
            database.leave()
