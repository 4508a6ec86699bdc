"""The selection lab on this store and data folder: takes files, lets the analysis role judge them, erases them.

What is at hand is known to this process alone. A web role that starts anew knows of nothing and has erased it (trials/folders.py).
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from triage_node.config.schema import Settings
from triage_node.console.selection import Limits, SelectionDeps, SelectionRefused, Sink
from triage_node.domain.person import Person
from triage_node.domain.selection import FolderTrial
from triage_node.processes import running_model
from triage_node.processes.running import now
from triage_node.processes.trials import folders
from triage_node.store import folder_trials, policy
from triage_node.store.engine import Store

MOST_FILES = 10_000
MOST_MB = 4096
MOST_FOLDERS = 4
"""At hand at a time, of all people together."""
GONE = "These files are not here any more. Choose the folder again."


@dataclass(slots=True)
class _AtHand:
    """A folder of one person. Files that come at the same time share it, so its counts change under the lock only."""

    by: str
    files: int = 0
    size: int = 0
    is_asked: bool = False


class Uploads:
    """Every method raises SelectionRefused with the status of the answer."""

    def __init__(self, store: Store, settings: Settings, limits: Limits) -> None:
        self._store, self._settings, self._limits = store, settings, limits
        self._base = folders.base_of(settings)
        self._lock = threading.Lock()
        self._at_hand: dict[str, _AtHand] = {}

    def begin(self, person: Person) -> str:
        """A new place for one folder; an earlier one of the same person goes."""
        with self._lock:  # a folder that was erased by time, or by another role that started anew
            self._at_hand = {n: held for n, held in self._at_hand.items() if (self._base / n).is_dir()}
            earlier = [n for n, held in self._at_hand.items() if held.by == person.name]
        for name in earlier:
            self.left(name, person)
        with self._lock:
            if len(self._at_hand) >= MOST_FOLDERS:
                raise SelectionRefused(
                    409, f"{MOST_FOLDERS} folders are being tried by others. Try again in some minutes."
                )
            self._check_room(0)
            try:
                name = folders.make(self._base)
            except OSError as error:
                raise _no_writing(error) from error
            self._at_hand[name] = _AtHand(person.name)
        folder_trials.begin(self._store, person.name, now())
        return name

    def file(self, name: str, person: Person) -> Sink:
        """A place for the next file."""
        with self._lock:
            held = self._of(name, person)
            if held.is_asked:
                raise SelectionRefused(409, "This folder is being judged already; choose it again to send more.")
            if held.files >= self._limits.files:
                raise SelectionRefused(413, f"At most {self._limits.files:,} files are taken.")
            held.files += 1
            number = held.files
        return _File(self, held, folders.file_in(self._base / name, number), self._limits)

    def judge(self, name: str, person: Person) -> None:
        """Everything is there: the analysis role takes it up when no study waits."""
        with self._lock:
            held = self._of(name, person)
            if held.is_asked or not held.files:
                raise SelectionRefused(409, "Nothing was sent." if not held.files else "It is being judged already.")
            model = running_model.model_settings(self._store, self._settings).bundle
            version = policy.in_force(self._store, running_model.digest(self._store)).version
            words = f"{held.files} files, {held.size / 1e6:.1f} MB"
            folder_trials.ask(self._store, name, person.name, now(), model, version, words)
            held.is_asked = True

    def outcome(self, name: str, person: Person) -> FolderTrial:
        with self._lock:
            self._of(name, person)
        found = folder_trials.get(self._store, name)
        if found is None:
            raise SelectionRefused(404, GONE)
        return found

    def picture(self, name: str, person: Person, study: int) -> bytes:
        with self._lock:
            self._of(name, person)
        try:
            return folders.picture_in(self._base / name, study).read_bytes()
        except OSError:
            raise SelectionRefused(404, GONE) from None

    def left(self, name: str, person: Person) -> None:
        """Nobody looks at it any more: everything goes."""
        with self._lock:
            self._of(name, person)
            del self._at_hand[name]
        folders.erase(self._base / name)
        folder_trials.forget(self._store, name, person.name, now())

    def take_in(self, held: _AtHand, size: int) -> None:
        """Count bytes that are about to be written."""
        with self._lock:
            if held.size + size > self._limits.total_mb << 20:
                raise SelectionRefused(413, f"At most {self._limits.total_mb:,} MB are taken in all.")
            held.size += size
        self._check_room(size)

    def _check_room(self, wanted: int) -> None:
        state = os.statvfs(self._settings.store.data_folder)
        if state.f_bavail * state.f_frsize - wanted < self._settings.store.stop_free_gb * 1e9:
            raise SelectionRefused(507, "The node's disk is nearly full; studies that arrive need what is left.")

    def _of(self, name: str, person: Person) -> _AtHand:
        """Somebody else's is answered like none."""
        held = self._at_hand.get(name)
        if held is None or held.by != person.name or not (self._base / name).is_dir():
            raise SelectionRefused(404, GONE)
        return held


class _File:
    """One file that comes, on the disk from the first byte on."""

    def __init__(self, uploads: Uploads, held: _AtHand, path: Path, limits: Limits) -> None:
        self._uploads, self._held, self._limits = uploads, held, limits
        self._path, self._size = path, 0
        try:
            self._stream = path.open("xb")
        except OSError as error:
            raise SelectionRefused(404, GONE) if isinstance(error, FileNotFoundError) else _no_writing(error) from error

    def write(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limits.file_mb << 20:
            raise SelectionRefused(413, f"A file is larger than {self._limits.file_mb} MB, the most that is taken.")
        self._uploads.take_in(self._held, len(part))
        try:
            self._stream.write(part)
        except OSError as error:
            raise _no_writing(error) from error

    def close(self, is_whole: bool) -> None:
        self._stream.close()
        if not is_whole:
            self._path.unlink(missing_ok=True)


def _no_writing(error: OSError) -> SelectionRefused:
    return SelectionRefused(507, f"The node cannot write: {error.strerror}.")


def selection_deps(
    store: Store, settings: Settings, most_files: int = MOST_FILES, most_mb: int = MOST_MB
) -> SelectionDeps:
    """The room's callables on this store."""
    limits = Limits(most_files, settings.listener.maximum_instance_mb, most_mb)
    uploads = Uploads(store, settings, limits)
    return SelectionDeps(
        limits=limits,
        begin=uploads.begin,
        file=uploads.file,
        judge=uploads.judge,
        outcome=uploads.outcome,
        picture=uploads.picture,
        left=uploads.left,
    )
