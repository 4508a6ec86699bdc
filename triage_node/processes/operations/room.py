"""The operations page's callables on the store."""

from __future__ import annotations

from triage_node.config.schema import ArchiveSettings, Settings
from triage_node.console.operations_deps import OperationsDeps
from triage_node.delivery.gate import Destination, may_reach, may_send
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import RefusedAction
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.person import Person
from triage_node.processes import running_model
from triage_node.processes.console.mode import mode_in_force
from triage_node.processes.identity import HELD_BACK
from triage_node.processes.operations import drift, problems, standing
from triage_node.processes.operations.metrics import exposition
from triage_node.processes.running import now
from triage_node.processes.wiring import is_loopback
from triage_node.store import evaluations, heartbeat, meta, operations, operations_drift
from triage_node.store.engine import Store


def operations_deps(store: Store, settings: Settings) -> OperationsDeps:
    """The room's callables on this store."""

    def why_not_ready() -> str:
        roles = {role: at for role, (at, _) in heartbeat.heartbeats(store).items()}
        return problems.why_not_ready(roles, standing.machine_problems(store, settings), now())

    return OperationsDeps(
        standing=lambda: standing.standing(store, settings, now()),
        retry=lambda key, person: retry(store, settings, key, person),
        accept=lambda scanner, person: accept(store, scanner, person),
        metrics=lambda: exposition(store, settings, now()),
        why_not_ready=why_not_ready,
    )


def retry(store: Store, settings: Settings, key: str, person: Person) -> None:
    """Let a parked delivery be tried again, through the gate that it went through before. Raises: RefusedAction."""
    for parked in operations.parked(store, standing.MOST_PARKED, (HELD_BACK,)):
        if standing.key_of(parked) == key:
            break
    else:
        raise RefusedAction("It is not parked any more.")
    why_not = _why_shut(store, settings, parked) or operations.retry(store, parked, person.name, now())
    if why_not:
        raise RefusedAction(why_not)


def accept(store: Store, scanner: str, person: Person) -> None:
    """From now on the scanner is compared with what it makes from now on. Raises: RefusedAction."""
    if scanner not in operations_drift.scanners(store, now() - drift.SEEN_WITHIN):
        raise RefusedAction("There is no such scanner.")
    operations_drift.set_baseline(store, scanner, person.name, now())


def _why_shut(store: Store, settings: Settings, parked: operations.Parked) -> str:
    """Why an object may not go there now. Messages pass their own gate each time before they leave."""
    if not parked.is_object:
        return ""
    archive = next((a for a in settings.archives if a.name == parked.peer), None)
    if archive is None:
        return f"{parked.peer} is not configured any more."
    simulation = meta.is_simulation(store)
    if parked.what == ObjectKind.REJECTION_NOTE:  # what withdraws something goes whatever the mode is
        return "" if may_reach(_destination(archive), simulation)[0] else "It is not on this machine."
    level = evaluations.site_levels(store, running_model.digest(store)).get("ich", EvidenceLevel.E0)
    allowed, why = may_send(_destination(archive), level, mode_in_force(store, settings, simulation), simulation)
    return "" if allowed else f"{parked.peer} gets nothing now: {why}."


def _destination(archive: ArchiveSettings) -> Destination:
    return Destination(archive.name, archive.clinical, is_loopback(archive))
