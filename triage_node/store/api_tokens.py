"""Tokens of programs that ask the API: shown once, kept as a hash, for a time, until somebody revokes them."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import Row, insert, select, update

from triage_node.domain.account import AccountRefused, ApiToken, Scope, account_name
from triage_node.domain.errors import StoreError
from triage_node.domain.person import Role
from triage_node.store import audit
from triage_node.store.accounts import words
from triage_node.store.engine import Store
from triage_node.store.schema import api_token
from triage_node.store.sessions import digest

LONGEST_DAYS = 366
_PREFIX = "triage_"  # so that a scanner for secrets can find one that was published
_USED_AGAIN = timedelta(minutes=1)


def add(
    store: Store, at: datetime, by: str, name: str, roles: frozenset[Role], scopes: frozenset[Scope], days: int
) -> str:
    """Returns the token; nobody can read it again. Raises: AccountRefused."""
    name, token = account_name(name), _PREFIX + secrets.token_urlsafe(32)
    if not 1 <= days <= LONGEST_DAYS:
        raise AccountRefused(f"A token lives from 1 to {LONGEST_DAYS} days.")
    with store.write() as c:
        if c.execute(select(api_token.c.name).where(api_token.c.name == name)).scalar() is not None:
            raise AccountRefused(f"There is, or was, a token {name}. The audit trail names it, so take another name.")
        until = at + timedelta(days=days)
        c.execute(
            insert(api_token).values(
                name=name, token_hash=digest(token), roles=sorted(roles), scopes=sorted(scopes), created_at=at,
                created_by=by, until=until,
            )
        )  # fmt: skip
        audit.record(c, at, by, "token added", name, new=f"{words(roles)}; may {words(scopes)}; until {until:%Y-%m-%d}")
    return token


def revoke(store: Store, at: datetime, by: str, name: str) -> None:
    """Raises: AccountRefused."""
    with store.write() as c:
        still = (api_token.c.name == name) & api_token.c.revoked_at.is_(None)
        if not c.execute(update(api_token).where(still).values(revoked_at=at)).rowcount:
            raise AccountRefused(f"There is no token {name[:64]} in force.")
        audit.record(c, at, by, "token revoked", name)


def all_tokens(store: Store) -> list[ApiToken]:
    with store.read() as c:
        return [_token_of(r) for r in c.execute(select(api_token).order_by(api_token.c.name))]


def who(store: Store, at: datetime, token: str) -> ApiToken | None:
    """What stands behind a token that is in force."""
    with store.read() as c:
        found = c.execute(select(api_token).where(api_token.c.token_hash == digest(token))).one_or_none()
    if found is None or not _token_of(found).is_valid(at):
        return None
    if found.used_at is None or at - found.used_at >= _USED_AGAIN:
        # a database that takes nothing must not keep people from the page that says so
        with suppress(StoreError), store.write() as c:
            c.execute(update(api_token).where(api_token.c.name == found.name).values(used_at=at))
    return _token_of(found)


def _token_of(row: Row[tuple[object, ...]]) -> ApiToken:
    return ApiToken(
        name=row.name,
        roles=frozenset(Role(r) for r in row.roles),
        scopes=frozenset(Scope(s) for s in row.scopes),
        created_at=row.created_at,
        created_by=row.created_by,
        until=row.until,
        used_at=row.used_at,
        revoked_at=row.revoked_at,
    )
