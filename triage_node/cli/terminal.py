"""The terminal as every command writes to it: what a modality, a peer or a file said is text there, never markup or control."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def terminal(**given: Any) -> Console:
    """A console that takes brackets for brackets. What is to have a colour says so by its style."""
    return Console(markup=False, emoji=False, highlight=False, **given)


def plain(words: str) -> str:
    """One line without control characters."""
    return "".join(c if c.isprintable() else " " for c in words)
