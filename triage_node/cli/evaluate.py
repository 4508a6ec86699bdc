"""`triage-node evaluate`: a detector on a labelled folder; also a hospital's acceptance test on its own studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from triage_node.blobs.opened import open_blobs
from triage_node.blobs.places import Shelf
from triage_node.bundle.load import load_bundle
from triage_node.config.load import load
from triage_node.domain.errors import StoreError
from triage_node.domain.finding import OperatingPoint
from triage_node.evaluation.report import UNIT_WORDS, ci, number
from triage_node.evaluation.run import evaluate, prepare
from triage_node.evaluation.source import open_source
from triage_node.processes.wiring import bundle_folder
from triage_node.store import policy
from triage_node.store.engine import open_store


def run(bundle_name: str, data: Path, out: Path, config: Path | None, console: Console) -> None:
    """Raises: TriageNodeError of every kind, each with what was expected and found."""
    bundle = load_bundle(bundle_folder(bundle_name))
    prepare(out)
    archive, point = _node(config, bundle.digest) if config is not None else (None, None)
    with console.status("reading the folder"):
        source = open_source(data, archive)
    slices = sum(max(1, len(c.slice_ids)) for c in source.cases)
    console.print(f"{source.layout}: {len(source.cases)} cases, {slices} slices, {len(source.skipped)} files not read")
    columns = (
        TextColumn("slices"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("slices", total=slices)
        report, files = evaluate(bundle, source, out, point, lambda n: progress.advance(task, n))
    console.print(_table(report))
    for unit, words in UNIT_WORDS.items():
        for what in report[unit]["undefined"]:
            console.print(f"{words}, not defined: {what}")
    if report["skipped"]:
        console.print(f"{len(report['skipped'])} files or cases were not read; report.md names them")
    level, signed = report["evidence"]["level"], report["evidence"]["level_when_signed"]
    console.print(f"evidence {level}, when signed by the site {signed}; not for diagnostic use")
    for file in files[:4]:
        console.print(str(file), soft_wrap=True)


def _node(config: Path, bundle_digest: str) -> tuple[Shelf, OperatingPoint | None]:
    """What this node has received, and the thresholds in force there for this bundle; None: it never ran there."""
    settings, _ = load(config)
    store = open_store(settings.database_url, settings.store.tenant)
    try:
        point = policy.current(store, bundle_digest).get("ich")
    except StoreError:
        point = None
    finally:
        store.close()
    return open_blobs(settings.store).received, point


def _table(report: dict[str, Any]) -> Table:
    heads = ("", "n", "positive", "AUC", "sensitivity", "specificity", "PPV")
    table = Table(*heads, box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for unit, words in UNIT_WORDS.items():
        f = report[unit]
        shown = [f"{number(f[k])} {ci(f[f'{k}_ci'], 2)}".strip() for k in ("auc", "sensitivity", "specificity", "ppv")]
        table.add_row(words, str(f["n"]), str(f["positives"]), *shown)
    return table
