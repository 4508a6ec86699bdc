"""The head of a stored file: preamble and File Meta Information (PS3.10 section 7.1).

Only what the command and the presentation context said goes in: no time, no AE title, no version of ours. So the same
instance makes the same file whoever sends it and whenever, and the name of a file can be the hash of its bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from triage_node.instances.elements import Unreadable, read_elements

IMPLEMENTATION_CLASS_UID = "2.25.188674214305361526372936484730250716541"  # never changes: see above

_CLASS, _INSTANCE, _SYNTAX = 0x00020002, 0x00020003, 0x00020010
_PREFIX = bytes(128) + b"DICM"
_BEGIN = b"DICM" + struct.pack("<HH2sH", 2, 0, b"UL", 4)
_LONGEST_META = 4096


@dataclass(frozen=True, slots=True)
class FileMeta:
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_at: int  # offset in the file, bytes


def file_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Everything of a Part 10 file that comes before the data set."""
    group = (
        struct.pack("<HH2sHL", 2, 1, b"OB", 0, 2)
        + b"\0\1"
        + _uid(0x0002, sop_class_uid)
        + _uid(0x0003, sop_instance_uid)
        + _uid(0x0010, transfer_syntax_uid)
        + _uid(0x0012, IMPLEMENTATION_CLASS_UID)
    )
    return _PREFIX + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(group)) + group


def read_file_head(data: bytes | memoryview) -> FileMeta:
    """Read what `file_head` wrote. Raises: Unreadable."""
    if bytes(data[:132]) != _PREFIX:
        raise Unreadable("no Part 10 file of ours")
    return read_any_head(data)


def read_any_head(data: bytes | memoryview) -> FileMeta:
    """Read the head of a file that anybody wrote: the preamble may hold anything (PS3.10 section 7.1). Raises: Unreadable."""
    if bytes(data[128:140]) != _BEGIN or len(data) < 144:
        raise Unreadable("no DICOM file (PS3.10)")
    (length,) = struct.unpack_from("<L", data, 140)
    end = 144 + length
    if length > _LONGEST_META or end > len(data):
        raise Unreadable("file meta information runs over the end")
    values = read_elements(data, 144, end, True, (_CLASS, _INSTANCE, _SYNTAX))
    if len(values) != 3:
        raise Unreadable("file meta information is not complete")
    sop_class, instance, syntax = (
        values[tag].rstrip(b"\0 ").decode("ascii", "replace") for tag in (_CLASS, _INSTANCE, _SYNTAX)
    )
    return FileMeta(sop_class, instance, syntax, data_set_at=end)


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii") + b"\0" * (len(uid) % 2)
    return struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value
