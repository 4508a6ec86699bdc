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
MARKED_AGAIN_S = 0.1
"""Who sends waits for the mark without end: one that is lost would hold a role for ever (seen once in a run of all tests)."""


class Checkpoint:
    """Takes the place of an association's `_reactor_checkpoint`, a threading.Event.

    Being marked and waiting are one step: else the mark could fall between the two and never rise again.
    """

    def __init__(self, association: Association) -> None:
        self._association = association
        self._changes = threading.Condition()
        self._is_open = True

    def is_set(self) -> bool:
        return self._is_open

    def set(self) -> None:
        with self._changes:
            self._is_open = True
            self._changes.notify_all()

    def clear(self) -> None:
        with self._changes:
            self._is_open = False
            # the association's thread sends by itself, between two looks at the queue; one that was ended does not come round
            if threading.current_thread() is not self._association:
                self._association._is_paused = self._association._kill

    def wait(self) -> None:
        with self._changes:
            while not self._is_open and not self._association._kill:
                self._association._is_paused = True
                self._changes.wait(MARKED_AGAIN_S)


def steady(association: Association) -> None:
    """Before the association's first request."""
    association._reactor_checkpoint = Checkpoint(association)  # type: ignore[assignment]  # it has what is asked of an Event


def steady_from_the_start(event: evt.Event) -> None:
    """Handler of EVT_CONN_OPEN."""
    steady(event.assoc)
