"""A run of half an hour that somebody ends has told, by then, what failed and who held the memory."""

from __future__ import annotations

import faulthandler
import os
import threading

import psutil

LITTLE_MEMORY = 4e9
"""Bytes left in the machine. It ends the largest process, without a word, when there are none."""

MOST_OF_OUR_OWN = 8e9
"""Bytes that the process of the tests may hold: it needs two. One run came to 24 GB, and nobody knew by what."""

LOOK_EVERY_S = 1.0


class AtOnce:
    """A pytest plugin."""

    def __init__(self, terminal) -> None:
        self._terminal = terminal
        self._out = os.fdopen(os.dup(1), "w")  # pytest itself captures what is written while a test runs
        self._at = ""
        self._over = threading.Event()

    def pytest_sessionstart(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()

    def pytest_sessionfinish(self) -> None:
        self._over.set()

    def pytest_runtest_logstart(self, nodeid) -> None:
        self._at = nodeid

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            self._say(f"FAILED {report.nodeid} ({report.when})\n{report.longreprtext[-3000:]}")

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            if psutil.virtual_memory().available < LITTLE_MEMORY:
                self._say(f"little memory at {self._at}: {_largest()}")
            if psutil.Process().memory_info().rss > MOST_OF_OUR_OWN:
                self._say(f"the tests hold more than {MOST_OF_OUR_OWN / 1e9:g} GB at {self._at}: {_largest()}")
                faulthandler.dump_traceback(self._out, all_threads=True)
                os._exit(70)

    def _say(self, text: str) -> None:
        self._terminal.ensure_newline()
        self._terminal.flush()
        print(text, file=self._out, flush=True)


def _largest() -> str:
    running = psutil.process_iter(("pid", "name", "memory_info"))
    held = [(p.info["memory_info"].rss, p.info["pid"], p.info["name"]) for p in running if p.info["memory_info"]]
    return ", ".join(f"{rss / 1e9:.1f} GB {name} {pid}" for rss, pid, name in sorted(held, reverse=True)[:4])
