"""What a compressed frame says of itself, before a decoder sees it.

An input: which format (rows, columns, samples, bits), then the stream.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

from triage_node.domain.errors import DecodeError
from triage_node.volume.codestream import (
    FrameFormat,
    check_format,
    check_stream,
    read_jpeg,
    read_jpeg2000,
    rle_segments,
)

LONGEST = 1 << 12
_HEAD = 8


def seeds() -> Iterator[bytes]:
    text = resources.files("triage_node.volume").joinpath("self_test_images.json").read_text(encoding="ascii")
    for image in json.loads(text):
        form = FrameFormat(**image["format"])
        head = form.rows.to_bytes(2, "big") + form.columns.to_bytes(2, "big")
        head += bytes((form.samples_per_pixel, form.bits_allocated, form.bits_stored, form.signed))
        yield head + base64.b64decode(image["stream"])


def prepare(_: Path) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        if len(data) < _HEAD:
            return
        rows, columns = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        frame, stream = FrameFormat(rows, columns, data[4], data[5], data[6], bool(data[7] & 1)), data[_HEAD:]
        try:
            check_format(frame, 1)
        except DecodeError:
            return
        for read in (read_jpeg, read_jpeg2000):
            try:
                header = read(stream)
                check_stream(header, frame)
            except DecodeError:
                continue
            assert (header.rows, header.columns, header.components) == (rows, columns, data[4])
        try:
            segments = rle_segments(stream, frame)
        except DecodeError:
            return
        assert b"".join(segments) == stream[64:]

    return check
