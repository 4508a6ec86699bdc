"""A store with objects in its outbox, and the roles that work on it as their own processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.delivery.files import STUDY, built
from tests.support.pacs import free_port
from tests.support.store_place import keep_built, store_line
from tests.support.waiting import wait_until
from triage_node.config.load import load
from triage_node.delivery.outgoing import Outgoing
from triage_node.domain.delivery import ObjectKind, OutboxRow
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.domain.study import StudyEvent, StudyState
from triage_node.processes.running import Running, now
from triage_node.store import heartbeat, instances, meta, outbox, results, studies
from triage_node.store.engine import open_store
from triage_node.store.upgrade import upgrade


class Site:
    """A data folder with one study that is reported, and what a test asks of it."""

    def __init__(self, folder: Path, archives: Sequence[dict[str, Any]], simulation: bool = True) -> None:
        self.folder, self.listener_port = folder, free_port()
        self.config = folder / "node.toml"
        (folder / "data").mkdir(parents=True)
        lines = [
            store_line(folder / "data", is_upgraded=True, warn_free_gb=0.2, stop_free_gb=0.1),
            f"listener = {{ port = {self.listener_port}, ae_title = 'TRIAGE' }}",
        ]
        for archive in archives:
            lines += ["[[archives]]", *(f"{k} = {json.dumps(v)}" for k, v in archive.items())]
        self.config.write_text("\n".join(lines))
        self.settings, _ = load(self.config)
        self.store = open_store(self.settings.database_url)
        upgrade(self.store)
        meta.set_simulation(self.store, simulation)
        header = InstanceHeader("2.25.5", "1.2.840.10008.5.1.4.1.1.2", STUDY, "2.25.6")
        received = ReceivedInstance("a" * 64, 1, "2.25.5", header.sop_class_uid, "1.2.840.10008.1.2.1", now(), header)
        instances.record_batch(self.store, [received])
        with self.store.write() as c:
            studies.close(c, STUDY, "released", False, now(), 1)
        studies.claim(self.store, "test", now(), timedelta(minutes=1))

    def queue(
        self,
        objects: Sequence[Outgoing],
        peers: Sequence[str] = ("pacs",),
        kind: ObjectKind = ObjectKind.HEATMAP_SC,
        refers_to: tuple[str, ...] = (),
        reported: bool = True,
    ) -> None:
        """Keep the files as analysis does, and queue them in one transaction with the end of the study."""
        made = [built(o, kind, refers_to) for o in objects]
        for o in objects:
            keep_built(self.settings.store, o.path.read_bytes())
        with self.store.write() as c:
            results.save_objects(c, made, now())
            for peer in peers:
                outbox.put(c, peer, made, now())
            if reported:
                studies.advance(c, STUDY, StudyEvent.REPORTED, now())

    def rows(self) -> list[OutboxRow]:
        return outbox.of_study(self.store, STUDY)

    def states(self) -> list[str]:
        return [r.state.value for r in self.rows()]

    def is_delivered(self) -> bool:
        study = studies.get(self.store, STUDY)
        assert study is not None
        return study.state is StudyState.DELIVERED

    def running(self) -> Running:
        return Running("delivery", self.settings, self.store, threading.Event())

    @contextmanager
    def role(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """The role as the supervisor would start it, alive from its first heartbeat on."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"triage_node.processes.{name}", "--config", str(self.config)],
                stderr=log,
                env={**os.environ, "TCP_NODELAY": "1"},
            )
        began = now()
        try:
            wait_until(lambda: heartbeat.heartbeats(self.store).get(name, (began,))[0] > began, 30, f"{name} lives")
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def log(self, name: str = "delivery") -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")
