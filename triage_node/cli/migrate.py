"""`triage-node migrate`: a running site moves to another database, its files to another place, and back."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from triage_node.cli.progress import progress
from triage_node.config.load import load
from triage_node.config.store_address import Address, FilesAt
from triage_node.domain.errors import ConfigError
from triage_node.processes.moving.files import migrate_files, tidy_up
from triage_node.processes.moving.migrate import migrate as move
from triage_node.processes.moving.migrate import waited_for
from triage_node.processes.running import now

DATA_FOLDER = "data_folder"
_COME_BACK_S = 60.0


def migrate(
    config: Path | None, to: str, to_file: Path | None, blobs_to: str, credentials: Path | None, console: Console
) -> bool:
    """True when the site serves from there, or would: a node that does not run has nobody to wait for."""
    if config is None:
        raise ConfigError("migrate changes the configuration file: name it with --config")
    address = _address(to, to_file) if to or to_file is not None or not blobs_to else None
    files = _files_at(blobs_to, credentials)
    if address is not None and not (
        files is not None and address.is_named_in(load(config)[0])
    ):  # or it was done before
        if not _migrate_database(config, address, console):
            return False
    return files is None or _migrate_files(config, files, console)


def _migrate_database(config: Path, address: Address, console: Console) -> bool:
    begun = now()
    with progress(console) as tell:
        moved = move(config, address, tell)
        missing = waited_for(config, moved.roles, begun, _COME_BACK_S, tell)
    table = Table("table", "rows", "SHA-256 of all rows, here and there")
    for one in moved.tables:
        if one.rows:
            table.add_row(one.name, str(one.rows), one.sha256[:16])
    console.print(table)
    said = (
        f"audit chain: {moved.head.entries} entries, head {moved.head.hash[:16]}"
        if moved.head
        else "audit chain: empty"
    )
    console.print(f"{said}; writes stood still for {moved.stood_still_s:.1f} s")
    console.print(f"{config} names the new store now; the file before is {moved.backup}", soft_wrap=True)
    console.print(
        f"the old store is kept, takes no writes, and is the way back: triage-node migrate --to {moved.old}",
        soft_wrap=True,
    )
    return _are_back(missing, console)


def _migrate_files(config: Path, to: FilesAt, console: Console) -> bool:
    begun = now()
    with progress(console) as tell:
        moved = migrate_files(config, to, tell)
        missing = waited_for(config, moved.roles, begun, _COME_BACK_S, tell)
        if not missing:
            tidy_up(config, moved, tell)
    console.print(
        f"{moved.files} files are there, each read back; writes stood still for {moved.stood_still_s:.1f} s",
    )
    for sha256 in moved.missing:
        console.print(f"WRONG {sha256}: a row names it, and the old place did not have it", soft_wrap=True)
    console.print(f"{config} names the new place now; the file before is {moved.backup}", soft_wrap=True)
    console.print(
        f"the old place is kept, with images that retention does not know any more: remove it by hand when you will not go back "
        f"(triage-node migrate --blobs-to '{moved.left or DATA_FOLDER}')",
        soft_wrap=True,
    )
    return _are_back(missing, console)


def _are_back(missing: set[str], console: Console) -> bool:
    for role in sorted(missing):
        console.print(f"WRONG process {role} has not come back; is the supervisor running?", style="bold red")
    return not missing


def _files_at(blobs_to: str, credentials: Path | None) -> FilesAt | None:
    if not blobs_to:
        if credentials is not None:
            raise ConfigError("--blobs-credentials belongs to --blobs-to")
        return None
    return FilesAt("" if blobs_to == DATA_FOLDER else blobs_to, credentials.resolve() if credentials else None)


def _address(to: str, to_file: Path | None) -> Address:
    if bool(to) == (to_file is not None):
        raise ConfigError("give --to URL, or --to-file with a file that holds it; --blobs-to URL for the files")
    if to_file is None:
        return Address(to)
    try:
        return Address(to_file.read_text(encoding="utf-8").strip(), to_file.resolve())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--to-file {to_file}: cannot be read") from error
