"""What `triage-node connect` sent to a peer, in the audit trail of the node whose configuration it was given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from triage_node.config.schema import Settings
from triage_node.domain.errors import StoreError
from triage_node.processes.connecting import Line, Result
from triage_node.store import audit
from triage_node.store.engine import is_made, open_store

BY = "triage-node connect"


def remember(settings: Settings, peer: str, address: str, lines: Sequence[Line], outcome: str, at: datetime) -> str:
    """One entry. Returns why none was written; empty also where there is no store yet, since a peer may come before it."""
    if not is_made(settings.database_url):
        return ""
    failed = [line.step for line in lines if line.result is Result.FAILED]
    done = sum(line.result is Result.OK for line in lines)
    what_failed = f", failed: {', '.join(failed)}" if failed else ""
    words = f"{address}: {done} of {len(lines)} steps ok{what_failed}; {outcome}"
    try:
        store = open_store(settings.database_url, settings.store.tenant)
        try:
            with store.write() as c:
                audit.record(c, at, BY, "peer tried", peer, new=words)
        finally:
            store.close()
    except StoreError as error:
        return str(error)
    return ""
