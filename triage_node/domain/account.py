"""Accounts of people, sessions that they have open, and tokens of programs that ask the API."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from triage_node.domain.errors import TriageNodeError
from triage_node.domain.person import Person, Role

NODE = "triage-node"
"""Who acts where the node itself or its command line makes an account."""
_E = TypeVar("_E", bound=StrEnum)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._@-]{0,62}[a-z0-9])?")


class AccountRefused(TriageNodeError):
    """An account, a password or a token cannot be made or changed like this; the message is for whoever wants it."""


class TooBusy(AccountRefused):
    """More passwords are being checked than this machine can do at a time; the same try succeeds a moment later."""


class Scope(StrEnum):
    """Where a token may go. What it sees there is a matter of its roles."""

    READ = "read"
    """Reads everything under /api/."""
    CHANGE = "change"
    """Changes things under /api/, as far as its roles may."""
    MONITOR = "monitor"
    """Reads /health and /metrics with their details."""


@dataclass(frozen=True, slots=True)
class Account:
    """`issuer` is empty for an account of this node, else the OpenID provider that says who `subject` is."""

    name: str
    roles: frozenset[Role]
    created_at: datetime
    must_change: bool = False
    disabled_at: datetime | None = None
    issuer: str = ""
    subject: str = ""

    @property
    def person(self) -> Person:
        return Person(self.name, self.roles)


@dataclass(frozen=True, slots=True)
class OpenSession:
    name: str
    opened_at: datetime
    seen_at: datetime
    address: str
    via: str


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token of a program: only its hash is kept."""

    name: str
    roles: frozenset[Role]
    scopes: frozenset[Scope]
    created_at: datetime
    created_by: str
    until: datetime
    used_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def person(self) -> Person:
        return Person(f"token {self.name}", self.roles, is_program=True)

    def is_valid(self, at: datetime) -> bool:
        return self.revoked_at is None and at < self.until


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Seconds after which a session ends: without use, and at the latest."""

    idle_s: float
    absolute_s: float


@dataclass(frozen=True, slots=True)
class Known:
    """Who stands behind a request. `scopes` is None for a person's session, which may go wherever the person's roles may."""

    person: Person
    scopes: frozenset[Scope] | None = None
    must_change: bool = False


def account_name(text: str) -> str:
    """The name as it is kept, in lower case. Raises: AccountRefused."""
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise AccountRefused(
            "A name has 1 to 64 of the characters a-z 0-9 . _ @ - and begins and ends with a letter or digit."
        )
    return name


def roles_of(words: Iterable[str]) -> frozenset[Role]:
    """Raises: AccountRefused when one is no role, or there is none."""
    return _members(Role, words, "role")


def scopes_of(words: Iterable[str]) -> frozenset[Scope]:
    """Raises: AccountRefused when one is no scope, or there is none."""
    return _members(Scope, words, "scope")


def _members(kind: type[_E], words: Iterable[str], what: str) -> frozenset[_E]:
    known = ", ".join(kind)
    try:
        found = frozenset(kind(word) for word in words)
    except ValueError:
        raise AccountRefused(f"A {what} is one of: {known}.") from None
    if not found:
        raise AccountRefused(f"At least one {what} is needed: {known}.")
    return found
