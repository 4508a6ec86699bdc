"""`triage-node connect`: a new peer, step by step, and its section of the configuration when everything works."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from triage_node.cli.terminal import plain
from triage_node.config.append import append_section, refuse_known_name, section_text
from triage_node.config.load import load
from triage_node.config.schema import ArchiveSettings
from triage_node.config.section import Section
from triage_node.config.worklist_peers import FhirPeerSettings, Hl7PeerSettings, UpsPeerSettings, UpsRsPeerSettings
from triage_node.domain.errors import ConfigError, TriageNodeError
from triage_node.processes.connecting import (
    TEST_ACCESSION,
    TEST_PATIENT_ID,
    TEST_PATIENT_NAME,
    TEST_STUDY_UID,
    Line,
    Result,
    walk,
)
from triage_node.processes.connecting_audit import remember

Ask = Callable[[str], bool]

_KINDS: dict[str, tuple[Any, str]] = {
    "archive": (ArchiveSettings, "AE@host:port, or the base URL of DICOMweb for STOW-RS"),
    "ups": (UpsPeerSettings, "AE@host:port"),
    "ups-rs": (UpsRsPeerSettings, "base URL"),
    "hl7": (Hl7PeerSettings, "host:port"),
    "fhir": (FhirPeerSettings, "base URL"),
}
_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:@\[\]/\s]+):(?P<port>[0-9]{1,5})\Z")
_COLOURS = {Result.OK: "green", Result.FAILED: "bold red", Result.NOT_ASKED: "yellow", Result.NOT_TRIED: "dim"}
_LONGEST = 300


def connect(
    kind: str,
    name: str,
    address: str,
    given: list[str],
    config: Path | None,
    yes: bool,
    dry_run: bool,
    console: Console,
    ask: Ask | None = None,
) -> int:
    """The sub-command. Returns the exit status: 0 when nothing failed.

    `ask` is how a question is put to a person; without it, on a terminal, that terminal, else nobody.
    """
    settings_class, _ = _known(kind)
    settings = _settings(settings_class, kind, name, address, given)
    if config is not None:
        refuse_known_name(config, name)
    walking = _walk_of(settings)
    steps = walking.steps()
    console.print(
        f"{kind} {name} at {address}.\nEverything that is sent is about a reserved test patient who is nobody:\n"
        f"  Patient ID {TEST_PATIENT_ID}, name {TEST_PATIENT_NAME},\n"
        f"  accession number {TEST_ACCESSION}, study\n  {TEST_STUDY_UID}",
    )
    if dry_run:
        for number, step in enumerate(steps, 1):
            asked = f" (after a yes: sends {step.sends})" if step.sends else ""
            console.print(f"{number:2}. {step.name}{asked}")
        _show(walking, console)
        return 0
    if ask is None and not yes and sys.stdin.isatty():
        ask = typer.confirm
    lines = _walked(walk(steps, lambda sends: yes or _asked(ask, f"Send {sends}?")), console)
    console.print(_checklist(lines))
    for line in lines:
        if line.result is Result.FAILED:
            console.print(Text.assemble((f"{line.step} failed.", "bold red"), f" {_plain(line.cause)}"))
        elif line.result is Result.NOT_ASKED and ask is None:
            console.print("Nobody could be asked here, so nothing was sent: run it on a terminal, or with --yes.")
            break
    failed = any(line.result is Result.FAILED for line in lines)
    is_added = False
    if failed:
        console.print("The configuration is left as it was.")
    else:
        proven = all(line.result is not Result.NOT_ASKED for line in lines)
        is_added = _write(walking, name, config, yes, ask, console, proven)
    if config is not None:
        outcome = "added to the configuration" if is_added else "the configuration is left as it was"
        missed = remember(load(config)[0], name, f"{kind} at {address}", lines, outcome, datetime.now(UTC))
        if missed:
            console.print(f"The audit trail was not written: {_plain(missed)}")
    return 1 if failed else 0


def complete(kind: str, name: str, address: str, given: list[str]) -> tuple[str, str, list[str]]:
    """On a terminal, ask for what the command line leaves out. Raises: TriageNodeError where nobody can be asked."""
    _, form = _known(kind)
    if name and address:
        return name, address, given
    if not sys.stdin.isatty():
        raise TriageNodeError(f"connect {kind} needs a name and an address: {form}")
    name = name or typer.prompt("Name of the peer in the configuration")
    address = typer.prompt(f"Its address ({form})")
    calls = kind == "ups" or (kind == "archive" and "://" not in address)
    if calls and not any(g.startswith("calling_ae_title=") for g in given):
        given = [*given, f"calling_ae_title={typer.prompt('Our AE title there', default='TRIAGE')}"]
    if (calls or kind == "hl7") and not any(g.startswith("tls=") for g in given) and typer.confirm("TLS?"):
        given = [*given, "tls=true"]
        if ca := typer.prompt("File with the CA of its certificate (empty: the system's)", default=""):
            given = [*given, f"tls_ca={ca}"]
    return name, address, given


def _walk_of(settings: Any) -> Any:
    """What is loaded for a kind of peer takes seconds, so that only what is needed is."""
    if isinstance(settings, ArchiveSettings):
        from triage_node.processes.connecting_archive import ArchiveWalk

        return ArchiveWalk(settings, datetime.now(UTC))
    from triage_node.processes.connecting_worklist import FhirWalk, Hl7Walk, UpsWalk

    if isinstance(settings, Hl7PeerSettings):
        return Hl7Walk(settings, datetime.now(UTC))
    if isinstance(settings, FhirPeerSettings):
        return FhirWalk(settings, datetime.now(UTC))
    return UpsWalk(settings, datetime.now(UTC))


def _known(kind: str) -> tuple[Any, str]:
    if kind not in _KINDS:
        raise TriageNodeError(f"{kind!r} is no kind of peer: {', '.join(_KINDS)}")
    return _KINDS[kind]


def _settings(settings_class: Any, kind: str, name: str, address: str, given: Iterable[str]) -> Section:
    values: dict[str, Any] = {"name": name, **_address(kind, address)}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals or key in values:
            raise TriageNodeError(f"--set {pair}: give KEY=VALUE, with a key that the address does not tell")
        if key not in settings_class.model_fields:
            raise TriageNodeError(f"--set {pair}: {kind} has {', '.join(settings_class.model_fields)}")
        many = "tuple" in str(settings_class.model_fields[key].annotation)
        values[key] = [v for v in value.split(",") if v] if many else value
        if key.endswith(("_ca", "_file")):
            values[key] = Path(value).absolute()  # the node may run in another folder
    try:
        return settings_class(**values)  # type: ignore[no-any-return]
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc'])) or kind}: {e['msg']}" for e in error.errors())
        raise ConfigError(said) from None


def _address(kind: str, address: str) -> dict[str, Any]:
    if kind == "archive" and "://" in address:
        return {"stow_url": address}
    if kind in ("ups-rs", "fhir"):
        return {"url": address}
    if kind in ("archive", "ups"):
        from triage_node.cli.send import parse_peer

        peer = parse_peer(address)
        return {"ae_title": peer.ae_title, "host": peer.host, "port": peer.port}
    match = _HOST_PORT.match(address)
    if match is None or not 0 < int(match["port"]) <= 65535:
        raise TriageNodeError(f"{address!r} is no address of the form host:port")
    return {"host": match["host"].strip("[]"), "port": int(match["port"])}


def _walked(lines: Iterable[Line], console: Console) -> list[Line]:
    """Each line as soon as it is known: a step may take as long as its timeout."""
    done = []
    for line in lines:
        if line.result in (Result.OK, Result.FAILED):
            console.print(Text.assemble(f"  {line.step} … ", _coloured(line.result)))
        done.append(line)
    return done


def _checklist(lines: list[Line]) -> Table:
    table = Table(title="checklist", title_justify="left", expand=False)
    table.add_column("step")
    table.add_column("result", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("what was seen")
    for line in lines:
        took = f"{line.took_s:.2f} s" if line.result in (Result.OK, Result.FAILED) else ""
        table.add_row(line.step, _coloured(line.result), took, _plain(line.words))
    return table


def _coloured(result: Result) -> Text:
    return Text(result, _COLOURS[result])


def _plain(words: str) -> str:
    """What a peer says goes to a terminal: no control characters, and not without end."""
    text = plain(words)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _asked(ask: Ask | None, question: str) -> bool:
    return ask is not None and ask(question)


def _show(walking: Any, console: Console) -> str:
    when = f"{datetime.now(UTC):%Y-%m-%d}"
    text = section_text(walking.table, walking.settled, walking.always, f"triage-node connect, {when}")
    console.print("\nIts section of the configuration:")
    console.print(text, soft_wrap=True)
    return text


def _write(
    walking: Any, name: str, config: Path | None, yes: bool, ask: Ask | None, console: Console, proven: bool
) -> bool:
    """Whether the section was added."""
    text = _show(walking, console)
    if config is None:
        console.print("No file was named (-c FILE): put the section into your configuration, then restart the node.")
        return False
    if not yes and not _asked(
        ask, f"Add it to {config}?" if proven else f"Not every step was taken. Add it to {config} all the same?"
    ):
        console.print("The configuration is left as it was.")
        return False
    backup = append_section(config, text, walking.table, name, datetime.now(UTC))
    console.print(
        f"Added to {config}; the file as it was: {backup}. Restart the node to use it. "
        "Mode and evidence decide as before whether anything goes there.",
        soft_wrap=True,
    )
    return True
