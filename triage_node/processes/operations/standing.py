"""What stands where in this node now, as the page, the metrics and the outside monitor see it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from triage_node.bundle.load import MANIFEST, Bundle, load_bundle
from triage_node.config.schema import Settings
from triage_node.console.operations_deps import Disk, Model, ParkedDelivery, Peer, Problem, Stage, Standing
from triage_node.domain.errors import TriageNodeError
from triage_node.domain.study import StudyState
from triage_node.processes import feeds, running_model
from triage_node.processes.identity import HELD_BACK
from triage_node.processes.limits import machine
from triage_node.processes.limits.bounds import Late, late
from triage_node.processes.operations import drift, heart, latency, problems
from triage_node.processes.operations.names import IMAGE_STORE, MONITOR, SINK
from triage_node.processes.wiring import bundle_folder
from triage_node.store import evaluations, forwarding, heartbeat, operations, refused_models, uploads
from triage_node.store.engine import Store
from triage_node.store.refused_models import Refused

MOST_PARKED = 100
WAITING_BOUND_S = 120.0
DEADLINE_GRACE_S = 10.0
"""A series that closes at its deadline is no alarm; one that is looked at much later is."""
OBJECTS_BOUND_S = 120.0
_STAGE_STATES = {
    latency.STEPS[0].name: StudyState.RECEIVING,
    latency.STEPS[2].name: StudyState.COMPLETE,
    latency.STEPS[3].name: StudyState.ANALYSING,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store says, read once for everything that is made of it."""

    at: datetime
    states: dict[StudyState, operations.Waiting]
    stages: tuple[Stage, ...]
    queue: tuple[float | None, ...]
    peers: tuple[Peer, ...]
    parked: tuple[operations.Parked, ...]
    disk: Disk | None
    machine: tuple[Problem, ...]
    late: tuple[Late, ...]
    models: tuple[Model, ...]
    roles: dict[str, datetime]
    refused: tuple[Refused, ...]


def standing(store: Store, settings: Settings, at: datetime) -> Standing:
    """Everything on the page."""
    return standing_of(facts(store, settings, at), store, settings)


def standing_of(known: Facts, store: Store, settings: Settings) -> Standing:
    at = known.at
    beats = heart.standing(store, settings, at)
    scanners = drift.standing(store, at)
    return Standing(
        problems=problems.found(known, settings, beats, scanners, feeds.alarms(store)),
        stages=known.stages,
        queue=known.queue,
        peers=known.peers,
        parked=tuple(
            ParkedDelivery(key_of(p), p.peer, p.what, p.study_instance_uid, p.at, p.reason, p.tries)
            for p in known.parked
        ),
        disk=known.disk,
        models=known.models,
        heart=beats,
        drift=scanners,
        false_alarms=drift.false_alarms(),
    )


def facts(store: Store, settings: Settings, at: datetime) -> Facts:
    states = operations.studies_in(store)
    moments = operations.moments(store, latency.NEEDED, at - latency.WINDOW)
    beats = heartbeat.heartbeats(store)
    waiting = states.get(StudyState.COMPLETE, operations.Waiting(0, None)).count
    return Facts(
        at=at,
        states=states,
        stages=tuple(_stages(settings, states, latency.latencies(moments, at))),
        queue=latency.depths(moments, waiting, at),
        peers=tuple(_peers(store, settings)),
        parked=tuple(operations.parked(store, MOST_PARKED, (HELD_BACK,))),
        disk=disk(settings),
        machine=machine_problems(store, settings),
        late=tuple(late(store, settings, at)),
        models=tuple(_models(store, settings)),
        roles={role: seen for role, (seen, _) in beats.items()},
        refused=refused_models.refused(store),
    )


def key_of(parked: operations.Parked) -> str:
    return f"{'object' if parked.is_object else 'message'}-{parked.id}"


def machine_problems(store: Store, settings: Settings) -> tuple[Problem, ...]:
    return tuple(machine.problems(settings, heartbeat.pids(store)))


