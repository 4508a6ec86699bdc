"""How the oldest entries leave the audit trail so that what stays can still be checked."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, insert, select

from triage_node.store import audit as trail
from triage_node.store.audit_chain import CUT, REMOVED
from triage_node.store.engine import Store
from triage_node.store.schema import audit, audit_cut


def cut(store: Store, before: datetime, at: datetime, by: str, delivered: int | None = None) -> int:
    """Take the entries out that were made before `before`, as far as none is newer before them. Returns how many.

    The newest entry stays, so do those after `delivered`, which somebody who follows the trail has not got yet.
    """
    with store.write() as c:
        trail.lock(c)
        stays = c.execute(select(func.min(audit.c.id)).where(audit.c.at >= before)).scalar()
        last = select(audit.c.id, audit.c.hash, audit.c.at).order_by(audit.c.id.desc()).limit(1)
        newest = c.execute(select(func.max(audit.c.id))).scalar()
        last = last.where(audit.c.id < (stays or newest or 0))
        found = c.execute(last if delivered is None else last.where(audit.c.id <= delivered)).first()
        if found is None:
            return 0
        gone = c.execute(select(func.count()).select_from(audit).where(audit.c.id <= found.id)).scalar() or 0
        entries = int(c.execute(select(REMOVED)).scalar() or 0) + gone
        c.execute(insert(audit_cut).values(at=at, by=by, last_id=found.id, hash=found.hash, entries=entries))
        c.execute(delete(audit).where(audit.c.id <= found.id))
        words = f"{gone} entries, until {found.at:%Y-%m-%d %H:%M} UTC"
        trail.record(c, at, by, CUT, f"entry {found.id}", old=words, new=found.hash)
        return gone
