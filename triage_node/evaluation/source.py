"""The labelled folder of an evaluation: opened, named by its bytes, and held against what a node has received."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from triage_node.blobs.places import Shelf
from triage_node.datasets import open_data_set
from triage_node.domain.case import Case
from triage_node.instances.archive import digest_of


@dataclass(frozen=True, slots=True)
class Source:
    """A data set that was opened. `digest` names its bytes; `received`: whether a node had got these very files."""

    name: str
    layout: str
    digest: str
    cases: tuple[Case, ...]
    skipped: tuple[tuple[str, str], ...]
    received: bool
    received_words: str
    notes: tuple[str, ...] = ()


def open_source(folder: Path, archive: Shelf | None) -> Source:
    """Open a labelled folder. `archive`: what the node has received, to see whether the images are its own.

    Raises: DataSetError with what was expected and found.
    """
    data = open_data_set(folder)
    own = 0
    images = 0

    def look(digest: str) -> None:
        nonlocal own, images
        images += 1
        own += archive is not None and archive.has(digest)

    digest = folder_digest(folder, look)
    if archive is None:
        words = "not looked at: no configuration of a node was given"
    else:
        words = f"{own} of {images} files in the folder are instances that this node holds"
    return Source(
        name=folder.resolve().name,
        layout=data.name,
        digest=digest,
        cases=tuple(data.cases),
        skipped=tuple((s.name, s.reason) for s in data.skipped),
        # tables of labels are no instances; every image that is used must be one
        received=own > 0 and own >= data.files_used,
        received_words=words,
        notes=tuple(data.notes),
    )


def folder_digest(folder: Path, tell: Callable[[str], None] = lambda digest: None) -> str:
    """SHA-256 over name and SHA-256 of every file below, in the order of names. `tell` gets each file's SHA-256."""
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        of_file = digest_of(path)
        tell(of_file)
        whole.update(f"{path.relative_to(folder).as_posix()}\0{of_file}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()
