"""Two claimers with connections of their own, at once: each piece of work has one owner, and none is left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.store.conftest import NOW
from tests.store.test_studies import received
from triage_node.domain.delivery import BuiltObject, ObjectKind
from triage_node.domain.study import StudyEvent, StudyState
from triage_node.store import instances, outbox, results, studies
from triage_node.store.engine import Store, open_store

WORK = 12
LEASE = timedelta(minutes=1)
CLAIMERS = ("a", "b")


@pytest.fixture
def complete(store):
    for n in range(WORK):
        instances.record_batch(store, [received(0, f"1.2.{n + 1}", f"{n:064x}")])
        with store.write() as c:
            assert studies.close(c, f"1.2.{n + 1}", "released", False, NOW, 1)
    return store


@pytest.fixture
def queued(complete):
    for n in range(WORK):
        study = studies.claim(complete, "before", NOW, LEASE)
        built = BuiltObject(
            f"2.25.{n}", "1.2.3", "2.25.9", study.study_instance_uid, ObjectKind.SEG, 1, f"{n:064x}", 10, ()
        )
        with complete.write() as c:
            results.save_objects(c, [built], NOW)
            outbox.put(c, "pacs", [built], NOW)
            studies.advance(c, study.study_instance_uid, StudyEvent.REPORTED, NOW)
    return complete


def at_once(store: Store, take: Callable[[Store, str], list[str]]) -> dict[str, list[str]]:
    """What each claimer got until nothing was left; they begin together and each has an engine of its own."""
    together = threading.Barrier(len(CLAIMERS))

    def run(name: str) -> list[str]:
        own = open_store(store.engine.url.render_as_string(hide_password=False))
        got: list[str] = []
        try:
            together.wait()
            while taken := take(own, name):
                got += taken
        finally:
            own.close()
        return got

    with ThreadPoolExecutor(len(CLAIMERS)) as pool:
        return dict(zip(CLAIMERS, pool.map(run, CLAIMERS), strict=True))


def test_each_study_has_one_owner(complete):
    def take(own: Store, name: str) -> list[str]:
        study = studies.claim(own, name, NOW, LEASE)
        return [study.study_instance_uid] if study is not None else []

    got = at_once(complete, take)
    left = [uid for batch in iter(lambda: take(complete, "c"), []) for uid in batch]
    assert sorted([*got["a"], *got["b"], *left]) == sorted(f"1.2.{n + 1}" for n in range(WORK)), "none twice, none left"


def test_each_row_of_the_outbox_has_one_owner(queued):
    def take(own: Store, name: str) -> list[str]:
        return [r.sop_instance_uid for r in outbox.claim_batch(own, "pacs", name, NOW, LEASE, 1)]

    got = at_once(queued, take)
    left = [uid for batch in iter(lambda: take(queued, "c"), []) for uid in batch]
    assert sorted([*got["a"], *got["b"], *left]) == sorted(f"2.25.{n}" for n in range(WORK)), "none twice, none lost"


def test_claim_does_not_wait_for_what_another_one_holds(complete):
    """On PostgreSQL a row that is locked is passed over; SQLite has one writer at a time, which is waited for."""
    if complete.is_sqlite:
        with complete.engine.connect() as c:
            c.exec_driver_sql("BEGIN IMMEDIATE")
            assert c.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 30_000
            c.rollback()
        return
    with complete.write() as c:
        assert studies.state_of(c, "1.2.1") is StudyState.COMPLETE
        other = studies.claim(complete, "b", NOW, LEASE)
    assert other is not None
    assert other.study_instance_uid != "1.2.1"
