"""`triage-node init`: what a new installation needs before it can serve."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from triage_node.bundle.load import load_bundle
from triage_node.cli.user import BY, first_administrator
from triage_node.config.load import load
from triage_node.domain.errors import ConfigError
from triage_node.processes import thresholds
from triage_node.processes.running import now
from triage_node.processes.wiring import bundle_folder
from triage_node.store import audit, meta
from triage_node.store.engine import Store, open_store
from triage_node.store.upgrade import upgrade


def initialise(config: Path | None, simulation: bool, on_terminal: bool = False) -> Iterator[str]:
    """Create folder, schema, simulation mark and policy version 1; what is there is left alone. Yields what was done."""
    if config is not None and not config.exists():
        yield _write_configuration(config)
    settings, _ = load(config)
    folder = settings.store.data_folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"store.data_folder {folder}: {error.strerror}; name a folder that this user may create"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):  # a volume of a container mostly belongs to root at first
        raise ConfigError(f"store.data_folder {folder}: uid {os.geteuid()} cannot write there")
    yield f"data folder {folder}"
    store = open_store(settings.database_url, settings.store.tenant)
    old, new = bring_up(store)
    yield f"schema {new}" + ("" if old else " (new)")
    meta.set_simulation(store, simulation)
    yield "store is marked SIMULATION" if simulation else "store holds real studies"
    bundle = load_bundle(bundle_folder(settings.model.bundle))
    held = thresholds.settle(store, bundle, "triage-node init", now())
    yield f"thresholds version {held.version} are in force for {bundle.manifest.name} {bundle.manifest.version}: {held.why}"
    yield from first_administrator(store, on_terminal)
    store.close()


def bring_up(store: Store) -> tuple[str | None, str]:
    """The newest schema, and an entry in the audit trail when that was a change. Returns (old, new) revision."""
    old, new = upgrade(store)
    if old != new:
        with store.write() as c:
            audit.record(c, now(), BY, "schema upgraded" if old else "store made", "schema", old or "", new)
    return old, new


def _write_configuration(path: Path) -> str:
    """A first file: everything that most sites change, with what is in force without it."""
    folder = path.resolve().parent / "data"
    text = (
        "# Triage Node. Every key: deploy/CONFIGURATION.md. Check with: triage-node check\n\n"
        f"[store]\ndata_folder = {json.dumps(str(folder))}\n\n"
        '[listener]\nhost = "127.0.0.1"\nport = 11112\nae_title = "TRIAGE"\n\n'
        "# who may send, from where\n"
        '[[listener.senders]]\nae_title = "*"\naddresses = ["127.0.0.0/8"]\n\n'
        "# where results go\n"
        '# [[archives]]\n# name = "pacs"\n# ae_title = "PACS"\n# host = "192.0.2.30"\n# port = 104\n\n'
        '[worklist]\nmode = "observe"\n'
    )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    return f"configuration {path} (new; edit it)"
