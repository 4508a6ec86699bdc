"""`make test`: the folders of tests, some at a time, each in a network namespace of its own, since one after the other would
take an hour: half of their time they wait for programs of other people.

What they print comes line by line as it is there, with the folder before it. A few tests that fail are run once again when
nothing runs beside them; the last lines name those that failed twice, with their errors, and those that are not steady.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OWN_NETWORK = "deploy/in-own-network.sh"
AT_ONCE = 4
"""On two cores: with three of them a fifth of the time was idle, while all waited for something."""

LONG = (
    "processes",
    "journeys",
    "console",
    "simulated_faults",
    "cli",
    "store",
    "detection",
    "models",
    "report",
    "association",
    "simulation",
    "evaluation",
    "contracts",
    "delivery",
    "gateway",
    "worklist",
    "floods",
    "hosts",
    "fuzz",
    "volume",
)
"""Folders that take long are begun first, so that the last to end is a short one."""


def in_order(folders: list[str]) -> list[str]:
    return sorted(folders, key=lambda f: (LONG.index(f) if f in LONG else len(LONG), f))


MOST_AGAIN = 5
"""So many failures may be the noise of a busy machine; with more than that something is broken, and nothing is run again."""

SHOWN_CHARACTERS = 3000
"""Of what a folder printed that failed twice. Who reads the end of a long log sees this."""

TESTS_FAILED = 1
"""pytest's status when tests ran and some failed; others tell of pytest itself, or of a signal."""


@dataclass(frozen=True)
class Run:
    status: int
    lines: list[str]

    @property
    def failures(self) -> list[str]:
        """The lines of pytest's summary: the test and, where there is room for it, the last line of its error."""
        begins, at_once = ("FAILED tests/", "ERROR tests/"), ("(setup)", "(call)", "(teardown)")
        return [line for line in self.lines if line.startswith(begins) and not line.endswith(at_once)]


def main(root: Path = ROOT) -> int:
    begun = time.monotonic()
    runs = first_runs(root)
    spent = os.times()
    cores = (spent.children_user + spent.children_system) / (time.monotonic() - begun)
    print(f"{len(runs)} folders in {(time.monotonic() - begun) / 60:.0f} minutes, {cores:.1f} cores busy")
    return conclusion(runs, lambda folder: _tests_of(root, folder, _printer(folder), "--last-failed"))


def first_runs(root: Path) -> dict[str, Run]:
    lock = threading.Lock()
    folders = [f.name for f in (root / "tests").iterdir() if (f / "__init__.py").exists() and any(f.rglob("test_*.py"))]
    left: Iterator[str] = iter(in_order(folders))
    runs: dict[str, Run] = {}

    def run() -> None:
        while True:
            with lock:
                folder = next(left, None)
            if folder is None:
                return
            at = time.monotonic()
            say = _printer(folder)
            runs[folder] = _tests_of(root, folder, say)
            say(f"ended with {runs[folder].status} after {time.monotonic() - at:.0f} s")

    threads = [threading.Thread(target=run) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return runs


def conclusion(runs: dict[str, Run], again: Callable[[str], Run]) -> int:
    """0 when each test passed, or passed the second time. again: runs the failed tests of a folder by themselves."""
    failed = {folder: run for folder, run in runs.items() if run.status}
    few = sum(len(run.failures) for run in failed.values()) <= MOST_AGAIN
    second = {f: again(f) if few and run.status == TESTS_FAILED else run for f, run in failed.items()}
    for folder, run in second.items():
        if run.status:
            print(f"\n{folder} ended with {run.status}:\n" + "\n".join(run.lines)[-SHOWN_CHARACTERS:])
        else:
            print("\nNot steady (failed beside others, passed by themselves):", *failed[folder].failures, sep="\n  ")
    return max((abs(run.status) for run in second.values()), default=0)


def _printer(folder: str) -> Callable[[str], None]:
    return lambda line: print(f"{folder:<16}  {line}", flush=True)


def _tests_of(root: Path, folder: str, say: Callable[[str], None], *options: str) -> Run:
    """Errors: a folder whose failures of the run before are not known is run whole by --last-failed."""
    command = ["sh", OWN_NETWORK, sys.executable, "-m", "pytest", "--durations=10"]
    command += ["-o", f"cache_dir=build/failed/{folder}", *options, f"tests/{folder}"]
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            say(lines[-1])
    return Run(process.returncode, lines)


if __name__ == "__main__":
    sys.exit(main())
