"""Starts the roles, watches them, restarts what dies, stops them in reverse order. Imports none of them.

A role that dies is started again after 0.5 s, then twice as long each time up to BACKOFF_CAP_S; one that lived for
STEADY_S starts afresh. The supervisor never gives up: a disk that is full today has room tomorrow.

A reload (`Supervisor.reload`) takes the section [model] of the configuration in force, and nothing else of it, without a gap: a
second analysis process starts with it beside the first one, and the first one is asked to end when the second one says that it is
ready (handover.py). One that cannot be, or is not within READY_S, is ended, and the first one goes on. A role that dies starts
again with the model that was at work, whatever the configuration names by then.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from triage_node.config.load import PREFIX, leaves, load
from triage_node.config.schema import Settings
from triage_node.domain.errors import ConfigError
from triage_node.processes import handover
from triage_node.processes.running import SUPERVISOR

ROLES = ("ingest", "analysis", "delivery", "gateway", "scheduler", "web")
BACKOFF_FIRST_S, BACKOFF_CAP_S, STEADY_S = 0.5, 30.0, 60.0
STOP_S = 15.0
READY_S = 300.0
"""A new model is loaded and has run once by then, on a machine that is busy too; meanwhile the former one is at work."""
LEAVE_S = 3600.0
"""Longer than any study may take (limits/bounds.py): a former process that is still there by then hangs."""
_REPLACED = "analysis"
_BUNDLE = f"{PREFIX}MODEL__BUNDLE"

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
    settings: dict[str, object] = field(default_factory=dict)
    """What it was started with, but for [model]; empty where the configuration could not be read."""
    bundle: str = ""


@dataclass(slots=True)
class _Leaving:
    process: subprocess.Popen[bytes]
    until: float


@dataclass(slots=True)
class _Successor:
    """A process that is to take over. `said`: read end of the pipe over which it speaks."""

    process: subprocess.Popen[bytes]
    said: int
    bundle: str
    until: float
    text: bytes = b""


class Supervisor:
    """Owns the processes of one node on this host.

    `told`: called after each reload, with why it was refused; empty: the model of the configuration is in force.
    """

    def __init__(
        self, config: Path | None, roles: Sequence[str], told: Callable[[str], None] = lambda why: None
    ) -> None:
        self._config, self._told = config, told
        self._roles = [_Role(name) for name in roles]
        self._bundle = ""
        """What analysis starts again with: a model that has worked. Empty: whatever the configuration names."""
        self._asked = threading.Event()
        self._successor: _Successor | None = None
        self._leaving: list[_Leaving] = []

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. Wakes four times a second, and at once when a child dies (SIGCHLD interrupts nothing here)."""
        try:
            for role in self._roles:
                self._start(role)
            while not stop.wait(0.25):
                for role in self._roles:
                    self._watch(role)
                self._watch_leaving()
                self._watch_successor()
                if self._asked.is_set() and not self._leaving:  # two models at a time, never three
                    self._asked.clear()
                    self._prepare()
        finally:
            self._stop_all()

    def reload(self) -> None:
        """Ask for the model that the configuration names. May be called in a signal handler."""
        self._asked.set()

    def pids(self) -> dict[str, int]:
        return {r.name: r.process.pid for r in self._roles if r.process is not None and r.process.poll() is None}

    def _start(self, role: _Role) -> None:
        settings = self._read()
        role.settings = _beside_model(settings) if settings is not None else {}
        role.bundle = self._bundle or (settings.model.bundle if settings is not None else "")
        role.process = self._launched(role.name, self._bundle)
        role.started_at = time.monotonic()
        log.info("role=%s pid=%d started restarts=%d", role.name, role.process.pid, role.restarts)

    def _launched(self, name: str, bundle: str, said: int | None = None) -> subprocess.Popen[bytes]:
        """Start a process of a role; one that is to take over gets the write end of its pipe, `said`."""
        command = [sys.executable, "-m", f"triage_node.processes.{name}"]
        if self._config:
            command += ["--config", str(self._config)]
        # one arena and high thresholds: else a third of the time goes into fresh pages (ML.md 5.2)
        allocator = {"MALLOC_ARENA_MAX": "2"}
        if name == "scheduler":
            # it draws one head for its heartbeat and never computes again: 149 MB afterwards instead of 456
            allocator["MALLOC_MMAP_THRESHOLD_"] = "1000000"
        environment = {**allocator, **os.environ, SUPERVISOR: str(os.getpid())}
        if name == _REPLACED and bundle:
            environment[_BUNDLE] = bundle
        if said is not None:
            environment[handover.DESCRIPTOR] = str(said)
        inherited = () if said is None else (said,)
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, pass_fds=inherited)

    def _read(self) -> Settings | None:
        """The configuration as it is now; None where it is none: the role that starts says why."""
        try:
            return load(self._config)[0]
        except ConfigError:
            return None

    def _watch(self, role: _Role) -> None:
        at = time.monotonic()
        if role.process is not None:
            status = role.process.poll()
            if status is None:
                if at - role.started_at > STEADY_S:
                    role.wait_s = BACKOFF_FIRST_S
                    self._bundle = role.bundle if role.name == _REPLACED else self._bundle
                return
            role.process = None
            role.start_again_at = at + role.wait_s
            log.error("role=%s ended status=%d again_in_s=%.1f", role.name, status, role.wait_s)
            role.wait_s = min(2 * role.wait_s, BACKOFF_CAP_S)
        if at >= role.start_again_at:
            role.restarts += 1
            self._start(role)

    def _prepare(self) -> None:
        """Start a process with the model that the configuration names now, in the place of one that is not ready yet."""
        self._end_successor()
        try:
            settings = load(self._config)[0]
        except ConfigError as error:
            return self._refuse(str(error))
        if others := self._changed_beside_model(settings):
            return self._refuse(
                f"the configuration differs in {', '.join(others)} from what the processes were started with; a reload takes "
                "[model] only: put these back, or restart the node"
            )
        role = next(r for r in self._roles if r.name == _REPLACED)
        if role.process is not None and role.process.poll() is None:
            self._bundle = role.bundle
        read, write = os.pipe()
        os.set_blocking(read, False)
        bundle = settings.model.bundle
        process = self._launched(_REPLACED, bundle, write)
        os.close(write)
        self._successor = _Successor(process, read, bundle, time.monotonic() + READY_S)
        log.info("role=%s pid=%d started beside, model.bundle=%s", _REPLACED, process.pid, bundle)

    def _changed_beside_model(self, settings: Settings) -> list[str]:
        now = _beside_model(settings)
        held = [role.settings for role in self._roles if role.settings]
        return sorted({key for before in held for key in {*now, *before} if now.get(key) != before.get(key)})

    def _watch_successor(self) -> None:
        new = self._successor
        if new is None:
            return
        status = new.process.poll()  # before its words are read: they are whole when it has ended
        new.text += _waiting_in(new.said)
        if status is None and new.text == handover.READY:
            return self._take_over(new)
        if status is None and time.monotonic() < new.until:
            return
        why = new.text.removeprefix(handover.READY).decode(errors="replace") or (
            f"the new process ended with status {status}; the log says why"
            if status is not None
            else f"the new process was not ready within {READY_S:.0f} s"
        )
        self._end_successor()
        self._refuse(f"model.bundle {new.bundle}: {why}")

    def _take_over(self, new: _Successor) -> None:
        """From now on the new process is the role's; the former one finishes the study that it has in hand."""
        os.close(new.said)
        self._successor, self._bundle = None, new.bundle
        role = next(r for r in self._roles if r.name == _REPLACED)
        former, role.process = role.process, new.process
        role.started_at, role.wait_s, role.bundle = time.monotonic(), BACKOFF_FIRST_S, new.bundle
        if former is not None and former.poll() is None:
            former.send_signal(signal.SIGTERM)
            self._leaving.append(_Leaving(former, time.monotonic() + LEAVE_S))
        log.info("role=%s pid=%d has taken over, model.bundle=%s", role.name, new.process.pid, new.bundle)
        self._told("")

    def _refuse(self, why: str) -> None:
        log.error("role=%s stays as it is: %s", _REPLACED, why)
        self._told(why)

    def _end_successor(self) -> None:
        """It has said nothing yet, so it has no study in hand."""
        new, self._successor = self._successor, None
        if new is not None:
            new.process.kill()
            new.process.wait()
            os.close(new.said)

    def _watch_leaving(self) -> None:
        for old in [*self._leaving]:
            if old.process.poll() is None and time.monotonic() < old.until:
                continue
            old.process.kill()  # nothing when it has ended
            old.process.wait()
            self._leaving.remove(old)
            log.info("role=%s pid=%d has left", _REPLACED, old.process.pid)

    def _stop_all(self) -> None:
        self._end_successor()
        deadline = time.monotonic() + STOP_S
        for process in [old.process for old in self._leaving] + [r.process for r in reversed(self._roles) if r.process]:
            if process.poll() is not None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(max(0.5, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("pid=%d did not stop, killed", process.pid)
                process.kill()
                process.wait()


def _beside_model(settings: Settings) -> dict[str, object]:
    """Dotted key -> value of all that a reload does not take."""
    return {key: value for key, value in leaves(settings.model_dump(mode="json")) if not key.startswith("model.")}


def _waiting_in(pipe: int) -> bytes:
    try:
        return os.read(pipe, handover.LONGEST)
    except BlockingIOError:  # it has said nothing yet
        return b""
