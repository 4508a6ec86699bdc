"""With 20,000 instances in the index no statement of a role's daily work reads a whole table: what grows stays as fast as it was."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import event, update

from tests.floods.filled import fill
from tests.support.arriving import STUDY, come, looking
from tests.support.deciding import Site
from tests.support.people import page_of
from triage_node.domain.delivery import BuiltObject, ObjectKind, OutboxState
from triage_node.domain.finding import OperatingPoint
from triage_node.domain.instance import InstanceHeader
from triage_node.domain.priority import ListPolicy, ReadingState
from triage_node.processes import escalation, housekeeping, listing
from triage_node.processes.orders import Orders
from triage_node.processes.running import Running, now
from triage_node.store import (
    heartbeat,
    instances,
    messages,
    meta,
    outbox,
    policy,
    prognosis,
    rejections,
    results,
    studies,
    worklist,
)
from triage_node.store.engine import Store
from triage_node.store.schema import instance, metadata

ROWS, SLICES = 20_000, 4
LEASE = timedelta(seconds=30)
SMALL = frozenset(t.name for t in metadata.sorted_tables) - {
    *("association", "instance", "series", "study", "timeline", "worklist_row", "worklist_move", "result", "object"),
    *("outbox", "audit"),
}
"""Tables that stay short on every node, or hold what a site asks for by hand."""
PARTIAL = {
    index.name
    for table in metadata.sorted_tables
    for index in table.indexes
    if index.dialect_options["sqlite"]["where"] is not None
}
"""Indexes that hold few rows of a table: reading one of them from end to end is cheap."""
_ONE_OFF_THE_END = re.compile(r"\ASELECT [\w.]+ \s*FROM \w+ ORDER BY \w+\.id DESC\s+LIMIT")
Statement = tuple[str, Any]
CLOSED = "1.2.4"


@contextmanager
def said_by(store: Store) -> Iterator[list[Statement]]:
    """The statements that reach the database meanwhile, each once, with parameters of its first time."""
    seen: dict[str, Any] = {}

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if statement.lstrip()[:6].upper() in ("SELECT", "UPDATE", "DELETE"):
            seen.setdefault(statement, parameters[0] if many else parameters)

    found: list[Statement] = []
    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
        found += seen.items()


def whole_tables(store: Store, statement: Statement) -> set[str]:
    """Tables that the plan of this statement reads from end to end."""
    text, parameters = statement
    with store.engine.connect() as c:
        if store.is_sqlite:
            plan = c.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters).all()
            steps = [m for row in plan if (m := re.match(r"SCAN (\w+)(?:.* INDEX (\w+))?", row[3]))]
            scanned = {m[1] for m in steps if m[2] not in PARTIAL and not _ONE_OFF_THE_END.search(text)}
        else:
            plan = c.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {text}", parameters).scalar_one()
            scanned = set(_sequential((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))
    return scanned & set(metadata.tables) - SMALL


def indexes_of(store: Store, statement: Statement) -> str:
    """The plan of this statement as text, in which the indexes are named that it goes by."""
    text, parameters = statement
    with store.engine.connect() as c:
        explain = "EXPLAIN QUERY PLAN" if store.is_sqlite else "EXPLAIN"
        return "\n".join(str(row) for row in c.exec_driver_sql(f"{explain} {text}", parameters))


def _sequential(node: dict[str, Any]) -> Iterator[str]:
    if node["Node Type"] == "Seq Scan":
        yield node["Relation Name"]
    for inner in node.get("Plans", ()):
        yield from _sequential(inner)


def daily_work(site: Site) -> None:
    """What the roles do for each study, at each tick and for each look at the list, through their own entries."""
    store, at = site.store, now()
    running = Running("scheduler", site.settings, store, threading.Event())
    headers = [
        InstanceHeader(f"{STUDY}.{k}", "1.2.840.10008.5.1.4.1.1.2", STUDY, f"{STUDY}.2", patient_id="P9", rows=512)
        for k in range(5)
    ]
    arrivals = looking(site)
    come(site, headers[:3], is_open=True)
    arrivals.tick()
    come(site, headers[2:], seconds_ago=90)
    arrivals.tick()
    site.arrive(CLOSED)
    assert studies.claim(store, "test", at, LEASE) is not None
    studies.take_from_dead(store, lambda _: False, at)
    held = instances.of_study(store, CLOSED)
    instances.repeats(store, CLOSED)
    instances.set_pixel_digests(store, dict.fromkeys((i.sha256 for i in held), "d" * 64))
    instances.pixel_digests(store, [i.sha256 for i in held])
    rejections.of_study(store, CLOSED)
    studies.identity_corrections(store, CLOSED)
    worklist.is_live(store, CLOSED)
    studies.of_patient(store, "P9", 5)
    prognosis.behind(store)
    site.decide(CLOSED)
    built = BuiltObject("1.2.77", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.78", CLOSED, ObjectKind.SEG, 1, "a" * 64, 9)
    with store.write() as c:
        results.save_objects(c, [built], at)
        outbox.put(c, "pacs", [built], at)
    outbox.peers_with_work(store, at)
    for row in outbox.claim_batch(store, "pacs", "test", at, LEASE, 9, None):
        outbox.record_outcome(store, row.id, OutboxState.DELIVERED, at)
    outbox.pending_commitments(store, "pacs", at)
    messages.is_work_due(store, "ris", at)
    messages.claim(store, "ris", "test", at, LEASE)
    Orders(store, site.settings).tick()
    housekeeping.expire_rows(running)
    housekeeping.expire_messages(running)
    housekeeping.remove_old_sources(running)
    escalation.pass_on(running)
    heartbeat.beat(store, "scheduler", at)
    meta.list_version(store)
    listing.reading_list(store, ListPolicy(), at, False, True)
    with store.write() as c:
        worklist.set_reading_state(c, CLOSED, ReadingState.BEING_READ, at, "dr.lee", "dr.lee")
    page = page_of(running)
    for path in ("/", "/api/worklist", f"/studies/{CLOSED}", f"/api/studies/{CLOSED}", "/health"):
        assert page.get(path).status_code in (200, 503), path


def all_removed(store: Store) -> None:
    """As on a node whose retention has been at work for long."""
    with store.write() as c:
        c.execute(update(instance).values(source_removed_at=now()))
    if not store.is_sqlite:
        with store.write() as c:
            c.exec_driver_sql("ANALYZE")  # what autovacuum does in time


def test_no_daily_statement_reads_a_whole_table(store, tmp_path):
    site = Site(tmp_path / "site")
    site.store.close()
    site.store = store
    policy.add(store, [OperatingPoint("ich", 0.3, 0.6, 0)], "test", "first", now())
    fill(store, ROWS, SLICES)
    all_removed(store)
    with said_by(store) as statements:
        daily_work(site)
    assert len(statements) > 60
    wrong = {text: tables for text, parameters in statements if (tables := whole_tables(store, (text, parameters)))}
    assert not wrong, "\n\n".join(f"{', '.join(tables)}:\n{text}" for text, tables in wrong.items())
    (old_pixels,) = (s for s in statements if "source_removed_at IS NULL" in s[0] and "reading_state" in s[0])
    assert "ix_instance_source_left" in indexes_of(store, old_pixels), "else it reads what was removed long ago"
