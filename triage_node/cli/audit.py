"""`triage-node audit verify` and `triage-node audit export`."""

from __future__ import annotations

import getpass
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from triage_node.cli.terminal import terminal
from triage_node.cli.user import BY, opened
from triage_node.domain.audit import YEARS, AuditSearch
from triage_node.domain.errors import TriageNodeError
from triage_node.processes.auditing import heads
from triage_node.processes.auditing.export import csv_of

audit = typer.Typer(help="The audit trail: does its chain hold, and what stands in it.", no_args_is_help=True)
console = terminal()

Config = Annotated[Path | None, typer.Option("--config", "-c", envvar="TRIAGE_NODE_CONFIG", help="TOML file.")]
HOLDS, BROKEN, NOT_COMPARED = 0, 1, 3


@audit.command()
def verify(
    told: Annotated[
        Path | None,
        typer.Option("--heads", help="File or syslog with heads of this node, beside audit.head_file."),
    ] = None,
    config: Config = None,
) -> None:
    """Check every entry of the audit trail, and compare it with the heads that were written elsewhere.

    Each entry carries a hash of the one before it, so one that was changed or taken out inside is found. Entries that were
    taken off the end, or a chain that was written anew, are found by the heads in audit.head_file or --heads. The first entry
    that is wrong is named.

    Exit status: 0 the chain holds and agrees with every head; 1 it does not; 2 it could not be checked; 3 it holds, but no
    head was there to compare with.
    """
    with opened(config) as (store, settings):
        verdict = heads.verdict_of(store, settings, told)
    if verdict.problem:
        console.print(Text.assemble(("The audit chain is broken", "bold red"), f": {verdict.problem}."), soft_wrap=True)
        console.print(f"First wrong entry: {verdict.first_wrong}")
        raise typer.Exit(BROKEN)
    head = verdict.head
    at = f", newest entry {head.id}, hash {head.hash}" if head is not None else ""
    console.print(f"The audit chain holds: {verdict.entries} entries{at}", soft_wrap=True)
    if verdict.compared:
        console.print(f"{verdict.compared} heads that were written elsewhere agree with it")
        return
    console.print("No head was written elsewhere (audit.head_file, --heads): a cut end cannot be seen", soft_wrap=True)
    raise typer.Exit(NOT_COMPARED)


@audit.command()
def export(
    since: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day, UTC.")],
    until: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, UTC.")],
    out: Annotated[Path | None, typer.Option("--out", help="File to write; without it: standard output.")] = None,
    who: Annotated[str, typer.Option(help="Only entries of whom begins so.")] = "",
    action: Annotated[str, typer.Option(help="Only actions that begin so.")] = "",
    subject: Annotated[str, typer.Option(help="Only this study, account, policy ...")] = "",
    config: Config = None,
) -> None:
    """Write entries as CSV, oldest first. No cell is computed by a spreadsheet. The export is an entry itself."""
    if until < since:
        raise TriageNodeError("--to lies before --from")
    if since.year not in YEARS or until.year not in YEARS:
        raise TriageNodeError(f"--from and --to lie in the years {YEARS.start} to {YEARS.stop - 1}")
    search = AuditSearch(who, action, subject, since.replace(tzinfo=UTC), until.replace(tzinfo=UTC) + timedelta(days=1))
    with opened(config) as (store, _):
        lines = csv_of(store, search, f"{BY} ({getpass.getuser()})"[:128])
        if out is None:
            sys.stdout.writelines(lines)
            return
        try:
            descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                file.writelines(lines)
        except OSError as error:
            raise TriageNodeError(f"{out}: {error.strerror or error}") from error
    console.print(f"{out} is written")
