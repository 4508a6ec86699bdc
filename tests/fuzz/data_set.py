"""Reading the header of an instance: the walk before the answer, and the attributes after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.fuzz import corpus
from triage_node.domain.errors import InstanceRefused
from triage_node.instances.loose_file import read_loose

LONGEST = 1 << 16


def seeds() -> Iterator[bytes]:
    return corpus.small(LONGEST)


def prepare(folder: Path) -> Callable[[bytes], None]:
    path = folder / "instance.dcm"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(InstanceRefused):
            read_loose(path)

    return check
