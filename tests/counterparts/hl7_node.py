"""Programs of other people over their standard streams: node-hl7-server as a RIS, node-hl7-client as a HIS."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until

FOLDER = Path(__file__).parent / "hl7"
BOUND_S = 30.0


class Program:
    """One JSON object a line comes out, one line of text goes in."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.said: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def command(self, verb: str) -> None:
        """A verb, and wait until it holds."""
        before = len(self.said)
        self.tell(verb)
        self.wait(lambda o: o.get("ok") == verb, f"{verb} is understood", before)

    def wait(self, condition: Callable[[dict[str, Any]], bool], what: str, since: int = 0) -> dict[str, Any]:
        return wait_until(lambda: next((o for o in self.said[since:] if condition(o)), None), BOUND_S, what)

    def messages(self) -> list[dict[str, Any]]:
        """What the server took, in order."""
        return [o for o in self.said if "raw" in o and "type" in o]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(BOUND_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(json.loads(line))


@contextmanager
def program(script: str, port: int) -> Iterator[Program]:
    """`server.js` on this port, or `client.js` towards it."""
    if shutil.which("node") is None or not (FOLDER / "node_modules").is_dir():
        pytest.skip("node-hl7-server and node-hl7-client are not installed; `make npm` installs them")
    process = subprocess.Popen(
        ["node", script, str(port)],
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )
    running = Program(process)
    try:
        running.wait(lambda o: "listening" in o or "connected" in o, f"{script} is ready")
        yield running
    finally:
        running.stop()
