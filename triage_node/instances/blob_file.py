"""Takes the bytes of one file as they arrive and makes them durable under the name of their hash.

DESIGN. The bytes are received straight into a page-aligned buffer that is used again for the next file: a fresh page
costs 5 to 14 us on a virtual machine, and a file of 526 KB written through the page cache needs 129 of them
(MEASUREMENTS.md section 1). From that buffer whole blocks are written with O_DIRECT and what is left of the last one by a
plain write, which is cheaper than to write it whole and cut the file; where the file system refuses O_DIRECT (tmpfs, some
network file systems) everything by plain writes. A file that does not fit the buffer goes to disk a buffer at a time, so
memory stays bounded whatever arrives. Order, before anybody is told: fsync(file), rename, fsync(directory).

The hash takes a fifth of the time that an instance does. Where one file is on its way, a second thread takes it, and looks at
the elements, while the first one waits for the disk; where several are, the processor has no time to spare for handing over,
and the first thread does both before. So the name is known only after the bytes are written, and they are written under another.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import logging
import mmap
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from triage_node.instances.archive import Archive

BUFFER_BYTES = 2 << 20  # a CT slice is 0.5 MB; 64 associations touch 0.5 MB of theirs each
_BLOCK = 4096
_FREE_BUFFERS = 16
_THREADS = 2
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_serial = itertools.count()

Content = memoryview | mmap.mmap
Seen = TypeVar("Seen")

log = logging.getLogger(__name__)


class Buffers:
    """Lends aligned buffers; the one that came back last goes out first, since its pages are there already.

    `threads` work for all files of one process; `lent` says how many are on their way.
    """

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(_THREADS, "file")
        # all of them now: where memory has become scarce none starts any more, in the midst of an instance
        there = threading.Barrier(_THREADS)
        wait([self.threads.submit(there.wait) for _ in range(_THREADS)])
        self.lent = 0
        self._free: list[mmap.mmap] = []
        self._lock = threading.Lock()

    def take(self) -> mmap.mmap:
        with self._lock:
            buffer = self._free.pop() if self._free else mmap.mmap(-1, BUFFER_BYTES)
            self.lent += 1
        return buffer

    def give_back(self, buffer: mmap.mmap) -> None:
        with self._lock:
            self.lent -= 1
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
        self._is_complete = False
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

    def complete(self, look: Callable[[Content], Seen]) -> Seen:
        """No more bytes come. All of them go to disk and are hashed; returns what `look` sees in them.

        What went to disk before is mapped, not loaded. Raises: OSError, and whatever `look` raises.
        """
        self._is_complete = True
        held = self._view[: self._held]
        if self._written:
            self._hash.update(held)
            self._write_held(last=True)
            with open(self._temporary, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return look(content)
        if self._buffers.lent > 1:
            self._hash.update(held)
            seen = look(held)
            self._write_held(last=True)
            return seen

        def meanwhile() -> Seen:
            self._hash.update(held)
            return look(held)

        looking = self._buffers.threads.submit(meanwhile)
        try:
            self._write_held(last=True)
        finally:
            wait([looking])  # it reads the buffer
        return looking.result()

    def is_known(self) -> bool:
        """True when these bytes are stored already. Call `complete` first."""
        return self._archive.path(self._hash.hexdigest()).exists()

    def commit(self) -> tuple[str, bool]:
        """Make the file durable. Returns (sha256, whether it was not there before). Raises: OSError."""
        if not self._is_complete:
            self.complete(lambda _: None)
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        sha256 = self._hash.hexdigest()
        folder = self._archive.folder_descriptor(sha256[:2])
        path = f"{self._archive.blobs}/{sha256[:2]}/{sha256}.dcm"  # text, not Path: this runs before each answer
        known = os.path.exists(path)
        os.rename(self._temporary, path)  # over one that is there too: these bytes are whole, those perhaps no longer
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

    def _release(self) -> None:
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
        if self._descriptor < 0:
            self._open()
        whole = self._held // _BLOCK * _BLOCK  # BUFFER_BYTES is a whole number of blocks
        self._write(0, whole)
        if whole < self._held:
            assert last
            if self._direct:
                fcntl.fcntl(self._descriptor, fcntl.F_SETFL, 0)
            self._write(whole, self._held)
        self._written += self._held
        self._held = 0

    def _write(self, first: int, end: int) -> None:
        """Bytes `first` to `end` of the buffer, to where they belong."""
        while first < end:
            first += os.pwrite(self._descriptor, self._view[first:end], self._written + first)


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
