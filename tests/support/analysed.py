"""The analysis role inside the test's own process, on a store of its own: seconds where a whole node takes a minute."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.node import toml
from tests.support.store_place import store_section
from triage_node.blobs.opened import open_blobs
from triage_node.blobs.places import keep_bytes
from triage_node.cli.setup import initialise
from triage_node.config.load import load
from triage_node.config.schema import Settings
from triage_node.domain.finding import BundleIdentity, Component, Detection, Location
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.priority import OrderClass, WorklistRow
from triage_node.domain.volume import Volume
from triage_node.instances.archive import Archive
from triage_node.instances.intake import reindex
from triage_node.processes.analysis import Analysis
from triage_node.processes.running import Running, now
from triage_node.store import instances, studies, uploads, worklist
from triage_node.store.engine import open_store
from triage_node.store.uploads import Upload


class Painted:
    """A detector that finds one deep bleed of 40 mL in everything, whatever the trained one of today would say."""

    def __init__(self, identity: BundleIdentity, probability: float = 0.97) -> None:
        self.identity, self.probability = identity, probability

    def detect(self, volume: Volume) -> Detection:
        n, rows, columns = volume.hu.shape
        mask = np.zeros(volume.hu.shape, np.uint8)
        mask[n // 2, rows // 2 : rows // 2 + 9, columns // 2 : columns // 2 + 9] = 1
        p = self.probability
        bleed = Component(1, 40.0, "iph", Location.DEEP, n // 2, (0.0, 0.0, 0.0), p)
        return Detection(
            study_probability=p,
            slice_probabilities=np.full(n, p, np.float32),
            subtype_probabilities={"iph": p},
            mask=mask,
            heat=mask * 200,
            hematoma_volume_ml=40.0,
            components=(bleed,),
            key_slice_index=n // 2,
            bundle=self.identity,
        )


class _Rows:
    """Takes what the journal would take."""

    is_full = False

    def __init__(self) -> None:
        self.made: list[ReceivedInstance] = []

    def received(self, number: int, instance: Any) -> None:
        self.made.append(instance(True))


def settings_in(
    folder: Path, simulation: bool = True, text: str = "", store: Mapping[str, Any] | None = None
) -> Settings:
    """A folder as `triage-node init` leaves it, with more TOML of the test's own. `store`: another place than that of the tests."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "triage-node.toml"
    config.write_text(f"store = {toml(store or store_section(folder / 'data', is_upgraded=True))}\n{text}")
    list(initialise(config, simulation))
    return load(config)[0]


@contextmanager
def analysis(settings: Settings) -> Iterator[Analysis]:
    store = open_store(settings.database_url)
    role = Analysis(Running("analysis", settings, store, threading.Event()))
    role.detector = Painted(role.bundle)  # type: ignore[assignment]
    try:
        yield role
    finally:
        role.decoder.close()
        store.close()


def receive(role: Analysis, files: Sequence[Path]) -> str:
    """Store the files of one study as the listener does, and close it. Returns its UID."""
    header = take_in(role, files)[0].header
    assert header is not None
    uid, at = header.study_instance_uid, now()
    with role.store.write() as c:
        worklist.add_row(c, WorklistRow(uid, OrderClass.ROUTINE, at - timedelta(seconds=5)), "acquired now")
    close(role, uid)
    return uid


def close(role: Analysis, uid: str) -> None:
    """A study that arrives, or was opened again, is complete."""
    study = studies.get(role.store, uid)
    assert study is not None
    with role.store.write() as c:
        assert studies.close(c, uid, "released", False, now(), study.instances)


def take_in(
    role: Analysis, files: Sequence[Path], calling_ae_title: str = "MODALITY", goes_up: bool = True
) -> list[ReceivedInstance]:
    """Store files as the listener does, also where hosts share images, unless not `goes_up`. Returns what is new."""
    rows = _Rows()
    with closing(Archive(role.settings.store.data_folder)) as archive:
        archive.prepare()
        for file in files:
            keep_bytes(archive, file.read_bytes())
        reindex(archive, lambda digests: instances.blobs_without_row(role.store, digests), rows)  # type: ignore[arg-type]
    made = [replace(i, calling_ae_title=calling_ae_title) for i in rows.made]
    blobs = open_blobs(role.settings.store)
    goes_up = goes_up and blobs.is_shared
    instances.record_batch(role.store, made, Upload.DUE if goes_up else Upload.NEVER)
    if goes_up:
        for instance in made:
            blobs.received.upload(instance.sha256)
        uploads.record(role.store, [i.sha256 for i in made], Upload.DONE)
    return made
