"""What a process held that is gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Table, select, update

from triage_node.store.engine import Store


def take_from_dead(
    store: Store,
    rows: Table,
    peer: str,
    is_dead: Callable[[str], bool],
    values: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Free rows for one peer, in the outbox or among the messages, without waiting for the end of their lease.

    `values`: what freed rows have from then on.
    """
    of_peer = rows.c.peer == peer, rows.c.lease_owner != ""
    with store.write() as c:
        for owner in c.execute(select(rows.c.lease_owner).where(*of_peer).distinct()).scalars().all():
            if is_dead(owner):
                freed = update(rows).where(*of_peer, rows.c.lease_owner == owner)
                c.execute(freed.values(lease_owner="", lease_until=None, **values))
