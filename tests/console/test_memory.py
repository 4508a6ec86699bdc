"""The web process does not grow with what is looked at. `make prove` looks 20,000 times, each run of the tests 600 times."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from tests.console.test_events import open_stream
from tests.console.test_web_process import arrive, running_web, store  # noqa: F401 (a fixture)
from tests.support.people import cookie

PROVING = bool(os.environ.get("TRIAGE_PROVE"))
VIEWS, STREAMS = (20_000, 500) if PROVING else (600, 30)
PAGES = (
    "/",
    "/fragments/list",
    "/studies/1.2.{n}",
    "/",
    "/api/worklist",
    "/studies/1.2.{n}",
    "/operations",
    "/audit",
    "/",
    "/mode",
)
MOST_GROWTH = 0.10


def resident_mb(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 1e6


@pytest.mark.timeout(3600)
def test_page_views_and_event_streams_grow_the_web_process_by_at_most_a_tenth(store, tmp_path):  # noqa: F811
    for n in range(40):
        arrive(store, f"1.2.{100 + n}", minutes=n)
    login = cookie(store)
    header = "; ".join(f"{name}={value}" for name, value in login.items())
    with (
        running_web(store, tmp_path) as (url, process),
        httpx.Client(base_url=url, trust_env=False, cookies=login, timeout=120) as client,
    ):

        def look(times: int) -> None:
            for k in range(times):
                answer = client.get(PAGES[k % len(PAGES)].format(n=100 + k % 40))
                assert answer.status_code == 200, answer.url

        def listen(times: int) -> None:
            for _ in range(times):
                open_stream(url, header).close()

        look(300)  # every page once and more: templates, statements and connections are kept from then on
        listen(20)
        before = resident_mb(process.pid)
        look(VIEWS)
        listen(STREAMS)
        after = resident_mb(process.pid)
    if PROVING:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        figures = {"views": VIEWS, "streams": STREAMS, "before_mb": round(before, 1), "after_mb": round(after, 1)}
        said = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit.stdout.strip(), **figures}
        folder = Path("build")
        folder.mkdir(exist_ok=True)
        (folder / "prove_web_memory.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
    print(f"{before:.1f} MB before, {after:.1f} MB after {VIEWS} views and {STREAMS} streams")
    assert after <= before * (1 + MOST_GROWTH), f"{before:.0f} MB before, {after:.0f} MB after"
