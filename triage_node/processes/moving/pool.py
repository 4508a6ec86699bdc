"""Files of a backup under their SHA-256, shared by all backups in one folder: what is there already is not copied again."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from pathlib import Path

from triage_node.instances.archive import flush_folder

_serial = itertools.count()
_PIECE = 1 << 20


class Pool:
    """`<folder>/<2 hex>/<SHA-256>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def put(self, source: Path) -> str:
        """Durable when it returns, under the name of what was read. Raises: OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._folder / f"{os.getpid()}-{next(_serial)}.tmp"
        try:
            found = copied(source, new)
            target = self.path(found)
            target.parent.mkdir(exist_ok=True)
            os.replace(new, target)
        finally:
            new.unlink(missing_ok=True)
        flush_folder(target.parent)
        return found


def copied(source: Path, target: Path) -> str:
    """Copy and flush; returns the SHA-256 of what was read. Raises: OSError."""
    found = hashlib.sha256()
    with source.open("rb") as data, target.open("xb") as file:
        while piece := data.read(_PIECE):
            found.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    shutil.copystat(source, target)
    return found.hexdigest()
