"""The commands (DESIGN.md section 7). Each does one thing and says what to do when it cannot."""

from __future__ import annotations

import logging
import os
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from triage_node import __version__
from triage_node.cli.audit import audit
from triage_node.cli.terminal import terminal
from triage_node.cli.user import first_administrator, token, user
from triage_node.domain.errors import TriageNodeError

app = typer.Typer(
    help="A DICOM node that puts suspected intracranial hemorrhage first on the reading list. Not for diagnostic use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db = typer.Typer(help="The store's schema.", no_args_is_help=True)
app.add_typer(db, name="db")
app.add_typer(user, name="user")
app.add_typer(token, name="token")
app.add_typer(audit, name="audit")
console = terminal()

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="TRIAGE_NODE_CONFIG", help="TOML file; without it: defaults and environment."
    ),
]


def _version(wanted: bool) -> None:
    if wanted:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None: ...


@app.command()
def serve(config: Config = None) -> None:
    """Start every process of the node and keep it running until Ctrl-C or SIGTERM.

    As a service, SIGHUP takes another model, the section [model] of the configuration, in force without a gap.
    """
    from triage_node.config.load import load
    from triage_node.processes import model_change
    from triage_node.processes.auditing.lifetime import told_in_audit
    from triage_node.processes.supervisor import Supervisor, roles_for
    from triage_node.store import meta
    from triage_node.store.engine import open_store
    from triage_node.store.moving import fence, whereabouts
    from triage_node.store.upgrade import is_current

    settings, _ = load(config)
    store = open_store(settings.database_url, settings.store.tenant)
    if not is_current(store):
        raise TriageNodeError(
            "the store has another schema; run `triage-node db upgrade` (new node: `triage-node init`)"
        )
    fence.refuse_unfit(store)
    whereabouts.pinned(store, settings.store.blob_url)
    simulation = meta.is_simulation(store)
    for line in first_administrator(store, console.is_terminal):
        console.print(line, soft_wrap=True)
    store.close()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s supervisor %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    supervisor = Supervisor(config, roles_for(settings), partial(model_change.keep, config, settings))
    if not console.is_terminal:  # there, a closed window is to end the node
        signal.signal(signal.SIGHUP, lambda *_: supervisor.reload())
    model_change.keep(config, settings, "")
    listener = settings.listener
    console.print(
        f"DICOM {listener.ae_title}@{listener.host}:{listener.port} · page http{'s' if settings.web.is_tls else ''}://{settings.web.host}:{settings.web.port}/ · "
        f"mode {settings.worklist.mode}{' · SIMULATION' if simulation else ''} · Ctrl-C stops"
    )
    with told_in_audit(settings, f"version {__version__}"):
        supervisor.run(stop)


@app.command()
def init(
    config: Config = None,
    simulation: Annotated[bool, typer.Option(help="Mark the store as simulated for ever; for demo and tests.")] = False,
) -> None:
    """Create the data folder, the store, the first thresholds and, on a terminal, the first administrator. Safe to repeat."""
    from triage_node.cli.setup import initialise

    for line in initialise(config, simulation, console.is_terminal):
        console.print(line, soft_wrap=True)


@app.command()
def check(config: Config = None) -> None:
    """Print the effective configuration and where each value comes from; ask every peer and the own listener for C-ECHO."""
    from triage_node.cli.check import check as run

    raise typer.Exit(0 if run(config, console) else 1)


@app.command()
def send(
    folder: Annotated[Path, typer.Argument(help="Folder or file with DICOM instances.")],
    to: Annotated[str, typer.Option("--to", help="AE@host:port")],
    calling_ae_title: Annotated[str, typer.Option("--from", help="Our AE title.")] = "SENDER",
    associations: Annotated[int, typer.Option(min=1, max=16, help="Associations at a time.")] = 1,
) -> None:
    """Send DICOM instances as a modality would: bytes unchanged, with progress."""
    from triage_node.cli.send import send_folder

    raise typer.Exit(send_folder(folder, to, calling_ae_title, associations, console))


