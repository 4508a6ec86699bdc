"""Which processes are alive, and what the analysis process can decode."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from triage_node.store.engine import Store
from triage_node.store.schema import heartbeat


def beat(store: Store, role: str, at: datetime, detail: Mapping[str, Any] | None = None) -> None:
    """Say that a role is alive. `detail` replaces what it said before; None keeps it."""
    values: dict[str, Any] = {"at": at, "pid": os.getpid()}
    if detail is not None:
        values["detail"] = dict(detail)
    with store.write() as c:
        if not c.execute(update(heartbeat).where(heartbeat.c.role == role).values(**values)).rowcount:
            c.execute(insert(heartbeat).values(role=role, **{"detail": {}, **values}))


def heartbeats(store: Store) -> dict[str, tuple[datetime, dict[str, Any]]]:
    """Role -> (last sign of life, detail)."""
    with store.read() as c:
        return {r.role: (r.at, r.detail) for r in c.execute(select(heartbeat))}


def decodable_syntaxes(store: Store) -> tuple[str, ...]:
    """Transfer syntaxes that the analysis process's decoding child decoded at its start; empty before the first start."""
    detail = heartbeats(store).get("analysis", (None, {}))[1]
    return tuple(detail.get("decodable", ()))
