"""The UPS manager, the reading station and the modality on dcmjs-dimse (ups/server.js, client.js, modality.js), started and spoken to from Python."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.support.pacs import ENVIRONMENT, free_port, program
from tests.worklist.ups_items import LEVELS, PATIENCE_S, SHORT_S, Item, first_items
from triage_node.config.worklist_peers import UpsPeerSettings
from triage_node.worklist.ups import UpsAdapter

FOLDER = Path(__file__).parent / "ups"

STARTING_S = 240.0
"""Node reads a hundred packages from a disk that has never read them."""


class Program:
    """One of the two, with a command a line and an answer a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.port = int(self._answer()["port"])

    def tell(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _answer(self) -> dict[str, Any]:
        line = self._lines.get(timeout=STARTING_S)
        assert line, f"{self._process.args} ended with {self._process.wait(PATIENCE_S)}"
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer


class DcmjsManager(Program):
    """ups/server.js behind the verbs of the contract suite."""

    adapter: UpsAdapter | None = None

    def settings(self, **more: Any) -> UpsPeerSettings:
        values = {"name": "ris", "host": "127.0.0.1", "port": self.port, "ae_title": "UPS", "timeout_s": PATIENCE_S}
        return UpsPeerSettings(**(values | more))

    def make(self, **more: Any) -> UpsAdapter:
        self.adapter = UpsAdapter(self.settings(**more))
        return self.adapter

    def held(self) -> dict[str, Item]:
        return {
            i["uid"]: Item(**{k: v for k, v in i.items() if k != "transaction"}) for i in self.tell(do="items")["items"]
        }

    def of_study(self, study: str) -> Item:
        return next(i for i in self.held().values() if i.study == study)

    def priority(self, study_instance_uid: str) -> int:
        return LEVELS.index(self.of_study(study_instance_uid).priority)

    def set_priority(self, study_instance_uid: str, priority: int) -> None:
        self.tell(do="change", uid=self.of_study(study_instance_uid).uid, priority=LEVELS[priority])

    def stop(self) -> None:
        self.kill()

    def become_slow(self) -> None:
        assert self.adapter is not None
        self.adapter.timeout_s = SHORT_S
        self.tell(do="mode", mode="silent")


class DcmjsManagers:
    """A manager as at its start for each test, in one process for many: it takes a second to load."""

    def __init__(self, programs: ExitStack) -> None:
        self._programs = programs
        self._manager: DcmjsManager | None = None

    def fresh(self, *items: Item) -> DcmjsManager:
        if self._manager is None or not self._manager.runs:
            self._manager = DcmjsManager(self._programs.enter_context(_running("server.js", {"port": free_port()})))
        self._manager.tell(do="reset", items=[asdict(i) for i in (items or first_items())])
        return self._manager


@contextmanager
def dcmjs_managers() -> Iterator[DcmjsManagers]:
    with ExitStack() as programs:
        yield DcmjsManagers(programs)


@contextmanager
def dcmjs_reader(
    port: int, ae_title: str, study: str, calling: str = "READER", receiving: str = "READER", listen: int | None = None
) -> Iterator[Program]:
    """A reading station at the UPS manager on this machine: tell(do="read"), tell(do="events")."""
    about = {"port": port, "ae": ae_title, "study": study, "calling": calling, "receiving": receiving}
    about["listen"] = listen or free_port()
    with _running("client.js", about) as process:
        yield Program(process)


@contextmanager
def dcmjs_modality(port: int, study: str, series: str, images: int = 28) -> Iterator[Program]:
    """A modality and an archive that announce to the node on this machine: tell(do="perform")."""
    about = {"port": port, "ae": "TRIAGE", "calling": "CT1", "study": study, "series": series, "images": images}
    with _running("modality.js", about) as process:
        yield Program(process)


@contextmanager
def _running(script: str, argument: object) -> Iterator[subprocess.Popen[str]]:
    node = program("node")
    if not (FOLDER / "node_modules" / "dcmjs-dimse").is_dir():
        pytest.skip("dcmjs-dimse is not installed; `make npm` installs it")
    process = subprocess.Popen(
        [node, script, json.dumps(argument)],
        cwd=FOLDER,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)