def disk(settings: Settings) -> Disk | None:
    """None where the data folder cannot be looked at."""
    try:
        usage = shutil.disk_usage(settings.store.data_folder)
    except OSError:
        return None
    return Disk(usage.free / 1e9, usage.total / 1e9, settings.store.warn_free_gb, settings.store.stop_free_gb)


def _stages(
    settings: Settings, states: dict[StudyState, operations.Waiting], measured: list[latency.Latency]
) -> Iterator[Stage]:
    bounds = {
        latency.STEPS[1].name: settings.completeness.deadline_s + DEADLINE_GRACE_S,
        latency.STEPS[2].name: WAITING_BOUND_S,
        latency.STEPS[3].name: settings.operations.latency_alarm_s,
        latency.STEPS[4].name: OBJECTS_BOUND_S,
        latency.STEPS[5].name: OBJECTS_BOUND_S,
        latency.WHOLE.name: settings.operations.latency_alarm_s,
    }
    for m in measured:
        state = _STAGE_STATES.get(m.step.name)
        here = states.get(state, operations.Waiting(0, None)) if state is not None else None
        bound = bounds.get(m.step.name) if m.is_measured else None
        yield Stage(
            m.step.name,
            here.count if here is not None else None,
            here.since if here is not None else None,
            len(m.recent),
            m.p50_s,
            m.p95_s,
            bound,
            m.history,
        )


def _peers(store: Store, settings: Settings) -> Iterator[Peer]:
    """Configured peers first, in the order of the configuration; then those that something is still to go to."""
    known, waiting = operations.peers(store), operations.waiting_for(store, (SINK,))
    kinds = {a.name: "archive" for a in settings.archives}
    kinds |= {p.name: "worklist" for p in settings.worklist_peers} | {c.name: "person" for c in settings.contacts}
    if settings.operations.dead_man is not None:
        kinds[MONITOR] = "monitor"
    if settings.store.blob_url:
        kinds[IMAGE_STORE] = problems.STORE
        left = uploads.on_the_way(store)
        waiting[IMAGE_STORE] = operations.Waiting(left.count, left.since)
    for name in waiting:
        kinds.setdefault(name, "not configured any more")
    for name, kind in kinds.items():
        record = known.get(name, operations.PeerRecord(name, None, None, ""))
        mine = waiting.get(name, operations.Waiting(0, None))
        if settings.hub is not None and name == settings.hub.name:
            studies, oldest = forwarding.waiting(store)
            since = min((at for at in (mine.since, oldest) if at is not None), default=None)
            mine = operations.Waiting(mine.count + studies, since)
        yield Peer(
            name, kind, record.last_success_at, record.last_failure_at, record.last_failure, mine.count, mine.since
        )


def _models(store: Store, settings: Settings) -> Iterator[Model]:
    running, configured = running_model.digest(store), running_model.model_settings(store, settings).bundle
    for name in (configured, *settings.prognosis.bundles):
        try:
            bundle = _bundle(name)
        except TriageNodeError as error:
            yield Model(name, "", "", (), str(error))
            continue
        own = evaluations.site_levels(store, bundle.digest)
        stated = bundle.manifest.evidence
        outputs = tuple(
            (output, own.get(output, stated.get(output)).value, output in own)  # type: ignore[union-attr]
            for output in sorted({*stated, *own})
        )
        other = name == configured and running not in ("", bundle.digest)
        words = f"analysis runs {running[:12]}, which is not what lies on the disk" if other else ""
        yield Model(bundle.manifest.name, bundle.manifest.version, bundle.digest, outputs, words)


def _bundle(name: str) -> Bundle:
    """Raises: TriageNodeError."""
    folder = bundle_folder(name)
    return _hashed(folder, (folder / MANIFEST).stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _hashed(folder: Path, _: int) -> Bundle:
    """Once for each time that its manifest was written. Raises: TriageNodeError."""
    return load_bundle(folder)
