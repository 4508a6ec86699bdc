"""The web process does not grow with what is looked at. `make prove` looks 20,000 times, each run of the tests 600 times."""

from __future__ import annotations

import httpx
import psutil
import pytest

from tests.console.test_events import open_stream
from tests.console.test_web_process import arrive, running_web, store  # noqa: F401 (a fixture)
from tests.support.people import cookie
from tests.support.prove import record, sized

VIEWS, STREAMS = sized("views", short=200, proven=20_000), sized("streams", short=30, proven=500)
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


@pytest.mark.prove(short=True)
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
    record(
        "web_memory",
        "Looking at pages does not grow the web process (by at most a tenth)",
        {"views": VIEWS, "streams": STREAMS, "before_mb": round(before, 1), "after_mb": round(after, 1)},
    )
    print(f"{before:.1f} MB before, {after:.1f} MB after {VIEWS} views and {STREAMS} streams")
    assert after <= before * (1 + MOST_GROWTH), f"{before:.0f} MB before, {after:.0f} MB after"
