"""From settings to what the rooms want. The one place that knows both."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import triage_node
from triage_node.blobs import places
from triage_node.config.schema import ArchiveSettings, Settings
from triage_node.config.worklist_peers import FhirPeerSettings, Hl7PeerSettings, UpsPeerSettings, UpsRsPeerSettings
from triage_node.domain import address
from triage_node.domain.errors import ConfigError
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.mode_switch import ModeSwitch
from triage_node.domain.priority import ListPolicy, Mode, OrderClass
from triage_node.worklist.gate import Listener

WorklistPeer = UpsPeerSettings | UpsRsPeerSettings | Hl7PeerSettings | FhirPeerSettings

_PACKAGE = Path(triage_node.__file__).parent


def bundle_folder(name: str) -> Path:
    """The folder of a bundle that ships with the node, or the path that was given. Raises: ConfigError."""
    candidates = [Path(name), _PACKAGE / "_bundles" / name, _PACKAGE.parent / "models" / name]
    for folder in candidates:
        if (folder / "configs" / "metadata.json").is_file():
            return folder
    raise ConfigError(f"model.bundle: no bundle {name!r}; looked at {', '.join(str(c) for c in candidates)}")


def built_folder(settings: Settings) -> Path:
    """Where the objects that we built are kept on this machine, and what pages show of them; copies where hosts share a store."""
    folder = settings.store.data_folder
    return places.built_folder(places.copies_folder(folder) if settings.store.blob_url else folder)


def least_level(simulation: bool) -> EvidenceLevel:
    """The evidence that acting on a list takes; simulated patients cannot be harmed (DESIGN.md section 4)."""
    return EvidenceLevel.E0 if simulation else EvidenceLevel.E2


def effective_mode(settings: Settings, simulation: bool, site_level: EvidenceLevel) -> tuple[Mode, str]:
    """The mode that configuration and evidence allow and, when it is not the configured one, why."""
    wanted = settings.worklist.mode
    if wanted is Mode.OBSERVE:
        return wanted, ""
    if not simulation:
        if site_level.value < EvidenceLevel.E2.value:
            return (
                Mode.OBSERVE,
                "observe, although active is configured: no evaluation of this site is stored for this model",
            )
        return wanted, ""
    outside = [a.name for a in settings.archives if not is_loopback(a)]
    outside += [p.name for p in settings.worklist_peers if not listener(p).loopback]
    if settings.gateway.is_on:
        outside += [h for h in settings.gateway.hosts if not address.is_loopback(h)]
    if outside:
        return Mode.OBSERVE, f"observe: a simulation may act on loopback peers only, and {outside[0]} is none"
    return wanted, ""


def switched_mode(
    settings: Settings, simulation: bool, site_level: EvidenceLevel, switch: ModeSwitch, bundle_digest: str
) -> tuple[Mode, str]:
    """The mode in force: what configuration and evidence allow, as far as people have switched it on (DESIGN.md section 4)."""
    mode, why = effective_mode(settings, simulation, site_level)
    if mode is Mode.OBSERVE:
        return mode, why
    if switch.paused is not None:
        return Mode.OBSERVE, f"observe: paused by {switch.paused.by}"
    if not simulation and not switch.is_on_for(bundle_digest):
        return Mode.OBSERVE, "observe, although active is configured: two people have not switched it on for this model"
    return mode, why


def list_policy(settings: Settings, mode: Mode) -> ListPolicy:
    w = settings.worklist
    return ListPolicy(
        mode=mode,
        bounds={
            OrderClass.STAT: timedelta(minutes=w.stat_bound_min),
            OrderClass.URGENT: timedelta(minutes=w.urgent_bound_min),
            OrderClass.ROUTINE: timedelta(minutes=w.routine_bound_min),
        },
        guard=timedelta(minutes=w.guard_min),
        claim_for=timedelta(minutes=w.claim_for_min),
        expires_after=timedelta(hours=w.expires_after_h),
    )


def config_digest(settings: Settings) -> str:
    """Stored with each result: what the configuration was when it was made. No secret goes in."""
    return hashlib.sha256(settings.model_dump_json(exclude={"store"}).encode()).hexdigest()


def listener(peer: WorklistPeer) -> Listener:
    """A worklist peer as the gate sees it."""
    host = urlsplit(peer.url).hostname if isinstance(peer, UpsRsPeerSettings | FhirPeerSettings) else peer.host
    return Listener(peer.name, address.is_loopback(host or ""))


def is_loopback(archive: ArchiveSettings) -> bool:
    return address.is_loopback((urlsplit(archive.stow_url).hostname or "") if archive.stow_url else archive.host)
