"""A disk that forgets at a power loss what nobody flushed: contents of files, and names in folders.

The files are real ones in a real folder, and what `os` does to them happens at once, as in the page cache. Beside it stands what
the platter holds: contents since the last fsync of the file, names since the last fsync of the folder. Source: open(2), fsync(2):
flushing a file does not flush its entry in the folder.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.simulated_faults.world import Process, World

_PLENTY_BYTES, _LITTLE_BYTES = 10**12, 10**6


@dataclass(slots=True, eq=False)
class _File:
    """A file that the platter does not hold whole. `kept`: its content at the last flush; `is_named`: under `path`."""

    path: str
    kept: bytes | None = None
    is_named: bool = False


class Disk:
    """Stands in for the module `os` where the node writes files."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._folder = world, os.fspath(folder)
        self.is_full = False
        self.fails_to_flush = False
        self.takes_direct_writes = True
        self.opened: set[str] = set()
        """Every name that was asked for or given, below the data folder; one that leads elsewhere begins with a slash."""
        self._open: dict[int, tuple[str, Process | None]] = {}
        self._owners: set[int] = set()
        self._volatile: dict[str, _File] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    # what the node calls

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        name = self._named(path)
        creates = bool(flags & os.O_CREAT)
        if creates:
            self._world.point("create")
            if self.is_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if flags & os.O_DIRECT and not self.takes_direct_writes:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        descriptor = os.open(name, flags & ~os.O_DIRECT, mode)
        actor = self._world.actor
        process = actor.process if actor is not None else None
        self._open[descriptor] = name, process
        if process is not None and process.pid not in self._owners:
            self._owners.add(process.pid)
            process.at_death.append(partial(self._close_all, process))
        if creates:
            self._volatile[name] = _File(name)
        return descriptor

    def pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        self._world.point("write")
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.pwrite(descriptor, data, offset)

    def fsync(self, descriptor: int) -> None:
        self._world.point("flush")
        if self.fails_to_flush:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.flushed(descriptor)
        self._world.point("flushed")

    def flushed(self, descriptor: int) -> None:
        name, _ = self._open[descriptor]
        if os.path.isdir(name):
            for path, file in list(self._volatile.items()):
                if os.path.dirname(path) == name:
                    file.is_named = True
                    self._forget_if_whole(file)
        elif (file := self._volatile.get(name)) is not None:
            file.kept = Path(name).read_bytes()
            self._forget_if_whole(file)

    def rename(self, source: str, target: str) -> None:
        self._world.point("rename")
        os.rename(source, self._named(target))
        at = self._world.now().timestamp()
        os.utime(target, (at, at))
        file = self._volatile.pop(source, None) or _File(source, Path(target).read_bytes())
        file.path, file.is_named = target, False
        self._volatile[target] = file
        for descriptor, (name, process) in self._open.items():
            if name == source:
                self._open[descriptor] = target, process

    def unlink(self, path: str) -> None:
        self._world.point("unlink")
        os.unlink(path)
        self._volatile.pop(path, None)

    def close(self, descriptor: int) -> None:
        self._world.check_alive()
        if self._open.pop(descriptor, None) is not None:
            os.close(descriptor)

    def statvfs(self, _: Any) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=_LITTLE_BYTES if self.is_full else _PLENTY_BYTES, f_frsize=1)

    def getpid(self) -> int:
        actor = self._world.actor
        return actor.process.pid if actor is not None and actor.process is not None else 1

    # what happens to it

    def lose_power(self, everything: bool = False) -> int:
        """What was not flushed is gone, there in part, or there after all; with `everything`, gone. Returns how many files changed."""
        chance, lost = self._world.rng, 0
        for path, file in list(self._volatile.items()):
            if not os.path.exists(path):
                continue
            fate = "gone" if everything else chance.choice(("kept", "gone", "torn", "empty"))
            if fate == "gone" and not file.is_named:
                os.unlink(path)
                lost += 1
            elif file.kept is not None:
                Path(path).write_bytes(file.kept)
            elif fate in ("torn", "empty", "gone"):
                data = Path(path).read_bytes()
                Path(path).write_bytes(data[: len(data) // 2] + bytes(len(data) // 4) if fate == "torn" else b"")
                lost += 1
        self._volatile.clear()
        return lost

    def _named(self, path: Any) -> str:
        name = os.fspath(path)
        inside = name == self._folder or name.startswith(self._folder + os.sep)
        self.opened.add(os.path.relpath(name, self._folder) if inside else f"/{name}")
        return name

    def _forget_if_whole(self, file: _File) -> None:
        if file.is_named and file.kept is not None:
            self._volatile.pop(file.path, None)

    def _close_all(self, process: Process) -> None:
        for descriptor, (_, owner) in list(self._open.items()):
            if owner is process:
                os.close(descriptor)
                del self._open[descriptor]
