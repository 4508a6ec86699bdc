"""A site moves and comes back: nothing is lost to writers, to an interruption at any point, or to a target that will not do."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from tests.support.filled import AT
from tests.support.waiting import wait_until
from triage_node.config.load import load
from triage_node.config.store_address import Address
from triage_node.domain.audit import AuditSearch
from triage_node.domain.errors import ConfigError, StoreError
from triage_node.processes.moving import migrate as moving
from triage_node.processes.moving.migrate import Tell, migrate
from triage_node.processes.running import Running, now
from triage_node.store import audit, audit_chain, audit_search, heartbeat
from triage_node.store.engine import open_store
from triage_node.store.moving import fence
from triage_node.store.schema import timeline
from triage_node.store.upgrade import upgrade

SILENT = Tell(lambda _: None, lambda *_: None)


def store_of(config):
    return closing(open_store(load(config)[0].database_url))


def entry(store, subject):
    with store.write() as c:
        audit.record(c, now(), "somebody", "study viewed", subject)


def subjects(store):
    return [e.subject for e in audit_search.entries(store, AuditSearch())]


@pytest.mark.parametrize("engine", ["postgresql", "sqlite"])
def test_site_moves_and_comes_back_with_what_was_written_meanwhile(site, databases, engine):
    settings, _ = load(site)
    first, second = settings.database_url, databases.new(engine)
    moved = migrate(site, Address(second), SILENT)
    assert load(site)[0].database_url == second
    assert load(site)[0].model_copy(update={"store": settings.store}) == settings, "nothing else changed"
    assert moved.backup.read_text() != site.read_text()
    with store_of(site) as store:
        fence.refuse_unfit(store)
        assert audit_chain.verify(store).problem == ""
        last = list(audit_search.entries(store, AuditSearch()))[-1]
        assert (last.action, last.actor) == ("store moved", moving.ACTOR)
        assert settings.store.data_folder.name in last.old
        assert last.new.startswith(fence.shown(second))
        entry(store, "after the move")
    with closing(open_store(first)) as left:
        with pytest.raises(StoreError, match="this store has moved"):
            entry(left, "too late")
        with pytest.raises(StoreError, match="has moved to .*: name that in"):
            fence.refuse_unfit(left)

    migrate(site, Address(first), SILENT)
    assert load(site)[0].database_url == first
    with store_of(site) as store:
        fence.refuse_unfit(store)
        entry(store, "at home")
        assert [s for s in subjects(store) if s in ("after the move", "too late", "at home")] == [
            "after the move",
            "at home",
        ]
        assert audit_chain.verify(store).problem == ""


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_what_a_writer_was_told_is_written_is_at_the_target(site, databases, engine):
    """Four writers in a loop, before, while and after writes stand still."""
    there = databases.new("postgresql" if engine == "sqlite" else "sqlite")
    if engine == "postgresql":
        migrate(site, Address(databases.new("postgresql")), SILENT)
    here, written, refused = load(site)[0].database_url, [], []

    def write(who):
        with closing(open_store(here)) as store:
            for k in range(100_000):
                name = f"{who}.{k}"
                try:
                    with store.write() as c:
                        c.execute(insert(timeline).values(study_instance_uid=name, at=AT, moment="x"))
                        audit.record(c, now(), "somebody", "study viewed", name)
                except StoreError as error:
                    if "this store has moved" not in str(error):
                        continue  # a slow machine holds writes back for longer than SQLite waits
                    refused.append(name)
                    return
                written.append(name)

    writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for writer in writers:
        writer.start()
    wait_until(lambda: len(written) > 20, 30, "writers write")
    moved = migrate(site, Address(there), SILENT)
    for writer in writers:
        writer.join()
    assert len(refused) == 4
    with store_of(site) as store, store.read() as c:
        assert set(written) <= set(subjects(store))
        assert set(written) <= set(c.execute(select(timeline.c.study_instance_uid)).scalars())
        assert audit_chain.verify(store).problem == ""
    assert moved.stood_still_s > 0


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill; what was not committed is gone."""


