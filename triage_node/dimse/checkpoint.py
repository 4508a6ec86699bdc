"""Keeps pynetdicom's own thread from taking the answer to a request that another thread of ours sends.

An association has a thread that serves what the peer sends. Before a request the sender stops it at a checkpoint and waits
until `_is_paused`. Where the thread was let go a moment ago and has not run since, the mark still stands from the last time:
the sender goes on, the thread wakes, takes the answer off the queue, and the sender waits for it until its timeout
(measured on a loaded machine: one of a few hundred C-STOREs, 60 s each). Here the mark falls with each request and rises
again when the thread has come round.
"""

from __future__ import annotations

import threading

from pynetdicom import evt
from pynetdicom.association import Association

TESTED_VERSION = "3.0.4"


class Checkpoint(threading.Event):
    """Takes the place of an association's `_reactor_checkpoint`."""

    def __init__(self, association: Association) -> None:
        super().__init__()
        self._association = association
        self._mark = threading.Lock()
        self.set()

    def clear(self) -> None:
        with self._mark:
            super().clear()
            if threading.current_thread() is self._association:
                return  # it sends by itself, between two looks at the queue
            self._association._is_paused = False
            if self._association._kill:  # it will not come round any more
                self._association._is_paused = True

    def wait(self, timeout: float | None = None) -> bool:
        with self._mark:
            if self.is_set():
                return True
            self._association._is_paused = True
        return super().wait(timeout)


def steady(association: Association) -> None:
    """Before the association's first request."""
    association._reactor_checkpoint = Checkpoint(association)


def steady_from_the_start(event: evt.Event) -> None:
    """Handler of EVT_CONN_OPEN."""
    steady(event.assoc)
