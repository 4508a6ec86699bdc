"""Serves associations that another process, the listener's, has negotiated.

DESIGN. Python runs one thread of a process at a time, so a listener that also receives, for several senders, and writes
rows, spends half of its time waiting for itself. Here an established association comes as an open socket with what was
agreed on; the listener's process only waits to hear how it ended. TLS stays there: a session is no file descriptor.
"""

from __future__ import annotations

import logging
import pickle
import socket
import threading
from collections.abc import Callable, Mapping

from triage_node.association.fast_path import FastAssociation
from triage_node.association.negotiation import Context
from triage_node.association.session import Outcome, Services
from triage_node.association.wire import Wire
from triage_node.domain.reception import Peer

_LARGEST_MESSAGE = 1 << 17  # 128 contexts of two UIDs

log = logging.getLogger(__name__)


def hand_over(control: socket.socket, sock: socket.socket, peer: Peer, contexts: Mapping[int, Context]) -> None:
    """Give an association to the process at the other end of `control`. Raises: OSError when it is gone."""
    socket.send_fds(control, [pickle.dumps((peer, dict(contexts)))], [sock.fileno()])


def serve(control: socket.socket, services: Services, ended: Callable[[int, Outcome, int], None]) -> None:
    """Serve what is handed over, each in a thread, until the other end is closed. `ended(peer.number, ..., instances)`."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, _LARGEST_MESSAGE, 1)
        if not data:
            return
        peer, contexts = pickle.loads(data)  # from our own process
        sock = socket.socket(fileno=descriptors[0])
        try:
            threading.Thread(
                target=_serve, args=(sock, peer, contexts, services, ended), name="association", daemon=True
            ).start()
        except RuntimeError:  # no more threads in this process
            log.error("no thread for an association peer=%s", peer.address)
            sock.close()
            ended(peer.number, Outcome.LOST, 0)


def _serve(
    sock: socket.socket,
    peer: Peer,
    contexts: dict[int, Context],
    services: Services,
    ended: Callable[[int, Outcome, int], None],
) -> None:
    outcome = Outcome.LOST
    wire = Wire(sock)
    fast = FastAssociation(wire, peer, contexts, services)
    try:
        outcome = fast.serve()
    except Exception:
        # whatever it is, it ends one association, not the node
        log.exception("association failed peer=%s", peer.address)
    finally:
        wire.close()
        ended(peer.number, outcome, fast.instances)
