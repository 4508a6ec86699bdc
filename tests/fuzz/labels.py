"""`labels.csv` of a folder that somebody brings for an evaluation; the folder holds one small picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from triage_node.datasets.folder import Folder
from triage_node.datasets.plain import open_plain
from triage_node.domain.errors import DataSetError

LONGEST = 1 << 13


def seeds() -> Iterator[bytes]:
    yield b"file,label\na.png,1\n"
    yield b"file;label;study;slice;patient\na.png;yes;s1;3;p\n"
    yield "file\tlabel\tsubtype\tage\tsex\na.png\thaemorrhage\tIVH\t71\tF\n".encode("utf-16")
    yield b'\xef\xbb\xbf"File Name","label",epidural,subdural,volume_ml\r\n"a.png",0,0,1,"12,5"\r\n"b.png",0,,,\r\n'
    yield b"file,label\n../../etc/passwd,1\n"


def prepare(folder: Path) -> Callable[[bytes], None]:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "a.png")
    table = folder / "labels.csv"

    def check(data: bytes) -> None:
        table.write_bytes(data)
        with suppress(DataSetError):
            open_plain(Folder(folder))

    return check
