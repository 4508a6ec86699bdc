"""Shelves whose place is a store that hosts share, with copies on this machine.

DESIGN. What was received lies in the spool (`data_folder/blobs`) of the host that received it, durable before the answer, and goes up
from there (`upload`). The spool copy is removed only by `trim`, and only where the caller's rows say that the upload was confirmed.
Copies of what others received or built lie under `data_folder/cache`; they are checked against their name when they come, are not
flushed, and may be removed at any time. Copies that were used within the last minutes stay: somebody may be about to open them. What
nobody used for a day goes, so that pixels which retention removed from the store do not stay on a host that once read them.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from triage_node.blobs.object_store import ObjectStore
from triage_node.blobs.places import MOVING, PICTURES, built_folder, copies_folder
from triage_node.domain.errors import BlobDamaged, BlobMissing, BlobsAway
from triage_node.instances.archive import Archive

IN_PARALLEL = 8
IN_USE_S, UNUSED_S = 600.0, 86_400.0
MOST_REMEMBERED = 1000
LOOKED_AT_S = 1.0
"""A published file is asked for again after this; a page asks for dozens of pieces of one file within it."""
LOOKED_AT_AFTER_AN_ERROR_S = 5.0
_serial = itertools.count()


class _Copy(NamedTuple):
    """`in_spool`: the digest where it was received here, else empty. Units: s since the epoch, bytes."""

    used_at: float
    size: int
    path: Path
    in_spool: str


class SharedShelf:
    """`spool`: where a listener of this host writes such blobs, if one does."""

    def __init__(self, store: ObjectStore, prefix: str, cache: Path, spool: Path | None) -> None:
        self._store, self._prefix = store, prefix
        self._cache = Archive(cache)
        self._spool = Archive(spool) if spool is not None else None

    def path(self, sha256: str) -> Path:
        """Raises: BlobMissing, BlobDamaged, BlobsAway, OSError when there is no room for a copy."""
        if (here := self._here(sha256)) is not None:
            return here
        if (shared := self._store.local(self._key(sha256))) is not None:
            if self._store.stamp(self._key(sha256)) is None:
                raise BlobMissing(f"blob {sha256} is not in the shared folder")
            return shared
        return self._fetched(sha256)

    def fetch(self, digests: Iterable[str]) -> None:
        def one(sha256: str) -> None:
            try:
                self.path(sha256)
            except BlobMissing:
                return

        with ThreadPoolExecutor(IN_PARALLEL, "fetch") as pool:
            for _ in pool.map(one, dict.fromkeys(digests)):
                continue

    def has(self, sha256: str) -> bool:
        if self._here(sha256) is not None:
            return True
        try:
            return self._store.stamp(self._key(sha256)) is not None
        except BlobsAway:
            return True

    def read(self, sha256: str) -> bytes:
        return self.path(sha256).read_bytes()

    def keep(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        self._put(sha256, data, len(data))
        self._place(sha256, lambda new: new.write_bytes(data))
        return sha256

    def upload(self, sha256: str) -> None:
        """Raises: BlobMissing when there is no local file, BlobDamaged when its bytes changed, BlobsAway."""
        here = self._here(sha256)
        if here is None:
            raise BlobMissing(f"blob {sha256} is not on this machine")
        with here.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise BlobDamaged(f"blob {sha256}: the bytes on disk are not those that were received")
        self._put(sha256, here, size)

    def remove(self, sha256: str) -> None:
        self._store.remove(self._key(sha256))
        for archive in self._archives():
            archive.remove(sha256)

    def digests(self) -> Iterator[str]:
        for key in self._store.keys(self._prefix):
            name = key.rsplit("/", 1)[-1]
            if name.endswith(".dcm") and key == self._key(sha256 := name.removesuffix(".dcm")):
                yield sha256

    def copies(self) -> Iterator[tuple[Archive, str, bool]]:
        """(where, SHA-256, whether it was received here) of every file on this machine."""
        for archive in self._archives():
            for sha256 in archive.digests():
                yield archive, sha256, archive is self._spool

    def _put(self, sha256: str, source: Path | bytes, size: int) -> None:
        key = self._key(sha256)
        self._store.put(key, source)
        try:
            there = self._store.digest(key)
        except BlobMissing as error:
            raise BlobsAway(f"the object store took {key} and does not have it") from error
        if there != (size, sha256):
            raise BlobsAway(f"the object store holds {there[0]} bytes of {key} that are not the {size} sent")

    def _fetched(self, sha256: str) -> Path:
        key = self._key(sha256)

        def get(new: Path) -> None:
            self._store.get(key, new)
            with new.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    raise BlobDamaged(f"{key} is damaged or cut off in the object store: {size} bytes came")

        return self._place(sha256, get)

    def _place(self, sha256: str, make: Callable[[Path], object]) -> Path:
        path = self._cache.path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        _atomic(path, make)
        return path

    def _here(self, sha256: str) -> Path | None:
        """The local copy; it counts as used now, and keeps the time at which it was written."""
        for archive in self._archives():
            path = archive.path(sha256)
            try:
                _touch(path)
            except FileNotFoundError:
                continue
            except PermissionError:  # another user's file: it can be read, and is not kept from being trimmed
                return path
            return path
        return None

    def _archives(self) -> Iterator[Archive]:
        if self._spool is not None:
            yield self._spool
        yield self._cache

    def _key(self, sha256: str) -> str:
        return f"{self._prefix}/{self._cache.path(sha256).parent.name}/{sha256}.dcm"


class SharedBlobs:
    """`cache_bytes`: as much as this may all local copies together take. `least_free`: bytes that they leave free on the spool's disk."""

    is_shared = True

    def __init__(self, data_folder: Path, store: ObjectStore, cache_bytes: int, least_free: int = 0) -> None:
        self._folder, self._store, self._cache_bytes, self._least_free = data_folder, store, cache_bytes, least_free
        cache, built = copies_folder(data_folder), built_folder(data_folder)
        self._copies = cache
        self.received = SharedShelf(store, "blobs", cache, data_folder)
        self.built = SharedShelf(store, f"{built.name}/blobs", cache / built.name, built)
        self._stamps: dict[str, str | None] = {}
        self._not_before: dict[str, float] = {}
        self._away_until = 0.0

    def publish(self, path: Path) -> None:
        key = self._name(path)
        self._store.put(key, path)
        self._stamps[key] = self._store.stamp(key)

    def refresh(self, path: Path) -> None:
        key = self._name(path)
        if time.monotonic() < max(self._not_before.get(key, 0.0), self._away_until):
            return
        try:
            stamp = self._store.stamp(key)
            if stamp is None:
                path.unlink(missing_ok=True)
            elif stamp != self._stamps.get(key) or not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                _atomic(path, lambda new: self._store.get(key, new))
            self._stamps[key] = stamp
        except BlobMissing:  # it went between both questions
            path.unlink(missing_ok=True)
        except BlobsAway:
            self._away_until = time.monotonic() + LOOKED_AT_AFTER_AN_ERROR_S
        if len(self._not_before) > MOST_REMEMBERED:  # a page that is looked at costs no memory for good
            self._not_before.clear()
            self._stamps.clear()
        self._not_before[key] = time.monotonic() + LOOKED_AT_S
        with suppress(OSError):
            _touch(path)

    def withdraw(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._store.remove(self._name(path))

    def published(self) -> Iterator[tuple[str, Path]]:
        for name in self._store.keys(PICTURES):
            path = self._copies / name
            self.refresh(path)
            if path.exists():
                yield name, path

    def problem(self) -> str:
        return self._store.problem()

    def trim(self, may_go: Callable[[list[str]], set[str]]) -> int:
        """`may_go`: which of these digests of received blobs were confirmed. Returns how many copies were removed."""
        found: list[_Copy] = []
        for shelf in (self.received, self.built):
            for archive, sha256, in_spool in shelf.copies():
                with suppress(FileNotFoundError):
                    found.append(_copy(archive.path(sha256), sha256 if in_spool else ""))
        for path in self._copies.rglob("*.*"):
            if path.suffix != ".dcm":  # published files, and what a process that was killed had begun to fetch
                with suppress(FileNotFoundError):
                    found.append(_copy(path, ""))
        oldest = sorted(c for c in found if c.used_at < time.time() - IN_USE_S)
        excess = max(sum(c.size for c in found) - self._cache_bytes, self._least_free - self._free())
        due = [c for c in oldest if excess > 0 or c.used_at < time.time() - UNUSED_S]
        safe = may_go([c.in_spool for c in due if c.in_spool]) if due and not self._comes_back() else set[str]()
        removed = 0
        for copy in due:
            if copy.in_spool and copy.in_spool not in safe:
                continue
            if excess > 0 or copy.used_at < time.time() - UNUSED_S:
                copy.path.unlink(missing_ok=True)
                excess -= copy.size
                removed += 1
        return removed

    def _free(self) -> int:
        """A store that was away for long leaves a spool that may fill its disk, however little all copies may take."""
        with suppress(FileNotFoundError):
            return shutil.disk_usage(Archive(self._folder).blobs).free
        return self._least_free

    def _comes_back(self) -> bool:
        """What lies in the shared store is being moved into the data folder: its copies there are more than copies now."""
        with suppress(FileNotFoundError):
            return time.time() - (self._folder / MOVING).stat().st_mtime < IN_USE_S
        return False

    def _name(self, path: Path) -> str:
        return path.relative_to(self._copies if path.is_relative_to(self._copies) else self._folder).as_posix()


def _copy(path: Path, in_spool: str) -> _Copy:
    state = path.stat()
    return _Copy(max(state.st_atime, state.st_mtime), state.st_size, path, in_spool)


def _touch(path: Path) -> None:
    """It is used now; the time at which it was written stays."""
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def _atomic(path: Path, make: Callable[[Path], object]) -> None:
    new = path.with_name(f"{os.getpid()}-{next(_serial)}.tmp")
    try:
        make(new)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
