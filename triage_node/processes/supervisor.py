"""Starts the roles, watches them, restarts what dies, stops them in reverse order. Imports none of them.

A role that dies is started again after 0.5 s, then twice as long each time up to BACKOFF_CAP_S; one that lived for
STEADY_S starts afresh. The supervisor never gives up: a disk that is full today has room tomorrow.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from triage_node.config.schema import Settings
from triage_node.processes.running import SUPERVISOR

ROLES = ("ingest", "analysis", "delivery", "gateway", "scheduler", "web")
BACKOFF_FIRST_S, BACKOFF_CAP_S, STEADY_S = 0.5, 30.0, 60.0
STOP_S = 15.0
_CONFIGURATION_ERROR = 2

log = logging.getLogger(__name__)


def roles_for(settings: Settings) -> tuple[str, ...]:
    """All roles that have something to do: a node that nobody asks for workitems or tells anything runs no gateway."""
    asked = settings.gateway.is_on or settings.hl7_inbound is not None or settings.announcements is not None
    return tuple(role for role in ROLES if asked or role != "gateway")


@dataclass(slots=True)
class _Role:
    name: str
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    wait_s: float = BACKOFF_FIRST_S
    start_again_at: float = 0.0
    restarts: int = 0


class Supervisor:
    """Owns the processes of one node on this host."""

    def __init__(self, config: Path | None, roles: Sequence[str]) -> None:
        self._config = config
        self._roles = [_Role(name) for name in roles]

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. Wakes four times a second, and at once when a child dies (SIGCHLD interrupts nothing here)."""
        try:
            for role in self._roles:
                self._start(role)
            while not stop.wait(0.25):
                for role in self._roles:
                    self._watch(role)
        finally:
            self._stop_all()

    def pids(self) -> dict[str, int]:
        return {r.name: r.process.pid for r in self._roles if r.process is not None and r.process.poll() is None}

    def _start(self, role: _Role) -> None:
        command = [sys.executable, "-m", f"triage_node.processes.{role.name}"]
        if self._config:
            command += ["--config", str(self._config)]
        # one arena and high thresholds: else a third of the time goes into fresh pages (ML.md 5.2)
        allocator = {"MALLOC_ARENA_MAX": "2"}
        environment = {**allocator, **os.environ, SUPERVISOR: str(os.getpid())}
        role.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        role.started_at = time.monotonic()
        log.info("role=%s pid=%d started restarts=%d", role.name, role.process.pid, role.restarts)

    def _watch(self, role: _Role) -> None:
        at = time.monotonic()
        if role.process is not None:
            status = role.process.poll()
            if status is None:
                if at - role.started_at > STEADY_S:
                    role.wait_s = BACKOFF_FIRST_S
                return
            role.process = None
            role.start_again_at = at + role.wait_s
            log.error("role=%s ended status=%d again_in_s=%.1f", role.name, status, role.wait_s)
            role.wait_s = min(2 * role.wait_s, BACKOFF_CAP_S)
        if at >= role.start_again_at:
            role.restarts += 1
            self._start(role)

    def _stop_all(self) -> None:
        deadline = time.monotonic() + STOP_S
        for role in reversed(self._roles):
            if role.process is None or role.process.poll() is not None:
                continue
            role.process.send_signal(signal.SIGTERM)
            try:
                role.process.wait(max(0.5, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("role=%s pid=%d did not stop, killed", role.name, role.process.pid)
                role.process.kill()
                role.process.wait()
