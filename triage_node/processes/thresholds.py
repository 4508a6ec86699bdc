"""Thresholds of a model: those that it brings, until people set others for it. What was set for another model says nothing of it."""

from __future__ import annotations

from datetime import datetime

from triage_node.bundle.load import Bundle
from triage_node.domain.errors import ManifestInvalid, StoreError
from triage_node.domain.finding import OperatingPoint
from triage_node.domain.policy import MAIN, Policy
from triage_node.store import policy
from triage_node.store.engine import Store


def own_points(bundle: Bundle) -> tuple[OperatingPoint, ...]:
    """What the bundle itself states."""
    return tuple(
        OperatingPoint(name, p.raise_probability, p.notify_probability, 0, p.unsure_from)
        for name, p in bundle.manifest.operating_points.items()
    )


def known(store: Store, bundle: Bundle) -> Policy | None:
    """What is in force for this model; None for one that never ran here, and that nobody set thresholds for."""
    try:
        return policy.in_force(store, bundle.digest)
    except StoreError:
        return None


def settle(store: Store, bundle: Bundle, by: str, at: datetime) -> Policy:
    """What is in force for this model; a model without any gets its own, as a version with who and when.

    Raises: StoreError; ManifestInvalid for a bundle that brings none.
    """
    if (held := known(store, bundle)) is not None:
        return held
    model = bundle.manifest
    if MAIN not in model.operating_points:
        raise ManifestInvalid(f"bundle {model.name} {model.version} has no operating point for {MAIN}")
    why = f"from bundle {model.name} {model.version} {bundle.digest[:12]}"
    try:
        policy.add(store, own_points(bundle), by, why, at, bundle_digest=bundle.digest)
    except StoreError:
        if (held := known(store, bundle)) is not None:  # another host was first
            return held
        raise
    return policy.in_force(store, bundle.digest)
