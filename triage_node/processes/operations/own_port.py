"""The way from this machine to its own DICOM port."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pynetdicom.presentation import build_context

from triage_node.config.schema import ListenerSettings
from triage_node.dimse import calling
from triage_node.dimse.calling import Callee, NotAssociated
from triage_node.domain.errors import TriageNodeError
from triage_node.processes.operations.names import CALLING_AE_TITLE

_CONNECT_S, _ANSWER_S = 10.0, 60.0


class NotTaken(TriageNodeError):
    """The node did not take what its heartbeat sent."""


def own_address(host: str) -> str:
    """Where a listener on `host` is reached from this machine: the address that such a connection comes from, too."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return socket.gethostbyname(host)
    if not address.is_unspecified:
        return str(address)
    return "::1" if address.version == 6 else "127.0.0.1"


def send(listener: ListenerSettings, port: int, data_sets: Sequence[Dataset]) -> None:
    """C-STORE over one association, as a modality would. Raises: NotTaken."""
    callee = Callee(
        own_address(listener.host), port, listener.ae_title, CALLING_AE_TITLE, _CONNECT_S, _ANSWER_S, tls=_tls(listener)
    )
    first = data_sets[0]
    context = build_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)
    try:
        association, line = calling.associate(callee, [context])
    except NotAssociated as error:
        raise NotTaken(f"the DICOM port: {error}") from error
    for number, data_set in enumerate(data_sets, start=1):
        with line.cut_after(_ANSWER_S):
            answer = association.send_c_store(data_set, msg_id=number)
        if answer.get("Status") != 0x0000:
            calling.abort(association, line)
            status = f"0x{answer.Status:04X}" if "Status" in answer else "no answer"
            raise NotTaken(f"C-STORE was answered with {status}")
    calling.release(association, line, _ANSWER_S)


def _tls(listener: ListenerSettings) -> ssl.SSLContext | bool:
    """As whom we come where the port speaks TLS: as the node itself. Nobody else listens on our own address, so nothing is verified."""
    if listener.tls is None:
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(listener.tls.certificate, listener.tls.private_key)
    return context
