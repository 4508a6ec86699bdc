"""A PostgreSQL database that hospitals share, as an operator makes it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import make_url, text

from triage_node.store import tenancy
from triage_node.store.engine import Store, open_store
from triage_node.store.upgrade import upgrade

OWNER, SUPERUSER = "operator", "triage"


def shared_database(server_url: str, hospitals: Sequence[str]) -> str:
    """Make it, with a login for each hospital. Returns its URL for the login that owns it and is no superuser."""
    server = open_store(server_url)
    with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        c.execute(text(f"CREATE ROLE {OWNER} LOGIN CREATEROLE"))
        c.execute(text(f"CREATE DATABASE region OWNER {OWNER}"))
    server.close()
    url = as_login(make_url(server_url).set(database="region").render_as_string(hide_password=False), OWNER)
    owner = open_store(url, as_owner=True)
    upgrade(owner)
    for hospital in hospitals:
        again = [make_url(tenancy.admit(owner, hospital)) for _ in range(2)]
        assert {u.username for u in again} == {f"tenant_{hospital}"}
        assert again[0].password != again[1].password
    owner.close()
    return url


def as_login(url: str, name: str) -> str:
    return make_url(url).set(username=name).render_as_string(hide_password=False)


def of_hospital(url: str, name: str) -> Store:
    return open_store(as_login(url, f"tenant_{name}"), name)
