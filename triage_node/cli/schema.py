"""`triage-node db upgrade` and `db back`: the schema of the next version, tried first, and the way back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from rich.console import Console

from triage_node.cli.progress import progress
from triage_node.cli.setup import bring_up
from triage_node.cli.user import BY
from triage_node.config.load import load
from triage_node.domain.errors import StoreError
from triage_node.processes.moving.backup import keep_rows
from triage_node.processes.running import now
from triage_node.store import audit, heartbeat
from triage_node.store import upgrade as schema
from triage_node.store.engine import open_store


def upgrade(config: Path | None, only_try: bool, console: Console) -> None:
    settings, _ = load(config)
    with closing(open_store(settings.database_url, settings.store.tenant, as_owner=True)) as store:
        if only_try:
            with progress(console) as tell:
                tell.step("trying")
                old, new = schema.trial(store)
            console.print(f"schema {old or 'empty'} -> {new} works; nothing was changed")
            return
        if not store.is_sqlite and schema.is_made(store) and not schema.is_current(store):
            kept = settings.store.data_folder / f"before-upgrade-{now():%Y%m%dT%H%M%S}"
            with progress(console) as tell:
                rows = keep_rows(settings, store, kept, tell)
            console.print(f"{rows} rows are kept in {kept}: `triage-node restore` makes an empty database of them")
        with progress(console) as tell:
            tell.step("upgrading")
            old, new = bring_up(store)
    console.print(f"schema {old or 'empty'} -> {new}" if old != new else f"schema {new} is current")


def back(config: Path | None, copy: Path, console: Console) -> None:
    """Raises: StoreError while a role is alive, and for what is no copy."""
    settings, _ = load(config)
    with closing(open_store(settings.database_url, settings.store.tenant)) as store:
        try:
            alive = [
                role for role, (at, _) in heartbeat.heartbeats(store).items() if now() - at < heartbeat.SILENT_AFTER
            ]
        except StoreError:  # of a schema that this version does not know, or damaged: it goes
            alive = []
        if alive:
            raise StoreError(f"{', '.join(sorted(alive))} still work with the store; stop the node first")
        left = schema.go_back(store, copy)
    with closing(open_store(settings.database_url, settings.store.tenant)) as store, store.write() as c:
        audit.record(c, now(), BY, "schema taken back", "schema", left.name, copy.name)
    console.print(f"the store is {copy} again; what it was is {left}", soft_wrap=True)
    console.print(
        "received files that came since get their rows when the node starts; what else happened since is gone"
    )
