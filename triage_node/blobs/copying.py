"""Makes one place of files equal to another, and proves each file by reading it back there.

A pass goes through 256 folders of names, a few at a time: in each received files, then built ones, then pictures. What the target
has already is read back once and not written again, so a pass that was killed is simply done again; a second pass costs the listing
and what came since. What is gone at the source goes at the target; nothing is ever removed at the source.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from triage_node.blobs.object_store import ObjectStore
from triage_node.blobs.places import PICTURES
from triage_node.domain.errors import BlobMissing, BlobsAway
from triage_node.instances.archive import digest_of

IN_PARALLEL = 8
PATIENCE_S, FIRST_PAUSE_S = 60.0, 1.0
"""So long a store may be away while the node works before a pass gives up."""
HEARTBEAT = "heartbeat"
_BLOB = re.compile(r"(built/)?blobs/([0-9a-f]{2})/(?P<sha256>\2[0-9a-f]{62})\.dcm")
_PARTS = tuple(f"{number:02x}" for number in range(256))


@dataclass(frozen=True, slots=True)
class Far:
    """How far a pass is. `part`: of the folders that are done, 0 to 1; `files` and their `bytes` were compared in it."""

    part: float
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """Stamps of a picture at the source and at the target when it was copied; a blob never changes."""

    source: str | None = None
    target: str | None = None


_BLOB_SEEN = _Seen()


@dataclass(slots=True)
class Copying:
    """`scratch`: a folder of the data folder for what is on its way, where `least_free` bytes stay free. `is_spool`: the target is this host's data folder, where received and built files
    may lie that the source never had.

    `damaged`: key -> what is wrong with it, as the last pass found.
    """

    source: ObjectStore
    target: ObjectStore
    scratch: Path
    is_spool: bool
    least_free: int = 0
    told: Callable[[Far], None] = lambda _: None
    damaged: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, dict[str, _Seen]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _folders: int = 0
    _files: int = 0
    _bytes: int = 0

    def bring(self, patience_s: float = PATIENCE_S) -> int:
        """One pass. Returns how many files were written. Raises: BlobsAway, OSError of the scratch folder."""
        self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.damaged.clear()
        self._stop.clear()
        self._folders = self._files = self._bytes = 0
        pool = ThreadPoolExecutor(IN_PARALLEL, "copy")
        try:
            return sum(pool.map(lambda part: self._patiently(part, patience_s), (*_PARTS, HEARTBEAT)))
        finally:  # an interruption must not wait for a whole folder
            self._stop.set()
            pool.shutdown(cancel_futures=True)

    def bring_late_pictures(self) -> None:
        """After the switch: what a process that still knew the old place put there, unless the new place has a newer one.

        Raises: BlobsAway, OSError of the scratch folder.
        """
        self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        for prefix in (*(f"{PICTURES}/{part}" for part in _PARTS), HEARTBEAT):
            seen = self._seen.get(prefix, {})
            for key in self._keys(self.source, prefix):
                before = seen.get(key, _BLOB_SEEN)
                if self.source.stamp(key) != before.source and self.target.stamp(key) == before.target:
                    self._copied(key, "")

    def digests(self, kind: str) -> Iterator[str]:
        """SHA-256 of every file that is the same on both sides. `kind`: "blobs" (received) or "built/blobs"."""
        for part in _PARTS:
            for key in self._seen.get(f"{kind}/{part}", ()):
                yield _sha256(key)

    @property
    def files(self) -> int:
        """How many are the same on both sides."""
        return sum(len(seen) for seen in self._seen.values())

    def _patiently(self, part: str, patience_s: float) -> int:
        pause, waited = FIRST_PAUSE_S, 0.0
        while True:
            try:
                written = self._folder(part)
            except BlobsAway:
                if waited >= patience_s or self._stop.wait(pause):
                    raise
                waited, pause = waited + pause, 2 * pause
            else:
                self._folders += 1
                self._tell()
                return written

    def _folder(self, part: str) -> int:
        prefixes = (part,) if part == HEARTBEAT else tuple(f"{of}/{part}" for of in ("blobs", "built/blobs", PICTURES))
        return sum(self._prefix(prefix) for prefix in prefixes)

    def _prefix(self, prefix: str) -> int:
        os.utime(self.scratch)  # nobody trims what is brought to a data folder meanwhile (shared.py)
        here, there = set(self._keys(self.source, prefix)), set(self._keys(self.target, prefix))
        seen, written = self._seen.setdefault(prefix, {}), 0
        for key in seen.keys() - here:
            del seen[key]
        for key in sorted(here):
            if self._stop.is_set():
                return written
            if key in there and key in seen and (_sha256(key) or seen[key].source == self.source.stamp(key)):
                continue
            seen.pop(key, None)
            if key in there and self._holds(key):
                seen[key] = _BLOB_SEEN
            elif (copied := self._copied(key, _sha256(key))) is not None:
                seen[key], written = copied, written + 1
        for key in there - here:
            if not (self.is_spool and _sha256(key)):
                self.target.remove(key)
        return written

    def _holds(self, key: str) -> bool:
        """Whether the target has these very bytes: of a picture that is not asked, copying it again is as cheap."""
        if not (sha256 := _sha256(key)):
            return False
        with suppress(BlobMissing):
            size, found = self.target.digest(key)
            if found == sha256:
                self._count(size)
                return True
        return False

    def _copied(self, key: str, sha256: str) -> _Seen | None:
        """None when there is nothing to copy any more, or it is damaged. `sha256`: what it must be; empty: as it is found."""
        if shutil.disk_usage(self.scratch).free < self.least_free:
            raise BlobsAway(f"less than store.stop_free_gb is free in {self.scratch.parent}")
        stamp = None if sha256 else self.source.stamp(key)
        on_the_way = self.scratch / f"{threading.get_ident()}.tmp"
        try:
            if (local := self.source.local(key) if sha256 else None) is None:
                local = on_the_way
                self.source.get(key, local)
            found = self._digest(key, local)
            if found != (sha256 or found):
                self.damaged.setdefault(key, "its bytes are not those of its name")
                return None
            self.target.put(key, local)
        except (BlobMissing, FileNotFoundError):  # retention took it meanwhile
            return None
        finally:
            on_the_way.unlink(missing_ok=True)
        size, back = self.target.digest(key)
        if back != found:
            raise BlobsAway(f"{key} was read back at the target as {size} bytes that are not those written")
        if self.source.stamp(key) is None:  # removed between; its removal may have been before our writing
            self.target.remove(key)
            return None
        self._count(size)
        return _BLOB_SEEN if sha256 else _Seen(stamp, self.target.stamp(key))

    def _digest(self, key: str, local: Path) -> str:
        try:
            return digest_of(local)
        except FileNotFoundError:
            raise
        except OSError as error:
            self.damaged[key] = f"it cannot be read: {error.strerror}"
            return ""

    @staticmethod
    def _keys(store: ObjectStore, prefix: str) -> Iterator[str]:
        """Files of the layout; what is being written is not among them."""
        for key in store.keys(prefix):
            if _sha256(key) or (key.startswith((PICTURES, HEARTBEAT)) and not key.endswith(".tmp")):
                yield key

    def _count(self, size: int) -> None:
        with self._lock:
            self._files += 1
            self._bytes += size
        self._tell()

    def _tell(self) -> None:
        self.told(Far(self._folders / (len(_PARTS) + 1), self._files, self._bytes))


def _sha256(key: str) -> str:
    """Of a received or built file; empty for a picture."""
    return found["sha256"] if (found := _BLOB.fullmatch(key)) else ""
