"""Where the real CTs for tests lie. They are never committed; a test that lacks them says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data() -> Path:
    """The folder of real data, or skip with a reason (`.ci/run` forbids skipping)."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("TRIAGE_SHARED_DATA", default))
    if not path.is_dir():
        pytest.skip(f"no real CT data at {path}; set TRIAGE_SHARED_DATA")
    return path
