"""`make test`: two halves of the tests at once, each in a network namespace of its own, since one core would take an hour.

What they print comes line by line as it is there, with the number of the half before it. Ends with the worse of the two statuses.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
SECOND = ("gateway", "hosts", "instances", "journeys", "models", "processes", "simulated_faults")
"""Folders of the second half; all others are the first. About as long as the first."""


def halves(folders: list[str]) -> tuple[list[str], list[str]]:
    return [f for f in folders if f not in SECOND], [f for f in folders if f in SECOND]


def main() -> int:
    folders = sorted(path.parent.name for path in TESTS.glob("*/__init__.py"))
    statuses: list[int] = []
    lock = threading.Lock()

    def run(number: int, half: list[str]) -> None:
        command = ["sh", "deploy/in-own-network.sh", sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
        process = subprocess.Popen(
            [*command, "--durations=20", *(f"tests/{folder}" for folder in half)],
            cwd=TESTS.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        for line in process.stdout:
            with lock:
                print(f"{number}  {line}", end="", flush=True)
        statuses.append(process.wait())

    threads = [threading.Thread(target=run, args=half) for half in enumerate(halves(folders), start=1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(map(abs, statuses))


if __name__ == "__main__":
    sys.exit(main())
