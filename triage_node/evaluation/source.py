"""The labelled folder of an evaluation: opened, named by its bytes, and held against what a node has received."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from triage_node.blobs.places import Shelf
from triage_node.datasets import open_data_set
from triage_node.datasets.folder import Folder
from triage_node.domain.case import Case
from triage_node.instances.archive import digest_of


@dataclass(frozen=True, slots=True)
class Source:
    """A data set that was opened. `digest` names its bytes; `received`: whether a node had got these very files; `unread`: labels
    of studies without a series that can be read.
    """

    name: str
    layout: str
    digest: str
    cases: tuple[Case, ...]
    skipped: tuple[tuple[str, str], ...]
    received: bool
    received_words: str
    notes: tuple[str, ...] = ()
    unread: tuple[int, ...] = ()


def open_source(folder: Path, archive: Shelf | None) -> Source:
    """Open a labelled folder. `archive`: what the node has received, to see whether the images are its own.

    Raises: DataSetError with what was expected and found.
    """
    data = open_data_set(folder)
    own: set[str] = set()

    def look(name: str, digest: str) -> None:
        if archive is not None and archive.has(digest):
            own.add(name)

    digest = folder_digest(folder, look)
    used = {name for case in data.cases for name in (case.files or case.slice_ids)}
    if archive is None:
        words = "not looked at: no configuration of a node was given"
    else:
        words = f"{len(used & own)} of {len(used)} files that are used are instances that this node holds"
    return Source(
        name=folder.resolve().name,
        layout=data.name,
        digest=digest,
        cases=tuple(data.cases),
        skipped=tuple((s.name, s.reason) for s in data.skipped),
        received=bool(used) and used <= own,
        received_words=words,
        notes=tuple(data.notes),
        unread=tuple(data.unread),
    )


def folder_digest(folder: Path, tell: Callable[[str, str], None] = lambda name, digest: None) -> str:
    """SHA-256 over name and SHA-256 of every file below, in the order of names. `tell` gets each name and SHA-256."""
    whole, held = hashlib.sha256(), Folder(folder)
    for name in held.files:
        try:
            of_file = digest_of(held.at(name))
        except OSError:  # the readers say which file, where it is one that is used
            of_file = "unreadable"
        tell(name, of_file)
        whole.update(f"{name}\0{of_file}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()
