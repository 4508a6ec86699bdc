"""What came first in a study: what we made of it, or somebody's correction or rejection of it.

Their times tell, long afterwards: an object made before a correction carries the old identity. A clock that is set back
between the two would turn that round, so neither gets a time before that of the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Column, Connection, func, select

from triage_node.store.schema import identity_correction, outbox, rejected_instance, result

_JUST_AFTER = timedelta(microseconds=1)
_CHANGES = (identity_correction.c.at, rejected_instance.c.at)
_MADE = (result.c.created_at, outbox.c.created_at)


def time_of_making(c: Connection, uid: str, at: datetime) -> datetime:
    """`at`, or the time of the study's last change where the clock was set back behind it."""
    last = _latest(c, uid, _CHANGES)
    return at if last is None else max(at, last)


def time_of_change(c: Connection, uid: str, at: datetime) -> datetime:
    """`at`, or just after everything that was made of the study where the clock was set back behind it."""
    last = _latest(c, uid, (*_CHANGES, *_MADE))
    return at if last is None else max(at, last + _JUST_AFTER)


def _latest(c: Connection, uid: str, times: Iterable[Column[datetime]]) -> datetime | None:
    of_study = (select(func.max(t)).where(t.table.c.study_instance_uid == uid) for t in times)
    return max((at for query in of_study if (at := c.execute(query).scalar()) is not None), default=None)