@app.command()
def connect(
    kind: Annotated[
        str,
        typer.Argument(help="archive (C-STORE, or STOW-RS when the address is a URL), ups, ups-rs, hl7, fhir."),
    ],
    name: Annotated[str, typer.Argument(help="Its name in the configuration; asked for when left out.")] = "",
    address: Annotated[
        str, typer.Argument(help="archive, ups: AE@host:port; hl7: host:port; ups-rs, fhir, STOW-RS: base URL.")
    ] = "",
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="KEY=VALUE of its section, as often as needed: tls=true, tls_ca=FILE, calling_ae_title=… "
            "A key that is none prints those there are; deploy/CONFIGURATION.md explains them.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            envvar="TRIAGE_NODE_CONFIG",
            help="TOML file that gets its section; without it, the section is only shown.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: send, and write the configuration.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the steps and the section; connect to nobody.")
    ] = False,
) -> None:
    """Try a new peer step by step with a reserved test patient, say what fails and why, and add it to --config."""
    from triage_node.cli.connect import complete
    from triage_node.cli.connect import connect as run

    name, address, given = complete(kind, name, address, given or [])
    raise typer.Exit(run(kind, name, address, given, config, yes, dry_run, console))


@app.command()
def timeline(
    study: Annotated[str, typer.Argument(help="Study Instance UID, or its last characters.")], config: Config = None
) -> None:
    """Print what happened to one study, and when."""
    from triage_node.cli.timeline import show

    raise typer.Exit(0 if show(config, study, console) else 1)


@app.command()
def replay(
    study: Annotated[str, typer.Argument(help="Study Instance UID, or its last characters.")],
    bundle: Annotated[str, typer.Option("--bundle", help="Name or folder of a bundle; else the one in force.")] = "",
    policy: Annotated[int, typer.Option("--policy", min=0, help="Version of the thresholds; 0: in force.")] = 0,
    bug_bundle: Annotated[
        Path | None,
        typer.Option("--bug-bundle", help="Write this zip for developers instead: nothing in it names a person."),
    ] = None,
    config: Config = None,
) -> None:
    """Judge a past study again and compare it with what was stored then. Nothing leaves and no result is stored."""
    from triage_node.cli.replay import replay as run

    raise typer.Exit(0 if run(config, study, bundle, policy, bug_bundle, console) else 1)


@app.command()
def evaluate(
    bundle: Annotated[str, typer.Argument(help="Folder of a bundle, or the name of one that ships (bloodnet).")],
    data: Annotated[Path, typer.Argument(help="Labelled folder: a public data set, or labels.csv with images.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for report.html, report.md, report.json, evidence.json.")],
    config: Config = None,
) -> None:
    """Measure a detector on labelled data and write a report. With --config: the node's thresholds, and a draft of evidence."""
    from triage_node.cli.evaluate import run

    run(bundle, data, out, config, console)


@app.command()
def accept(
    evidence: Annotated[Path, typer.Argument(help="evidence.json of an evaluation on this site's own studies.")],
    by: Annotated[list[str], typer.Option("--by", help="Who signs; give it twice, for two people.")],
    config: Config = None,
) -> None:
    """Store a site's own evaluation: with it the node may be switched to active. Two people sign."""
    from triage_node.cli.accept import accept as run

    run(evidence, by, config, console)


@app.command()
def calibrate(
    bundle: Annotated[str, typer.Argument(help="Folder of a bundle, or the name of one that ships (bloodnet).")],
    folder: Annotated[Path, typer.Argument(help="50 to 100 consecutive studies of this site, DICOM, without labels.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for policy_draft.json and calibration.png.")],
    config: Config = None,
) -> None:
    """Draft thresholds for this site from unlabelled studies, and show what would change. Applies nothing."""
    from triage_node.cli.calibrate import run

    run(bundle, folder, out, config, console)


@app.command()
def adopt(
    draft: Annotated[Path, typer.Argument(help="policy_draft.json that `triage-node calibrate` wrote.")],
    by: Annotated[list[str] | None, typer.Option("--by", help="Who signs; give it twice, for two people.")] = None,
    config: Config = None,
) -> None:
    """Take drafted thresholds in force as a new policy version; without --by the change is only shown. Back to observe."""
    from triage_node.cli.adopt import adopt as run

    run(draft, by or [], config, console)