def kill_at_step(number):
    steps = iter(range(number))

    def step(_):
        if next(steps, None) is None:
            raise Killed

    return Tell(step, lambda *_: None)


def kill_in(table):
    def rows(name, _):
        if name == table:
            raise Killed

    return Tell(lambda _: None, rows)


@pytest.mark.parametrize(
    "interrupted",
    [
        lambda patch: kill_in("outbox"),
        lambda patch: kill_at_step(2),
        lambda patch: kill_at_step(4),
        lambda patch: patch.setattr(moving.fence, "leave", _killed),
        lambda patch: patch.setattr(moving.Change, "put", _killed),
        lambda patch: patch.setattr(moving.fence, "take_over", _killed),
    ],
    ids=["in a table", "before the second pass", "before the stop", "in the stop", "old store left", "file changed"],
)
def test_interrupted_anywhere_one_store_or_none_serves_and_the_same_command_goes_on(
    site, databases, monkeypatch, interrupted
):
    old, new = load(site)[0].database_url, databases.new("sqlite")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        migrate(site, Address(new), interrupted(patch) or SILENT)
    with closing(open_store(old)) as first, closing(open_store(new)) as second:
        fit = [s for s in (first, second) if not refused(s)]
        assert len(fit) <= 1
        for store in fit:
            entry(store, "written between")
    migrate(site, Address(new), SILENT)
    with store_of(site) as store:
        fence.refuse_unfit(store)
        assert load(site)[0].database_url == new
        assert ("written between" in subjects(store)) == bool(fit)
        assert audit_chain.verify(store).problem == ""
        assert subjects(store).count("store") == 1


def _killed(*_):
    raise Killed


def refused(store):
    try:
        fence.refuse_unfit(store)
    except StoreError:
        return True
    return False


def test_target_that_holds_something_is_refused_and_both_are_as_they_were(site, databases, tmp_path):
    url = databases.new("postgresql")
    with closing(open_store(url)) as other:
        upgrade(other)
        entry(other, "of another site")
    before = site.read_text()
    with pytest.raises(StoreError, match="is not empty and is no copy of this site"):
        migrate(site, Address(url), SILENT)
    with closing(open_store(url)) as other, store_of(site) as store:
        assert subjects(other) == ["of another site"]
        fence.refuse_unfit(store)
        entry(store, "goes on")
    assert site.read_text() == before
    assert not list(tmp_path.glob(".node.toml.*")), "nothing is left beside the configuration"


def test_role_that_meets_the_fence_ends_itself(site, databases):
    settings, _ = load(site)
    with closing(open_store(settings.database_url)) as store:
        running = Running("scheduler", settings, store, threading.Event())
        running.beat()
        assert not running.stop.is_set()
        migrate(site, Address(databases.new("sqlite")), SILENT)
        running.beat({"anything": 1})
        assert running.stop.is_set()


def test_roles_that_were_alive_are_waited_for(site, databases):
    with store_of(site) as store:
        heartbeat.beat(store, "web", now())
        heartbeat.beat(store, "analysis", now() - timedelta(hours=1))
    to = Address(databases.new("sqlite"))
    begun = now()
    assert migrate(site, to, SILENT).roles == ("web",)
    with store_of(site) as store:
        heartbeat.beat(store, "web", now() + timedelta(seconds=1))
    assert moving.waited_for(site, ("web",), begun, 30, SILENT) == set()
    assert moving.waited_for(site, ("web", "ingest"), begun, 0.01, SILENT) == {"ingest"}


def test_address_in_the_environment_is_refused_before_anything_is_copied(site, databases, monkeypatch):
    monkeypatch.setenv("TRIAGE_NODE__STORE__DATABASE_URL", load(site)[0].database_url)
    url = databases.new("sqlite")
    with pytest.raises(ConfigError, match="comes from the environment TRIAGE_NODE__STORE__DATABASE_URL"):
        migrate(site, Address(url), SILENT)
    with closing(open_store(url)) as there:
        assert fence.marks(there).tables == 0
