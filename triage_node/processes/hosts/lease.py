"""A study stays with its owner for as long as the owner lives, and no longer than LEASE after it fell silent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from triage_node.domain.errors import StoreError
from triage_node.processes.running import now
from triage_node.store import studies
from triage_node.store.engine import Store

LEASE = timedelta(seconds=20)
RENEW_S = 4.0

log = logging.getLogger(__name__)


@contextmanager
def kept(store: Store, uid: str, owner: str) -> Iterator[None]:
    """Put off the end of the lease while the block runs. Whether it held is asked by whoever commits (`studies.hold`)."""
    done = threading.Event()
    thread = threading.Thread(target=_renew, args=(store, uid, owner, done), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _renew(store: Store, uid: str, owner: str, done: threading.Event) -> None:
    while not done.wait(RENEW_S):
        try:
            if not studies.renew(store, uid, owner, now(), LEASE):
                return  # finished, or somebody else has it
        except StoreError as error:
            log.warning("study=%s lease not renewed: %s", uid, error)
