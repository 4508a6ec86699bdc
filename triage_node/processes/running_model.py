"""Which model the analysis role runs. It says so itself: a reload changes it, and no other role is started anew for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from triage_node.config.schema import ModelSettings, Settings
from triage_node.domain.finding import BundleIdentity
from triage_node.processes.running import now
from triage_node.store import audit, heartbeat
from triage_node.store.engine import Store

ROLE = "analysis"


def saying(settings: Settings, bundle: BundleIdentity, shadow: Mapping[str, Any]) -> dict[str, Any]:
    """For the analysis role's signs of life."""
    return {
        "bundle": bundle.digest,
        "name": f"{bundle.name} {bundle.version}",
        "shadow": dict(shadow),
        "model": settings.model.model_dump(mode="json"),
    }


def record_change(store: Store, bundle: BundleIdentity) -> None:
    """In the audit trail, when another model ran on this host before. Call it before the new one says that it runs."""
    former = here(store)
    if former.get("bundle", bundle.digest) == bundle.digest:
        return
    old = f"{former.get('name', '')} {former['bundle']}".strip()
    with store.write() as c:
        new = f"{bundle.name} {bundle.version} {bundle.digest}"
        audit.record(c, now(), "node", "model changed", heartbeat.host(), old=old, new=new)


def here(store: Store) -> dict[str, Any]:
    """What the analysis role of this host said last."""
    return heartbeat.details(store, ROLE).get(heartbeat.host(), {})


def said(store: Store) -> dict[str, Any]:
    """What the analysis role said last, on whichever host; empty before its first start."""
    return heartbeat.heartbeats(store).get(ROLE, (None, {}))[1]


def digest(store: Store) -> str:
    """Of the model that runs; empty before the first start."""
    return str(said(store).get("bundle", ""))


def digests(store: Store) -> tuple[str, ...]:
    """Of every model that runs, in a stable order: hosts that change their model one after the other run two for a while."""
    gone = heartbeat.silent(store, ROLE, now())
    alive = {str(told.get("bundle", "")) for host, told in heartbeat.details(store, ROLE).items() if host not in gone}
    return tuple(sorted(alive - {""})) or (digest(store),)


def model_settings(store: Store, settings: Settings) -> ModelSettings:
    """The section [model] that is at work; this process's own where analysis has not said it."""
    try:
        return ModelSettings.model_validate(said(store)["model"])
    except (KeyError, ValidationError):
        return settings.model
