"""C-STORE of stored files, byte for byte, one association for a batch.

The data set is never decoded: the bytes after the file meta go out as they lie on disk, in their own transfer syntax.
After any error on the wire the association is aborted, never used again (PEERS.md 2.1).
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from triage_node.config.schema import ArchiveSettings
from triage_node.delivery.retry import Outcome, Verdict, outcome_of_status

log = logging.getLogger(__name__)

_MAXIMUM_CONTEXTS = 128
_SLOWEST_BYTES_PER_S = 512 << 10
"""A link that is slower than this counts as hung; a large object over a slow one does not."""
_GRACE_S = 1.0
_NO_ANSWER = "no valid answer in time, or the association was lost"

# the file's own bytes go out; else pynetdicom would read, decode and encode the data set
_config.STORE_SEND_CHUNKED_DATASET = True


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One file of the outbox."""

    sop_instance_uid: str
    sop_class_uid: str
    path: Path


class Line:
    """The connection under an association, which can be cut.

    A peer that stops in the middle of a PDU, or stops reading, blocks the thread that serves the connection, and pynetdicom
    waits for that thread without end, whatever its timeouts say.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    @property
    def was_open(self) -> bool:
        return self._socket is not None

    def opened(self, event: evt.Event) -> None:
        """Handler of EVT_CONN_OPEN. Without TCP_NODELAY each object would wait 40 ms for an acknowledgement."""
        connection: socket.socket = event.assoc.dul.socket.socket  # type: ignore[union-attr, assignment]
        self._socket = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @contextmanager
    def cut_after(self, seconds: float) -> Iterator[None]:
        """Cut the connection when the block takes longer."""
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self) -> None:
        if self._socket is None:
            return
        log.warning("the peer hangs: connection cut")
        try:
            # not SSLSocket.shutdown, which takes the TLS state away under the thread that reads
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError as error:
            log.debug("the connection was gone already: %s", error)


def send_batch(
    archive: ArchiveSettings, objects: Sequence[Outgoing], stopping: Callable[[], bool] = lambda: False
) -> dict[str, Outcome]:
    """Send objects over one association. Returns sop_instance_uid -> Outcome for every one of them.

    One refused SOP class does not lose the rest. Nothing is raised for what a peer or a file can do.
    """
    outcomes: dict[str, Outcome] = {}
    syntaxes: dict[str, UID] = {}
    for o in objects:
        found = _transfer_syntax(o)
        if isinstance(found, Outcome):
            outcomes[o.sop_instance_uid] = found
        else:
            syntaxes[o.sop_instance_uid] = found
    ready = [o for o in objects if o.sop_instance_uid in syntaxes]
    kinds = list(dict.fromkeys((o.sop_class_uid, syntaxes[o.sop_instance_uid]) for o in ready))
    for start in range(0, len(kinds), _MAXIMUM_CONTEXTS):
        part = set(kinds[start : start + _MAXIMUM_CONTEXTS])
        chosen = [o for o in ready if (o.sop_class_uid, syntaxes[o.sop_instance_uid]) in part]
        outcomes |= _send(archive, chosen, syntaxes, stopping)
    return outcomes


def associate(
    archive: ArchiveSettings,
    kinds: Sequence[tuple[str, UID]],
    commitment: bool = False,
    handlers: Sequence[evt.EventHandlerType] = (),
) -> tuple[Association, Line] | Outcome:
    """An established association, or why there is none.

    The TCP connection comes first, with a timeout of its own. It is the one that the association then uses: a bare connect
    that is closed again takes a place of a pynetdicom archive for 30 s (measured: the eleventh attempt was rejected).
    """
    ae = AE(ae_title=archive.calling_ae_title)
    ae.connection_timeout = archive.connect_timeout_s
    ae.acse_timeout = ae.dimse_timeout = archive.response_timeout_s
    ae.network_timeout = None  # an association that is idle between two of our own steps is no error
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in kinds]
    if commitment:
        contexts = [build_context(StorageCommitmentPushModel)]
    tls = None
    if archive.tls:
        try:
            tls = (ssl.create_default_context(cafile=str(archive.tls_ca) if archive.tls_ca else None), archive.host)
        except OSError as error:
            return Outcome(Verdict.UNTRIED, f"tls_ca {archive.tls_ca} cannot be read: {error.strerror or error}")
    line = Line()
    try:
        with line.cut_after(archive.connect_timeout_s + archive.response_timeout_s + _GRACE_S):
            association = ae.associate(
                archive.host,
                archive.port,
                contexts=contexts,
                ae_title=archive.ae_title,
                max_pdu=131072,
                tls_args=tls,
                evt_handlers=[(evt.EVT_CONN_OPEN, line.opened), *handlers],
            )
    except OSError as error:
        return Outcome(Verdict.UNTRIED, f"{archive.host} is not known: {error.strerror or error}")
    if association.is_established:
        return association, line
    if not line.was_open:
        words = f"no TCP connection to {archive.host}:{archive.port} within {archive.connect_timeout_s:g} s"
        return Outcome(Verdict.UNTRIED, words)
    if association.is_rejected:
        answer = association.acceptor.primitive
        permanent = answer is not None and answer.result == 1
        words = f"association rejected: {answer.reason_str if answer else 'no reason given'}"
        return Outcome(Verdict.NEVER if permanent else Verdict.UNTRIED, words)
    if association.rejected_contexts and not association.accepted_contexts:
        return Outcome(Verdict.NEVER, "no presentation context accepted")
    return Outcome(Verdict.UNTRIED, "association aborted or not answered")


def release(association: Association, line: Line, seconds: float) -> None:
    """End an association in good order, if it still stands."""
    if association.is_established:
        with line.cut_after(seconds + _GRACE_S):
            association.release()


def _transfer_syntax(o: Outgoing) -> UID | Outcome:
    """How the file is encoded, or why it cannot be sent. A file that is damaged or another object never goes out."""
    try:
        meta = read_file_meta_info(o.path)
    except FileNotFoundError:
        return Outcome(Verdict.NEVER, "our own file is gone")
    except OSError as error:
        return Outcome(Verdict.AGAIN, f"our own file cannot be read: {error.strerror or error}")
    except (InvalidDicomError, AttributeError, ValueError, KeyError, EOFError) as error:
        return Outcome(Verdict.NEVER, f"our own file is damaged: {type(error).__name__}")
    held = (str(meta.get("MediaStorageSOPInstanceUID", "")), str(meta.get("MediaStorageSOPClassUID", "")))
    if held != (o.sop_instance_uid, o.sop_class_uid) or not meta.get("TransferSyntaxUID"):
        return Outcome(Verdict.NEVER, "our own file is damaged: it does not hold this object")
    return UID(str(meta.TransferSyntaxUID))


def _send(
    archive: ArchiveSettings,
    objects: Sequence[Outgoing],
    syntaxes: Mapping[str, UID],
    stopping: Callable[[], bool],
) -> dict[str, Outcome]:
    kinds = list(dict.fromkeys((o.sop_class_uid, syntaxes[o.sop_instance_uid]) for o in objects))
    opened = associate(archive, kinds)
    if isinstance(opened, Outcome):
        return dict.fromkeys((o.sop_instance_uid for o in objects), opened)
    association, line = opened
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
    outcomes: dict[str, Outcome] = {}
    lost = False
    for number, o in enumerate(objects, start=1):
        if (o.sop_class_uid, str(syntaxes[o.sop_instance_uid])) not in accepted:
            words = f"SOP class {UID(o.sop_class_uid).name} not accepted"
            outcomes[o.sop_instance_uid] = Outcome(Verdict.NEVER, words)
        elif lost:
            outcomes[o.sop_instance_uid] = Outcome(Verdict.UNTRIED, "the association was lost")
        elif stopping():
            outcomes[o.sop_instance_uid] = Outcome(Verdict.UNTRIED, "the node was stopped")
        else:
            status = _store(association, line, o.path, number, archive.response_timeout_s)
            lost = status is None
            judged = Outcome(Verdict.AGAIN, _NO_ANSWER) if status is None else outcome_of_status(status)
            outcomes[o.sop_instance_uid] = judged
    release(association, line, archive.response_timeout_s)
    return outcomes


def _store(association: Association, line: Line, path: Path, message_id: int, response_timeout_s: float) -> int | None:
    """One C-STORE. Returns its status; None when no valid answer came in time, and the association is aborted then."""
    try:
        allowed_s = response_timeout_s + path.stat().st_size / _SLOWEST_BYTES_PER_S
        association.dimse_timeout = allowed_s
        with line.cut_after(allowed_s + _GRACE_S):
            answer = association.send_c_store(path, msg_id=message_id)
    except (OSError, RuntimeError, AttributeError, ValueError) as error:
        log.warning("C-STORE failed: %s", error)
        answer = None
    if answer is None or "Status" not in answer:
        association.abort()
        return None
    return int(answer.Status)
