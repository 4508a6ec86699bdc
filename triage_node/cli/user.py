"""`triage-node user ...` and `triage-node token ...`: accounts of people and tokens of programs, without the page.

What is secret goes to standard output alone, on a line of its own; everything else to standard error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from triage_node.cli.terminal import terminal
from triage_node.config.load import load
from triage_node.config.schema import Settings
from triage_node.domain.account import AccountRefused, Scope
from triage_node.domain.errors import TriageNodeError
from triage_node.domain.person import Role
from triage_node.processes.running import now
from triage_node.store import accounts, api_tokens
from triage_node.store.engine import Store, open_store
from triage_node.store.upgrade import is_current

BY = "triage-node command line"
user = typer.Typer(help="Accounts of people: add, reset, list.", no_args_is_help=True)
token = typer.Typer(help="Tokens of programs that ask the API: add, revoke, list.", no_args_is_help=True)
_told = terminal(stderr=True)

Config = Annotated[Path | None, typer.Option("--config", "-c", envvar="TRIAGE_NODE_CONFIG", help="TOML file.")]
Roles = Annotated[
    list[Role],
    typer.Option(
        "--role",
        help="As often as needed. reader: sees the list, marks studies as read; radiologist: also says that a flag is wrong; "
        "administrator: thresholds, mode, operations, users; auditor: sees everything, changes nothing.",
    ),
]


@user.command("add")
def add_user(
    name: Annotated[str, typer.Argument(help="1 to 64 of a-z 0-9 . _ @ -")], role: Roles, config: Config = None
) -> None:
    """Make an account and print its one-time password, which must be changed at the first login within three days."""
    with _store(config) as store:
        password = accounts.add(store, now(), BY, name, frozenset(role))
    _told.print(f"One-time password of {name.strip().lower()}, for one login within three days:")
    print(password)


@user.command("reset")
def reset_user(name: str, config: Config = None) -> None:
    """Print a new one-time password of an account, enable it, and end its sessions: for who forgot, or was locked out."""
    with _store(config) as store:
        password = accounts.reset_password(store, now(), BY, name)
        accounts.set_disabled(store, now(), BY, name, False)
    _told.print(f"One-time password of {name}, for one login within three days:")
    print(password)


@user.command("list")
def list_users(config: Config = None) -> None:
    """Print every account with its roles."""
    with _store(config) as store:
        found = accounts.all_accounts(store)
    table = Table("name", "roles", "since (UTC)", "")
    for a in found:
        notes = [n for n, holds in (("disabled", a.disabled_at), ("one-time password", a.must_change)) if holds]
        table.add_row(a.name, accounts.words(a.roles), f"{a.created_at:%Y-%m-%d}", ", ".join(notes) or a.issuer)
    terminal().print(table if found else NOBODY)


@token.command("add")
def add_token(
    name: Annotated[str, typer.Argument(help="Name of the program; the audit trail names it.")],
    role: Roles,
    scope: Annotated[
        list[Scope],
        typer.Option(
            "--scope",
            help="As often as needed. read: everything under /api/ that its roles see; change: also changes there; "
            "monitor: /health and /metrics with details.",
        ),
    ],
    days: Annotated[int, typer.Option(help=f"How long it lives, at most {api_tokens.LONGEST_DAYS}.")] = 90,
    config: Config = None,
) -> None:
    """Make a token and print it, this once. A program sends it as "Authorization: Bearer TOKEN"."""
    with _store(config) as store:
        made = api_tokens.add(store, now(), BY, name, frozenset(role), frozenset(scope), days)
    _told.print(f"Token of {name.strip().lower()}, shown this once:")
    print(made)


@token.command("revoke")
def revoke_token(name: str, config: Config = None) -> None:
    """End a token at once."""
    with _store(config) as store:
        api_tokens.revoke(store, now(), BY, name)
    _told.print(f"{name} is revoked")


@token.command("list")
def list_tokens(config: Config = None) -> None:
    """Print every token with what it may do; the tokens themselves cannot be read again."""
    with _store(config) as store:
        found = api_tokens.all_tokens(store)
    table = Table("name", "roles", "scopes", "until (UTC)", "last used (UTC)")
    for t in found:
        until = f"{t.until:%Y-%m-%d}" if t.is_valid(now()) else "revoked" if t.revoked_at else "expired"
        used = f"{t.used_at:%Y-%m-%d %H:%M}" if t.used_at else "never"
        table.add_row(t.name, accounts.words(t.roles), accounts.words(t.scopes), until, used)
    terminal().print(table if found else "No program has a token.")


NOBODY = "Nobody can log in yet. Make an account: triage-node user add NAME --role administrator"


def first_administrator(store: Store, on_terminal: bool) -> Iterator[str]:
    """Make the first account of a node. On a terminal only: what goes to a log must not hold a password."""
    if accounts.all_accounts(store):
        return
    if not on_terminal:
        yield NOBODY
        return
    password = accounts.add_first(store, now(), BY)
    yield f"first administrator: name {accounts.FIRST}, one-time password {password} (change it at the first login)"


@contextmanager
def opened(config: Path | None) -> Iterator[tuple[Store, Settings]]:
    """The node's store, closed after the block. Raises: TriageNodeError when it has another schema."""
    settings, _ = load(config)
    store = open_store(settings.database_url, settings.store.tenant)
    try:
        if not is_current(store):
            raise TriageNodeError("the store has another schema; run `triage-node db upgrade`")
        yield store, settings
    finally:
        store.close()


@contextmanager
def _store(config: Path | None) -> Iterator[Store]:
    try:
        with opened(config) as (store, _):
            yield store
    except AccountRefused as refused:
        raise TriageNodeError(str(refused)) from None
