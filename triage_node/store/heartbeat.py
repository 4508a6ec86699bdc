"""Which processes are alive, and what the analysis process can decode."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from triage_node.store.engine import Store
from triage_node.store.schema import heartbeat

SILENT_AFTER = timedelta(seconds=20)
"""A role beats every two seconds; its line to the database is lost for good after ten (store/line.py)."""
_FORGOTTEN_AFTER = timedelta(days=7)


def host() -> str:
    """What this machine is called among the hosts of one store."""
    return socket.gethostname()[:64]


def beat(store: Store, role: str, at: datetime, detail: Mapping[str, Any] | None = None) -> None:
    """Say that a role is alive on this host. `detail` replaces what it said before; None keeps it."""
    here = heartbeat.c.role == role, heartbeat.c.host == host()
    values: dict[str, Any] = {"at": at, "pid": os.getpid()}
    if detail is not None:
        values["detail"] = dict(detail)
    with store.write() as c:
        if not c.execute(update(heartbeat).where(*here).values(**values)).rowcount:
            c.execute(delete(heartbeat).where(heartbeat.c.role == role, heartbeat.c.at < at - _FORGOTTEN_AFTER))
            c.execute(insert(heartbeat).values(role=role, host=host(), **{"detail": {}, **values}))


def heartbeats(store: Store) -> dict[str, tuple[datetime, dict[str, Any]]]:
    """Role -> (last sign of life, detail) of the host that gave one last."""
    with store.read() as c:
        return {r.role: (r.at, r.detail) for r in c.execute(select(heartbeat).order_by(heartbeat.c.at))}


def hosts(store: Store, role: str) -> dict[str, datetime]:
    """Host -> last sign of life of this role there."""
    with store.read() as c:
        return {r.host: r.at for r in c.execute(select(heartbeat).where(heartbeat.c.role == role))}


def details(store: Store, role: str) -> dict[str, dict[str, Any]]:
    """Host -> what this role said last there."""
    with store.read() as c:
        return {r.host: r.detail for r in c.execute(select(heartbeat).where(heartbeat.c.role == role))}


def silent(store: Store, role: str, at: datetime) -> set[str]:
    """Hosts whose role has given no sign of life for SILENT_AFTER."""
    return {host for host, seen in hosts(store, role).items() if seen < at - SILENT_AFTER}


def pids(store: Store) -> dict[str, int]:
    """Role -> process id of its process on this host that told one last."""
    here = select(heartbeat.c.role, heartbeat.c.pid).where(heartbeat.c.host == host())
    with store.read() as c:
        return {r.role: r.pid for r in c.execute(here)}


def decodable_syntaxes(store: Store) -> tuple[str, ...]:
    """Transfer syntaxes that the analysis process's decoding child decoded at its start; empty before the first start."""
    detail = heartbeats(store).get("analysis", (None, {}))[1]
    return tuple(detail.get("decodable", ()))
