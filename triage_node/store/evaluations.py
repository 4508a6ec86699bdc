"""What this site has measured itself, keyed by bundle digest and operating point (DESIGN.md section 4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

from triage_node.domain.errors import StoreError
from triage_node.domain.finding import EvidenceLevel, OperatingPoint
from triage_node.domain.scan_source import ScanSource
from triage_node.store import audit, policy
from triage_node.store.engine import Store
from triage_node.store.schema import evaluation
from triage_node.store.signatures import two_people

LARGEST_ERROR = 0.05
"""Expected calibration error up to which a percentage says more than a word."""
_THRESHOLDS = ("raise_probability", "notify_probability", "unsure_from")


def add(
    store: Store, bundle_digest: str, output: str, level: EvidenceLevel, body: dict[str, Any], signed_by: tuple[str, ...], at: datetime
) -> None:  # fmt: skip
    """Store an evaluation of this site. Raises: StoreError unless two different people sign it."""
    by = two_people(signed_by)
    with store.write() as c:
        row = {"at": at, "by": by, "bundle_digest": bundle_digest, "output": output, "level": level.value, "body": body}
        c.execute(insert(evaluation).values(**row))
        what = f"{output} {level.value} for bundle {bundle_digest[:12]}"
        audit.record(c, at, by, "evaluation stored", what, new=json.dumps(body.get("figures", {})))


def site_levels(
    store: Store, bundle_digest: str, at: Mapping[str, OperatingPoint] | None = None
) -> dict[str, EvidenceLevel]:
    """output -> highest level that a stored evaluation of exactly this bundle gives it.

    An evaluation that was made at other thresholds than those in force gives nothing: a shift falls back to observe. `at`: the
    points to hold it against; None: the site's own in force for this bundle.
    """
    points = _in_force(store, bundle_digest) if at is None else at
    query = select(evaluation.c.output, evaluation.c.level, evaluation.c.body)
    with store.read() as c:
        rows = c.execute(query.where(evaluation.c.bundle_digest == bundle_digest)).all()
    levels: dict[str, EvidenceLevel] = {}
    for output, level, body in rows:
        found = EvidenceLevel(level)
        if not _thresholds_hold(points.get(output), body):
            continue
        if output not in levels or levels[output].value < found.value:
            levels[output] = found
    return levels


def scans_covered(
    store: Store, bundle_digest: str, output: str, at: OperatingPoint | None = None
) -> frozenset[ScanSource]:
    """What the evaluations were made on that give `output` of this bundle a level at a point; None: the site's in force."""
    point = at or _in_force(store, bundle_digest).get(output)
    keys = [body.get("key", {}) for body in _of_site(store, bundle_digest, output, point)]
    return frozenset(
        ScanSource(str(scan["scanner"]), str(scan["kernel"]), str(scan["software"]))
        for key in keys
        for scan in key.get("scans") or ()
    )


def is_calibrated(store: Store, bundle_digest: str, output: str) -> bool:
    """Whether this site has found that a probability of this output means here what it says: only then is it shown as one.

    Weak calibration (Van Calster 2016): the slope's 95 % interval holds 1, and predictions lie close to what was observed.
    """
    try:
        found = _of_site(store, bundle_digest, output, _in_force(store, bundle_digest).get(output))[-1]["figures"][
            "calibration"
        ]
        (low, high), error = map(float, found["slope_ci"]), float(found["ece"])
    except (IndexError, KeyError, TypeError, ValueError):
        return False  # not measured, too few of a class, or a file that somebody wrote by hand
    return low <= 1 <= high and error <= LARGEST_ERROR


def measured_at_other_thresholds(store: Store, bundle_digest: str, output: str) -> bool:
    """True when this bundle was evaluated here, but only at thresholds that are no longer in force."""
    query = select(evaluation.c.body).where(evaluation.c.bundle_digest == bundle_digest, evaluation.c.output == output)
    with store.read() as c:
        bodies = list(c.execute(query).scalars())
    point = _in_force(store, bundle_digest).get(output)
    return bool(bodies) and not any(_thresholds_hold(point, body) for body in bodies)


def _of_site(store: Store, bundle_digest: str, output: str, point: OperatingPoint | None) -> list[dict[str, Any]]:
    """What this site's own evaluations (E2) of one output of a bundle say that hold at `point`, oldest first."""
    query = select(evaluation.c.body).where(
        evaluation.c.bundle_digest == bundle_digest,
        evaluation.c.output == output,
        evaluation.c.level >= EvidenceLevel.E2.value,
    )
    with store.read() as c:
        bodies = list(c.execute(query.order_by(evaluation.c.id)).scalars())
    return [body for body in bodies if _thresholds_hold(point, body)]


def _thresholds_hold(point: OperatingPoint | None, body: dict[str, Any]) -> bool:
    measured_at = body.get("key", {}).get("operating_point")
    if not measured_at:
        return True
    return point is not None and all(measured_at.get(t) == getattr(point, t) for t in _THRESHOLDS)


def _in_force(store: Store, bundle_digest: str) -> dict[str, OperatingPoint]:
    try:
        return policy.current(store, bundle_digest)
    except StoreError:
        return {}
