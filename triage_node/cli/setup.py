"""`triage-node init`: what a new installation needs before it can serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from triage_node.bundle.load import load_bundle
from triage_node.config.load import load
from triage_node.domain.errors import ConfigError, StoreError
from triage_node.domain.finding import OperatingPoint
from triage_node.processes.running import now
from triage_node.processes.wiring import bundle_folder
from triage_node.store import meta, policy
from triage_node.store.engine import open_store
from triage_node.store.upgrade import upgrade


def initialise(config: Path | None, simulation: bool) -> Iterator[str]:
    """Create folder, schema, simulation mark and policy version 1; what is there is left alone. Yields what was done."""
    settings, _ = load(config)
    folder = settings.store.data_folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"store.data_folder {folder}: {error.strerror}; name a folder that this user may create"
        ) from error
    yield f"data folder {folder}"
    store = open_store(settings.database_url)
    old, new = upgrade(store)
    yield f"schema {new}" + ("" if old else " (new)")
    meta.set_simulation(store, simulation)
    yield "store is marked SIMULATION" if simulation else "store holds real studies"
    try:
        points = policy.current(store)
        yield f"thresholds version {next(iter(points.values())).version} are in force"
    except StoreError:
        bundle = load_bundle(bundle_folder(settings.model.bundle))
        points_of_bundle = [
            OperatingPoint(name, p.raise_probability, p.notify_probability, 0)
            for name, p in bundle.manifest.operating_points.items()
        ]
        version = policy.add(store, points_of_bundle, "triage-node init", f"from bundle {bundle.digest[:12]}", now())
        yield f"thresholds version {version} from bundle {bundle.manifest.name} {bundle.manifest.version}"
    store.close()
