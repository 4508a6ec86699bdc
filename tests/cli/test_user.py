"""Accounts and tokens on the command line; the first administrator where a person looks at the terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.store_place import before_init
from triage_node.cli.main import app
from triage_node.cli.user import NOBODY, first_administrator
from triage_node.config.load import load
from triage_node.domain.account import Scope
from triage_node.domain.errors import TriageNodeError
from triage_node.domain.person import Role
from triage_node.processes.running import now
from triage_node.store import accounts, api_tokens
from triage_node.store.engine import Store, open_store

PROGRAM = Path(sys.executable).with_name("triage-node")


def run(config: Path, *arguments: str):
    return CliRunner().invoke(app, [*arguments, "--config", str(config)], catch_exceptions=True)


def store_of(config: Path) -> Store:
    return open_store(load(config)[0].database_url)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = before_init(tmp_path / "node.toml")
    done = run(path, "init", "--simulation")
    assert done.exit_code == 0, done.output
    assert NOBODY in done.output.replace("\n", " ")
    return path


def test_an_account_is_made_listed_and_reset_and_only_the_secret_goes_to_standard_output(config):
    made = run(config, "user", "add", "Lee", "--role", "reader", "--role", "radiologist")
    store = store_of(config)
    password = made.stdout.strip()
    assert accounts.with_password(store, now(), "lee", password).roles == {Role.READER, Role.RADIOLOGIST}
    accounts.set_disabled(store, now(), "test", "lee", True)
    again = run(config, "user", "reset", "lee").stdout.strip()
    assert accounts.with_password(store, now(), "lee", again) is not None
    assert accounts.with_password(store, now(), "lee", password) is None
    listed = run(config, "user", "list").stdout
    assert "lee" in listed
    assert "one-time" in listed
    store.close()


def test_a_token_is_made_used_and_revoked(config):
    made = run(config, "token", "add", "ris", "--role", "reader", "--scope", "read", "--days", "30")
    store = store_of(config)
    found = api_tokens.who(store, now(), made.stdout.strip())
    assert (found.name, found.roles, found.scopes) == ("ris", {Role.READER}, {Scope.READ})
    assert "ris" in run(config, "token", "list").stdout
    assert run(config, "token", "revoke", "ris").exit_code == 0
    assert api_tokens.who(store, now(), made.stdout.strip()) is None
    store.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("user", "add", "a b", "--role", "reader"), "A name has"),
        (("user", "reset", "nobody"), "There is no account nobody"),
        (("token", "add", "x", "--role", "reader", "--scope", "read", "--days", "400"), "from 1 to 366 days"),
        (("token", "revoke", "nothing"), "no token nothing"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(config, arguments, words):
    done = run(config, *arguments)
    assert isinstance(done.exception, TriageNodeError)
    assert words in str(done.exception)
    assert run(config, "user", "add", "x", "--role", "chief").exit_code == 2


def test_the_first_administrator_is_made_on_a_terminal_once_and_never_into_a_log(tmp_path):
    config = before_init(tmp_path / "node.toml")
    master, slave = pty.openpty()
    process = subprocess.Popen([PROGRAM, "init", "--config", str(config)], stdout=slave, stderr=slave, stdin=slave)
    os.close(slave)
    said = b""
    try:
        while more := os.read(master, 4096):
            said += more
    except OSError:  # how a terminal says that nobody writes to it any more
        pass
    os.close(master)
    assert process.wait(60) == 0
    found = re.search(r"name admin, one-time password ([a-z0-9-]{23}) ", said.decode())
    store = store_of(config)
    account = accounts.with_password(store, now(), "admin", found[1])
    assert (account.roles, account.must_change) == ({Role.ADMINISTRATOR}, True)
    assert list(first_administrator(store, on_terminal=True)) == []
    store.close()


def test_where_nobody_looks_the_way_to_an_account_is_told_instead(config):
    store = store_of(config)
    assert list(first_administrator(store, on_terminal=False)) == [NOBODY]
    assert accounts.all_accounts(store) == []
    store.close()
