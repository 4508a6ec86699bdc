"""Segments and messages as text: the one place that knows delimiters and where MSH begins to count."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from triage_node.hl7v2.text import encoded, escape

DELIMITERS = "^~\\&"


def composite(*components: str) -> str:
    """Components of one field, escaped; empty ones at the end are left out."""
    return "^".join(escape(c) for c in components).rstrip("^")


def segment(name: str, fields: Mapping[int, str]) -> str:
    """One line from fields that are escaped already, numbered as in the standard (MSH-1 is the separator itself)."""
    first = 2 if name == "MSH" else 1
    return "|".join((name, *(fields.get(i, "") for i in range(first, max(fields) + 1)))).rstrip("|")


def message(segments: list[str], character_sets: str) -> bytes:
    """The bytes between the marks of MLLP. Every segment ends with CR (HL7 v2.5.1 2.5.4)."""
    return encoded("".join(f"{s}\r" for s in segments), character_sets)


def timestamp(at: datetime) -> str:
    """An aware instant as TS with its offset."""
    return at.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
