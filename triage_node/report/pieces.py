"""A file of compressed pieces behind one header, so that a page is served one of them without reading the others.

A magic that names the kind, the length of the header, the header as JSON, then the pieces, each compressed with zlib (RFC 1950,
which HTTP calls "deflate"); an empty piece stays empty. Header and piece are read through one open file: another may take the
file's place meanwhile, and a piece of one under the header of another would be a false picture.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

_MAGIC = b"TRIAGE %s 1\n"
_LENGTH = struct.Struct("<I")
_LARGEST_HEADER = 4 << 20
_LEVEL = 1
"""Of zlib: level 6 takes four times as long for 6 % less (28 slices of 512 x 512)."""
_BROKEN = (OSError, ValueError, KeyError, IndexError, TypeError, struct.error)

Header = dict[str, Any]
T = TypeVar("T")


def packed(piece: bytes) -> bytes:
    return zlib.compress(piece, _LEVEL) if piece else b""


def write(path: Path, kind: bytes, header: Mapping[str, Any], pieces: Sequence[bytes]) -> None:
    """Put a file in place of what was there. Atomic, not flushed: it can be made again. Raises: OSError."""
    text = json.dumps({**header, "pieces": [len(p) for p in pieces]}, separators=(",", ":")).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")  # one name: what a killed process left is written over, and a study has one writer
    with new.open("wb") as file:
        file.writelines([_MAGIC % kind, _LENGTH.pack(len(text)), text, *pieces])
    os.replace(new, path)


def read(path: Path, kind: bytes, what: Callable[[Header], T]) -> T | None:
    """What `what` makes of the header; None where there is no such file, where it is broken or `what` finds it so."""
    try:
        with path.open("rb") as file:
            return what(_header(file, kind))
    except _BROKEN:
        return None


def piece(path: Path, kind: bytes, which: Callable[[Header], int | None]) -> bytes | None:
    """The compressed piece that `which` names by its place in the file; None: as `read`, or where it names none."""
    try:
        with path.open("rb") as file:
            header = _header(file, kind)
            index = which(header)
            if index is None:
                return None
            lengths = header["pieces"]
            file.seek(sum(lengths[:index]), os.SEEK_CUR)
            return file.read(lengths[index])
    except _BROKEN:
        return None


def _header(file: BinaryIO, kind: bytes) -> Header:
    """Leaves the file at its first piece. Raises: ValueError, KeyError, TypeError, struct.error for what is no such file."""
    magic = _MAGIC % kind
    if file.read(len(magic)) != magic:
        raise ValueError("another kind of file")
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    if length > _LARGEST_HEADER:
        raise ValueError("a header that long is none")
    header: Header = json.loads(file.read(length))
    lengths = header["pieces"]
    if any(not isinstance(n, int) or n < 0 for n in lengths):
        raise ValueError("a piece has no length")
    if file.tell() + sum(lengths) != os.fstat(file.fileno()).st_size:
        raise ValueError("cut off")
    return header
