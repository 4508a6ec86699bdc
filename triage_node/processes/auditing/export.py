"""The audit trail as CSV, a line at a time.

A spreadsheet takes a cell for a formula that begins with = + - @ or with a control character (OWASP, CSV injection), also
after blanks and in full width. Such a cell gets an apostrophe in front, and every cell is quoted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from triage_node.domain.audit import AuditEntry, AuditSearch
from triage_node.domain.person import Person
from triage_node.processes.running import now
from triage_node.store import audit, audit_search
from triage_node.store.engine import Store

COLUMNS = ("entry", "at (UTC)", "who", "action", "subject", "old", "new", "hash")
EXPORTED = "audit exported"
TRAIL = "audit trail"
_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
                     "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}", "|", "%")  # fmt: skip


def csv_of(store: Store, search: AuditSearch, by: Person | str) -> Iterator[str]:
    """Lines of the file, the heading first. That it was asked for is an entry itself, written before the first line."""
    name = by.name if isinstance(by, Person) else by
    with store.write() as c:
        audit.record(c, now(), name, EXPORTED, TRAIL, new=str(search))
    return _lines(audit_search.entries(store, search))


def cell(text: str) -> str:
    """Text that no spreadsheet computes."""
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return f"'{text}" if text.startswith(_STARTS_A_FORMULA) or text.lstrip().startswith(_STARTS_A_FORMULA) else text


def _lines(entries: Iterator[AuditEntry]) -> Iterator[str]:
    yield _line(COLUMNS)
    for e in entries:
        at = e.at.strftime("%Y-%m-%d %H:%M:%S.%f")
        yield _line((str(e.id), at, *map(cell, (e.actor, e.action, e.subject, e.old, e.new)), e.hash))


def _line(cells: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow(cells)
    return text.getvalue()
