"""Calling somebody who is no archive, or one that is broken."""

from __future__ import annotations

import socket
import threading

import pytest
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from tests.journeys.faults import answering, garbage, half, hangs, resets
from tests.support.pacs import free_port
from tests.support.waiting import wait_until
from triage_node.dimse.calling import Callee, NotAssociated, associate


def beginning(connection: socket.socket) -> None:
    """Of a PDU, after one of no known kind."""
    connection.sendall(bytes((0x48, 0, 0, 0, 0, 0)) + b"HTT")


@pytest.mark.parametrize("answer", [beginning, garbage, half, hangs, resets])
def test_whatever_answers_nothing_of_the_call_is_left(answer):
    """A thread that reads on keeps the program from ending, and each try of a delivery would leave one."""
    port, before = free_port(), set(threading.enumerate())
    with answering(port, answer):
        here = {*before, *threading.enumerate()}
        with pytest.raises(NotAssociated):
            associate(Callee("127.0.0.1", port, "ARCHIVE", "TRIAGE", 1.0, 1.0), [build_context(Verification)])
        wait_until(lambda: set(threading.enumerate()) <= here, 20, "the threads of the call have ended")
