"""Hospitals that share a database: neither sees, meets or changes rows of the other, whatever it asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta

import pytest
from sqlalchemy import Boolean, Float, Integer, Table, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from tests.store.conftest import NOW
from tests.support.region import SUPERUSER, as_login, of_hospital, shared_database
from triage_node.domain.audit import AuditSearch
from triage_node.domain.errors import AnotherTenant, StoreError
from triage_node.domain.finding import OperatingPoint
from triage_node.store import audit, audit_chain, audit_search, meta, policy, tenancy
from triage_node.store.engine import Store, open_store
from triage_node.store.schema import Instant, metadata, policy_draft, policy_event, study
from triage_node.store.upgrade import differences, upgrade

UID = "1.2.3"
HOSPITALS = "alpha", "beta"


@pytest.fixture(scope="module")
def shared_url(postgres_url: str) -> str:
    return shared_database(postgres_url, HOSPITALS)


@pytest.fixture
def hospitals(shared_url: str) -> Iterator[tuple[Store, Store]]:
    """The same study, policy and trail at both, each made by its own login."""
    stores = tuple(of_hospital(shared_url, name) for name in HOSPITALS)
    with superuser(shared_url) as c:
        c.execute(text("SET LOCAL session_replication_role = replica"))  # the trail's triggers would refuse
        for table in reversed(metadata.sorted_tables):
            c.execute(table.delete())
    yield stores
    for store in stores:
        store.close()


def superuser(shared_url: str):
    return open_store(as_login(shared_url, SUPERUSER), as_owner=True).engine.begin()


def test_every_table_bears_the_tenant_and_no_key_from_outside_lacks_it(store):
    with store.read() as c:
        if store.is_sqlite:
            made = dict(c.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")).tuples().all())
            lacking = {name for name in made if "DEFAULT 'site' NOT NULL CHECK (tenant = 'site')" not in made[name]}
            assert lacking - {"sqlite_sequence"} == {"alembic_version"}
            return
        assert unprotected(c) == {"alembic_version"}
        c.execute(text("CREATE TABLE forgotten (uid TEXT PRIMARY KEY, tenant TEXT)"))
        assert unprotected(c) == {"alembic_version", "forgotten"}


def unprotected(c):
    """Tables that lack row security, its policy, or the tenant in a key which is more than a number of the database."""
    query = """
        SELECT t.relname FROM pg_class t WHERE t.relkind = 'r' AND t.relnamespace = 'public'::regnamespace AND (
          NOT (t.relrowsecurity AND t.relforcerowsecurity)
          OR (SELECT count(*) FROM pg_policy p WHERE p.polrelid = t.oid AND p.polcmd = '*') <> 1
          OR NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'tenant' AND a.attnotnull
                           AND a.atthasdef)
          OR EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = t.oid AND k.contype IN ('p', 'u', 'f') AND NOT EXISTS (
               SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = ANY (k.conkey)
                 AND (a.attname = 'tenant' OR (a.attname = 'id' AND k.contype = 'p')))))"""
    return set(c.execute(text(query)).scalars())


def test_hospitals_with_the_same_uids_and_names_work_side_by_side(hospitals):
    for store, probability in zip(hospitals, (0.3, 0.4), strict=True):
        meta.set_simulation(store, probability == 0.3)
        policy.add(store, [OperatingPoint("ich", probability, 0.6, 0)], "ada", "first", NOW)
        with store.write() as c:
            c.execute(insert(study).values(**one_study(probability)))
    for store, probability in zip(hospitals, (0.3, 0.4), strict=True):
        assert meta.is_simulation(store) == (probability == 0.3)
        assert policy.current(store)["ich"].raise_probability == probability
        with store.write() as c:
            assert c.execute(update(study).values(tries=1)).rowcount == 1
            assert c.execute(select(study.c.description)).scalars().all() == [str(probability)]


def test_each_hospital_has_a_chain_of_its_own_that_holds(hospitals):
    for k in range(6):
        with hospitals[k % 2].write() as c:
            audit.record(c, NOW + timedelta(seconds=k), f"person {k}", "looked", UID)
    for k, store in enumerate(hospitals):
        verdict = audit_chain.verify(store)
        assert (verdict.problem, verdict.entries) == ("", 3)
        found = list(audit_search.entries(store, AuditSearch()))
        assert [e.actor for e in found] == [f"person {i}" for i in range(k, 6, 2)]


@pytest.fixture
def intruder(hospitals, shared_url) -> Store:
    """Alpha's login, with one row of beta's in every table."""
    with superuser(shared_url) as c:
        for table in metadata.sorted_tables:
            c.execute(insert(table).values(tenant="beta", **a_row(table)))
    return hospitals[0]


def test_no_table_shows_changes_or_loses_a_row_of_another_hospital(intruder, shared_url):
    for table in metadata.sorted_tables:
        anything = next(column for column in table.columns if column.name != "tenant")
        with intruder.write() as c:
            assert c.execute(select(table)).all() == [], table.name
            assert c.execute(update(table).values({anything: anything})).rowcount == 0, table.name
            assert c.execute(table.delete()).rowcount == 0, table.name
        for statement in (
            insert(table).values(tenant="beta", **a_row(table)),
            text(f'TRUNCATE "{table.name}" CASCADE'),
        ):
            with pytest.raises(StoreError, match="row-level security|permission denied"), intruder.write() as c:
                c.execute(statement)
    with superuser(shared_url) as c:
        assert {c.execute(select(table.c.tenant)).scalar_one() for table in metadata.sorted_tables} == {"beta"}


@pytest.mark.parametrize(
    "attempt",
    [
        "SET triage.tenant = 'beta'",
        "SELECT set_config('triage.tenant', 'beta', false)",
        "SET row_security = off",
        "SET ROLE tenant_beta",
        "SET ROLE operator",
        "SET SESSION AUTHORIZATION tenant_beta",
        "ALTER TABLE study DISABLE ROW LEVEL SECURITY",
        "DROP POLICY of_tenant ON study",
        "CREATE POLICY mine ON study USING (true)",
        "CREATE OR REPLACE FUNCTION triage_tenant() RETURNS text LANGUAGE sql AS $$ SELECT 'beta' $$",
        "CREATE FUNCTION mine() RETURNS SETOF study LANGUAGE sql SECURITY DEFINER AS $$ SELECT * FROM study $$",
        "CREATE VIEW mine AS SELECT * FROM study",
        "ALTER ROLE tenant_alpha RENAME TO tenant_beta",
        "GRANT tenant_beta TO tenant_alpha",
        "COPY study TO PROGRAM 'cat'",
        "SELECT most_common_vals FROM pg_stats WHERE tablename = 'study' AND attname = 'study_instance_uid'",
        "SELECT 1 FROM study WHERE study_instance_uid LIKE '%' OR 1 / (length(study_instance_uid) - 3) > 0",
        "INSERT INTO study SELECT * FROM study ON CONFLICT DO NOTHING",
    ],
)
def test_a_login_cannot_talk_itself_into_another_hospital(intruder, attempt):
    with intruder.engine.connect() as c:
        told = refused_or_told(c, attempt)
        assert told in (None, [], [("beta",)]), told  # what was set is told back, and sets nothing
        c.commit()
        assert not refused_or_told(c, "SELECT study_instance_uid FROM study")
        c.invalidate()


def refused_or_told(c, statement):
    """Rows, or None when the database refused (with row_security off: because some would be missing)."""
    try:
        told = c.execute(text(statement))
        return [tuple(row) for row in told] if told.returns_rows else []
    except DBAPIError:
        c.rollback()
        return None


def test_a_reference_to_a_row_of_another_hospital_is_refused(intruder, shared_url):
    with superuser(shared_url) as c:
        of_beta = c.execute(select(policy_draft.c.id)).scalar_one()
    values = {"draft_id": of_beta, "at": NOW, "by": "eve", "event": "proposed"}
    with pytest.raises(StoreError, match="fk_policy_event"), intruder.write() as c:
        c.execute(insert(policy_event).values(**values))


def test_a_revision_of_the_owner_reaches_the_rows_of_every_hospital_and_locks_up_again(intruder, shared_url):
    owner = open_store(shared_url, as_owner=True)
    with owner.write() as c:
        assert c.execute(update(study).values(tries=7)).rowcount == 0
        tenancy.loosen(c)
        assert c.execute(update(study).values(tries=7)).rowcount == 1
        tenancy.settle(c, owner.tenant)
        assert c.execute(update(study).values(tries=8)).rowcount == 0
    assert differences(owner) == []
    owner.close()


def test_a_node_of_another_hospital_does_not_start(shared_url, hospitals, tmp_path):
    file = f"sqlite:///{tmp_path / 'triage.db'}"
    upgrade(open_store(file, "alpha"))
    meta.set_simulation(open_store(file, "alpha"), True)
    for url in (file, as_login(shared_url, "tenant_alpha")):
        with pytest.raises(StoreError, match="belongs to the tenant 'alpha', and store.tenant is 'beta'"):
            meta.is_simulation(open_store(url, "beta"))


@pytest.mark.parametrize(("login", "refused"), [("tenant_alpha", False), ("operator", True), ("triage", True)])
def test_a_login_that_may_see_every_hospital_serves_none(shared_url, hospitals, login, refused):
    store = open_store(as_login(shared_url, login), "alpha")
    with pytest.raises(AnotherTenant, match="may see all of them") if refused else nullcontext(), store.read() as c:
        assert c.execute(text("SELECT triage_tenant()")).scalar() == "alpha"
    store.close()


def one_study(description: object) -> dict[str, object]:
    return {
        "study_instance_uid": UID,
        "state": "complete",
        "arrived_at": NOW,
        "last_instance_at": NOW,
        "identity": {},
        "description": str(description),
    }


def a_row(table: Table) -> dict[str, object]:
    """Something in every column that may not be empty; all numbers are the same, so that references hold."""
    values: dict[str, object] = {}
    for column in table.columns:
        kind = column.type
        if column.name == "tenant" or (column.nullable and not column.foreign_keys):
            continue
        if isinstance(kind, Instant):
            values[column.name] = NOW
        elif isinstance(kind, Boolean):
            values[column.name] = True
        elif isinstance(kind, Float | Integer):
            values[column.name] = 1_000_000
        elif kind.python_type is dict:
            values[column.name] = {}
        else:
            values[column.name] = "x"
    return values
