"""What is known of the feeds: when studies arrived from whom, and what an archive holds that never arrived."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from triage_node.store.engine import Store
from triage_node.store.meta import touch_list
from triage_node.store.operations_synthetic import is_of_patient
from triage_node.store.schema import meta, study

RECONCILIATION, SILENCE = "reconciliation", "silence"
_AT_ONCE = 500


def arrivals(store: Store, since: datetime) -> dict[str, list[datetime]]:
    """Calling AE title -> when its studies arrived, oldest first."""
    found: dict[str, list[datetime]] = {}
    with store.read() as c:
        query = select(study.c.calling_ae_title, study.c.arrived_at).where(
            study.c.arrived_at >= since, study.c.calling_ae_title != "", is_of_patient(study.c.study_instance_uid)
        )
        for r in c.execute(query.order_by(study.c.arrived_at)):
            found.setdefault(r.calling_ae_title, []).append(r.arrived_at)
    return found


def known(store: Store, study_instance_uids: Iterable[str]) -> set[str]:
    """Those of them that reached this node, whatever became of them here."""
    uids, found = list(study_instance_uids), set()
    with store.read() as c:
        for k in range(0, len(uids), _AT_ONCE):
            part = study.c.study_instance_uid.in_(uids[k : k + _AT_ONCE])
            found |= set(c.execute(select(study.c.study_instance_uid).where(part)).scalars())
    return found


def said(store: Store, what: str) -> dict[str, Any]:
    """What was last found of RECONCILIATION or SILENCE; empty before the first time."""
    with store.read() as c:
        held = c.execute(select(meta.c.value).where(meta.c.key == what)).scalar()
    return dict(json.loads(held)) if held else {}


def say(c: Connection, what: str, found: Mapping[str, Any]) -> None:
    """Keep it in the place of what was found before; the pages follow."""
    value = json.dumps(found)
    if not c.execute(update(meta).where(meta.c.key == what).values(value=value)).rowcount:
        c.execute(insert(meta).values(key=what, value=value))
    touch_list(c)
