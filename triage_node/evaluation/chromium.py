"""Headless Chromium through chromedriver's own HTTP interface (W3C WebDriver), for commands that look at pages."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from triage_node.domain.errors import EvaluationError

WAIT_S = 60.0
_ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Window:
    """One window. Scripts are function bodies that run in its page."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, url: str) -> None:
        self._ask("/url", {"url": url})

    def script(self, body: str) -> Any:
        return self._ask("/execute/sync", {"script": body, "args": []})

    def called_back(self, body: str) -> Any:
        """What the script hands to its last argument, a function."""
        return self._ask("/execute/async", {"script": body, "args": []})

    def until(self, body: str, what: str) -> Any:
        """The script's value once it is true. Raises: EvaluationError that names `what` after WAIT_S."""
        deadline = time.monotonic() + WAIT_S
        while not (value := self.script(body)):
            if time.monotonic() > deadline:
                raise EvaluationError(f"waited {WAIT_S:.0f} s for {what}")
            time.sleep(0.01)
        return value

    def size(self, width: int, height: int) -> None:
        """Of the page, in CSS pixels; light colours, whatever the machine prefers."""
        scheme = {"name": "prefers-color-scheme", "value": "light"}
        self._devtools("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def picture(self, x: float, y: float, width: float, height: float) -> bytes:
        """PNG of a rectangle of the page, in CSS pixels from its upper left corner; it may lie out of sight."""
        clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        taken = self._devtools("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        return base64.b64decode(taken["data"])

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._ask("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        return _http(self._session + path, body, "POST")


@contextmanager
def window() -> Iterator[Window]:
    """A browser with a profile of its own. Raises: EvaluationError where there is none."""
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or chromium is None:
        raise EvaluationError("this needs the Debian packages chromium and chromium-driver")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    profile = tempfile.mkdtemp(prefix="triage-chromium-")
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        options = {"binary": chromium, "args": [*_ARGUMENTS, f"--user-data-dir={profile}"]}
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        session = _patiently(f"http://127.0.0.1:{port}/session", wanted)
        address = f"http://127.0.0.1:{port}/session/{session['sessionId']}"
        try:
            yield Window(address)
        finally:
            _http(address, None, "DELETE")
    finally:
        process.terminate()
        process.wait(WAIT_S)
        shutil.rmtree(profile, ignore_errors=True)


def _patiently(address: str, body: dict[str, Any]) -> Any:
    """Until the driver listens."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return _http(address, body, "POST")
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _http(address: str, body: dict[str, Any] | None, method: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    with _NO_PROXY.open(request, timeout=2 * WAIT_S) as answer:
        return json.load(answer)["value"]
