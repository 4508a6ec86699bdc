"""The library's thread never takes an answer that a request of ours waits for."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pynetdicom
import pytest

from tests.support.waiting import wait_until
from triage_node.dimse import checkpoint
from triage_node.dimse.checkpoint import Checkpoint


class Thread(threading.Thread):
    """The loop of `pynetdicom.association.Association._run_reactor`, as far as the checkpoint goes."""

    def __init__(self, made=Checkpoint) -> None:
        super().__init__(daemon=True)
        self._is_paused = self._kill = False
        self._reactor_checkpoint = made(self)
        self.within = lambda: None

    def run(self) -> None:
        while not self._kill:
            self._is_paused = True
            self._reactor_checkpoint.wait()
            self._is_paused = False
            self.within()

    def end(self) -> None:
        self._kill = True
        self._reactor_checkpoint.set()
        self.join(30)


@pytest.fixture
def thread():
    found = Thread()
    found.start()
    yield found
    found.end()


def plain(_) -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@pytest.mark.parametrize(("made", "still_marked"), [(plain, True), (Checkpoint, False)], ids=["the library's", "ours"])
def test_a_thread_that_was_just_let_go_counts_as_stopped_only_once_it_has_come_round(made, still_marked):
    """Seen from between `set` and the moment at which the thread runs again, which on a loaded machine is long."""
    association = SimpleNamespace(_is_paused=True, _kill=False)  # it stands at the checkpoint, and does not run
    event = made(association)
    event.set()
    event.clear()
    assert association._is_paused is still_marked


def test_the_mark_rises_again_and_nothing_is_looked_at_meanwhile(thread):
    looks = []
    thread.within = lambda: looks.append(thread._reactor_checkpoint.is_set())
    for _ in range(200):
        thread._reactor_checkpoint.clear()
        wait_until(lambda: thread._is_paused, 30, "the thread to come round")
        before = len(looks)
        assert thread._is_paused
        assert len(looks) == before, "it stands"
        thread._reactor_checkpoint.set()


def test_a_thread_that_ended_stops_nobody():
    thread = Thread()
    thread.start()
    thread.end()
    thread._reactor_checkpoint.clear()
    assert thread._is_paused


def test_the_thread_itself_may_send(thread):
    paused = []

    def send() -> None:
        thread.within = lambda: None
        thread._is_paused = True  # as the library does it before a service class runs
        thread._reactor_checkpoint.clear()
        paused.append(thread._is_paused)
        thread._reactor_checkpoint.set()

    thread.within = send
    wait_until(lambda: paused, 30, "the thread to send")
    assert paused == [True]


def test_the_library_is_the_one_that_was_looked_at():
    assert pynetdicom.__version__ == checkpoint.TESTED_VERSION
    association = pynetdicom.association.Association(pynetdicom.AE(), "requestor")
    assert isinstance(association, threading.Thread)
    assert (association._reactor_checkpoint.is_set(), association._is_paused, association._kill) == (True, False, False)


def test_the_mark_rises_again_however_the_two_threads_meet(thread):
    """A thread that was marked and not yet waiting lost its mark for ever, and who sends waited for ever."""
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5_000):
            thread._reactor_checkpoint.clear()
            wait_until(lambda: thread._is_paused, 10, "the thread to stop", step_s=0)
            thread._reactor_checkpoint.set()
    finally:
        sys.setswitchinterval(switching)


def test_a_mark_that_was_lost_rises_again(thread):
    thread._reactor_checkpoint.clear()
    wait_until(lambda: thread._is_paused, 30, "the thread to stop")
    thread._is_paused = False
    wait_until(lambda: thread._is_paused, 30, "the mark to rise again")
    thread._reactor_checkpoint.set()
