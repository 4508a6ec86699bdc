"""A reload with real processes: another model beside the one at work. The role is a small program; the node's own: tests/journeys."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from triage_node.processes import supervisor
from triage_node.processes.supervisor import Supervisor

ROLE = """
import os, pathlib, signal, sys, time
here = pathlib.Path({folder!r})
bundle, beside = os.environ.get("TRIAGE_NODE__MODEL__BUNDLE", ""), os.environ.get("TRIAGE_HANDOVER_FD", "")
if not bundle:
    bundle = (here / "node.toml").read_text().split('bundle = "')[1].split('"')[0]
def tell(word):
    with open(here / "told", "a") as f:
        f.write(f"{{word}} {{bundle}} {{os.getpid()}}\\n")
def end(*_):
    tell("ended")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
tell("started")
if bundle == "torn":
    os.write(int(beside), b"weights.onnx has another hash")
    sys.exit(1)
if bundle == "crashing":
    sys.exit(3)
while bundle == "slow" and not (here / "go").exists():
    time.sleep(0.01)
if beside and bundle != "mute":
    os.write(int(beside), b"ready\\n")
    os.close(int(beside))
tell("ready")
signal.pause()
"""


class Site:
    """A folder with a configuration, and a supervisor of one role on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.refused = folder, list[str]()
        self.configure("first")
        self.stop = threading.Event()
        self.supervisor = Supervisor(folder / "node.toml", ["analysis"], self.refused.append)
        self.thread = threading.Thread(target=self.supervisor.run, args=(self.stop,))

    def configure(self, bundle: str, more: str = "") -> None:
        (self.folder / "node.toml").write_text(f'[model]\nbundle = "{bundle}"\n{more}')

    def reload(self, bundle: str, more: str = "") -> None:
        self.configure(bundle, more)
        self.supervisor.reload()

    def told(self, word: str) -> list[tuple[str, int]]:
        """(model, process) of those that said so, in their order."""
        file = self.folder / "told"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [(bundle, int(pid)) for said, bundle, pid in lines if said == word]

    def until(self, word: str, bundle: str) -> int:
        """The last process of this model that said so."""
        return wait_until(lambda: [p for b, p in self.told(word) if b == bundle], 30, f"{bundle} {word}")[-1]

    def at_work(self) -> int | None:
        return self.supervisor.pids().get("analysis")

    def until_alone(self, bundle: str) -> int:
        """One process is left, of this model and no other."""

        def only() -> int:
            alive = [(b, p) for b, p in self.told("started") if is_alive(p)]
            return alive[0][1] if len(alive) == 1 and alive[0][0] == bundle and self.at_work() == alive[0][1] else 0

        return wait_until(only, 60, f"{bundle} alone is at work")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    package = tmp_path / "triage_node" / "processes"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "analysis.py").write_text(ROLE.format(folder=str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    made = Site(tmp_path)
    made.thread.start()
    try:
        made.until("ready", "first")
        yield made
    finally:
        made.stop.set()
        made.thread.join(60)
        assert not made.thread.is_alive()
        assert not [p for _, p in made.told("started") if is_alive(p)]


def test_the_former_process_is_at_work_until_the_new_one_is_ready(site):
    first = site.at_work()
    site.reload("slow")
    site.until("started", "slow")
    assert (site.at_work(), site.told("ended"), site.refused) == (first, [], [])
    (site.folder / "go").touch()
    wait_until(lambda: site.refused, 30, "the outcome")
    assert site.refused == [""]
    assert site.until_alone("slow") != first
    assert site.told("ended") == [("first", first)]


@pytest.mark.parametrize(
    ("bundle", "more", "why"),
    [
        ("torn", "", "model.bundle torn: weights.onnx has another hash"),
        ("crashing", "", "model.bundle crashing: the new process ended with status 3; the log says why"),
        ("mute", "", "model.bundle mute: the new process was not ready within 1 s"),
        ("second", "colour = 1", "unknown key 'model.colour'"),
        ("second", '[worklist]\nmode = "active"', "the configuration differs in worklist.mode from what"),
    ],
)
def test_what_cannot_take_over_leaves_the_former_one_at_work_and_is_told(site, monkeypatch, bundle, more, why):
    monkeypatch.setattr(supervisor, "READY_S", 1.0)
    first = site.at_work()
    site.reload(bundle, more)
    wait_until(lambda: site.refused, 30, "the outcome")
    assert why in site.refused[0]
    assert site.until_alone("first") == first
    site.reload("second")
    assert site.until_alone("second") != first
    assert site.refused[1:] == [""]


def test_one_that_dies_starts_again_with_the_model_that_was_at_work(site, monkeypatch):
    monkeypatch.setattr(supervisor, "STEADY_S", 0.0)
    wait_until(lambda: site.supervisor._bundle, 30, "the model counts as one that works")
    first = site.at_work()
    site.reload("torn")
    wait_until(lambda: site.refused, 30, "the refusal")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(site.told("ready")) == 2, 30, "a second process")
    assert site.until_alone("first") != first


def test_killed_at_any_moment_it_comes_to_one_process_with_the_model_of_the_configuration(site):
    first = site.at_work()
    site.reload("slow")
    new = site.until("started", "slow")
    os.kill(first, signal.SIGKILL)  # the former one, while the new one is not ready
    wait_until(lambda: [b for b, _ in site.told("ready")] == ["first", "first"], 30, "the former model again")
    os.kill(new, signal.SIGKILL)  # the new one, before it is ready
    wait_until(lambda: site.refused, 30, "the refusal")
    assert "status -9" in site.refused[0]
    (site.folder / "go").touch()
    site.supervisor.reload()
    new = site.until_alone("slow")
    os.kill(new, signal.SIGKILL)  # the new one, at work
    wait_until(lambda: not is_alive(new), 30, "it is gone")
    assert site.until_alone("slow") != new


def test_of_two_reloads_the_last_one_counts(site):
    site.reload("slow")
    site.until("started", "slow")
    site.reload("second")
    site.until_alone("second")
    assert site.refused == [""]


def test_an_end_while_a_model_is_changed_leaves_no_process(site):
    site.reload("slow")
    site.until("started", "slow")
    site.stop.set()
    site.thread.join(60)
    assert not [p for _, p in site.told("started") if is_alive(p)]
