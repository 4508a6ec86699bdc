"""oidc-provider of npm on a port of loopback: the hospital's logins."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.pacs import free_port, program
from tests.support.waiting import wait_until

FOLDER = Path(__file__).parent / "oidc"


@contextmanager
def provider(redirect_uri: str, secret: str) -> Iterator[str]:
    """Its issuer URL, while it runs."""
    if not (FOLDER / "node_modules").is_dir():
        pytest.skip("oidc-provider is not installed; `make npm` installs it")
    issuer = f"http://127.0.0.1:{(port := free_port())}"
    command = [program("node"), "server.js", str(port), redirect_uri, secret]
    process = subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(issuer), 60, "the OpenID provider to answer")
        yield issuer
    finally:
        process.kill()
        process.wait(60)


def _answers(issuer: str) -> bool:
    try:
        return httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=30, trust_env=False).is_success
    except httpx.TransportError:
        return False
