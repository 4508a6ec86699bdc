"""Who is logged in. A session is a random token; the store keeps its hash, so that a copy of the store opens nothing."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from triage_node.domain.account import NODE, Account, AccountRefused, OpenSession, SessionLimits
from triage_node.domain.errors import StoreError
from triage_node.store import audit
from triage_node.store.accounts import account_of, end_sessions
from triage_node.store.engine import Store
from triage_node.store.schema import session, user

LINK_FOR = timedelta(minutes=15)
UNKNOWN = "(no such account)"
"""The subject of a failed login whose name is nobody's: people type passwords into the name field."""
_SEEN_AGAIN = timedelta(seconds=30)  # a write each page would be dear
_SESSION, _LINK = "session", "link"


def open_session(store: Store, at: datetime, account: Account, address: str, via: str, limits: SessionLimits) -> str:
    """Log in somebody whom the caller has recognised. Returns the token."""
    with store.write() as c:
        return _open(c, at, account.name, address, via, limits)


def login_failed(store: Store, at: datetime, name: str, address: str, why: str) -> None:
    """Write to the audit trail that a login failed; a name that is no account's is not written."""
    with store.write() as c:
        known = c.execute(select(user.c.name).where(user.c.name == name.strip().lower())).scalar()
        audit.record(c, at, f"page from {address}", "login failed", known or UNKNOWN, new=why)


def who(store: Store, at: datetime, token: str, limits: SessionLimits, is_used: bool = True) -> Account | None:
    """The account behind a token. `is_used` false: a page that asks by itself, which does not keep a session open."""
    with store.read() as c:
        query = select(user, session.c.seen_at, session.c.until).join(session, session.c.user_name == user.c.name)
        found = c.execute(query.where(session.c.token_hash == digest(token), session.c.kind == _SESSION)).one_or_none()
    idle = timedelta(seconds=limits.idle_s)
    if found is None or at >= found.until or at - found.seen_at >= idle or found.disabled_at is not None:
        return None
    if is_used and at - found.seen_at >= min(_SEEN_AGAIN, idle / 4):
        # a database that takes nothing must not keep people from the page that says so
        with suppress(StoreError), store.write() as c:
            c.execute(update(session).where(session.c.token_hash == digest(token)).values(seen_at=at))
    return account_of(found)


def log_out(store: Store, at: datetime, token: str) -> None:
    with store.write() as c:
        name = c.execute(select(session.c.user_name).where(session.c.token_hash == digest(token))).scalar()
        if name is not None:
            c.execute(delete(session).where(session.c.token_hash == digest(token)))
            audit.record(c, at, name, "logout", name)


def end_all(store: Store, at: datetime, by: str, name: str) -> None:
    """End every session of an account."""
    with store.write() as c:
        if ended := end_sessions(c, name):
            audit.record(c, at, by, "sessions ended", name, str(ended), "0")


def sessions_of(store: Store, at: datetime, name: str = "") -> list[OpenSession]:
    """Those of one account, or of all; the latest first."""
    query = select(session).where(session.c.kind == _SESSION, session.c.until > at)
    if name:
        query = query.where(session.c.user_name == name)
    with store.read() as c:
        found = c.execute(query.order_by(session.c.seen_at.desc()))
        return [OpenSession(r.user_name, r.opened_at, r.seen_at, r.address, r.via) for r in found]


def link(store: Store, at: datetime, name: str) -> str:
    """A secret that logs in as `name` once, within LINK_FOR. Raises: AccountRefused."""
    token = secrets.token_urlsafe(32)
    with store.write() as c:
        if c.execute(select(user.c.name).where(user.c.name == name)).scalar() is None:
            raise AccountRefused(f"There is no account {name}.")
        _put(c, token, at, name, _LINK, at + LINK_FOR, "", "link")
        audit.record(c, at, NODE, "login link made", name)
    return token


def open_by_link(store: Store, at: datetime, secret: str, address: str, limits: SessionLimits) -> str | None:
    """The token of a new session; None when the link was used before, is too old, or never was one."""
    with store.write() as c:
        is_it = (session.c.token_hash == digest(secret)) & (session.c.kind == _LINK)
        query = select(session.c.user_name, session.c.until, user.c.disabled_at).join(user)
        found = c.execute(query.where(is_it)).one_or_none()
        if found is None or not c.execute(delete(session).where(is_it)).rowcount:
            return None
        if at >= found.until or found.disabled_at is not None:
            return None
        return _open(c, at, found.user_name, address, "link", limits)


def digest(token: str) -> str:
    """What is kept of a random token. It cannot be guessed, so no slow hash is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def _open(c: Connection, at: datetime, name: str, address: str, via: str, limits: SessionLimits) -> str:
    c.execute(delete(session).where(session.c.until <= at))
    token = secrets.token_urlsafe(32)
    _put(c, token, at, name, _SESSION, at + timedelta(seconds=limits.absolute_s), address, via)
    audit.record(c, at, name, "login", name, new=f"{via} from {address}")
    return token


def _put(
    c: Connection, token: str, at: datetime, name: str, kind: str, until: datetime, address: str, via: str
) -> None:
    c.execute(
        insert(session).values(
            token_hash=digest(token), user_name=name, kind=kind, opened_at=at, seen_at=at, until=until, address=address,
            via=via,
        )
    )  # fmt: skip
