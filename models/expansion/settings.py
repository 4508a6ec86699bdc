"""Command lines of the scripts here: every setting of a frozen dataclass may be given as --key=value; --smoke alone is 1."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TypeVar

T = TypeVar("T")
READ = {"int": int, "float": float, "str": str}


def from_command_line(defaults: T, arguments: list[str]) -> T:
    """Defaults with what the command line replaces. Raises: SystemExit for an unknown key or a value of the wrong type."""
    kinds = {f.name: str(f.type) for f in fields(defaults)}  # type: ignore[arg-type]
    given = {}
    for argument in arguments:
        key, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or key not in kinds or not (equals or kinds[key] == "int"):
            raise SystemExit(f"unknown setting {argument!r}; known: " + ", ".join(f"--{k}=" for k in kinds))
        try:
            given[key] = READ[kinds[key]](text if equals else "1")
        except ValueError:
            raise SystemExit(f"--{key} must be {kinds[key]}, got {text!r}") from None
    return replace(defaults, **given)  # type: ignore[type-var]
