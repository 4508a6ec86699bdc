"""`triage-node replay STUDY`: what the page Replay does, at once and in this process; and the bug bundle as a file."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from triage_node.cli.timeline import one_study
from triage_node.config.load import load
from triage_node.console.replay import compared
from triage_node.domain.person import Person
from triage_node.domain.trial import Trial, TrialState
from triage_node.processes import running_model
from triage_node.processes.running import now
from triage_node.processes.trials.replay import Replay, loaded, whole
from triage_node.processes.trials.room import replay_deps
from triage_node.store import policy
from triage_node.store.engine import open_store

_OPERATOR = Person("command line", frozenset())


def replay(config: Path | None, study: str, bundle: str, version: int, zip_file: Path | None, console: Console) -> bool:
    """Print the comparison, or write the bug bundle. False when no study, or several, fit. Raises: RefusedAction, BundleError."""
    settings, _ = load(config)
    store = open_store(settings.database_url, settings.store.tenant)
    uid = one_study(store, study, console)
    if uid is None:
        return False
    deps = replay_deps(store, settings)
    if zip_file is not None:
        zip_file.write_bytes(deps.bug_bundle(uid, _OPERATOR))
        console.print(f"{zip_file}: written, without what names a person", soft_wrap=True)
        return True
    before = deps.before(uid)
    bundle, version = (
        bundle or settings.model.bundle,
        version or policy.in_force(store, running_model.digest(store)).version,
    )
    answer = whole(Replay(store, settings, lambda name: loaded(settings, name)).steps(uid, bundle, version))
    trial = Trial(0, uid, before.revision, _OPERATOR.name, now(), bundle, version, TrialState.DONE, answer=answer)
    result = compared(trial, before)
    console.print(result.words, soft_wrap=True)
    table = Table("", "then", "now")
    for line in result.lines:
        table.add_row(line.name, line.then, line.now, style="bold" if line.differs else None)
    if result.lines:
        console.print(table)
    return True
