"""When the node ran: its start and its end in the audit trail (PS3.15 A.5.3.1, Application Activity)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from triage_node.config.schema import Settings
from triage_node.domain.errors import StoreError
from triage_node.processes.running import now
from triage_node.store import audit
from triage_node.store.engine import open_store

log = logging.getLogger(__name__)


@contextmanager
def told_in_audit(settings: Settings, words: str) -> Iterator[None]:
    """The node runs inside the block. One that is killed tells no end; the next start does. Raises: StoreError at the start."""
    _record(settings, "node started", words)
    try:
        yield
    finally:
        try:
            _record(settings, "node stopped", "")
        except StoreError as error:  # the database went first: the node still has to end
            log.error("event=stop_not_in_audit why=%s", error)


def _record(settings: Settings, action: str, words: str) -> None:
    store = open_store(settings.database_url, settings.store.tenant)
    try:
        with store.write() as c:
            audit.record(c, now(), "node", action, settings.node.name, new=words)
    finally:
        store.close()
