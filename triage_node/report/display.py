"""What the study page draws: the slices of one study in a file that a browser can be served from without any decoder.

One file a study, replaced whole: a magic, the length of a header, the header as JSON, then pieces that are each compressed with
zlib (RFC 1950, which HTTP calls "deflate"). A piece of pixels holds, per slice and in raster order, the difference of each HU to
the one before it, zigzag-coded (small numbers of either sign become small numbers), all low bytes before all high bytes: a head
then takes half of what plain 16 bit take. A piece of findings holds mask and heat of one slice, one byte a pixel each.

The pixels were decoded by the analysis process; whoever reads this file needs numpy at most (DESIGN.md section 8).
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from triage_node.domain.display import Frame
from triage_node.domain.errors import StoreError
from triage_node.domain.finding import Detection
from triage_node.domain.identifiers import is_uid
from triage_node.domain.volume import Volume

LOWEST_HU, HIGHEST_HU = -1024, 3071
_MAGIC = b"TRIAGE DISPLAY 1\n"
_LENGTH = struct.Struct("<I")
_LARGEST_HEADER = 4 << 20
_LEVEL = 1
"""Of zlib: level 6 takes four times as long for 6 % less (28 slices of 512 x 512)."""


@dataclass(frozen=True, slots=True)
class Display:
    """What lies in a file. `revision` of the result whose findings are in it, 0 where the series was not analysed.

    `digest` names the pixels and nothing else. `has_findings`: slices on which mask or heat has anything.
    `pixels`, `findings`: (offset, length) of the piece of each slice.
    """

    revision: int
    digest: str
    frame: Frame
    has_findings: tuple[int, ...]
    pixels: tuple[tuple[int, int], ...]
    findings: tuple[tuple[int, int], ...]


def path_of(folder: Path, study_instance_uid: str) -> Path:
    """Where the file of a study lies under `folder`. Raises: StoreError when that is no UID."""
    if not is_uid(study_instance_uid):
        raise StoreError(f"{study_instance_uid[:80]!r} is no UID")
    name = hashlib.sha256(study_instance_uid.encode()).hexdigest()
    return folder / "display" / name[:2] / f"{name}.slices"


def write(path: Path, volume: Volume, detection: Detection | None, revision: int) -> None:
    """Put the display of a volume in place of what was there. Atomic, not flushed: it can be made again. Raises: OSError."""
    named = hashlib.sha256()
    pixels, findings = [], []
    for i, image in enumerate(volume.hu):
        packed = zlib.compress(_packed(image), _LEVEL)
        named.update(packed)
        pixels.append(packed)
        seen = detection is not None and (detection.mask[i].any() or detection.heat[i].any())
        planes = detection.mask[i].tobytes() + detection.heat[i].tobytes() if detection is not None and seen else b""
        findings.append(zlib.compress(planes, _LEVEL) if planes else b"")
    header = {
        "revision": revision,
        "digest": named.hexdigest()[:32],
        "frame": asdict(_frame(volume)),
        "pixels": [len(p) for p in pixels],
        "findings": [len(f) for f in findings],
    }
    _replace(path, [_MAGIC, *_head(header), *pixels, *findings])


def read(path: Path) -> Display | None:
    """What a study's file holds, None where there is none or where it is broken: then there is nothing to show."""
    try:
        with path.open("rb") as file:
            return _header(file)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def pixels_of(path: Path, digest: str, index: int) -> bytes | None:
    """The compressed pixels of one slice; None where the file is gone or shows other pixels by now, or has no such slice."""
    return _piece(path, digest, index, lambda display: display.pixels)


def findings_of(path: Path, digest: str, index: int) -> bytes | None:
    """Compressed mask and heat of one slice, empty where nothing was found on it. None: as `pixels_of`."""
    return _piece(path, digest, index, lambda display: display.findings)


def unpacked(piece: bytes, rows: int, columns: int) -> NDArray[np.int16]:
    """A slice as the browser unpacks it. Shape: (row, column) HU. Raises: ValueError, zlib.error for anything else."""
    low, high = np.frombuffer(zlib.decompress(piece), np.uint8).reshape(2, rows * columns).astype(np.uint16)
    coded = low | (high << 8)
    steps = (coded >> 1).astype(np.int16) ^ -(coded & 1).astype(np.int16)
    return np.cumsum(steps, dtype=np.int16).reshape(rows, columns)


def _packed(image: NDArray[np.int16]) -> bytes:
    hu = np.clip(image, LOWEST_HU, HIGHEST_HU).ravel()
    steps = np.diff(hu, prepend=np.int16(0))
    coded = ((steps << 1) ^ (steps >> 15)).astype("<u2")
    return coded.view(np.uint8).reshape(-1, 2).T.tobytes()


def _frame(volume: Volume) -> Frame:
    def three(v: NDArray[np.float64]) -> tuple[float, float, float]:
        return float(v[0]), float(v[1]), float(v[2])

    return Frame(
        rows=int(volume.hu.shape[1]),
        columns=int(volume.hu.shape[2]),
        pixel_spacing_mm=(float(volume.pixel_spacing_mm[0]), float(volume.pixel_spacing_mm[1])),
        row_cosine=three(volume.row_cosine),
        column_cosine=three(volume.column_cosine),
        positions_mm=tuple(round(float(p), 3) for p in volume.positions_mm),
        thickness_mm=tuple(round(float(t), 3) for t in volume.slice_thickness_mm),
    )


def _frame_from(stored: dict[str, Any]) -> Frame:
    lists: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    return Frame(**lists)


def _head(header: dict[str, Any]) -> tuple[bytes, bytes]:
    text = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTH.pack(len(text)), text


def _places(lengths: Sequence[int], start: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """(offset, length) of each piece, and where the last one ends. Raises: ValueError for a length that is none."""
    places = []
    for length in lengths:
        if not isinstance(length, int) or length < 0:
            raise ValueError("a piece has no length")
        places.append((start, length))
        start += length
    return tuple(places), start


def _header(file: BinaryIO) -> Display:
    """Raises: ValueError, KeyError, TypeError, struct.error for what is no such file."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("another kind of file")
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    if length > _LARGEST_HEADER:
        raise ValueError("a header that long is none")
    header: dict[str, Any] = json.loads(file.read(length))
    frame = _frame_from(header["frame"])
    pixels, end = _places(header["pixels"], file.tell())
    findings, end = _places(header["findings"], end)
    if end != os.fstat(file.fileno()).st_size or not len(pixels) == len(findings) == frame.slices:
        raise ValueError("cut off")
    return Display(
        revision=int(header["revision"]),
        digest=str(header["digest"]),
        frame=frame,
        has_findings=tuple(i for i, (_, n) in enumerate(findings) if n),
        pixels=pixels,
        findings=findings,
    )


def _piece(path: Path, digest: str, index: int, of: Callable[[Display], tuple[tuple[int, int], ...]]) -> bytes | None:
    # header and piece from one open file: another may take its place meanwhile
    try:
        with path.open("rb") as file:
            display = _header(file)
            if display.digest != digest or not 0 <= index < display.frame.slices:
                return None
            offset, length = of(display)[index]
            file.seek(offset)
            return file.read(length)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def _replace(path: Path, parts: Sequence[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")  # one name: what a killed process left is written over, and a study has one writer
    with new.open("wb") as file:
        file.writelines(parts)
    os.replace(new, path)
