"""Migrations: from nothing and from each released schema with data, on a copy first, whole or not at all, and back."""

from contextlib import closing
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, insert, select, text

from tests.support import filled
from tests.support.databases import Databases
from tests.support.filled import fill
from tests.support.prove import PROVING, record
from triage_node.domain.errors import StoreError
from triage_node.store import audit_chain, meta
from triage_node.store import upgrade as store_upgrade
from triage_node.store.engine import open_store
from triage_node.store.moving import dump, tables
from triage_node.store.upgrade import differences, go_back, is_current, trial, upgrade

SCRIPTS = ScriptDirectory.from_config(store_upgrade._config())
RELEASED = [str(script.revision) for script in SCRIPTS.walk_revisions()][::-1]
HEAD = SCRIPTS.get_current_head()


def rows(store):
    """Table -> key -> {column: value}."""
    with store.read() as c:
        found = {}
        for whole in tables.tables_of(c):
            held = [r for part in tables.chunks(c, whole, 100) for r in part]
            found[whole.name] = {whole.key_of(r): dict(zip(whole.columns, r, strict=True)) for r in held}
    return found


def made_at(store, revision):
    """A store as that release left it, with rows in every table it had."""
    with store.write() as c:
        store_upgrade.make_at(c, revision, store.tenant)
    fill(store)


def test_empty_database_to_head_equals_the_schema(empty_store):
    assert not is_current(empty_store)
    assert upgrade(empty_store) == (None, HEAD)
    assert differences(empty_store) == []


def test_second_upgrade_changes_nothing(store):
    assert upgrade(store) == (HEAD, HEAD)
    assert is_current(store)


@pytest.mark.prove(short=True)
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_every_row_of_every_released_schema_is_there_after_the_upgrade(engine, tmp_path, postgres_url):
    """`make prove`: from each revision; in each run from the first, two others and the last."""
    databases, moved = Databases(tmp_path, postgres_url), 0
    released = RELEASED[:-1] if PROVING else [*RELEASED[:-1:7], RELEASED[-2]]
    for revision in released:
        with closing(open_store(databases.again(engine))) as store:
            moved += upgraded_whole(store, revision)
    record(
        f"upgrades_{engine}",
        "every row of every released schema is there after the upgrade to the newest",
        {"engine": engine, "schemas": len(released), "rows": moved},
    )


def upgraded_whole(store, revision):
    """Fill a store of this revision, bring it up, compare. Returns how many rows it had."""
    made_at(store, revision)
    before = rows(store)
    assert upgrade(store) == (revision, HEAD)
    assert differences(store) == []
    after = rows(store)
    for name, held in before.items():
        if name in store_upgrade.EMPTIED and held.keys() - after[name].keys():
            assert after[name] == {}
            continue
        for key, values in held.items():
            kept = next(v for k, v in after[name].items() if k[: len(key)] == key)
            assert {n: kept[n] for n in values.keys() & kept.keys()} == values, (revision, name, key)
    assert audit_chain.verify(store).problem == ""
    meta.set_simulation(store, True)  # and it can be written
    return sum(len(held) for held in before.values())


def test_thresholds_go_to_the_model_that_they_were_first_used_with(empty_store):
    with empty_store.write() as c:
        store_upgrade.make_at(c, "0023", empty_store.tenant)
        now = "2026-11-21 03:00:00"
        for version in (1, 2, 3):
            c.execute(
                text(
                    f"INSERT INTO policy (version, created_at, created_by, why, body) VALUES ({version}, '{now}', 'a', 'b', '{{}}')"
                )
            )
        said = '{"bundle": "last"}'
        values = {"now": now, "said": said}
        c.execute(
            text("INSERT INTO heartbeat (role, host, at, pid, detail) VALUES ('analysis', 'one', :now, 1, :said)"),
            values,
        )
    with_results(empty_store, [(1, "first"), (1, "second"), (2, "second")])
    upgrade(empty_store)
    with empty_store.read() as c:
        held = c.execute(text("SELECT version, bundle_digest FROM policy ORDER BY version")).all()
    assert [tuple(row) for row in held] == [(1, "first"), (2, "second"), (3, "last")]


def with_results(store, made):
    """Results by (policy version, model), oldest first, each of a study of its own."""
    found = MetaData()
    with store.write() as c:
        found.reflect(c, only=["result", "study"])
        result, study = found.tables["result"], found.tables["study"]
        for k, (version, digest) in enumerate(made):
            c.execute(insert(study).values(filled.row_of(study, k)))
            c.execute(
                insert(result).values(filled.row_of(result, k) | {"policy_version": version, "bundle_digest": digest})
            )


def test_trial_changes_nothing_and_says_what_it_would_do(empty_store):
    made_at(empty_store, "0018")
    before = rows(empty_store)
    assert trial(empty_store) == ("0018", HEAD)
    assert rows(empty_store) == before
    assert not is_current(empty_store)
    if empty_store.is_sqlite:
        assert not list(path_of(empty_store).parent.glob("*.trial*"))


def path_of(store):
    return Path(store.engine.url.database)


def test_upgrade_that_would_lose_rows_is_taken_back(empty_store, monkeypatch):
    made_at(empty_store, "0018")
    before = rows(empty_store)
    settle = store_upgrade.tenancy.settle

    def lossy(c, tenant):
        settle(c, tenant)
        c.execute(text("DELETE FROM feedback"))

    monkeypatch.setattr(store_upgrade.tenancy, "settle", lossy)
    for attempt in (trial, upgrade):
        with pytest.raises(StoreError, match="rows of feedback would be lost; nothing was changed"):
            attempt(empty_store)
    assert rows(empty_store) == before


def test_copy_of_before_an_upgrade_is_put_back_and_what_was_is_kept(tmp_path):
    with closing(open_store(f"sqlite:///{tmp_path / 'triage.db'}")) as store:
        made_at(store, "0018")
        before = rows(store)
        upgrade(store)
        [copy] = tmp_path.glob("triage.db.before-0018-*")
        with pytest.raises(StoreError, match="no copy of a store"):
            go_back(store, tmp_path / "absent")
        left = go_back(store, copy)
        assert rows(store) == before
        assert upgrade(store) == ("0018", HEAD)
    with closing(open_store(f"sqlite:///{left}")) as newer:
        assert is_current(newer)


def test_rows_that_were_kept_before_an_upgrade_make_a_store_of_either_engine(empty_store, tmp_path):
    """The way back on PostgreSQL, and how a backup of an earlier version is restored."""
    with closing(open_store(f"sqlite:///{tmp_path / 'old.db'}")) as old:
        made_at(old, "0016")
        (tmp_path / "kept").mkdir()
        said = dump.write(old, tmp_path / "kept", lambda *_: None)
        before = rows(old)
    dump.check(tmp_path / "kept", said)
    dump.read(empty_store, tmp_path / "kept", said, lambda *_: None)
    assert differences(empty_store) == []
    assert rows(empty_store)["study"].keys() == before["study"].keys()
    with empty_store.read() as c:
        assert c.execute(select(text("count(*)")).select_from(text("timeline"))).scalar() == 3
