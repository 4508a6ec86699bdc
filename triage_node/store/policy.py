"""Versioned thresholds. A policy is never changed: a new version is added, with who and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select

from triage_node.domain.errors import StoreError
from triage_node.domain.finding import OperatingPoint
from triage_node.store import audit
from triage_node.store.engine import Store
from triage_node.store.schema import policy


def add(
    store: Store, points: list[OperatingPoint], by: str, why: str, at: datetime, replaces: int | None = None
) -> int:
    """Store a new version; the version number inside `points` is ignored. Returns the number that it got.

    Raises: StoreError for thresholds out of order, or when another version than `replaces` is in force by now.
    """
    for p in points:
        if not 0.0 < p.raise_probability <= p.notify_probability < 1.0:
            raise StoreError(f"{p.finding}: 0 < raise <= notify < 1 does not hold")
        if p.unsure_from is not None and not 0.0 < p.unsure_from <= p.raise_probability:
            raise StoreError(f"{p.finding}: 0 < unsure <= raise does not hold")
    body = {p.finding: _body(p) for p in points}
    with store.write() as c:
        last = int(c.execute(select(func.coalesce(func.max(policy.c.version), 0))).scalar_one())
        if replaces is not None and last != replaces:
            raise StoreError(f"policy {last} is in force by now, not {replaces}; look at it first")
        old = c.execute(select(policy.c.body).where(policy.c.version == last)).scalar_one_or_none()
        version = last + 1
        c.execute(insert(policy).values(version=version, created_at=at, created_by=by, why=why, body=body))
        audit.record(c, at, by, "policy added", f"policy {version}", old=repr(old) if old else "", new=repr(body))
    return version


def current(store: Store) -> dict[str, OperatingPoint]:
    """finding -> operating point in force. Raises: StoreError when none was ever stored."""
    with store.read() as c:
        row = c.execute(select(policy).order_by(policy.c.version.desc()).limit(1)).one_or_none()
    if row is None:
        raise StoreError("no operating points are stored; run `triage-node init`")
    return {name: _point(name, body, row.version) for name, body in row.body.items()}


def _body(point: OperatingPoint) -> dict[str, float]:
    body = {"raise": point.raise_probability, "notify": point.notify_probability}
    return body if point.unsure_from is None else {**body, "unsure": point.unsure_from}


def _point(name: str, body: dict[str, Any], version: int) -> OperatingPoint:
    unsure = None if body.get("unsure") is None else float(body["unsure"])
    return OperatingPoint(name, float(body["raise"]), float(body["notify"]), version, unsure)
