"""Walks the elements of a data set without decoding them.

DESIGN. This runs in the ingest process on bytes from anybody, once per instance, before the answer. So it is a loop, not
a recursion (50,000 nested sequences raised RecursionError in a parser that recurses), it jumps over whatever has a
length, and it counts every step against a budget. Sequences and items of undefined length are walked, since nothing
else tells where they end. Values are not looked at, only copied when wanted.

Source: PS3.5 sections 7.1 (elements), 7.5 (sequences), A.4 (encapsulated pixel data), 6.2.2 (UN of undefined length).
"""

from __future__ import annotations

import struct
from collections.abc import Collection

from triage_node.domain.errors import InstanceRefused

CANNOT_UNDERSTAND = 0xC000
MAXIMUM_STEPS = 500_000  # an enhanced CT of 4,000 frames takes 250,000 when all its sequences have undefined length
MAXIMUM_DEPTH = 32
MAXIMUM_VALUE_BYTES = 4096  # of a wanted value: the header holds identifiers and short texts

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_DATA = 0x7FE00010
# PS3.5 table 7.1-1; the other VRs have a 16-bit length
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT_VRS = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS")
    + (b"ST", b"TM", b"UI", b"UL", b"US")
)
_EXPLICIT = struct.Struct("<HH2sH")
_IMPLICIT = struct.Struct("<HHL")
_LENGTH = struct.Struct("<L")


class Unreadable(InstanceRefused):
    """The data set does not hold what its elements say (C-STORE status 0xC000)."""

    def __init__(self, reason: str) -> None:
        super().__init__(CANNOT_UNDERSTAND, reason)


def read_elements(
    data: bytes | bytearray | memoryview, start: int, end: int, explicit: bool, wanted: Collection[int]
) -> dict[int, bytes]:
    """Return the values of the wanted top-level elements (tag as 0xGGGGEEEE -> bytes as they are).

    The whole data set from `start` to `end` is walked: every element must end at or before `end`, and the last one at
    `end`. Little endian, not deflated. A wanted value longer than MAXIMUM_VALUE_BYTES is cut there.
    Raises: Unreadable.
    """
    found: dict[int, bytes] = {}
    position, steps = start, 0
    while position < end:
        steps += 1
        tag, vr, length, value = _head(data, position, end, explicit)
        if length == _UNDEFINED:
            position, steps = _skip_undefined(data, value, end, explicit, tag, vr, steps)
        else:
            position = value + length
            if position > end:
                raise Unreadable(f"element {tag:08X} has {length} bytes, {end - value} are left")
            if tag in wanted:
                if tag in found:
                    raise Unreadable(f"element {tag:08X} stands twice")
                found[tag] = bytes(data[value : min(position, value + MAXIMUM_VALUE_BYTES)])
        if steps > MAXIMUM_STEPS:
            raise Unreadable(f"more than {MAXIMUM_STEPS} elements and items")
    return found


def _head(data: bytes | bytearray | memoryview, position: int, end: int, explicit: bool) -> tuple[int, bytes, int, int]:
    """(tag, VR or empty, length, position of the value) of the element at `position`."""
    if end - position < 8:
        raise Unreadable(f"{end - position} bytes left where an element should begin")
    if not explicit:
        group, element, length = _IMPLICIT.unpack_from(data, position)
        if group == 0xFFFE:
            raise Unreadable("an item outside of a sequence")
        return group << 16 | element, b"", length, position + 8
    group, element, vr, length = _EXPLICIT.unpack_from(data, position)
    if vr in _SHORT_VRS:
        return group << 16 | element, vr, length, position + 8
    if vr not in _LONG_VRS:
        raise Unreadable(f"element {group:04X}{element:04X} has no known VR")
    if end - position < 12:
        raise Unreadable(f"{end - position} bytes left where an element should begin")
    return group << 16 | element, vr, _LENGTH.unpack_from(data, position + 8)[0], position + 12


def _skip_undefined(
    data: bytes | bytearray | memoryview, position: int, end: int, explicit: bool, tag: int, vr: bytes, steps: int
) -> tuple[int, int]:
    """Return (position after the value of undefined length that begins at `position`, steps)."""
    if tag == _PIXEL_DATA and vr != b"SQ":
        return _skip_fragments(data, position, end, steps)
    if explicit and vr not in (b"SQ", b"UN"):
        raise Unreadable(f"element {tag:08X} with VR {vr.decode()} has no length")
    # what is open, innermost last: (is an item, elements inside have a VR)
    stack = [(False, explicit and vr != b"UN")]
    while stack:
        steps += 1
        if steps > MAXIMUM_STEPS:
            raise Unreadable(f"more than {MAXIMUM_STEPS} elements and items")
        if end - position < 8:
            raise Unreadable("a sequence does not end")
        group, element, length = _IMPLICIT.unpack_from(data, position)
        here = group << 16 | element
        in_item, has_vr = stack[-1]
        if in_item:
            if here == _ITEM_END:
                stack.pop()
                position += 8
                continue
            here, inner_vr, length, position = _head(data, position, end, has_vr)
            if length == _UNDEFINED:
                if has_vr and inner_vr not in (b"SQ", b"UN"):
                    # encapsulated pixels inside an icon image
                    if here != _PIXEL_DATA:
                        raise Unreadable(f"element {here:08X} with VR {inner_vr.decode()} has no length")
                    position, steps = _skip_fragments(data, position, end, steps)
                    continue
                if len(stack) >= 2 * MAXIMUM_DEPTH:
                    raise Unreadable(f"sequences are nested more than {MAXIMUM_DEPTH} deep")
                stack.append((False, has_vr and inner_vr != b"UN"))
                continue
        else:
            position += 8
            if here == _SEQUENCE_END:
                stack.pop()
                continue
            if here != _ITEM:
                raise Unreadable(f"{here:08X} where an item should begin")
            if length == _UNDEFINED:
                stack.append((True, has_vr))
                continue
        position += length
        if position > end:
            raise Unreadable(f"{here:08X} inside a sequence runs over the end")
    return position, steps


def _skip_fragments(data: bytes | bytearray | memoryview, position: int, end: int, steps: int) -> tuple[int, int]:
    """Return (position after encapsulated pixel data, steps). Source: PS3.5 A.4."""
    while True:
        steps += 1
        if steps > MAXIMUM_STEPS:
            raise Unreadable(f"more than {MAXIMUM_STEPS} elements and items")
        if end - position < 8:
            raise Unreadable("encapsulated pixel data does not end")
        group, element, length = _IMPLICIT.unpack_from(data, position)
        position += 8
        if group << 16 | element == _SEQUENCE_END:
            return position, steps
        if group << 16 | element != _ITEM or length > end - position:
            raise Unreadable("a fragment of encapsulated pixel data runs over the end")
        position += length
