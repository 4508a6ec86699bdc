"""Command lines of the scripts here: every setting of a frozen dataclass may be given as --key=value."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TypeVar

T = TypeVar("T")
READ = {"int": int, "float": float, "str": str}


def from_command_line(defaults: T, arguments: list[str]) -> T:
    """Defaults with what the command line replaces; a switch, an int that is 0 or 1 by default, may stand alone.

    Raises: SystemExit for an unknown key or a value of the wrong type.
    """
    kinds = {f.name: str(f.type) for f in fields(defaults)}  # type: ignore[arg-type]
    given = {}
    for argument in arguments:
        key, equals, text = argument.removeprefix("--").partition("=")
        if not equals and kinds.get(key) == "int" and getattr(defaults, key) in (0, 1):
            equals, text = "=", "1"
        if not argument.startswith("--") or not equals or key not in kinds:
            raise SystemExit(f"unknown setting {argument!r}; known: " + ", ".join(f"--{k}=" for k in kinds))
        try:
            given[key] = READ[kinds[key]](text)
        except ValueError:
            raise SystemExit(f"--{key} must be {kinds[key]}, got {text!r}") from None
    return replace(defaults, **given)  # type: ignore[type-var]
