"""The audit trail on both databases: it takes no changes, its oldest part can leave it, and every tampering is found."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.store.conftest import NOW
from tests.support.tampering import tamper
from triage_node.domain.audit import AuditSearch, ToldHead
from triage_node.domain.errors import StoreError
from triage_node.store import audit, audit_chain, audit_position, audit_retention, audit_search
from triage_node.store.engine import Store

DAY = timedelta(days=1)
_AGAIN = "INSERT INTO audit (id, at, actor, action, subject, old, new, previous_hash, hash) "


@pytest.fixture
def trail(store: Store) -> Store:
    """Six entries, one a day."""
    add(store, 0, 6)
    return store


def add(store: Store, first: int, end: int) -> None:
    with store.write() as c:
        for day in range(first, end):
            audit.record(c, NOW + day * DAY, "Dr. Lee", "study viewed", f"1.2.{day}", new=str(day))


def told(store: Store) -> dict[int, ToldHead]:
    head = audit_chain.head(store)
    assert head is not None
    return {head.id: ToldHead(NOW, head)}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET new = 'other'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE id = 6",
        f"{_AGAIN} SELECT 3, at, actor, action, subject, old, 'other', previous_hash, 'x' FROM audit WHERE id = 3",
    ],
)
def test_database_itself_refuses_to_change_the_trail(trail, statement):
    with pytest.raises(StoreError), trail.write() as c:
        c.exec_driver_sql(statement)
    if trail.is_sqlite and statement.startswith("INSERT"):
        with pytest.raises(StoreError, match="append-only"), trail.write() as c:
            c.exec_driver_sql(statement.replace("INSERT", "INSERT OR REPLACE"))
    if not trail.is_sqlite:
        with pytest.raises(StoreError, match="append-only"), trail.write() as c:
            c.exec_driver_sql("TRUNCATE audit")
    verdict = audit_chain.verify(trail)
    assert (verdict.entries, verdict.problem) == (6, "")


@pytest.mark.parametrize(
    ("statements", "wrong"),
    [
        (["UPDATE audit SET old = 'x' WHERE id = 3"], 3),
        (["DELETE FROM audit WHERE id = 3"], 4),
        (["DELETE FROM audit WHERE id = 1"], 2),
        (["UPDATE audit SET id = 30 WHERE id = 3"], 4),
    ],
)
def test_what_was_changed_or_taken_out_inside_is_found(trail, statements, wrong):
    tamper(trail, *statements)
    assert audit_chain.verify(trail).first_wrong == wrong


def test_end_that_was_taken_off_is_found_only_with_a_head_told_elsewhere(trail):
    heads = told(trail)
    assert audit_chain.verify(trail, heads).compared == 1
    tamper(trail, "DELETE FROM audit WHERE id > 4")
    assert audit_chain.verify(trail).problem == ""
    verdict = audit_chain.verify(trail, heads)
    assert verdict.first_wrong == 5
    assert "ends at entry 4" in verdict.problem
    assert "entry 6 (number 6) was told of" in verdict.problem
    add(trail, 10, 12)  # SQLite gives the same numbers again
    verdict = audit_chain.verify(trail, heads)
    assert verdict.first_wrong == 6
    assert ("written anew" if trail.is_sqlite else "entry 6 was told") in verdict.problem
    tamper(trail, "DELETE FROM audit")
    assert "is empty" in audit_chain.verify(trail, heads).problem


def test_oldest_entries_leave_and_the_rest_still_holds(trail):
    heads = told(trail)
    assert audit_retention.cut(trail, NOW + 3 * DAY, NOW + 6 * DAY, "node") == 3
    verdict = audit_chain.verify(trail, heads)
    assert (verdict.problem, verdict.entries, verdict.compared) == ("", 7, 1)
    assert [e.subject for e in audit_search.entries(trail, AuditSearch(action=audit_chain.CUT))] == ["entry 3"]
    for table, condition in (("audit", "id = 4"), ("audit_cut", "1 = 1")):  # only what the cut names may go
        with pytest.raises(StoreError, match="append-only"), trail.write() as c:
            c.exec_driver_sql(f"DELETE FROM {table} WHERE {condition}")
    add(trail, 8, 12)
    heads |= told(trail)
    assert audit_retention.cut(trail, NOW + 99 * DAY, NOW + 20 * DAY, "node", delivered=8) == 5
    verdict = audit_chain.verify(trail, heads)
    assert (verdict.problem, verdict.entries) == ("", 12)
    assert audit_retention.cut(trail, NOW + 99 * DAY, NOW + 20 * DAY, "node") == 3  # the newest stays
    assert audit_retention.cut(trail, NOW - DAY, NOW + 20 * DAY, "node") == 0
    assert audit_chain.verify(trail, heads).problem == ""


def test_cut_that_the_trail_does_not_tell_of_is_found(trail):
    tamper(
        trail,
        'INSERT INTO audit_cut (at, "by", last_id, hash, entries) SELECT at, actor, id, hash, id FROM audit WHERE id = 3',
        "DELETE FROM audit WHERE id <= 3",
    )
    verdict = audit_chain.verify(trail)
    assert (verdict.first_wrong, verdict.problem) == (3, "entries up to 3 were taken out, and no entry says so")


def test_search_finds_by_how_texts_begin_and_pages_from_the_newest(trail):
    with trail.write() as c:
        audit.record(c, NOW + 7 * DAY, "ada_x%", "login", "ada", new="password from 10.0.0.1")
    assert [e.actor for e in audit_search.page(trail, AuditSearch(who="ADA_X%"), 10)] == ["ada_x%"]
    assert audit_search.page(trail, AuditSearch(who="%"), 10) == []
    with trail.write() as c:
        audit.record(c, NOW + 7 * DAY, "Özlem Çelik (ocelik)", "facts", "1.2.9")
    assert len(audit_search.page(trail, AuditSearch(who="Özlem Çelik"), 10)) == 1
    search = AuditSearch(action="study", since=NOW + DAY, until=NOW + 5 * DAY)
    first = audit_search.page(trail, search, 3)
    assert [e.subject for e in first] == ["1.2.4", "1.2.3", "1.2.2"]
    assert [e.subject for e in audit_search.page(trail, search, 3, before=first[-1].id)] == ["1.2.1"]
    assert [e.new for e in audit_search.entries(trail, AuditSearch(subject="1.2.5"))] == ["5"]


def test_followers_keep_where_they_stand_through_failures(store):
    audit_position.failed(store, "syslog", "nobody answers")
    assert audit_position.of(store, "syslog") == audit_position.Position(0, None, "nobody answers")
    audit_position.moved(store, "syslog", 7, NOW)
    audit_position.failed(store, "syslog", "nobody answers")
    assert audit_position.of(store, "syslog") == audit_position.Position(7, NOW, "nobody answers")
    assert audit_position.of(store, "head file") == audit_position.Position()
