"""`triage-node migrate`: a running site moves to another database, and back."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from triage_node.cli.progress import progress
from triage_node.config.store_address import Address
from triage_node.domain.errors import ConfigError
from triage_node.processes.moving.migrate import migrate as move
from triage_node.processes.moving.migrate import waited_for
from triage_node.processes.running import now

_COME_BACK_S = 60.0


def migrate(config: Path | None, to: str, to_file: Path | None, console: Console) -> bool:
    """True when the site serves from there, or would: a node that does not run has nobody to wait for."""
    if config is None:
        raise ConfigError("migrate changes the configuration file: name it with --config")
    address = _address(to, to_file)
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
    console.print(f"{said}; writes stood still for {moved.stood_still_s:.1f} s", highlight=False)
    console.print(f"{config} names the new store now; the file before is {moved.backup}", markup=False, soft_wrap=True)
    console.print(
        f"the old store is kept, takes no writes, and is the way back: triage-node migrate --to {moved.old}",
        markup=False,
        soft_wrap=True,
    )
    for role in sorted(missing):
        console.print(f"WRONG process {role} has not come back; is the supervisor running?", style="bold red")
    return not missing


def _address(to: str, to_file: Path | None) -> Address:
    if bool(to) == (to_file is not None):
        raise ConfigError("give --to URL, or --to-file with a file that holds it")
    if to_file is None:
        return Address(to)
    try:
        return Address(to_file.read_text(encoding="utf-8").strip(), to_file.resolve())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--to-file {to_file}: cannot be read") from error
