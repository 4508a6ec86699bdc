"""Medplum's FHIR router and repository as somebody else's FHIR server, in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.pacs import free_port, program
from tests.support.waiting import wait_until
from tests.worklist.adapter_contract import KNOWN, READ_ALREADY
from tests.worklist.fhir_server import LEVELS, SHORT_S, FhirServer
from triage_node.config.worklist_peers import FhirPeerSettings
from triage_node.worklist.fhir import FhirAdapter
from triage_node.worklist.fhir_report import observations_of, report_id

FOLDER = Path(__file__).parent / "fhir"
BOUND_S = 60.0


class Medplum:
    """The verbs of the contract suite on a server that goes on from test to test."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.adapter: FhirAdapter | None = None

    def ready(self) -> None:
        """Running, awake, and holding what it held at first."""
        if not (FOLDER / "node_modules").is_dir():
            pytest.skip("Medplum's FHIR server is not installed; `make npm` installs it")
        if self._process is None or self._process.poll() is not None:
            self.port = free_port()
            self._process = subprocess.Popen([program("node"), str(FOLDER / "server.js"), str(self.port)])
            wait_until(self._answers, BOUND_S, "Medplum's server answers")
        self._process.send_signal(signal.SIGCONT)
        self.take_ids(True)
        for reference in (f"DiagnosticReport/{report_id(KNOWN)}", *observations_of(KNOWN)):
            self.ask("DELETE", reference)
        for reference, versions in FhirServer("http", "ServiceRequest").store.items():
            resource = {k: v for k, v in versions[-1].items() if k != "meta"}
            assert self.ask("PUT", reference, resource)[0] in (200, 201)

    def settings(self, **more: Any) -> FhirPeerSettings:
        url = f"http://127.0.0.1:{self.port}/fhir"
        return FhirPeerSettings(**({"name": "his", "url": url, "timeout_s": 30.0} | more))

    def ask(self, method: str, reference: str, resource: Any = None) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.port}/fhir/{reference}"
        reply = httpx.request(method, url, content=json.dumps(resource).encode() if resource else None, timeout=BOUND_S)
        return reply.status_code, reply.json()

    def take_ids(self, takes: bool) -> None:
        """Whether a PUT may create; servers that give ids of their own refuse it."""
        httpx.post(f"http://127.0.0.1:{self.port}/takes-ids", content=json.dumps(takes), timeout=BOUND_S)

    def named(self, kind: str, system: str, value: str) -> list[Any]:
        _, bundle = self.ask("GET", f"{kind}?identifier={system}|{value}")
        return [entry["resource"] for entry in bundle.get("entry", ())]

    def now(self, reference: str) -> Any:
        status, resource = self.ask("GET", reference)
        assert status == 200
        return resource

    def priority(self, study_instance_uid: str) -> int:
        return LEVELS[self.now(_order(study_instance_uid)).get("priority", "")]

    def set_priority(self, study_instance_uid: str, priority: int) -> None:
        order = _order(study_instance_uid)
        self.ask("PUT", order, self.now(order) | {"priority": ("routine", "urgent", "stat")[priority]})

    def become_slow(self) -> None:
        assert self._process is not None
        assert self.adapter is not None
        self.adapter.timeout_s = SHORT_S
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(BOUND_S)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "Medplum's server ended"
        try:
            return self.ask("GET", "Patient/nobody")[0] == 404
        except httpx.TransportError:
            return False


def _order(study_instance_uid: str) -> str:
    return {KNOWN: "ServiceRequest/o1", READ_ALREADY: "ServiceRequest/o2"}[study_instance_uid]
