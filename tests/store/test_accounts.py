"""Accounts, sessions and tokens: what opens the door, until when, and what of it the store and the audit trail keep."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.store.conftest import NOW
from triage_node.domain.account import AccountRefused, Scope, SessionLimits
from triage_node.domain.person import Role
from triage_node.store import accounts, api_tokens, audit, passwords, sessions
from triage_node.store.schema import api_token, session, user
from triage_node.store.schema import audit as audit_table

LIMITS = SessionLimits(idle_s=3600, absolute_s=12 * 3600)
READER, ADMIN = frozenset({Role.READER}), frozenset({Role.ADMINISTRATOR})
GOOD = "corn horse staple 7"


def later(**by: float):
    return NOW + timedelta(**by)


def everything(store) -> str:
    """All that the store holds of accounts, as text."""
    with store.read() as c:
        return "".join(str(c.execute(select(t)).all()) for t in (user, session, api_token, audit_table))


def actions(store, subject: str) -> list[tuple[str, str]]:
    return [(actor, action) for _, actor, action in audit.entries(store, subject)]


@pytest.fixture
def plain(monkeypatch):
    """Passwords without their cost, where they are not what is tested."""
    monkeypatch.setattr(passwords, "hashed", lambda password: f"hash of {password}")
    monkeypatch.setattr(passwords, "matches", lambda held, password: held == f"hash of {password}")


def test_the_first_administrator_has_a_password_for_one_login_and_is_made_once(store):
    password = accounts.add_first(store, NOW, "triage-node init")
    account = accounts.with_password(store, NOW, " Admin ", password)
    assert (account.name, account.roles, account.must_change) == ("admin", ADMIN, True)
    assert accounts.with_password(store, NOW, "admin", password.upper()) is None
    assert accounts.with_password(store, NOW, "nobody", password) is None
    assert accounts.with_password(store, later(hours=72), "admin", password) is None
    assert accounts.add_first(store, NOW, "triage-node init") is None
    accounts.change_password(store, NOW, "admin", password, GOOD)
    account = accounts.with_password(store, later(days=900), "admin", GOOD)
    assert not account.must_change
    assert accounts.with_password(store, NOW, "admin", password) is None
    assert password not in everything(store)
    assert GOOD not in everything(store)
    assert "$argon2id$" in everything(store)
    assert actions(store, "admin") == [("triage-node init", "account added"), ("admin", "password changed")]


@pytest.mark.parametrize("password", ["short pass 1", "123QWEasdZXC", " m.okafor-lee ", "aaaaabbbbbcccc", "x" * 257])
def test_the_first_passwords_that_anybody_would_try_are_refused(password):
    password = password[:11] if password.startswith("short") else password
    with pytest.raises(AccountRefused):
        passwords.check("m.okafor-lee", password)


def test_more_checks_than_the_machine_bears_are_refused_at_once(monkeypatch):
    monkeypatch.setattr(passwords, "_line", passwords.threading.BoundedSemaphore(1))
    with passwords._in_line(), pytest.raises(passwords.TooBusy):
        passwords.matches("", GOOD)
    assert not passwords.matches("", GOOD)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a" * 65, "../x", "Jörg", "a\n"[:1] + "\u202e", "<b>"])
def test_a_name_that_is_none_makes_no_account(store, plain, name):
    with pytest.raises(AccountRefused):
        accounts.add(store, NOW, "admin", name, READER)
    assert accounts.all_accounts(store) == []


def test_a_session_ends_by_idleness_by_age_by_logout_and_with_its_account(store, plain):
    accounts.add(store, NOW, "admin", "lee", READER)
    lee = accounts.get(store, "lee")
    token = sessions.open_session(store, NOW, lee, "10.0.0.7", "password", LIMITS)
    assert token not in everything(store)
    assert sessions.who(store, later(minutes=59), token, LIMITS, is_used=False) == lee
    assert sessions.who(store, later(minutes=60), token, LIMITS) is None
    assert sessions.who(store, later(minutes=59), token, LIMITS) == lee
    assert sessions.who(store, later(minutes=90), token, LIMITS) == lee
    for half_hour in range(4, 24):
        assert sessions.who(store, later(minutes=30 * half_hour), token, LIMITS) == lee
    assert sessions.who(store, later(hours=12), token, LIMITS) is None

    def again() -> str:
        return sessions.open_session(store, NOW, lee, "10.0.0.7", "password", LIMITS)

    for end in (
        lambda token: sessions.log_out(store, NOW, token),
        lambda token: sessions.end_all(store, NOW, "admin", "lee"),
        lambda token: accounts.reset_password(store, NOW, "admin", "lee"),
        lambda token: accounts.set_disabled(store, NOW, "admin", "lee", True),
    ):
        token = again()
        end(token)
        assert sessions.who(store, NOW, token, LIMITS) is None
    assert sessions.sessions_of(store, NOW) == []
    assert ("lee", "logout") in actions(store, "lee")
    assert ("admin", "account disabled") in actions(store, "lee")


def test_a_link_opens_one_session_within_its_minutes(store):
    accounts.add_without_password(store, NOW, "demo", "demo", READER)
    first, second = sessions.link(store, NOW, "demo"), sessions.link(store, NOW, "demo")
    assert sessions.who(store, NOW, first, LIMITS) is None
    token = sessions.open_by_link(store, later(minutes=14), first, "127.0.0.1", LIMITS)
    assert sessions.who(store, later(minutes=14), token, LIMITS).name == "demo"
    assert sessions.open_by_link(store, later(minutes=14), first, "127.0.0.1", LIMITS) is None
    assert sessions.open_by_link(store, later(minutes=15), second, "127.0.0.1", LIMITS) is None
    assert sessions.open_by_link(store, NOW, token, "127.0.0.1", LIMITS) is None
    assert accounts.with_password(store, NOW, "demo", "") is None
    assert first not in everything(store)


def test_the_last_administrator_stays_one(store, plain):
    accounts.add(store, NOW, "init", "admin", ADMIN)
    accounts.add(store, NOW, "admin", "second", ADMIN)
    accounts.set_disabled(store, NOW, "admin", "second", True)
    for change in (
        lambda: accounts.set_disabled(store, NOW, "admin", "admin", True),
        lambda: accounts.set_roles(store, NOW, "admin", "admin", READER),
    ):
        with pytest.raises(AccountRefused, match="only administrator"):
            change()
    accounts.set_disabled(store, NOW, "admin", "second", False)
    accounts.set_roles(store, NOW, "admin", "admin", READER)
    assert accounts.get(store, "admin").roles == READER


def test_somebody_of_a_provider_keeps_the_account_and_gets_the_roles_of_today(store, plain):
    def enter(subject, name, roles=READER):
        return accounts.from_provider(store, NOW, "https://id.example.org", subject, name, roles)

    accounts.add(store, NOW, "admin", "admin", ADMIN)
    assert enter("s1", "Lee").name == "lee"
    assert enter("s1", "renamed", ADMIN) == accounts.get(store, "lee")
    assert accounts.get(store, "lee").roles == ADMIN
    for name in ("admin", "lee"):
        with pytest.raises(AccountRefused, match="already"):
            enter("s2", name)
    with pytest.raises(AccountRefused, match="logs in at another place"):
        accounts.reset_password(store, NOW, "admin", "lee")
    accounts.set_disabled(store, NOW, "admin", "lee", True)
    assert enter("s1", "lee") is None


def test_a_failed_login_is_written_without_a_name_that_may_be_a_password(store, plain):
    accounts.add(store, NOW, "admin", "lee", READER)
    sessions.login_failed(store, NOW, "LEE", "10.0.0.7", "password")
    sessions.login_failed(store, NOW, GOOD, "10.0.0.7", "password")
    assert actions(store, "lee")[-1] == ("page from 10.0.0.7", "login failed")
    assert actions(store, sessions.UNKNOWN) == [("page from 10.0.0.7", "login failed")]
    assert GOOD not in everything(store)
    assert audit.first_broken(store) is None


def test_a_token_is_kept_as_a_hash_and_ends_by_date_and_by_revocation(store):
    def add(name, days=30):
        return api_tokens.add(store, NOW, "admin", name, READER, frozenset({Scope.READ}), days)

    token = add("ris")
    found = api_tokens.who(store, NOW, token)
    assert (found.person.name, found.person.is_program, found.roles, found.scopes) == (
        "token ris",
        True,
        READER,
        {Scope.READ},
    )
    assert api_tokens.all_tokens(store)[0].used_at == NOW
    assert api_tokens.who(store, later(days=30), token) is None
    assert api_tokens.who(store, NOW, token + "x") is None
    api_tokens.revoke(store, NOW, "admin", "ris")
    assert api_tokens.who(store, NOW, token) is None
    for refused in (lambda: add("ris"), lambda: add("other", 0), lambda: add("other", 367)):
        with pytest.raises(AccountRefused):
            refused()
    with pytest.raises(AccountRefused, match="no token"):
        api_tokens.revoke(store, NOW, "admin", "ris")
    assert token not in everything(store)
    assert actions(store, "ris") == [("admin", "token added"), ("admin", "token revoked")]


def test_a_database_that_takes_nothing_still_tells_who_somebody_is(store, plain):
    accounts.add(store, NOW, "admin", "lee", READER)
    account = accounts.get(store, "lee")
    token = sessions.open_session(store, NOW, account, "127.0.0.1", "password", LIMITS)
    program = api_tokens.add(store, NOW, "admin", "probe", READER, frozenset({Scope.READ}), 9)
    with store.engine.connect() as c:
        only_read = "PRAGMA query_only = 1" if store.is_sqlite else "SET default_transaction_read_only = on"
        c.exec_driver_sql(only_read)
        c.commit()
    assert sessions.who(store, later(minutes=59), token, LIMITS) == account
    assert api_tokens.who(store, later(days=1), program) is not None
