"""Values of a header that somebody else wrote, as values that may stand in ours.

A header is never trusted: a value that its VR forbids becomes empty, text loses control characters, and reading it never
raises. Source: PS3.5 section 6.2 (value representations).
"""

from __future__ import annotations

import math
import re
import unicodedata

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from triage_node.domain.errors import UNREADABLE
from triage_node.domain.identifiers import is_uid

_DATE = re.compile(r"(\d{4})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])\Z")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?\Z")
_AGE = re.compile(r"\d{3}[DWMY]\Z")
_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d\Z")


def raw(source: Dataset, keyword: str) -> object:
    """The value as pydicom reads it, or None when it is absent, empty or cannot be read."""
    try:
        value = source.get(keyword)
    except UNREADABLE:
        return None
    return None if value is None or value == "" else value


def without_control(text: str) -> str:
    """Text without control characters and halves of surrogate pairs, white space at its ends removed."""
    return "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cs")).strip()


def text(source: Dataset, keyword: str, longest: int) -> str:
    """One line of text of at most `longest` characters; several values are joined as they were, by a backslash."""
    value = raw(source, keyword)
    if value is None:
        return ""
    try:
        whole = "\\".join(map(str, value)) if isinstance(value, MultiValue | list) else str(value)
    except UNREADABLE:
        return ""
    return without_control(whole)[:longest].strip()


def single_text(source: Dataset, keyword: str, longest: int) -> str:
    """As `text`, for attributes of one value."""
    return text(source, keyword, longest).replace("\\", " ").strip()


def person_name(source: Dataset, keyword: str) -> str:
    """A person name with its groups (alphabetic, ideographic, phonetic), 64 characters each (PS3.5 6.2.1)."""
    groups = single_text(source, keyword, 1024).split("=")[:3]
    return "=".join("^".join(g.split("^")[:5])[:64].strip() for g in groups).rstrip("=")


def date(source: Dataset, keyword: str) -> str:
    value = single_text(source, keyword, 64)
    return value if _DATE.match(value) else ""


def time(source: Dataset, keyword: str) -> str:
    value = single_text(source, keyword, 64)
    return value if _TIME.match(value) else ""


def age(source: Dataset, keyword: str) -> str:
    value = single_text(source, keyword, 64)
    return value if _AGE.match(value) else ""


def utc_offset(source: Dataset) -> str:
    value = single_text(source, "TimezoneOffsetFromUTC", 64)
    return value if _OFFSET.match(value) else ""


def uid(source: Dataset, keyword: str) -> str:
    value = single_text(source, keyword, 128)
    return value if is_uid(value) else ""


def whole_number(source: Dataset, keyword: str) -> int | None:
    """An IS value inside its range, or None."""
    value = raw(source, keyword)
    try:
        number = int(str(value))
    except UNREADABLE:
        return None
    return number if abs(number) < 2**31 else None


def decimals(source: Dataset, keyword: str, count: int) -> tuple[str, ...] | None:
    """`count` decimal strings as they stood in the source, or None when they are not that many finite numbers."""
    value = raw(source, keyword)
    values = list(value) if isinstance(value, MultiValue | list) else [value]
    if len(values) != count:
        return None
    found = []
    for v in values:
        written = str(getattr(v, "original_string", v)).strip()
        try:
            finite = math.isfinite(float(written))
        except ValueError:
            return None
        if not finite:
            return None
        found.append(written if len(written) <= 16 else decimal(float(written)))
    return tuple(found)


def decimal(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2, DS)."""
    for digits in range(10, 0, -1):
        written = f"{value:.{digits}g}"
        if len(written) <= 16:
            return written
    return "0"
