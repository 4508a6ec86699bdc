"""`make test`: the folders of tests, some at a time, each in a network namespace of its own, since one after the other would
take an hour: half of their time they wait for programs of other people.

What they print comes line by line as it is there, with the folder before it. Ends with the worst of their statuses.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
AT_ONCE = 3
"""On two cores."""

LONG = (
    "processes",
    "journeys",
    "console",
    "store",
    "cli",
    "simulated_faults",
    "evaluation",
    "association",
    "detection",
    "delivery",
)
"""Folders that take long are begun first, so that the last to end is a short one."""


def in_order(folders: list[str]) -> list[str]:
    return sorted(folders, key=lambda f: (LONG.index(f) if f in LONG else len(LONG), f))


def main() -> int:
    begun, lock = time.monotonic(), threading.Lock()
    folders = [f.name for f in TESTS.iterdir() if (f / "__init__.py").exists() and any(f.rglob("test_*.py"))]
    left: Iterator[str] = iter(in_order(folders))
    statuses: list[int] = []

    def say(folder: str, line: str) -> None:
        with lock:
            print(f"{folder:<16}  {line}", flush=True)

    def run() -> None:
        while True:
            with lock:
                folder = next(left, None)
            if folder is None:
                return
            at = time.monotonic()
            status = _tests_of(folder, lambda line, folder=folder: say(folder, line))
            say(folder, f"ended with {status} after {time.monotonic() - at:.0f} s")
            statuses.append(abs(status))

    threads = [threading.Thread(target=run) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = os.times()
    cores = (spent.children_user + spent.children_system) / (time.monotonic() - begun)
    print(f"{len(statuses)} folders in {(time.monotonic() - begun) / 60:.0f} minutes, {cores:.1f} cores busy")
    return max(statuses)


def _tests_of(folder: str, say) -> int:
    command = [
        "sh",
        "deploy/in-own-network.sh",
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--durations=10",
    ]
    with subprocess.Popen(
        [*command, f"tests/{folder}"],
        cwd=TESTS.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            say(line.rstrip("\n"))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
