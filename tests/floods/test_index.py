"""What one million instances in the index cost: reception and the list as with one thousand, retention and re-index measured.

TRIAGE_PROVE_INDEX_INSTANCES rows (40 to a study, made inside the database) and TRIAGE_PROVE_INDEX_FILES files, which are empty:
a name costs the same. Two ingest processes on loopback, the one on a full folder, are sent to and asked in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median

import pytest
from sqlalchemy import delete, select, update

from tests.association import node as ingest
from tests.association.raw_client import RawClient, data_set, pixel_data
from tests.floods.filled import AGE, fill
from tests.support.prove import PROVING, record, sized
from tests.support.waiting import wait_until
from triage_node.domain.finding import OperatingPoint
from triage_node.domain.priority import ListPolicy, OrderClass, WorklistRow
from triage_node.instances.archive import Archive
from triage_node.instances.intake import reindex
from triage_node.processes import listing
from triage_node.processes.running import now
from triage_node.store import instances, policy, retention, worklist
from triage_node.store.engine import Store, open_store
from triage_node.store.schema import instance, worklist_row

FEW = 1_000
MANY = sized("index_instances", short=4_000, proven=1_000_000)
FILES = sized("index_files", short=400, proven=200_000)
ROUNDS = sized("index_rounds", short=2, proven=30)
SENT, PIXELS = 20, 128 * 128 * 2
MOST_RATIO = 1.5
ON_THE_LIST = 40
ANYBODY = '[[listener.senders]]\nae_title = "*"'


@dataclass
class Side:
    """A node on its folder. `took`: what each round took, in seconds."""

    node: ingest.Node
    rows: int
    reindexed_s: float
    took: dict[str, list[float]]

    def measure(self, what: str, do: Callable[[], object]) -> None:
        began = time.perf_counter()
        do()
        self.took.setdefault(what, []).append(time.perf_counter() - began)

    def receive(self, round_: int) -> None:
        """A study over an association of its own, until every instance has its row."""
        study, before = f"1.7.{round_}", self.node.rows()
        with RawClient(self.node.port, source="127.0.0.1") as sender:
            sender.associate()
            for k in range(SENT):
                uid = f"{study}.{k}"
                body = data_set(uid, pixel_data(PIXELS) + bytes(PIXELS), study=study, series=f"{study}.1")
                assert sender.store(body, uid) == 0x0000
        wait_until(lambda: self.node.rows() == before + SENT, 60, "the rows of what was sent")


def count_free(store: Store) -> list[str]:
    with store.read() as c:
        return list(c.execute(select(instance.c.sha256).order_by(instance.c.id).limit(FILES)).scalars())


def prepared(folder: Path, rows: int, files: int) -> tuple[int, float]:
    """A data folder that has been in use. Returns (port, seconds that the re-index of it takes)."""
    port = ingest.prepare(folder, senders=ANYBODY)
    store, archive = open_store(f"sqlite:///{folder / 'triage.db'}"), Archive(folder)
    policy.add(store, [OperatingPoint("ich", 0.3, 0.6, 0)], "test", "first", now())
    fill(store, rows)
    archive.prepare()
    for sha256 in count_free(store)[:files]:
        archive.path(sha256).touch()
    with store.write() as c:
        for k in range(1, ON_THE_LIST + 1):
            c.execute(delete(worklist_row).where(worklist_row.c.study_instance_uid == f"1.9.{k}"))
            worklist.add_row(
                c, WorklistRow(f"1.9.{k}", OrderClass.ROUTINE, now() - timedelta(minutes=k)), "acquired now"
            )
    began = time.perf_counter()
    assert reindex(archive, partial(instances.blobs_without_row, store), None) == 0  # type: ignore[arg-type]
    took = time.perf_counter() - began
    store.close()
    return port, took


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    with ExitStack() as nodes:
        made = []
        for name, rows, files in (("few", FEW * 2, FEW), ("many", MANY, FILES)):
            folder = tmp_path / name / "data"
            port, took = prepared(folder, rows, files)
            node = ingest.start(folder, port)
            nodes.callback(node.kill)
            nodes.callback(node.store.close)
            made.append(Side(node, rows, took, {}))
        yield made[0], made[1]


@pytest.mark.prove(short=True)
@pytest.mark.timeout(3600)
def test_reception_and_list_cost_as_much_with_a_million_instances_as_with_a_thousand(sides):
    few, many = sides
    for side in sides:  # what the first time costs: connections, statements, the pages of the indexes that are used
        side.receive(0)
        listing.reading_list(side.node.store, ListPolicy(), now(), False, True)
    for round_ in range(1, ROUNDS + 1):
        for side in sides if round_ % 2 else reversed(sides):
            side.measure("reception", partial(side.receive, round_))
            for _ in range(5):
                side.measure("list", partial(listing.reading_list, side.node.store, ListPolicy(), now(), False, True))
    seconds = {what: (median(few.took[what]), median(many.took[what])) for what in few.took}
    ratios = {what: round(b / a, 2) for what, (a, b) in seconds.items()}
    removed = removal_s(many.node.store)
    record(
        "million_instances",
        f"reception and list cost at most {MOST_RATIO} times as much with a million instances as with a thousand",
        {
            "instances": {"few": few.rows, "many": many.rows},
            "files": {"few": FEW, "many": FILES},
            "rounds": ROUNDS,
            "milliseconds": {what: [round(1000 * s, 2) for s in pair] for what, pair in seconds.items()},
            "ratio": ratios,
            "reindex_s": {"few": round(few.reindexed_s, 2), "many": round(many.reindexed_s, 2)},
            "retention_s": removed,
        },
    )
    if PROVING:
        assert max(ratios.values()) <= MOST_RATIO, ratios


def removal_s(store: Store) -> dict[str, float]:
    """What the scheduler's look for old pixels takes: when there is much to remove, and when all of it is gone."""
    found = {}
    for what in ("much", "nothing"):
        began = time.perf_counter()
        removable = retention.removable_sources(store, now(), (AGE / timedelta(days=1)) - 1)
        found[what] = round(time.perf_counter() - began, 2)
        assert bool(removable) == (what == "much")
        with store.write() as c:
            c.execute(update(instance).values(source_removed_at=now()))
    return found
