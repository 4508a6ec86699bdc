"""Each role looks after the copies of its host; the spool is the ingest role's, which knows what was confirmed (uploading.py)."""

from __future__ import annotations

import logging
import threading

from triage_node.blobs.opened import open_blobs
from triage_node.processes.running import Running

EVERY_S = 600.0

log = logging.getLogger(__name__)


def start(running: Running) -> None:
    """A thread that ends with the role."""
    threading.Thread(target=_run, args=(running,), name="trim", daemon=True).start()


def _run(running: Running) -> None:
    while not running.stop.wait(EVERY_S):
        try:
            open_blobs(running.settings.store).trim(lambda received: set())
        except OSError:
            log.exception("event=not_trimmed")
