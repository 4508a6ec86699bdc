"""What the machine under the node lacks: room, the right to write, descriptors, memory. Looked at each time that somebody asks, so
that what is over is not told any more. Needs no database: it may be what is in trouble.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from triage_node.config.schema import Settings
from triage_node.console.operations_deps import Problem
from triage_node.processes.wiring import built_folder
from triage_node.store.engine import sqlite_file

FULL_BYTES = 16_000_000
"""A disk with less room than this fails the next object or the database's next page."""
_NEARLY = 0.9
_OF_MEMORY = (
    ("Max address space", "VmSize", "address space", "LimitAS"),
    ("Max data size", "VmData", "memory for data", "LimitDATA"),
)
"""What /proc calls a limit and its use, how we call it, and how systemd calls the limit."""
_MODULE = "triage_node.processes."
_SENDERS = "senders are refused with 0xA700"


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere that the node writes. `effect`: what does not happen while it cannot; `stop`, `warn`: free bytes."""

    name: str
    path: Path
    effect: str
    stop_bytes: float = FULL_BYTES
    warn_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that was looked at, and what is wrong with it."""

    what: str
    problem: Problem | None = None


def places(settings: Settings) -> Iterator[Place]:
    store = settings.store
    blobs = store.data_folder / "blobs"
    received = blobs if blobs.is_dir() else store.data_folder
    yield Place(
        "the received images", received, _SENDERS, max(store.stop_free_gb * 1e9, FULL_BYTES), store.warn_free_gb * 1e9
    )
    built = built_folder(settings)
    yield Place("the objects", built if built.is_dir() else store.data_folder, "objects are not built, flags are")
    if (database := sqlite_file(settings.database_url)) is not None:
        yield Place("the database", database.parent, "what arrives is kept, and neither listed nor analysed")


def look(settings: Settings, pids: Mapping[str, int]) -> Iterator[Seen]:
    """Everything, urgent or not. `pids`: of the roles, as far as they are known."""
    for place in places(settings):
        yield _look_at(place)
    ours = {role: pid for role, pid in pids.items() if _is_role(role, pid)}
    if (log := _log(ours)) is not None:
        yield _look_at(Place("the log", log, "what happens is written down nowhere"))
    for role, pid in ours.items():
        yield from _descriptors(role, pid)
        yield from _memory(role, pid)


def problems(settings: Settings, pids: Mapping[str, int]) -> Iterator[Problem]:
    return (seen.problem for seen in look(settings, pids) if seen.problem is not None)


def _look_at(place: Place) -> Seen:
    try:
        state = os.statvfs(place.path)
    except OSError as error:
        what = f"The disk of {place.name} cannot be looked at ({error.strerror}): {place.effect}."
        return Seen(f"disk of {place.name}", Problem(what, "Is its file system mounted?", is_urgent=True))
    free = state.f_bavail * state.f_frsize
    what = f"disk of {place.name}: {_size(free)} free, {place.path}"
    if state.f_flag & os.ST_RDONLY or _is_given_up(place.path):
        why = f"The disk of {place.name} can only be read: {place.effect}."
        todo = "The kernel's log (`dmesg`) says why; repair it and mount it for writing again, the node then goes on by itself."
        return Seen(what, Problem(why, todo, is_urgent=True))
    if free < place.stop_bytes or (state.f_files and not state.f_favail):
        why = f"The disk of {place.name} is full ({_size(free)} free): {place.effect}."
        return Seen(what, Problem(why, "Make room at once; the node then goes on by itself.", is_urgent=True))
    if free < place.warn_bytes:
        why = f"{_size(free)} of the disk of {place.name} are free; below {_size(place.stop_bytes)} {place.effect}."
        return Seen(what, Problem(why, "Make room, or lower store.source_days."))
    return Seen(what)


def _is_given_up(path: Path) -> bool:
    """ext4 after an error: from Linux 6.15 on writing fails, and neither statvfs nor the flags of the mount say so."""
    try:
        device = path.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    return any(line.split()[2] == number and "emergency_ro" in line.rsplit(" ", 1)[-1].split(",") for line in mounts)


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 50_000_000 else f"{count / 1e6:.1f} MB"


def _is_role(role: str, pid: int) -> bool:
    """Whether this process of this machine is that role; a number may be of another machine, or used again."""
    try:
        return f"{_MODULE}{role}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _log(pids: Mapping[str, int]) -> Path | None:
    """Where the roles' log goes, when that is a file."""
    for pid in pids.values():
        log = Path(f"/proc/{pid}/fd/2")
        try:
            if stat.S_ISREG(log.stat().st_mode):
                return log
        except OSError:
            continue
    return None


def _descriptors(role: str, pid: int) -> Iterator[Seen]:
    """Of the role and of its own processes, the one that has fewest left."""
    counts = [found for p in (pid, *_children(pid)) if (found := _used(p)) is not None]
    if not counts:
        return
    used, most = max(counts, key=lambda found: found[0] / found[1])
    what = f"descriptors of {role}: {used} of {most} in use"
    if used < _NEARLY * most:
        yield Seen(what)
        return
    why = f"The {role} process has {used} of the {most} descriptors that it may have: connections are turned away."
    todo = "Does somebody open connections without end? Else raise the limit (`LimitNOFILE` in the service)."
    yield Seen(what, Problem(why, todo, is_urgent=True))


def _memory(role: str, pid: int) -> Iterator[Seen]:
    """Of the role and what it forked, where a limit is set. The decoding child has one of its own, which a study may reach."""
    for p in (pid, *(child for child in _children(pid) if _is_role(role, child))):
        for limit, used_as, words, setting in _OF_MEMORY:
            most, used = _limit(p, limit), _in_use(p, used_as)
            if most is None or used is None or used < _NEARLY * most:
                continue
            why = f"The {role} process has {_size(used)} of the {_size(most)} of {words} that it may have: what needs more fails."
            todo = f"Raise the limit (`{setting}` in the service); what failed is then tried again by itself."
            yield Seen(f"memory of {role}", Problem(why, todo, is_urgent=True))
            return


def _in_use(pid: int, name: str) -> int | None:
    """Bytes that /proc calls so; None where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return None


def _used(pid: int) -> tuple[int, int] | None:
    """(open, allowed); None where this user may not look, or it is gone."""
    most = _limit(pid, "Max open files")
    try:
        return (len(os.listdir(f"/proc/{pid}/fd")), most) if most is not None else None
    except OSError:
        return None


def _limit(pid: int, name: str) -> int | None:
    """The soft limit that /proc calls so; None: there is none, or this user may not look."""
    try:
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
        most = next(line.removeprefix(name).split()[0] for line in lines if line.startswith(name))
        return int(most) if most != "unlimited" else None
    except (OSError, StopIteration, ValueError):
        return None


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()]
    except (OSError, ValueError):
        return []
