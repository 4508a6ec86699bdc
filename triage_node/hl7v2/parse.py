"""A received message as text by segment, field and component, read with the `hl7` library; never trusted.

Source: HL7 v2.5.1 chapter 2; limits are ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo

import hl7

from triage_node.hl7v2.text import UnknownCharacterSet, decoded, unescape

MOST_SEGMENTS = 2000
MOST_PARTS = 20_000
"""Fields, repetitions and components together: each becomes an object, and a quarter megabyte of them takes seconds."""
_DELIMITERS = re.compile(rb"MSH([^\w\s])((?:(?!\1)[^\w\s]){1,5})\1")
_USUAL = b"^~\\&"
_DTM = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(?:\.\d{1,6})?([+-]\d{4})?")


class Unreadable(ValueError):
    """A message that cannot be read; `control_id` is its MSH-10 where that could be told."""

    def __init__(self, words: str, control_id: str = "") -> None:
        super().__init__(words)
        self.words = words
        self.control_id = control_id


@dataclass(frozen=True, slots=True)
class Segment:
    """One line. Fields, repetitions and components count from 1 as in the standard; what is not there is empty."""

    name: str
    _raw: hl7.Segment

    def get(self, field: int, component: int = 1, repetition: int = 1) -> str:
        """One component without escape sequences; of subcomponents the first. HL7's explicit null ("") is empty."""
        try:
            part = self._raw(field)(repetition)
            if isinstance(part, hl7.Repetition):
                part = part(component)
            elif component > 1:
                return ""
            # not the library's own extract_field: it reads escape sequences, and what they stand for would be read as others
            text = str(part(1) if isinstance(part, hl7.Component) else part)
        except (LookupError, hl7.HL7Exception):
            return ""
        _, of_field, of_repetition, of_component, of_subcomponent = self._raw.separators
        text = unescape(text, of_field + of_component + of_repetition + self._raw.esc + of_subcomponent).strip()
        return "" if text == '""' else text

    def repetitions(self, field: int, components: int) -> list[list[str]]:
        """Shape: one list of `components` texts per repetition that says anything."""
        try:
            count = min(len(self._raw(field)), 20)
        except (LookupError, hl7.HL7Exception):
            return []
        found = [[self.get(field, c, r) for c in range(1, components + 1)] for r in range(1, count + 1)]
        return [r for r in found if any(r)]


@dataclass(frozen=True, slots=True)
class Message:
    segments: tuple[Segment, ...]

    @property
    def head(self) -> Segment:
        return self.segments[0]

    @property
    def kind(self) -> tuple[str, str]:
        """Message type and trigger event (MSH-9), such as ("ORM", "O01")."""
        return self.head.get(9), self.head.get(9, 2)

    @property
    def control_id(self) -> str:
        return self.head.get(10)

    @property
    def sender(self) -> str:
        """Sending application and facility (MSH-3, MSH-4)."""
        return f"{self.head.get(3)}|{self.head.get(4)}"

    def first(self, name: str) -> Segment | None:
        return next(self.all(name), None)

    def all(self, name: str) -> Iterator[Segment]:
        return (s for s in self.segments if s.name == name)


def parse(payload: bytes) -> Message:
    """Read a message as it stood between the marks of MLLP. Raises: Unreadable."""
    delimiters = _DELIMITERS.match(payload)
    if delimiters is None:
        raise Unreadable("no MSH segment with delimiters at the beginning")
    # field, component, repetition, escape, subcomponent: MSH-2 may leave out the last of them, and the usual ones hold then
    separators = delimiters[1] + delimiters[2] + _USUAL[len(delimiters[2]) :]
    if len(set(separators)) < len(separators):
        raise Unreadable("a delimiter that stands for two things")
    if b"\x00" in payload:
        raise Unreadable("a null byte in the message")
    lines = [line for line in re.split(rb"[\r\n]+", payload) if line.strip()]
    if len(lines) > MOST_SEGMENTS:
        raise Unreadable(f"more than {MOST_SEGMENTS} segments")
    if sum(payload.count(s) for s in separators[:3]) > MOST_PARTS:
        raise Unreadable(f"more than {MOST_PARTS} fields and components")
    head = lines[0].split(delimiters[1])
    control_id = head[9].decode("ascii", errors="replace").strip()[:199] if len(head) > 9 else ""
    character_sets = head[17].replace(separators[2:3], b"~").decode("ascii", errors="replace") if len(head) > 17 else ""
    try:
        text = decoded(b"\r".join(lines), character_sets)
        parsed = hl7.parse(text)
        segments = tuple(Segment(str(s[0]), s) for s in parsed)
    except UnknownCharacterSet as error:
        raise Unreadable(str(error), control_id) from error
    except (hl7.HL7Exception, LookupError, ValueError, TypeError, RecursionError) as error:
        raise Unreadable(f"not HL7 v2: {type(error).__name__}", control_id) from error
    bad = next((s.name for s in segments if not re.fullmatch(r"[A-Z][A-Z0-9]{2}", s.name)), None)
    if bad is not None:
        raise Unreadable(f"a segment that begins with {bad[:8]!r}", control_id)
    if not control_id:
        raise Unreadable("no message control ID (MSH-10)")
    return Message(segments)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """An answer: MSA-1, MSA-2, the code of ERR-3 (table 0357) and what it says in words."""

    code: str
    of: str
    error: str
    words: str


def acknowledgement(payload: bytes) -> Acknowledgement:
    """Raises: Unreadable, also when there is no MSA segment."""
    message = parse(payload)
    msa = message.first("MSA")
    if msa is None:
        raise Unreadable("an answer without an MSA segment", message.control_id)
    err = message.first("ERR")
    error = err.get(3) or err.get(1, 4) if err is not None else msa.get(6)
    texts = [msa.get(3), *((err.get(8), err.get(7), err.get(3, 2)) if err is not None else ())]
    return Acknowledgement(
        msa.get(1).upper(), msa.get(2), error, " · ".join(dict.fromkeys(t for t in texts if t))[:200]
    )


def instant(text: str, zone: tzinfo) -> datetime | None:
    """A TS or DTM that tells at least the minute, in `zone` unless it has an offset; else None."""
    match = _DTM.fullmatch(text)
    if match is None or match[5] is None:
        return None
    year, month, day, hour, minute, second = (int(g or 0) for g in match.groups()[:6])
    where = zone
    if offset := match[7]:
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        if minutes >= 24 * 60:
            return None
        where = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
    try:
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=where)
    except ValueError:
        return None
