"""What the command line and the node itself do to a store, in the audit trail; `triage-node user` has its own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.store_place import before_init
from triage_node.cli.setup import bring_up, initialise
from triage_node.config.load import load
from triage_node.domain.audit import AuditSearch
from triage_node.domain.errors import TriageNodeError
from triage_node.processes.auditing.lifetime import told_in_audit
from triage_node.store import audit_search
from triage_node.store.engine import Store, open_store


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = before_init(tmp_path / "node.toml")
    list(initialise(path, True))
    list(initialise(path, True))  # again: nothing changes
    return path


def said(store: Store) -> list[tuple[str, str]]:
    return [(e.actor.split(" ")[0], e.action) for e in audit_search.entries(store, AuditSearch())]


def test_making_a_store_its_schema_and_first_thresholds_are_entries(config):
    store = open_store(load(config)[0].database_url)
    assert said(store) == [("triage-node", "store made"), ("triage-node", "policy added")]
    bring_up(store)  # current
    assert len(said(store)) == 2
    store.close()


def test_node_tells_its_start_and_its_end_whatever_ends_it(config):
    settings = load(config)[0]
    with pytest.raises(TriageNodeError, match="a role"), told_in_audit(settings, "version 1"):
        raise TriageNodeError("a role cannot start")
    store = open_store(settings.database_url)
    found = list(audit_search.entries(store, AuditSearch(action="node")))
    assert [(e.actor, e.action, e.subject, e.new) for e in found] == [
        ("node", "node started", "TRIAGE1", "version 1"),
        ("node", "node stopped", "TRIAGE1", ""),
    ]
    store.close()
