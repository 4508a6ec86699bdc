"""What a second model says of live studies, beside the result that counts. Nothing but the page that compares them reads it."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select

from triage_node.domain.trial import ShadowReading
from triage_node.store.engine import Store
from triage_node.store.schema import shadow_result

_COLUMNS = tuple(f.name for f in fields(ShadowReading))


def save(store: Store, reading: ShadowReading) -> None:
    """Keep it; the same study, revision and model again (a second try) changes nothing."""
    mine = (
        (shadow_result.c.study_instance_uid == reading.study_instance_uid)
        & (shadow_result.c.revision == reading.revision)
        & (shadow_result.c.shadow_digest == reading.shadow_digest)
    )
    with store.write() as c:
        if c.execute(select(shadow_result.c.id).where(mine)).scalar() is None:
            c.execute(insert(shadow_result).values(**{name: getattr(reading, name) for name in _COLUMNS}))


def since(store: Store, at: datetime, shadow_digest: str, most: int) -> list[ShadowReading]:
    """The newest `most` readings by one model since then, oldest first; of each study the newest revision only."""
    which = (shadow_result.c.at >= at) & (shadow_result.c.shadow_digest == shadow_digest)
    newest: dict[str, ShadowReading] = {}
    with store.read() as c:
        for row in c.execute(select(shadow_result).where(which).order_by(shadow_result.c.id.desc()).limit(most)):
            newest.setdefault(row.study_instance_uid, _reading(row))
    return list(newest.values())[::-1]


def newest_digest(store: Store) -> str:
    """Of the model that read last; empty when none ever did."""
    with store.read() as c:
        query = select(shadow_result.c.shadow_digest).order_by(shadow_result.c.id.desc()).limit(1)
        return str(c.execute(query).scalar() or "")


def _reading(r: Row[Any]) -> ShadowReading:
    return ShadowReading(**{name: getattr(r, name) for name in _COLUMNS})
