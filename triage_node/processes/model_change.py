"""What came of a change of the model, kept for pages and `check`: the supervisor makes it and has no store open."""

from __future__ import annotations

import logging
from pathlib import Path

from triage_node.config.load import load
from triage_node.config.schema import Settings
from triage_node.domain.errors import ConfigError, StoreError
from triage_node.processes.running import now
from triage_node.store import heartbeat, refused_models
from triage_node.store.engine import open_store

log = logging.getLogger(__name__)


def keep(config: Path | None, started_with: Settings, why: str) -> None:
    """Why this host goes on with its former model; empty: it runs the one that its configuration names.

    A database that does not answer is told in the log: the processes go on either way.
    """
    try:
        settings, _ = load(config)
    except ConfigError:
        settings = started_with
    try:
        store = open_store(settings.database_url, settings.store.tenant)
    except StoreError as error:
        log.error("event=model_change_not_kept why=%s", error)
        return
    try:
        if why:
            refused_models.put(store, heartbeat.host(), why, now())
        else:
            refused_models.forget(store, heartbeat.host())
    except StoreError as error:
        log.error("event=model_change_not_kept why=%s", error)
    finally:
        store.close()
