"""`triage-node timeline STUDY`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from triage_node.cli.terminal import plain
from triage_node.config.load import load
from triage_node.domain.study import StudyState
from triage_node.store import studies
from triage_node.store.engine import Store, open_store


def show(config: Path | None, study: str, console: Console) -> bool:
    """Print the timeline of the study whose UID is, or ends with, `study`. False when none or several fit."""
    settings, _ = load(config)
    store = open_store(settings.database_url, settings.store.tenant)
    uid = one_study(store, study, console)
    if uid is None:
        return False
    record = studies.get(store, uid)
    assert record is not None
    console.print(f"{plain(uid)} · {record.state}", soft_wrap=True)
    table = Table()
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("after last slice", justify="right", no_wrap=True)
    table.add_column("moment", no_wrap=True)
    table.add_column("detail", overflow="fold")
    for entry in studies.timeline_of(store, uid):
        after = (entry.at - record.last_instance_at).total_seconds()
        table.add_row(f"{entry.at:%m-%d %H:%M:%S.%f}"[:-3], f"{after:+.2f} s", entry.moment, plain(entry.detail))
    console.print(table)
    return True


def one_study(store: Store, study: str, console: Console) -> str | None:
    """The study whose UID is, or ends with, `study`. Where none or several fit, that is said."""
    known = [s.study_instance_uid for s in studies.in_states(store, *StudyState)]
    fitting = [uid for uid in known if uid == study] or [uid for uid in known if uid.endswith(study)]
    if len(fitting) != 1:
        what = "no study" if not fitting else f"{len(fitting)} studies"
        console.print(f"{what} whose UID is or ends with {study!r}; {len(known)} studies are in the store")
        return None
    return fitting[0]
