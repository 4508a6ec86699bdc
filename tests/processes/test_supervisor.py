"""The supervisor with real processes. The roles are small programs here; the node's own are killed in tests/journeys."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.support.waiting import wait_until
from triage_node.config.schema import Settings
from triage_node.processes import supervisor
from triage_node.processes.supervisor import Supervisor, roles_for


@pytest.fixture
def roles(tmp_path, monkeypatch):
    """A package whose roles `steady` and `dying` stand in for the real ones."""
    package = tmp_path / "triage_node" / "processes"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "steady.py").write_text(
        "import signal, sys, pathlib\nsignal.signal(15, lambda *_: sys.exit(0))\n"
        f"pathlib.Path({str(tmp_path)!r}, 'up').touch()\nsignal.pause()\n"
    )
    (package / "dying.py").write_text(
        f"import time\nwith open({str(tmp_path / 'deaths')!r}, 'a') as f:\n    f.write(f'{{time.monotonic()}}\\n')\n"
        "raise SystemExit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def running(names):
    stop = threading.Event()
    s = Supervisor(None, names)
    thread = threading.Thread(target=s.run, args=(stop,))
    thread.start()
    return s, stop, thread


def test_killed_role_comes_back_and_all_stop_in_the_end(roles):
    s, stop, thread = running(["steady"])
    try:
        first = wait_until(lambda: s.pids().get("steady"), 30, "first start")
        wait_until((roles / "up").exists, 30, "role is up")
        os.kill(first, signal.SIGKILL)
        second = wait_until(lambda: (p := s.pids().get("steady")) != first and p, 30, "second start")
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_role_that_dies_at_once_is_not_started_in_a_tight_loop(roles, monkeypatch):
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.5)
    _, stop, thread = running(["dying"])

    def deaths() -> list[float]:
        return [float(line) for line in (roles / "deaths").read_text().split()] if (roles / "deaths").exists() else []

    wait_until(lambda: len(deaths()) >= 3, 60, "three deaths")
    stop.set()
    thread.join(30)
    # each tells its time before it ends, and is started again only after the wait: 0.5 s, then twice as long, by a clock read just before
    first, second, third = deaths()[:3]
    assert second - first >= 0.4
    assert third - second >= 0.9


def test_roles_die_with_a_killed_supervisor(tmp_path):
    """Two supervisors after a restart would mean two listeners fighting for one port."""
    marker = tmp_path / "pid"
    child = (
        "import os, pathlib, signal, sys, threading\n"
        "from triage_node.processes import running\n"
        "running._die_with_supervisor()\n"
        f"pathlib.Path({str(marker)!r}).write_text(str(os.getpid()))\n"
        "threading.Event().wait(60)\n"
    )
    parent = (
        "import os, subprocess, sys, threading\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], env={{**os.environ, 'TRIAGE_SUPERVISOR_PID': str(os.getpid())}})\n"
        "threading.Event().wait(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    pid = int(wait_until(lambda: marker.exists() and marker.read_text(), 30, "child is up"))
    process.kill()
    process.wait()

    def gone():
        try:
            with open(f"/proc/{pid}/stat") as f:
                return f.read().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_until(gone, 30, "child died with its supervisor")


def test_gateway_runs_only_where_it_has_something_to_do():
    assert "gateway" not in roles_for(Settings())
    assert "gateway" in roles_for(Settings(gateway={"ups_port": 11113}))
    assert "gateway" in roles_for(Settings(hl7_inbound={}))
    assert "gateway" in roles_for(Settings(announcements={}))
