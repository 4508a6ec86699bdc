"""Who works with the node, and what that person may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Rights are those of the roles that somebody has; no role holds another one."""

    READER = "reader"
    """Sees the reading list and studies, says that a study is being read or was read."""
    RADIOLOGIST = "radiologist"
    """As a reader, and says that a flag is wrong."""
    ADMINISTRATOR = "administrator"
    """Thresholds, mode, models, operations, users."""
    AUDITOR = "auditor"
    """Sees everything, changes nothing."""


@dataclass(frozen=True, slots=True)
class Person:
    """`name` is what the audit trail names: the account, or the address where no account stands behind a request."""

    name: str
    roles: frozenset[Role]
    is_program: bool = False
    """A token asks, no person: it cannot be the second person who approves something."""

    def has(self, *roles: Role) -> bool:
        """Whether the person has one of these roles."""
        return not self.roles.isdisjoint(roles)
