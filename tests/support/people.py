"""Who asks the page in a test: sessions and tokens made in the store, without the cost of a password."""

from __future__ import annotations

from fastapi.testclient import TestClient

from triage_node.console.app import create_app
from triage_node.domain.account import Scope, SessionLimits
from triage_node.domain.person import Role
from triage_node.processes.running import Running, now
from triage_node.processes.web import console_deps, rooms
from triage_node.store import accounts, api_tokens, sessions
from triage_node.store.engine import Store

LIMITS = SessionLimits(idle_s=3600, absolute_s=12 * 3600)
EVERYTHING = frozenset(Role)
EVERYBODY = "everybody"
"""The account with all roles."""
OURS = {"sec-fetch-site": "same-origin"}
"""What a browser says when one of our own pages changes something."""


def cookie(store: Store, *roles: Role) -> dict[str, str]:
    """The cookie of somebody with these roles, with all of them when none is named."""
    held = frozenset(roles) or EVERYTHING
    name = "-".join(sorted(roles)) or EVERYBODY
    account = accounts.get(store, name)
    if account is None:
        accounts.add_without_password(store, now(), "test", name, held)
        account = accounts.get(store, name)
        assert account is not None
    return {"triage": sessions.open_session(store, now(), account, "127.0.0.1", "test", LIMITS)}


def bearer(store: Store, name: str, *scopes: Scope, roles: frozenset[Role] = EVERYTHING) -> dict[str, str]:
    """The header of a program with these scopes, with all of them when none is named."""
    made = api_tokens.add(store, now(), "test", name, roles, frozenset(scopes) or frozenset(Scope), 1)
    return {"authorization": f"Bearer {made}"}


def anybody(running: Running) -> TestClient:
    """The console on a store, in a browser where nobody is logged in. Redirects are not followed."""
    app = create_app(console_deps(running), rooms(running))
    return TestClient(app.guarded, base_url="http://127.0.0.1:8080", headers=OURS, follow_redirects=False)


def page_of(running: Running, *roles: Role) -> TestClient:
    """The same where somebody with these roles is logged in, with all of them when none is named. Redirects are followed."""
    client = anybody(running)
    client.cookies = cookie(running.store, *roles)  # type: ignore[assignment]
    client.follow_redirects = True
    return client
