"""Where the files of a site lie: a mark in `meta` that a move of the files leaves (`triage-node migrate --blobs-to`).

The mark travels with the site from database to database. A process remembers what it said when it began (`pinned`) and writes
nothing once it says something else: a row names files, and must not name one that only the place that was left has.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from triage_node.domain.errors import StoreError
from triage_node.store.engine import FILES_KEY, Store
from triage_node.store.schema import meta


@dataclass(frozen=True, slots=True)
class FilesMoved:
    """`left`, `to`: as store.blob_url says it; empty: the data folder."""

    left: str
    to: str


def last_move(c: Connection) -> FilesMoved | None:
    """None where the files were never moved."""
    return _meaning(_said(c))


def moved(c: Connection, left: str, to: str, at: datetime) -> None:
    """From the end of this transaction on, whoever began before it writes nothing."""
    forget(c)
    c.execute(insert(meta).values(key=FILES_KEY, value=json.dumps({"left": left, "to": to, "at": at.isoformat()})))


def forget(c: Connection) -> None:
    """A store that was made of a backup has its files where its configuration says."""
    c.execute(delete(meta).where(meta.c.key == FILES_KEY))


def pinned(store: Store, blob_url: str) -> Store:
    """The store as a process uses it whose files lie at `blob_url`. Raises: StoreError when that place was left."""
    with store.read() as c:
        said = _said(c)
    move = _meaning(said)
    if move is not None and move.left == blob_url:
        raise StoreError(
            f"the files have moved to {shown(move.to)}: name that in [store] blob_url (`triage-node migrate --help`)"
        )
    return replace(store, files=said)


def moved_since(store: Store) -> str:
    """Where the files went since this process began; empty when they did not, or it cannot be asked."""
    try:
        with store.read() as c:
            said = _said(c)
    except StoreError:
        return ""
    move = _meaning(said)
    return shown(move.to) if move is not None and store.files not in (None, said) else ""


def shown(blob_url: str) -> str:
    """For people; it holds no secret (config/schema.py)."""
    return blob_url or "the data folder"


def _said(c: Connection) -> str:
    return c.execute(select(meta.c.value).where(meta.c.key == FILES_KEY)).scalar() or ""


def _meaning(said: str) -> FilesMoved | None:
    if not said:
        return None
    held = json.loads(said)
    return FilesMoved(held["left"], held["to"])
