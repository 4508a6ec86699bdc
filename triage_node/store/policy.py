"""Versioned thresholds. A policy is never changed: a new version is added, with who and why.

Each version is for one model: what a probability means is the model's own, and two may be at work at a time, one beside the
other or on another host. In force for a model is the newest version that was made for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from triage_node.domain.errors import StoreError
from triage_node.domain.finding import FINDINGS, OperatingPoint
from triage_node.domain.policy import Policy, Scope, ScopedPoint
from triage_node.store import audit
from triage_node.store.engine import Store
from triage_node.store.schema import policy

Body = dict[str, dict[str, Any]]
MOST_SCOPED = 200
LONGEST_SCOPE = 200


def add(
    store: Store,
    points: Sequence[OperatingPoint],
    by: str,
    why: str,
    at: datetime,
    replaces: int | None = None,
    scoped: Sequence[ScopedPoint] | None = None,
    bundle_digest: str | None = None,
) -> int:
    """Store a new version; the version number inside `points` is ignored. Returns the number that it got.

    scoped: points of some scanners and senders; None: those in force stay. bundle_digest: of the model that it is for; None: of
    the one that `replaces`, or else the newest version, is for.
    Raises: StoreError for thresholds out of order, or when another version than `replaces` is in force by now.
    """
    with store.write() as c:
        return put(c, points, by, why, at, replaces, scoped, bundle_digest)


def put(
    c: Connection,
    points: Sequence[OperatingPoint],
    by: str,
    why: str,
    at: datetime,
    replaces: int | None = None,
    scoped: Sequence[ScopedPoint] | None = None,
    bundle_digest: str | None = None,
) -> int:
    """As `add`, in the caller's transaction."""
    last = int(c.execute(select(func.coalesce(func.max(policy.c.version), 0))).scalar_one())
    if bundle_digest is None:
        bundle_digest = _model_of(c, last if replaces is None else replaces)
    row = _newest_for(c, bundle_digest)
    if replaces is not None and (row is None or row.version != replaces):
        raise StoreError(f"policy {row.version if row else last} is in force by now, not {replaces}; look at it first")
    if scoped is None:
        scoped = of_row(row).scoped if row is not None else ()
    body = body_of(points, scoped)
    version = last + 1
    new = {"version": version, "created_at": at, "created_by": by, "why": why, "body": body}
    c.execute(insert(policy).values(bundle_digest=bundle_digest, **new))
    old = repr(row.body) if row is not None else ""
    audit.record(c, at, by, "policy added", f"policy {version}", old=old, new=repr(body))
    return version


def current(store: Store, bundle_digest: str = "") -> dict[str, OperatingPoint]:
    """finding -> operating point of the whole site in force, as `in_force`. Raises: StoreError."""
    return dict(in_force(store, bundle_digest).points)


def in_force(source: Store | Connection, bundle_digest: str = "") -> Policy:
    """For one model. Empty: where no model is known yet, the newest of all; nothing may be decided by that.

    Raises: StoreError when none was ever stored for it.
    """
    if isinstance(source, Store):
        with source.read() as c:
            return in_force(c, bundle_digest)
    row = _newest_for(source, bundle_digest) if bundle_digest else _newest(source)
    if row is None:
        raise StoreError("no operating points are stored for this model; run `triage-node init`")
    return of_row(row)


def in_place_of(c: Connection, version: int) -> Policy:
    """What is in force by now for the model that a version is for. Raises: StoreError when there is no such version."""
    row = _newest_for(c, _model_of(c, version))
    if row is None:
        raise StoreError(f"there is no policy {version}")
    return of_row(row)


def versions(store: Store, most: int = 50) -> list[Policy]:
    """Newest first."""
    with store.read() as c:
        return [of_row(r) for r in c.execute(select(policy).order_by(policy.c.version.desc()).limit(most))]


def body_of(points: Sequence[OperatingPoint], scoped: Sequence[ScopedPoint]) -> Body:
    """As a row keeps them. Raises: StoreError for thresholds out of order, scopes without a site's point or twice."""
    if len(scoped) > MOST_SCOPED:
        raise StoreError(f"{len(scoped)} points for scanners and senders; {MOST_SCOPED} at most")
    body: Body = {}
    for p in points:
        if p.finding not in FINDINGS:
            raise StoreError(f"no such finding: {p.finding[:32]!r}")
        body[p.finding] = _numbers(p)
    for s in scoped:
        finding = s.point.finding
        if finding not in body:
            raise StoreError(f"{finding[:32]}: {s.scope.words} has a point, and the site has none")
        parts = {"scanner": s.scope.scanner, "kernel": s.scope.kernel, "ae_title": s.scope.ae_title}
        told = {name: text for name, text in parts.items() if text}
        if any(len(text) > LONGEST_SCOPE or not text.isprintable() for text in told.values()):
            raise StoreError(f"{finding}: a scanner, kernel or sender is at most {LONGEST_SCOPE} printable characters")
        held = body[finding].setdefault("scopes", [])
        if not told or any({k: e[k] for k in parts if k in e} == told for e in held):
            raise StoreError(f"{finding}: {s.scope.words} has a point already")
        held.append({**told, **_numbers(s.point)})
    return body


def of_row(row: Row[Any], version: int | None = None) -> Policy:
    """From a row of policies; from one of drafts with the `version` that it was made against."""
    number = row.version if version is None else version
    points = {name: _point(name, body, number) for name, body in row.body.items()}
    scoped = tuple(
        ScopedPoint(
            Scope(entry.get("scanner", ""), entry.get("kernel", ""), entry.get("ae_title", "")),
            _point(name, entry, number),
        )
        for name, body in row.body.items()
        for entry in body.get("scopes", ())
    )
    return Policy(number, row.created_at, row.created_by, row.why, points, scoped, row.bundle_digest)


def _newest(c: Connection) -> Row[Any] | None:
    return c.execute(select(policy).order_by(policy.c.version.desc()).limit(1)).one_or_none()


def _newest_for(c: Connection, bundle_digest: str) -> Row[Any] | None:
    """One from before models were kept holds for whichever runs."""
    theirs = select(policy).where(policy.c.bundle_digest.in_((bundle_digest, "")))
    return c.execute(theirs.order_by(policy.c.version.desc()).limit(1)).one_or_none()


def _model_of(c: Connection, version: int) -> str:
    """Of a version that is not there: the newest one's."""
    asked = c.execute(select(policy.c.bundle_digest).where(policy.c.version == version)).scalar()
    newest = _newest(c) if asked is None else None
    return str(newest.bundle_digest if newest is not None else asked or "")


def _numbers(point: OperatingPoint) -> dict[str, float]:
    if not 0.0 < point.raise_probability <= point.notify_probability < 1.0:
        raise StoreError(f"{point.finding}: 0 < raise <= notify < 1 does not hold")
    if point.unsure_from is not None and not 0.0 < point.unsure_from <= point.raise_probability:
        raise StoreError(f"{point.finding}: 0 < unsure <= raise does not hold")
    body = {"raise": point.raise_probability, "notify": point.notify_probability}
    return body if point.unsure_from is None else {**body, "unsure": point.unsure_from}


def _point(name: str, body: dict[str, Any], version: int) -> OperatingPoint:
    unsure = None if body.get("unsure") is None else float(body["unsure"])
    return OperatingPoint(name, float(body["raise"]), float(body["notify"]), version, unsure)
