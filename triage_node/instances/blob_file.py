"""Takes the bytes of one file as they arrive and makes them durable under the name of their hash.

DESIGN. The bytes are received straight into a page-aligned buffer that is used again for the next file: a fresh page
costs 5 to 14 us on a virtual machine, and a file of 526 KB written through the page cache needs 129 of them
(MEASUREMENTS.md section 1). From that buffer the file is written with O_DIRECT, rounded up to whole blocks and then cut
to its length; where the file system refuses O_DIRECT (tmpfs, some network file systems) by a plain write. A file that
does not fit the buffer goes to disk a buffer at a time, so memory stays bounded whatever arrives. Order, before anybody
is told: fsync(file), rename, fsync(directory).

The hash, a quarter of the time that an instance takes, is computed by a second thread while the first one waits for the
disk; so the name is known only after the bytes are written, and they are written under another one.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import mmap
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from triage_node.instances.archive import Archive

BUFFER_BYTES = 2 << 20  # a CT slice is 0.5 MB; 64 associations touch 0.5 MB of theirs each
_BLOCK = 4096
_FREE_BUFFERS = 16
_HASHING_THREADS = 2
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_serial = itertools.count()

log = logging.getLogger(__name__)


class Buffers:
    """Lends aligned buffers; the one that came back last goes out first, since its pages are there already.

    `hashing` is the pool of threads that the files of one process share.
    """

    def __init__(self) -> None:
        self.hashing = ThreadPoolExecutor(_HASHING_THREADS, "hash")
        # all of them now: where memory has become scarce none starts any more, in the midst of an instance
        there = threading.Barrier(_HASHING_THREADS)
        wait([self.hashing.submit(there.wait) for _ in range(_HASHING_THREADS)])
        self._free: list[mmap.mmap] = []
        self._lock = threading.Lock()

    def take(self) -> mmap.mmap:
        with self._lock:
            if self._free:
                return self._free.pop()
        return mmap.mmap(-1, BUFFER_BYTES)

    def give_back(self, buffer: mmap.mmap) -> None:
        with self._lock:
            if len(self._free) < _FREE_BUFFERS:
                self._free.append(buffer)
        # else it is unmapped when the last view of it goes


class BlobFile:
    """One file on its way to `Archive`. Used by one thread; ends with `commit` or `discard`."""

    def __init__(self, archive: Archive, buffers: Buffers, direct: bool, head: bytes) -> None:
        self._archive, self._buffers, self._direct = archive, buffers, direct
        self._buffer = buffers.take()
        self._view = memoryview(self._buffer)
        self._view[: len(head)] = head
        self._held = len(head)  # bytes in the buffer
        self._hash = hashlib.sha256()
        self._hashing: Future[None] | None = None
        self._written = 0  # bytes in the file
        self._descriptor = -1
        self._temporary = ""

    @property
    def size_bytes(self) -> int:
        return self._written + self._held

    @property
    def is_full(self) -> bool:
        """True when the next `room` writes to the disk."""
        return self._held == BUFFER_BYTES

    def room(self, wanted: int) -> memoryview:
        """At least one and at most `wanted` bytes to fill. Raises: OSError when the disk takes no more."""
        if self._descriptor < 0:
            self._open()
        if self._held == BUFFER_BYTES:
            self._hash.update(self._view)
            self._write_held(last=False)
        return self._view[self._held : self._held + wanted]

    def filled(self, count: int) -> None:
        self._held += count

    def complete(self) -> memoryview | mmap.mmap:
        """No more bytes come; begins to hash. Returns everything, to read: what went to disk is mapped, not loaded."""
        self._hashing = self._buffers.hashing.submit(self._hash.update, self._view[: self._held])
        if not self._written:
            return self._view[: self._held]
        self._hashing.result()
        self._write_held(last=True)
        with open(self._temporary, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def is_known(self) -> bool:
        """True when these bytes are stored already. Call `complete` first."""
        return self._archive.path(self._sha256()).exists()

    def commit(self) -> tuple[str, bool]:
        """Make the file durable. Returns (sha256, whether it was not there before). Raises: OSError."""
        if self._descriptor < 0:
            self._open()
        if self._hashing is None:
            self.complete()
        if self._held or not self._written:
            self._write_held(last=True)
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        sha256 = self._sha256()
        folder = self._archive.folder_descriptor(sha256[:2])
        path = f"{self._archive.blobs}/{sha256[:2]}/{sha256}.dcm"  # text, not Path: this runs before each answer
        known = os.path.exists(path)  # whoever renamed it there had flushed it; the directory perhaps not yet
        if not known:
            os.rename(self._temporary, path)
            self._temporary = ""
        os.fsync(folder)
        self.discard()
        return sha256, not known

    def discard(self) -> None:
        """Leave nothing behind. Can be called twice, and after a failed `commit`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._temporary:
            try:
                os.unlink(self._temporary)
            except (
                OSError
            ) as error:  # the disk can only be read now: the next start removes it, and the sender is told 0xA700
                log.warning("leftover=%s stays: %s", self._temporary, error.strerror)
            self._temporary = ""
        self._release()

    def _sha256(self) -> str:
        assert self._hashing is not None
        self._hashing.result()
        return self._hash.hexdigest()

    def _release(self) -> None:
        if self._hashing is not None:
            wait([self._hashing])  # it reads the buffer
        if self._buffer is not None:
            self._view.release()
            self._buffers.give_back(self._buffer)
            self._buffer = None  # type: ignore[assignment]

    def _open(self) -> None:
        temporary = f"{self._archive.blobs}/{os.getpid()}-{next(_serial)}{self._archive.writer}.tmp"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | (os.O_DIRECT if self._direct else 0)
        self._descriptor = os.open(temporary, flags, 0o640)
        self._temporary = temporary

    def _write_held(self, last: bool) -> None:
        length = self._held
        if last and self._direct:
            length = -(-length // _BLOCK) * _BLOCK  # BUFFER_BYTES is a whole number of blocks, so it fits
        done = 0
        while done < length:
            done += os.pwrite(self._descriptor, self._view[done:length], self._written + done)
        self._written += self._held
        self._held = 0
        if last and self._direct:
            os.ftruncate(self._descriptor, self._written)


def direct_writes_work(folder: Path) -> bool:
    """Try O_DIRECT in this folder. Where nothing can be written now, the plain way is sure to work later."""
    probe = folder / f"{os.getpid()}-probe.tmp"
    try:
        descriptor = os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_DIRECT, 0o640)
    except OSError as error:
        if error.errno in _NO_ROOM:
            return False
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        probe.unlink(missing_ok=True)
        log.info("direct writes are refused by the file system of %s, plain ones are used", folder)
        return False
    try:
        with mmap.mmap(-1, _BLOCK) as block:
            os.pwrite(descriptor, block, 0)
        return True
    except OSError as error:
        if error.errno != errno.EINVAL and error.errno not in _NO_ROOM:
            raise
        return False
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)
