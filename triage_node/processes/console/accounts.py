"""Accounts on the store: who stands behind a request, and what the pages of logins and users do."""

from __future__ import annotations

from collections.abc import Callable

from triage_node.config.web import ProviderSettings, WebSettings
from triage_node.console.accounts import AccountsDeps, ProviderDeps
from triage_node.console.security import Asked, Identify
from triage_node.domain.account import AccountRefused, Known, SessionLimits
from triage_node.domain.person import Person, Role
from triage_node.processes.running import now
from triage_node.store import accounts, api_tokens, sessions
from triage_node.store.engine import Store


def session_limits(web: WebSettings) -> SessionLimits:
    return SessionLimits(web.session_idle_min * 60, web.session_h * 3600)


def identify(store: Store, web: WebSettings) -> Identify:
    limits = session_limits(web)

    def who(asked: Asked) -> Known | None:
        if asked.token:
            token = api_tokens.who(store, now(), asked.token)
            return Known(token.person, token.scopes) if token is not None else None
        if asked.session:
            account = sessions.who(store, now(), asked.session, limits, asked.is_used)
            return Known(account.person, None, account.must_change) if account is not None else None
        return None

    return who


def accounts_deps(store: Store, web: WebSettings) -> AccountsDeps:
    limits = session_limits(web)

    def log_in(name: str, password: str, address: str) -> str | None:
        account = accounts.with_password(store, now(), name, password)
        if account is None:
            sessions.login_failed(store, now(), name, address, "password")
            return None
        return sessions.open_session(store, now(), account, address, "password", limits)

    def change_password(person: Person, old: str, new: str, address: str) -> str:
        accounts.change_password(store, now(), person.name, old, new)
        account = accounts.get(store, person.name)
        if account is None:
            raise AccountRefused("There is no such account any more.")
        return sessions.open_session(store, now(), account, address, "password", limits)

    def enter(issuer: str, subject: str, name: str, roles: frozenset[Role], address: str) -> str:
        account = accounts.from_provider(store, now(), issuer, subject, name, roles)
        if account is None:
            raise AccountRefused("This account is disabled on this node.")
        return sessions.open_session(store, now(), account, address, "provider", limits)

    def failed(address: str, why: str) -> None:
        sessions.login_failed(store, now(), "", address, why)

    return AccountsDeps(
        log_in=log_in,
        by_link=lambda secret, address: sessions.open_by_link(store, now(), secret, address, limits),
        log_out=lambda token: sessions.log_out(store, now(), token),
        change_password=change_password,
        account=lambda name: accounts.get(store, name),
        accounts=lambda: accounts.all_accounts(store),
        sessions=lambda name: sessions.sessions_of(store, now(), name),
        add=lambda by, name, roles: accounts.add(store, now(), by.name, name, roles),
        reset_password=lambda by, name: accounts.reset_password(store, now(), by.name, name),
        set_roles=lambda by, name, roles: accounts.set_roles(store, now(), by.name, name, roles),
        set_disabled=lambda by, name, disabled: accounts.set_disabled(store, now(), by.name, name, disabled),
        end_sessions=lambda by, name: sessions.end_all(store, now(), by.name, name),
        tokens=lambda: api_tokens.all_tokens(store),
        add_token=lambda by, name, roles, scopes, days: api_tokens.add(
            store, now(), by.name, name, roles, scopes, days
        ),
        revoke_token=lambda by, name: api_tokens.revoke(store, now(), by.name, name),
        provider=_provider(web.provider, enter, failed) if web.provider is not None else None,
        is_tls=web.is_tls,
    )


def _provider(
    settings: ProviderSettings,
    enter: Callable[[str, str, str, frozenset[Role], str], str],
    failed: Callable[[str, str], None],
) -> ProviderDeps:
    # the client for requests brings pynetdicom along, which a page without a provider has no use for
    from triage_node.processes.console.provider import Provider

    return Provider(settings, enter, failed).deps
