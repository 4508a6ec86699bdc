"""Folders that the selection lab holds for a moment: `selection/<random name>` in the data folder, for nobody but this user.

They are erased when judged, when their page is left, after an hour, and whenever a role that has to do with them starts: nobody
waits for them then. No name in there comes from outside.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from datetime import timedelta
from pathlib import Path

from triage_node.config.schema import Settings
from triage_node.domain.trial import FOLDER
from triage_node.processes.running import Running, now
from triage_node.store import folder_trials

log = logging.getLogger(__name__)

KEPT = timedelta(hours=1)
"""Since the last change of a folder."""
_SENT = ".sent"
_GONE = "gone-"


def base_of(settings: Settings) -> Path:
    return settings.store.data_folder / "selection"


def make(base: Path) -> str:
    """A new folder. Returns its name. Raises: OSError."""
    base.mkdir(mode=0o700, exist_ok=True)
    name = FOLDER + secrets.token_hex(16)
    (base / name).mkdir(mode=0o700)
    return name


def file_in(folder: Path, number: int) -> Path:
    """Where the file that came as `number` lies."""
    return folder / f"{number:06d}{_SENT}"


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_SENT}"))


def picture_in(folder: Path, study: int) -> Path:
    """The key slice of a study by its place in the answer."""
    return folder / f"{study}.png"


def erase_files(folder: Path) -> None:
    """What was sent goes; pictures of the answer stay until the folder goes."""
    for file in files_of(folder):
        file.unlink(missing_ok=True)


def erase(folder: Path) -> None:
    """The folder goes with all that is in it. It loses its name first, so that whoever writes to it finds no place any more."""
    gone = folder.with_name(_GONE + secrets.token_hex(8))
    try:
        os.rename(folder, gone)
    except FileNotFoundError:
        return
    _remove(gone)


def erase_all(running: Running) -> None:
    """At the start of a role: whatever a process before left."""
    base = base_of(running.settings)
    for folder in _folders(base):
        erase(folder) if folder.name.startswith(FOLDER) else _remove(folder)
    folder_trials.forget_before(running.store, now())


def erase_old(running: Running) -> None:
    """For the scheduler."""
    for folder in _folders(base_of(running.settings)):
        try:
            changed_at = folder.stat().st_mtime
        except FileNotFoundError:
            continue
        if changed_at < (now() - KEPT).timestamp():
            erase(folder)
    folder_trials.forget_before(running.store, now() - KEPT)


def _folders(base: Path) -> list[Path]:
    return [p for p in base.iterdir() if p.is_dir()] if base.is_dir() else []


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log.error("event=selection_not_erased folder=%s", folder.name)
