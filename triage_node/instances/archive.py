"""Where received bytes lie: `blobs/<2 hex>/<sha256 of the file>.dcm`. The name is the content, never a UID."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from triage_node.domain.errors import StoreError

LONGEST_WRITE_S = 3600.0

log = logging.getLogger(__name__)

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def digest_of(path: Path) -> str:
    """SHA-256 of a file. Raises: OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_folder(folder: Path) -> None:
    """What was renamed into it stays there. Raises: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Archive:
    """Paths, reading and removal. Writing is `blob_file`."""

    def __init__(self, data_folder: Path) -> None:
        self.blobs = data_folder / "blobs"
        self.writer = f"@{socket.gethostname()}"
        """How the names of files end that this host is writing; others may write to the same folder."""
        self._folders: dict[str, int] = {}
        self._lock = threading.Lock()

    def path(self, sha256: str) -> Path:
        """Where the blob of this digest lies or would lie. Raises: StoreError when it is no digest."""
        if not _DIGEST.match(sha256):
            raise StoreError(f"{sha256[:80]!r} is no SHA-256 digest")
        return self.blobs / sha256[:2] / f"{sha256}.dcm"

    def read(self, sha256: str) -> bytes:
        """The whole Part 10 file. Raises: StoreError when it is not there."""
        try:
            return self.path(sha256).read_bytes()
        except OSError as error:
            raise StoreError(f"blob {sha256} cannot be read: {error.strerror}") from error

    def verify(self, sha256: str) -> bool:
        """True when the bytes on disk are still those that were received."""
        return digest_of(self.path(sha256)) == sha256

    def remove(self, sha256: str) -> None:
        """Remove a blob; nothing happens when it is gone already."""
        self.path(sha256).unlink(missing_ok=True)

    def received_at(self, sha256: str) -> datetime:
        """When the bytes were written. Units: aware UTC."""
        return datetime.fromtimestamp(self.path(sha256).stat().st_mtime, UTC)

    def digests(self) -> Iterator[str]:
        """Every blob that is there, in no order."""
        if not self.blobs.is_dir():
            return
        for folder in os.scandir(self.blobs):
            if not folder.is_dir():
                continue
            for entry in os.scandir(folder.path):
                name = entry.name.removesuffix(".dcm")
                if name != entry.name and _DIGEST.match(name):
                    yield name

    def prepare(self) -> int:
        """Make and open the folders for writing; remove what was being written when the process before ended.

        Nobody was told 0x0000 for that. What another host writes stays, for LONGEST_WRITE_S. All 256 folders are made at once, since making one costs two flushes.
        Returns how many files were removed. Raises: OSError.
        """
        self.blobs.mkdir(parents=True, exist_ok=True)
        leftovers = [p for p in self.blobs.iterdir() if p.is_file()] + [*self.blobs.glob("??/*.tmp")]
        leftovers = [p for p in leftovers if not self._is_anothers(p)]
        for path in leftovers:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:  # a disk that can only be read now must not keep the node from saying so
                log.warning("leftover=%s stays: %s", path.name, error.strerror)
        for number in range(256):
            (self.blobs / f"{number:02x}").mkdir(exist_ok=True)
        for folder in (self.blobs, self.blobs.parent):
            flush_folder(folder)
        return len(leftovers)

    def _is_anothers(self, path: Path) -> bool:
        try:
            is_recent = time.time() - path.stat().st_mtime < LONGEST_WRITE_S
        except FileNotFoundError:  # finished since
            return True
        return is_recent and "@" in path.stem and not path.stem.endswith(self.writer)

    def folder_descriptor(self, prefix: str) -> int:
        """An open descriptor of `blobs/<prefix>`, for fsync; kept open."""
        with self._lock:
            descriptor = self._folders.get(prefix)
            if descriptor is None:
                descriptor = self._folders[prefix] = os.open(self.blobs / prefix, os.O_RDONLY | os.O_DIRECTORY)
            return descriptor

    def close(self) -> None:
        with self._lock:
            for descriptor in self._folders.values():
                os.close(descriptor)
            self._folders.clear()
