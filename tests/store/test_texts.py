"""Characters that one engine refuses and the other takes are the same on both."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, select

from triage_node.domain.audit import AuditSearch
from triage_node.store import accounts, audit, audit_chain, audit_search
from triage_node.store.engine import Store
from triage_node.store.schema import peer
from triage_node.store.texts import kept

AT = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
NULL, HALF = "a\0b", "a\ud800b"


@pytest.mark.parametrize("text", ["", "plain", "Größe\t中\r\n", "\N{GRINNING FACE}"])
def test_text_that_can_be_said_is_kept_as_it_is(text):
    assert kept(text) == text


@pytest.mark.parametrize("said", [NULL, HALF])
def test_an_entry_of_the_trail_with_such_a_text_is_kept_and_the_chain_holds(store: Store, said: str) -> None:
    with store.write() as c:
        audit.record(c, AT, said, said, said, said, said)
    (found,) = audit_search.entries(store, AuditSearch())
    assert {found.actor, found.action, found.subject, found.old, found.new} == {"a\N{REPLACEMENT CHARACTER}b"}
    assert audit_chain.verify(store).first_wrong is None


@pytest.mark.parametrize("said", [NULL, HALF])
def test_a_search_for_such_a_text_finds_nothing_and_harms_nobody(store: Store, said: str) -> None:
    accounts.add(store, AT, "test", "ab", frozenset())
    assert accounts.with_password(store, AT, said, "x") is None
    assert list(audit_search.entries(store, AuditSearch(who=said))) == []
    assert accounts.get(store, "ab") is not None


def test_many_rows_at_once_are_kept_too(store: Store) -> None:
    with store.write() as c:
        c.execute(insert(peer), [{"name": f"p{n}", "last_failure": said} for n, said in enumerate((NULL, HALF, "é"))])
        found = list(c.execute(select(peer.c.last_failure).order_by(peer.c.name)).scalars())
    assert found == ["a\N{REPLACEMENT CHARACTER}b"] * 2 + ["é"]
