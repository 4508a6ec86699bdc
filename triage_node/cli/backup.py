"""`triage-node backup` and `triage-node restore`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from triage_node.cli.progress import progress
from triage_node.domain.errors import ConfigError, StoreError
from triage_node.processes.moving import backup as keeping


def backup(config: Path | None, folder: Path, console: Console) -> bool:
    """True when everything is in it."""
    try:
        with progress(console) as tell:
            kept = keeping.backup(config, folder, tell)
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: {error.strerror}; there is no whole backup of now") from error
    console.print(f"{kept.folder}: {kept.rows} rows, {kept.files} files, {kept.copied} of them new", soft_wrap=True)
    console.print("not in it: files that the configuration names (keys, certificates, passwords)")
    for sha256 in kept.damaged:
        console.print(f"WRONG {sha256}: its bytes are not those that were received; not in the backup", soft_wrap=True)
    return not kept.damaged


def restore(config: Path | None, folder: Path, console: Console) -> None:
    if config is None or not config.exists():
        raise ConfigError(
            "restore needs the node's configuration: copy configuration.toml of the backup, and name it with --config"
        )
    source = keeping.latest(folder)
    try:
        with progress(console) as tell:
            done = keeping.restore(config, source, tell)
    except OSError as error:
        raise StoreError(f"{error.filename}: {error.strerror}; the store was not made") from error
    console.print(f"restored {source}, made at {done.made_at}: {done.rows} rows, {done.files} files", soft_wrap=True)
    if done.without_row:
        console.print(f"{done.without_row} received files came after it; their rows are made when the node starts")
    console.print("what else happened after it is not there; `triage-node audit verify` shows where the trail ends")
