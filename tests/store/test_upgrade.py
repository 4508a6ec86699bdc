"""Migrations: from nothing, from the first release, and twice."""

import re
from pathlib import Path

from alembic import command
from sqlalchemy import text

from tests.store.conftest import NOW
from triage_node.store import policy
from triage_node.store import upgrade as store_upgrade
from triage_node.store.upgrade import differences, is_current, upgrade


def test_empty_database_to_head_equals_the_schema(empty_store):
    assert not is_current(empty_store)
    old, new = upgrade(empty_store)
    assert old is None
    assert new == head()
    assert differences(empty_store) == []


def test_second_upgrade_changes_nothing(store):
    assert upgrade(store) == (head(), head())
    assert is_current(store)


def test_a_store_of_the_first_release_keeps_its_studies(empty_store):
    with empty_store.engine.connect() as c:
        config = store_upgrade._config()
        config.attributes["connection"] = c
        command.upgrade(config, "0001")
        c.commit()
    add_policy(empty_store)
    assert upgrade(empty_store) == ("0001", head())
    assert differences(empty_store) == []
    assert policy.current(empty_store)["ich"].version == 1


def head():
    """The one revision that no other one follows, by what their files say."""
    files = (Path(store_upgrade.__file__).parent / "migrations" / "versions").glob("0*.py")
    said = "\n".join(file.read_text() for file in files)
    (last,) = {*re.findall(r'^revision = "(\d+)"', said, re.M)} - {*re.findall(r'^down_revision = "(\d+)"', said, re.M)}
    return last


def add_policy(store):
    """As that release wrote it: today's functions name columns that it had not."""
    body = '{"ich": {"raise": 0.3, "notify": 0.6}}'
    row = {"version": 1, "created_at": NOW.replace(tzinfo=None), "created_by": "test", "why": "first", "body": body}
    with store.write() as c:
        c.execute(text(f"INSERT INTO policy ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})"), row)