@app.command()
def explain(
    path: Annotated[Path, typer.Argument(help="Folder of one study (DICOM or pictures), or one file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures and explanation.json.")],
    bundle: Annotated[
        str, typer.Option("--bundle", help="Folder of a bundle, or the name of one that ships.")
    ] = "bloodnet",
) -> None:
    """Show why: mask, heatmap and Grad-CAM of one study as PNG, and which part of each slice decided."""
    from triage_node.cli.explain import run

    run(path, out, bundle, console)


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="Folder of backups; files that an earlier one holds are not copied.")],
    config: Config = None,
) -> None:
    """Keep a running node: every table at one instant, received and built files, the audit trail, the configuration without
    secrets. Each call makes one more backup beside the others."""
    from triage_node.cli.backup import backup as run

    raise typer.Exit(0 if run(config, folder, console) else 1)


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="One backup, or the folder of backups: the newest whole one.")],
    config: Config = None,
) -> None:
    """Make a node of a backup, on SQLite or PostgreSQL. Every hash is checked first; a store that holds anything is refused."""
    from triage_node.cli.backup import restore as run

    run(config, folder, console)


@app.command()
def migrate(
    to: Annotated[
        str, typer.Option("--to", help="sqlite:////folder/file.db or postgresql+pg8000://user@host/database, empty.")
    ] = "",
    to_file: Annotated[
        Path | None, typer.Option("--to-file", help="File that holds the URL instead, for one with a password.")
    ] = None,
    blobs_to: Annotated[
        str,
        typer.Option(
            "--blobs-to", help="Place of the files: a blob_url (s3://..., file:///...), empty, or data_folder."
        ),
    ] = "",
    blobs_credentials: Annotated[
        Path | None,
        typer.Option("--blobs-credentials", help="blob_credentials_file of that place, if not the one of now."),
    ] = None,
    config: Config = None,
) -> None:
    """Move a running site to another database, its files to another place, or both: copied and compared while the node works, then
    a short stop of writes, the configuration is changed and the roles start again. Interrupted: give the same command again. Back:
    the same with the old address, which is kept."""
    from triage_node.cli.migrate import migrate as run

    raise typer.Exit(0 if run(config, to, to_file, blobs_to, blobs_credentials, console) else 1)


@db.command("upgrade")
def db_upgrade(
    config: Config = None,
    only_try: Annotated[
        bool,
        typer.Option("--try", help="Only say whether it would work: on a copy (SQLite), or taken back (PostgreSQL)."),
    ] = False,
) -> None:
    """Bring the store's schema to this version: a copy is kept, SQLite's goes the way first, and it happens whole or not at all."""
    from triage_node.cli.schema import upgrade as run

    run(config, only_try, console)


@db.command("back")
def db_back(
    copy: Annotated[
        Path, typer.Argument(help="triage.db.before-…, which `db upgrade` made beside the store (SQLite).")
    ],
    config: Config = None,
) -> None:
    """Put the copy of before an upgrade back, for the version of before. The node must be stopped; today's store is kept."""
    from triage_node.cli.schema import back as run

    run(config, copy, console)


@db.command("tenant")
def db_tenant(
    name: Annotated[str, typer.Argument(help="The hospital's store.tenant: a-z, 0-9 and _, a letter first.")],
    config: Config = None,
) -> None:
    """Let hospitals share this PostgreSQL database: make the login of one, or a new password for it. Run as the owner.

    From the first one on, logins that may see every hospital serve no node; each hospital's node uses its own login.
    """
    from triage_node.cli.tenant import admit

    admit(config, name)


def run() -> None:
    """Entry of the console script: errors that we raise on purpose are one line, not a traceback."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        app()
    except TriageNodeError as error:
        terminal(stderr=True).print(f"triage-node: {error}", style="bold red")
        raise SystemExit(2) from None
