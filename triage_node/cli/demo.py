"""`make demo`: what a newcomer sees. Eight simulated head CTs, or the reader's own (--ct), through a node of its own.

    python -m triage_node.cli.demo [--ct FOLDER] [--folder build/demo]

DEMO_EXIT=1 ends it by itself: status 0 only when everything came out as it should. Otherwise the page stays until Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.text import Text

from triage_node.cli.demo_node import Node, Workspace, configuration, free_ports, initialise, running
from triage_node.cli.demo_view import (
    Row,
    before_and_after,
    flagged_elsewhere,
    kept_kinds,
    write_pictures,
)
from triage_node.cli.send import Outgoing, find_dicom, send_files
from triage_node.cli.terminal import terminal
from triage_node.domain.errors import TriageNodeError
from triage_node.domain.priority import Mode
from triage_node.simulation.studies import ORDER_CLASS_OF_STATION, DemoStudy, Expected, demo_studies, write_studies

ANALYSED_S, DELIVERED_S, POLL_S = 240.0, 120.0, 0.3
WORKERS = 2
WIDTH_OF_A_LOG = 132
AT_WORK = frozenset({"receiving", "complete", "analysing"})
NOT_ANALYSED = frozenset({"declined", "out_of_scope", "quarantined", "failed"})
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ct", type=Path, help="folder with your own DICOM: observe mode, shows what would move")
    parser.add_argument("--folder", type=Path, default=Path("build/demo"), help="where the demo writes")
    options = parser.parse_args(arguments)
    console = terminal()
    if not console.is_terminal:
        console = terminal(width=WIDTH_OF_A_LOG)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _own_ct(options.ct, options.folder, console) if options.ct else _simulated(options.folder, console)
    except KeyboardInterrupt:
        console.print("\nstopped")
        return 130
    except TriageNodeError as error:
        console.print(f"demo: {error}", style="bold red", soft_wrap=True)
        return 2


def _simulated(folder: Path, console: Console) -> int:
    started = time.monotonic()
    workspace = Workspace.fresh(folder)
    console.print(Rule("Triage Node · SIMULATED patients · not for diagnostic use"))
    studies = demo_studies(datetime.now(UTC))
    with _bar(console, "Computing eight head CTs", len(studies)) as advance:
        paths = write_studies(studies, workspace.scanner, WORKERS, lambda study, files: advance())
    files = {name: [Outgoing(p, CT_CLASS, "1.2.840.10008.1.2.1") for p in found] for name, found in paths.items()}
    ports = free_ports()
    workspace.config.write_text(configuration(workspace, ports, Mode.ACTIVE, ORDER_CLASS_OF_STATION))
    with _waiting(console, "Making a store marked SIMULATION"):
        initialise(workspace, simulation=True)
    with contextlib.ExitStack() as stack:
        with _waiting(console, "Waiting for the archive and the node's five processes"):
            node = stack.enter_context(running(workspace, ports))
        _tell_page(console, node)
        for study in studies:
            _send(
                console, node, f"{study.name} from {study.calling_ae_title}", files[study.name], study.calling_ae_title
            )
        uids = [s.exam.study_uid for s in studies]
        _wait_for_decisions(console, node, uids)
        _wait_for_delivery(console, node)
        _show(console, node, workspace, applied=True)
        return _end(console, node, started, _problems(node, workspace, studies))


def _own_ct(source: Path, folder: Path, console: Console) -> int:
    started = time.monotonic()
    with _waiting(console, f"Looking for DICOM files in {source}"):
        files, skipped = find_dicom(source)
    if not files:
        raise TriageNodeError(f"no DICOM file in {source} ({len(skipped)} other files)")
    uids = _ct_studies(files)
    if not uids:
        raise TriageNodeError(f"{len(files)} DICOM files in {source}, none of them a CT image")
    workspace = Workspace.fresh(folder)
    console.print(Rule("Triage Node · observe mode: nothing moves · not for diagnostic use"))
    console.print(f"{len(files)} files of {len(uids)} CT studies; {len(skipped)} other files are left out")
    ports = free_ports()
    workspace.config.write_text(configuration(workspace, ports, Mode.OBSERVE, {}))
    try:
        with _waiting(console, "Making a store"):
            initialise(workspace, simulation=False)
        with contextlib.ExitStack() as stack:
            with _waiting(console, "Waiting for the archive and the node's five processes"):
                node = stack.enter_context(running(workspace, ports))
            _tell_page(console, node)
            _send(console, node, "your studies", files, "READER")
            _wait_for_decisions(console, node, uids)
            _wait_for_delivery(console, node)
            _show(console, node, workspace, applied=False)
            return _end(console, node, started, _unfinished(node, uids))
    finally:
        for copies in (workspace.data, workspace.archive):
            shutil.rmtree(copies, ignore_errors=True)
        console.print(f"the copies of your studies are removed; pictures and logs are in {workspace.root}")


def _tell_page(console: Console, node: Node) -> None:
    # the page knows no password of the demo: a link that works once stands in its place
    console.print(f"The page with the list (this link logs in once, within 15 minutes): {node.link()}", soft_wrap=True)


def _ct_studies(files: Sequence[Outgoing]) -> list[str]:
    """Study Instance UIDs of the CT images, Enhanced and Legacy Converted included, in order of first appearance."""
    uids: dict[str, None] = {}
    for file in files:
        if file.sop_class_uid.startswith(CT_CLASS):
            head = pydicom.dcmread(file.path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
            uids.setdefault(str(head.get("StudyInstanceUID", "")))
    return list(uids)


def _send(console: Console, node: Node, what: str, files: Sequence[Outgoing], calling_ae_title: str) -> None:
    with _bar(console, f"Sending {what}", len(files)) as advance:
        sent = send_files(files, node.peer, calling_ae_title, on_progress=lambda path, status: advance())
    if not sent.ok:
        path, reason = sent.failures[0]
        raise TriageNodeError(f"{len(sent.failures)} of {len(files)} files were not taken; first {path}: {reason}")


def _worklist(node: Node) -> dict[str, Any]:
    return node.get("/api/worklist?view=would-move")  # type: ignore[no-any-return]


def _all_rows(worklist: dict[str, Any]) -> list[Row]:
    return [*worklist["rows"], *worklist["late_flags"], *worklist["not_confirmed"]]


def _wait_for_decisions(console: Console, node: Node, uids: Sequence[str]) -> None:
    def done() -> int:
        states = {r["study_instance_uid"]: r["study_state"] for r in _all_rows(_worklist(node))}
        return sum(1 for uid in uids if states.get(uid, "receiving") not in AT_WORK)

    _wait(console, "Waiting until every study is analysed or declined", len(uids), done, ANALYSED_S)


def _wait_for_delivery(console: Console, node: Node) -> None:
    flagged = [r["study_instance_uid"] for r in _all_rows(_worklist(node)) if r["flag"]]

    def done() -> int:
        rows = [r for r in _all_rows(_worklist(node)) if r["study_instance_uid"] in flagged]
        return sum(1 for r in rows if r["study_state"] not in AT_WORK | {"reported"})

    if flagged:
        _wait(console, "Waiting until the archive has committed to the reports", len(flagged), done, DELIVERED_S)


def _wait(console: Console, what: str, total: int, done: Callable[[], int], seconds: float) -> None:
    """Show how many are done until all are, or until `seconds` are over: then say so and go on with what there is."""
    deadline = time.monotonic() + seconds
    with _bar(console, what, total) as advance:
        seen = 0
        while seen < total and time.monotonic() < deadline:
            time.sleep(POLL_S)
            now = done()
            if now > seen:
                advance(now - seen)
                seen = now
    if seen < total:
        console.print(f"only {seen} of {total} after {seconds:.0f} s", style="bold red")


def _show(console: Console, node: Node, workspace: Workspace, applied: bool) -> None:
    worklist = _worklist(node)
    before, after = before_and_after(worklist["rows"], applied)
    console.print(before, after)
    if worklist["late_flags"]:
        console.print(flagged_elsewhere(worklist["late_flags"]))
    top = next((row for row in worklist["rows"] if row["flag"]), None)
    if top is None:
        console.print("No study was flagged. Silence of the node means nothing: see the README.")
        return
    study = node.get(f"/api/studies/{top['study_instance_uid']}")
    console.print(Rule(f"Structured report of the top case, without geometry and repetitions: {top['label']}"))
    console.print(study.get("sr_text") or "(no report was built)")
    pictures = write_pictures(study, workspace.archive, workspace.pictures)
    console.print(Rule(f"Its pictures, as the archive holds them: {len(pictures)} PNG"))
    for path in pictures:
        console.print(str(path), soft_wrap=True)


def _unfinished(node: Node, uids: Sequence[str]) -> list[str]:
    states = {r["study_instance_uid"]: r["study_state"] for r in _all_rows(_worklist(node))}
    missing = [uid for uid in uids if states.get(uid, "receiving") in AT_WORK]
    return [f"study {uid} is still {states.get(uid, 'not on the list')}" for uid in missing]


def _problems(node: Node, workspace: Workspace, studies: Sequence[DemoStudy]) -> list[str]:
    """What did not come out as it should. Empty: the demo did what the README says."""
    worklist = _worklist(node)
    rows = {r["study_instance_uid"]: r for r in _all_rows(worklist)}
    found = [] if worklist["simulation"] else ["the store is not marked as simulation"]
    bleeds = {s.exam.study_uid for s in studies if s.expected is Expected.FLAGGED}
    leading = {r["study_instance_uid"] for r in worklist["rows"][: len(bleeds)]}
    if leading != bleeds:
        missing = [s.name for s in studies if s.exam.study_uid in bleeds - leading]
        found.append(f"not at the head of the list: {', '.join(missing)}")
    for study in studies:
        row = rows.get(study.exam.study_uid)
        if row is None:
            found.append(f"{study.name}: not on the list")
        elif study.expected is Expected.FLAGGED:
            kinds = kept_kinds(workspace.archive, study.exam.study_uid)
            lacking = [kind for kind in ("SR", "SEG", "SC") if not kinds[kind]]
            if lacking:
                found.append(f"{study.name}: the archive has no {', '.join(lacking)}")
        elif row["flag"]:
            found.append(f"{study.name}: flagged ({row['flag']['words']}), although there is no bleed")
        elif study.expected is Expected.DECLINED and not (row["study_state"] in NOT_ANALYSED and row["status"]):
            found.append(f"{study.name}: should be declined with a reason, is {row['study_state']}")
        elif study.expected is Expected.NOT_FLAGGED and row["study_state"] in AT_WORK | NOT_ANALYSED:
            found.append(f"{study.name}: should be analysed, is {row['study_state']} ({row['status']})")
    return found


def _end(console: Console, node: Node, started: float, problems: Sequence[str]) -> int:
    console.print(Rule(f"{time.monotonic() - started:.0f} s"))
    for problem in problems:
        console.print(f"not as it should be: {problem}", style="bold red")
    if os.environ.get("DEMO_EXIT") != "1":
        _tell_page(console, node)
        console.print("The page stays until Ctrl-C.")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
        console.print("\nstopping the node")
    return 1 if problems else 0


@contextlib.contextmanager
def _waiting(console: Console, what: str) -> Iterator[None]:
    """Say what is waited for, and afterwards how long it took."""
    began = time.monotonic()
    if console.is_terminal:
        with console.status(Text(f"{what} …")):
            yield
    else:
        console.print(f"{what} …", soft_wrap=True)
        yield
    console.print(f"{what}: {time.monotonic() - began:.1f} s", soft_wrap=True)


@contextlib.contextmanager
def _bar(console: Console, what: str, total: int) -> Iterator[Callable[..., None]]:
    """A progress bar; where there is no terminal, a line at its start and the bar's last state."""
    if not console.is_terminal:
        console.print(f"{what} ({total}) …", soft_wrap=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count=1: progress.advance(task, count)


if __name__ == "__main__":
    raise SystemExit(main())
