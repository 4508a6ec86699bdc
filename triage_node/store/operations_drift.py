"""What is followed of each scanner's studies, one line a decision, and from when on it is compared with itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from triage_node.store import audit
from triage_node.store.engine import Store
from triage_node.store.schema import drift_baseline, drift_sample

_LONGEST = 160


@dataclass(frozen=True, slots=True)
class Sample:
    """One decided study of one scanner. `noise_hu` is None where it could not be measured."""

    study_instance_uid: str
    revision: int
    at: datetime
    scanner: str
    probability: float
    flagged: bool
    slice_thickness_mm: float
    noise_hu: float | None


def add(c: Connection, sample: Sample) -> None:
    """Keep a sample, once for each result."""
    same = (drift_sample.c.study_instance_uid == sample.study_instance_uid) & (
        drift_sample.c.revision == sample.revision
    )
    if c.execute(select(drift_sample.c.id).where(same)).scalar() is None:
        values = {name: getattr(sample, name) for name in Sample.__slots__}
        c.execute(insert(drift_sample).values(**values | {"scanner": sample.scanner[:_LONGEST]}))


def scanners(store: Store, since: datetime) -> list[str]:
    """Scanners of which something was decided since then, by name."""
    with store.read() as c:
        query = select(drift_sample.c.scanner).where(drift_sample.c.at >= since).distinct()
        return sorted(c.execute(query).scalars())


def of_scanner(store: Store, scanner: str, most: int) -> list[Sample]:
    """The newest samples since the scanner's baseline was set, oldest first."""
    which = drift_sample.c.scanner == scanner
    with store.read() as c:
        since = c.execute(select(func.max(drift_baseline.c.at)).where(drift_baseline.c.scanner == scanner)).scalar()
        if since is not None:
            which &= drift_sample.c.at >= since
        rows = c.execute(select(drift_sample).where(which).order_by(drift_sample.c.id.desc()).limit(most)).all()
    return [Sample(**{name: getattr(r, name) for name in Sample.__slots__}) for r in reversed(rows)]


def set_baseline(store: Store, scanner: str, by: str, at: datetime) -> None:
    """What the scanner makes from now on is its own measure: a change was looked into, and is meant to stay."""
    with store.write() as c:
        c.execute(insert(drift_baseline).values(scanner=scanner[:_LONGEST], at=at, by=by))
        audit.record(c, at, by, "drift baseline", scanner[:_LONGEST][:128])
