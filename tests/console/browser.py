"""Headless Chromium through chromedriver's own HTTP interface (W3C WebDriver). Each browser has a profile of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.pacs import free_port
from tests.support.waiting import wait_until

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """One window. `script` runs a function body in the page and returns its value."""

    def __init__(self, driver: httpx.Client, session: str) -> None:
        self._driver = driver
        self._path = f"/session/{session}"

    def open(self, url: str) -> None:
        self._post("/url", {"url": url})

    def script(self, body: str, *arguments: Any) -> Any:
        return self._post("/execute/sync", {"script": body, "args": list(arguments)})

    def log(self) -> list[str]:
        """What the browser wrote to its console since the last call: refused scripts, failed requests, errors."""
        return [f"{e['level']} {e['message']}" for e in self._post("/se/log", {"type": "browser"})]

    def look(self, width: int, height: int, dark: bool) -> None:
        """The size of the page in CSS pixels and the colour scheme that the reader prefers."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def choose(self, selector: str, path: Path) -> None:
        """Give a file or a folder to an input."""
        found = self._post("/element", {"using": "css selector", "value": selector})
        self._post(f"/element/{next(iter(found.values()))}/value", {"text": str(path)})

    def drop(self, selector: str, path: Path) -> None:
        """Drag a file or a folder from outside onto the middle of an element."""
        box = "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
        x, y = self.script(f"{box} return [b.x + b.width / 2, b.y + b.height / 2]", selector)
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._devtools("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._driver.post(self._path + path, json=body).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(f"{answer['error']}: {answer['message']}")
        return answer


@contextmanager
def browser() -> Iterator[Browser]:
    """A fresh browser; skips with a reason where Debian's chromium and chromium-driver are not installed."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("needs the Debian packages chromium and chromium-driver")
    port = free_port()
    profile = tempfile.mkdtemp(prefix="triage-browser-")
    log = Path(profile, "chromedriver.log")
    process = subprocess.Popen([chromedriver, f"--port={port}", f"--log-path={log}"], stdout=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as driver:
            wait_until(lambda: _ready(driver), 30, "chromedriver to start")
            options = {
                "binary": chromium,
                "args": [*_ARGUMENTS, f"--user-data-dir={profile}/profile"],
            }
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            answer = driver.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
            assert "sessionId" in answer, answer
            try:
                opened = Browser(driver, answer["sessionId"])
                opened.open("about:blank")
                opened.log()  # what the browser's own start page had to say
                yield opened
            finally:
                driver.delete(f"/session/{answer['sessionId']}")
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(profile, ignore_errors=True)


def _ready(driver: httpx.Client) -> bool:
    try:
        return bool(driver.get("/status").json()["value"]["ready"])
    except httpx.TransportError:
        return False
