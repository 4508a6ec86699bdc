"""Accounts and their passwords. Every change is one transaction with its line in the audit trail."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from triage_node.domain.account import Account, AccountRefused, account_name
from triage_node.domain.person import Role
from triage_node.store import audit, passwords
from triage_node.store.engine import Store
from triage_node.store.schema import session, user

ONE_TIME_FOR = timedelta(hours=72)
"""How long a one-time password waits for its first use: over a weekend."""
FIRST = "admin"
_PROVIDER = "OpenID provider"


def add(store: Store, at: datetime, by: str, name: str, roles: frozenset[Role]) -> str:
    """Make an account. Returns its one-time password, which must be changed at the first login. Raises: AccountRefused."""
    name, password = account_name(name), passwords.one_time()
    password_hash = passwords.hashed(password)
    with store.write() as c:
        _add(c, at, by, name, roles, password_hash=password_hash, must_change=True, password_until=at + ONE_TIME_FOR)
    return password


def add_first(store: Store, at: datetime, by: str) -> str | None:
    """Make the first administrator and return the one-time password; None when there is an account already."""
    if all_accounts(store):
        return None
    return add(store, at, by, FIRST, frozenset({Role.ADMINISTRATOR}))


def add_without_password(store: Store, at: datetime, by: str, name: str, roles: frozenset[Role]) -> None:
    """Make an account that is entered by a link only (`sessions.link`). Raises: AccountRefused."""
    with store.write() as c:
        _add(c, at, by, account_name(name), roles)


def get(store: Store, name: str) -> Account | None:
    with store.read() as c:
        found = _row(c, name)
    return account_of(found) if found is not None else None


def all_accounts(store: Store) -> list[Account]:
    with store.read() as c:
        return [account_of(r) for r in c.execute(select(user).order_by(user.c.name))]


def with_password(store: Store, at: datetime, name: str, password: str) -> Account | None:
    """The account that has this name and password and may log in; an unknown name takes as long. Raises: TooBusy."""
    with store.read() as c:
        found = _row(c, name.strip().lower())
    if not passwords.matches(found.password_hash if found is not None else "", password) or found is None:
        return None
    too_late = found.password_until is not None and at >= found.password_until
    return None if too_late or found.disabled_at is not None else account_of(found)


def change_password(store: Store, at: datetime, name: str, old: str, new: str) -> None:
    """Every session of the account ends. Raises: AccountRefused."""
    if with_password(store, at, name, old) is None:
        raise AccountRefused("The password in use until now is another one.")
    if old == new:
        raise AccountRefused("The new password is the old one.")
    passwords.check(name, new)
    password_hash = passwords.hashed(new)
    with store.write() as c:
        _set(c, name, password_hash=password_hash, must_change=False, password_until=None)
        end_sessions(c, name)
        audit.record(c, at, name, "password changed", name)


def reset_password(store: Store, at: datetime, by: str, name: str) -> str:
    """Returns a one-time password; every session of the account ends. Raises: AccountRefused."""
    password = passwords.one_time()
    password_hash = passwords.hashed(password)
    with store.write() as c:
        if _known(c, name).issuer:
            raise AccountRefused(f"{name} logs in at another place, which keeps the password.")
        _set(c, name, password_hash=password_hash, must_change=True, password_until=at + ONE_TIME_FOR)
        end_sessions(c, name)
        audit.record(c, at, by, "one-time password made", name)
    return password


def set_roles(store: Store, at: datetime, by: str, name: str, roles: frozenset[Role]) -> None:
    """Raises: AccountRefused, also where nobody could administer the node any more."""
    with store.write() as c:
        old = _known(c, name)
        if old.roles == roles:
            return
        if Role.ADMINISTRATOR not in roles:
            _leave_an_administrator(c, old)
        _set(c, name, roles=sorted(roles))
        audit.record(c, at, by, "roles changed", name, words(old.roles), words(roles))


def set_disabled(store: Store, at: datetime, by: str, name: str, disabled: bool) -> None:
    """A disabled account keeps its name and history, and its sessions end. Raises: AccountRefused."""
    with store.write() as c:
        old = _known(c, name)
        if disabled is (old.disabled_at is not None):
            return
        if disabled:
            _leave_an_administrator(c, old)
            end_sessions(c, name)
        _set(c, name, disabled_at=at if disabled else None)
        audit.record(c, at, by, "account disabled" if disabled else "account enabled", name)


def from_provider(
    store: Store, at: datetime, issuer: str, subject: str, name: str, roles: frozenset[Role]
) -> Account | None:
    """The account of somebody whom an OpenID provider knows, with the roles that it says now; None when it is disabled.

    It is made at the first login. An account belongs to (issuer, subject), never to the name that the provider tells: else
    whoever may choose a name there could enter as a colleague here. Raises: AccountRefused when another one has the name.
    """
    with store.write() as c:
        query = select(user).where(user.c.issuer == issuer, user.c.subject == subject)
        found = c.execute(query).one_or_none()
        if found is None:
            _add(c, at, _PROVIDER, account_name(name), roles, issuer=issuer, subject=subject)
        elif found.disabled_at is not None:
            return None
        elif frozenset(found.roles) != roles:
            _set(c, found.name, roles=sorted(roles))
            audit.record(c, at, _PROVIDER, "roles changed", found.name, ", ".join(found.roles), words(roles))
        return account_of(c.execute(query).one())


def end_sessions(c: Connection, name: str) -> int:
    """End every session and unused link of an account in the caller's transaction. Returns how many there were."""
    return c.execute(delete(session).where(session.c.user_name == name)).rowcount


def account_of(row: Row[Any]) -> Account:
    return Account(
        name=row.name,
        roles=frozenset(Role(r) for r in row.roles),
        created_at=row.created_at,
        must_change=row.must_change,
        disabled_at=row.disabled_at,
        issuer=row.issuer,
        subject=row.subject,
    )


def words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _add(c: Connection, at: datetime, by: str, name: str, roles: frozenset[Role], **values: Any) -> None:
    if _row(c, name) is not None:
        raise AccountRefused(f"There is an account {name} already.")
    known = {"password_hash": "", "must_change": False, "issuer": "", "subject": ""}
    c.execute(insert(user).values(name=name, roles=sorted(roles), created_at=at, **(known | values)))
    audit.record(c, at, by, "account added", name, new=words(roles))


def _row(c: Connection, name: str) -> Row[Any] | None:
    return c.execute(select(user).where(user.c.name == name)).one_or_none()


def _known(c: Connection, name: str) -> Account:
    found = _row(c, name)
    if found is None:
        raise AccountRefused(f"There is no account {name[:64]}.")
    return account_of(found)


def _set(c: Connection, name: str, **values: Any) -> None:
    c.execute(update(user).where(user.c.name == name).values(**values))


def _leave_an_administrator(c: Connection, leaving: Account) -> None:
    """Raises: AccountRefused when nobody else can make and change accounts."""
    if Role.ADMINISTRATOR not in leaving.roles:
        return
    others = c.execute(select(user.c.roles).where(user.c.name != leaving.name, user.c.disabled_at.is_(None)))
    if not any(Role.ADMINISTRATOR in r.roles for r in others):
        raise AccountRefused(f"{leaving.name} is the only administrator. Make another one first.")
