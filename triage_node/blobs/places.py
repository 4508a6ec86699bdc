"""Blobs: how every role reads and keeps files, whether they lie in the data folder or in a store that hosts share.

    blobs = open_blobs(settings.store)      # blobs/opened.py; `blob_url` decides, nothing else
    blobs.received, blobs.built             # two shelves: what came, and the objects that we built; names are SHA-256
      .path(sha256) -> Path                 # a local file with these bytes; fetched first where they lie elsewhere
      .fetch(digests)                       # the same for many at once, in parallel; what is not there is left out
      .has(sha256) -> bool                  # False only where it is known to be gone; a store that is away may hold it
      .read(sha256) -> bytes
      .keep(data) -> sha256                 # durable where every host finds it, before it returns
      .upload(sha256)                       # a local file goes there, confirmed by size and hash; the file stays
      .remove(sha256)                       # there and here; nothing happens when it is gone already
      .digests() -> Iterator[sha256]        # everything there, in no order
    blobs.publish(path), .refresh(path), .withdraw(path)
                                            # files that are replaced whole (pictures of a page), below the data folder or the copies
    blobs.published()                       # (name below the data folder, a local file) of each of these, for a backup
    blobs.is_shared, blobs.problem(), blobs.trim(keep)

Objects in the shared store are named like the files below the data folder, after the tenant if there are several: `blobs/<2 hex>/<sha256>.dcm`,
`built/blobs/...`, `built/display/...`: copying one into the other moves a site. Without `blob_url` a path is a path and
nothing more is loaded or asked.

Raises: BlobMissing (it is known not to be there), BlobDamaged (what lies there are other bytes), BlobsAway (the store does not
answer or refuses; mends itself, so nothing counts as failed because of it), StoreError (no digest).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

from triage_node.domain.errors import BlobMissing
from triage_node.instances.archive import Archive
from triage_node.instances.blob_file import BlobFile, Buffers

PICTURES = "built/display"
MOVING = "moving"
"""A folder of the data folder that is there, and changes, while files are moved (copying.py)."""


class Shelf(Protocol):
    """Blobs of one kind."""

    def path(self, sha256: str) -> Path: ...
    def fetch(self, digests: Iterable[str]) -> None: ...
    def has(self, sha256: str) -> bool: ...
    def read(self, sha256: str) -> bytes: ...
    def keep(self, data: bytes) -> str: ...
    def upload(self, sha256: str) -> None: ...
    def remove(self, sha256: str) -> None: ...
    def digests(self) -> Iterator[str]: ...


class Blobs(Protocol):
    """Both shelves, and the files that are replaced whole."""

    is_shared: bool

    @property
    def received(self) -> Shelf: ...
    @property
    def built(self) -> Shelf: ...
    def publish(self, path: Path) -> None:
        """What was written at `path` is what every host sees from now on. Raises: BlobsAway."""

    def refresh(self, path: Path) -> None:
        """Bring the file at `path` to what was published last; where the store is away it stays as it is."""

    def withdraw(self, path: Path) -> None:
        """Remove it for every host, here too. Raises: BlobsAway."""

    def published(self) -> Iterator[tuple[str, Path]]:
        """(name below the data folder, a local file with it) of every picture of a page. Raises: BlobsAway."""

    def problem(self) -> str:
        """Why nothing can be kept or read now, in words with what to do; empty when it can."""

    def trim(self, may_go: Callable[[list[str]], set[str]]) -> int:
        """Remove local copies that nobody used for a day and, while there are too many, the oldest; what was received here only

        where `may_go` says that it lies safely in the shared store. So pixels that were removed there do not stay here.
        """


class LocalShelf:
    """A folder on this machine. `path` looks at nothing: opening the file tells."""

    def __init__(self, folder: Path) -> None:
        self._archive = Archive(folder)
        self.path = self._archive.path
        self.digests = self._archive.digests

    def fetch(self, digests: Iterable[str]) -> None:
        """All of them are here."""

    def has(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def read(self, sha256: str) -> bytes:
        try:
            return self.path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise BlobMissing(f"blob {sha256} is not there") from error

    def keep(self, data: bytes) -> str:
        with closing(self._archive) as archive:
            return keep_bytes(archive, data)

    def upload(self, sha256: str) -> None:
        """There is nowhere else."""

    def remove(self, sha256: str) -> None:
        self._archive.remove(sha256)


class LocalBlobs:
    """The embedded default."""

    is_shared = False

    def __init__(self, data_folder: Path) -> None:
        self._folder = data_folder
        self.received = LocalShelf(data_folder)
        self.built = LocalShelf(built_folder(data_folder))

    def publish(self, path: Path) -> None:
        """Everybody reads that file."""

    def refresh(self, path: Path) -> None:
        """It is the only one."""

    def withdraw(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def published(self) -> Iterator[tuple[str, Path]]:
        for path in sorted((self._folder / PICTURES).rglob("*.slices")):
            yield path.relative_to(self._folder).as_posix(), path

    def problem(self) -> str:
        return ""

    def trim(self, may_go: Callable[[list[str]], set[str]]) -> int:
        return 0


def built_folder(data_folder: Path) -> Path:
    """Apart from what was received, which is re-indexed at start."""
    return data_folder / "built"


def copies_folder(data_folder: Path) -> Path:
    """Copies of what lies in the shared store, laid out like the data folder. Everything in it may be removed at any time."""
    return data_folder / "cache"


def keep_bytes(archive: Archive, data: bytes) -> str:
    """Write one file durably; returns its SHA-256. Raises: OSError."""
    file = BlobFile(archive, Buffers(), direct=False, head=b"")
    view = memoryview(data)
    try:
        while view:
            room = file.room(len(view))
            count = len(room)
            room[:] = view[:count]
            room.release()
            file.filled(count)
            view = view[count:]
        return file.commit()[0]
    except BaseException:
        file.discard()
        raise
