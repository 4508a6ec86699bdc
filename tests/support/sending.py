"""The threads of the delivery role that send messages, in this process and without long waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import pytest

from tests.support.deciding import Site
from triage_node.processes import messages
from triage_node.processes.running import Running

HANGING_S = 30.0


def wait_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow one another at once."""
    monkeypatch.setattr(messages, "LONGEST_WAIT", timedelta(milliseconds=20))
    monkeypatch.setattr(messages, "POLL_S", 0.01)


@contextmanager
def sending(site: Site, *threads_of: Callable[[Running], Sequence[threading.Thread]]) -> Iterator[Running]:
    """Run the threads that these make for the role, until the block ends."""
    running = Running("delivery", site.settings, site.store, threading.Event())
    threads = [thread for make in threads_of for thread in make(running)]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.stop.set()
        for thread in threads:
            thread.join(HANGING_S)
            assert not thread.is_alive()
