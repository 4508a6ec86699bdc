"""C-STORE of stored files, byte for byte, one association for a batch.

The data set is never decoded: the bytes after the file meta go out as they lie on disk, in their own transfer syntax.
After any error on the wire the association is aborted, never used again (PEERS.md 2.1).
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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

# the file's own bytes go out; else pynetdicom would read, decode and encode the data set
_config.STORE_SEND_CHUNKED_DATASET = True


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One file of the outbox."""

    sop_instance_uid: str
    sop_class_uid: str
    path: Path


def send_batch(archive: ArchiveSettings, objects: Sequence[Outgoing]) -> dict[str, Outcome]:
    """Send objects over one association. Returns sop_instance_uid -> Outcome for every one of them.

    One refused SOP class does not lose the rest. Nothing is raised for what a peer can do.
    """
    outcomes: dict[str, Outcome] = {}
    syntaxes: dict[str, UID] = {}
    for o in objects:
        try:
            syntaxes[o.sop_instance_uid] = UID(str(read_file_meta_info(o.path).TransferSyntaxUID))
        except (OSError, AttributeError, ValueError) as error:
            outcomes[o.sop_instance_uid] = Outcome(Verdict.NEVER, f"our own file cannot be read: {error}")
    ready = [o for o in objects if o.sop_instance_uid in syntaxes]
    kinds = list(dict.fromkeys((o.sop_class_uid, syntaxes[o.sop_instance_uid]) for o in ready))
    for start in range(0, len(kinds), _MAXIMUM_CONTEXTS):
        part = set(kinds[start : start + _MAXIMUM_CONTEXTS])
        chosen = [o for o in ready if (o.sop_class_uid, syntaxes[o.sop_instance_uid]) in part]
        outcomes |= _send(archive, chosen, syntaxes)
    return outcomes


def associate(
    archive: ArchiveSettings, kinds: Sequence[tuple[str, UID]], commitment: bool = False
) -> Association | Outcome:
    """An established association, or why there is none. The TCP connection has a timeout of its own."""
    try:
        socket.create_connection((archive.host, archive.port), archive.connect_timeout_s).close()
    except OSError as error:
        return Outcome(Verdict.AGAIN, f"no TCP connection to {archive.host}:{archive.port}: {error.strerror or error}")
    ae = AE(ae_title=archive.calling_ae_title)
    ae.connection_timeout = archive.connect_timeout_s
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = archive.response_timeout_s
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in kinds]
    if commitment:
        contexts = [build_context(StorageCommitmentPushModel)]
    tls = None
    if archive.tls:
        try:
            tls = (ssl.create_default_context(cafile=str(archive.tls_ca) if archive.tls_ca else None), archive.host)
        except OSError as error:
            return Outcome(Verdict.AGAIN, f"tls_ca {archive.tls_ca} cannot be read: {error.strerror}")
    association = ae.associate(
        archive.host,
        archive.port,
        contexts=contexts,
        ae_title=archive.ae_title,
        max_pdu=131072,
        tls_args=tls,  # type: ignore[arg-type]
        evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)],
    )
    if association.is_established:
        return association
    if association.is_rejected:
        answer = association.acceptor.primitive
        permanent = answer is not None and answer.result == 1
        words = f"association rejected: {answer.reason_str if answer else 'no reason given'}"
        return Outcome(Verdict.NEVER if permanent else Verdict.AGAIN, words)
    if association.rejected_contexts and not association.accepted_contexts:
        return Outcome(Verdict.NEVER, "no presentation context accepted")
    return Outcome(Verdict.AGAIN, "association aborted or not answered")


def _send(archive: ArchiveSettings, objects: Sequence[Outgoing], syntaxes: Mapping[str, UID]) -> dict[str, Outcome]:
    kinds = list(dict.fromkeys((o.sop_class_uid, syntaxes[o.sop_instance_uid]) for o in objects))
    association = associate(archive, kinds)
    if isinstance(association, Outcome):
        return dict.fromkeys((o.sop_instance_uid for o in objects), association)
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
    outcomes: dict[str, Outcome] = {}
    for number, o in enumerate(objects, start=1):
        if (o.sop_class_uid, str(syntaxes[o.sop_instance_uid])) not in accepted:
            words = f"SOP class {UID(o.sop_class_uid).name} not accepted"
            outcomes[o.sop_instance_uid] = Outcome(Verdict.NEVER, words)
        elif not association.is_established:
            outcomes[o.sop_instance_uid] = Outcome(Verdict.AGAIN, "the association was lost")
        else:
            outcomes[o.sop_instance_uid] = _store(association, o.path, number)
    if association.is_established:
        association.release()
    return outcomes


def _store(association: Association, path: Path, message_id: int) -> Outcome:
    """One C-STORE. pynetdicom aborts by itself when the response does not come in time."""
    try:
        status = association.send_c_store(path, msg_id=message_id & 0xFFFF)
    except (OSError, RuntimeError, AttributeError) as error:
        association.abort()
        return Outcome(Verdict.AGAIN, f"error on the wire: {error}")
    if "Status" not in status:
        return Outcome(Verdict.AGAIN, "no valid response in time")
    return outcome_of_status(status.Status)


def _no_delay(event: evt.Event) -> None:
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
