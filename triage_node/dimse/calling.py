"""Opening and ending an association as SCU, within a bounded time whatever the peer does (PS3.8 section 9)."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from triage_node.dimse.line import Line

GRACE_S = 1.0
"""How much longer than its own timeout pynetdicom may take before the line is cut."""
_MAX_PDU = 131072


@dataclass(frozen=True, slots=True)
class Callee:
    """Whom to call, as whom, and how long to wait for each of its steps."""

    host: str
    port: int
    ae_title: str
    calling_ae_title: str
    connect_timeout_s: float
    response_timeout_s: float
    tls: ssl.SSLContext | bool = False
    """True: the peer's certificate is verified, by `tls_ca` or by what the system trusts."""
    tls_ca: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    """Both: shown to a peer that asks who we are."""


class NotAssociated(Exception):
    """There is no association; `permanent`: the peer itself says that there will be none.

    `rejected`: it would not talk to us at all, whatever we have for it (PS3.8 9.3.4).
    """

    def __init__(self, words: str, permanent: bool = False, rejected: bool = False) -> None:
        super().__init__(words)
        self.permanent, self.rejected = permanent, rejected


class _Rejection:
    """The A-ASSOCIATE-RJ, as it came in.

    The association itself may not know of it: where the rejection is there before the thread that opens the association has
    looked, pynetdicom takes the closed connection for a failed one (measured: once in 40 on a loaded machine).
    """

    def __init__(self) -> None:
        self.pdu: A_ASSOCIATE_RJ | None = None

    def received(self, event: evt.Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            self.pdu = event.pdu


def _context(callee: Callee) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(callee.tls_ca) if callee.tls_ca else None)
    if callee.certificate is not None:
        context.load_cert_chain(callee.certificate, callee.private_key)
    return context


def associate(
    callee: Callee,
    contexts: Sequence[PresentationContext],
    handlers: Sequence[evt.EventHandlerType] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> tuple[Association, Line]:
    """An established association with at least one accepted context. Raises: NotAssociated.

    `roles`: proposed where we are not the SCU of what we open the association for (PS3.7 D.3.3.4).

    The TCP connection comes first, with a timeout of its own. It is the one that the association then uses: a bare connect
    that is closed again takes a place of a pynetdicom archive for 30 s (measured: the eleventh attempt was rejected).
    """
    ae = AE(ae_title=callee.calling_ae_title)
    ae.connection_timeout = callee.connect_timeout_s
    ae.acse_timeout = ae.dimse_timeout = callee.response_timeout_s
    ae.network_timeout = None  # an association that is idle between two of our own steps is no error
    tls = None
    if isinstance(callee.tls, ssl.SSLContext):
        tls = (callee.tls, callee.host)
    elif callee.tls:
        try:
            tls = (_context(callee), callee.host)
        except OSError as error:
            files = f"tls_ca {callee.tls_ca}" + (f", certificate {callee.certificate}" if callee.certificate else "")
            raise NotAssociated(f"{files} cannot be read: {error.strerror or error}") from error
    line, rejection = Line(), _Rejection()
    try:
        with line.cut_after(callee.connect_timeout_s + callee.response_timeout_s + GRACE_S):
            association = ae.associate(
                callee.host,
                callee.port,
                contexts=list(contexts),
                ae_title=callee.ae_title,
                max_pdu=_MAX_PDU,
                tls_args=tls,
                ext_neg=list(roles) or None,
                evt_handlers=[(evt.EVT_CONN_OPEN, line.opened), (evt.EVT_PDU_RECV, rejection.received), *handlers],
            )
    except OSError as error:
        raise NotAssociated(f"{callee.host} is not known: {error.strerror or error}") from error
    if association.is_established:
        return association, line
    _end(association, line)
    if not line.was_open:
        raise NotAssociated(f"no TCP connection to {callee.host}:{callee.port} within {callee.connect_timeout_s:g} s")
    if rejection.pdu is not None:
        words = f"association rejected: {rejection.pdu.reason_str}"
        raise NotAssociated(words, permanent=rejection.pdu.result == 1, rejected=True)
    if association.rejected_contexts and not association.accepted_contexts:
        raise NotAssociated("no presentation context accepted", permanent=True)
    raise NotAssociated("association aborted or not answered")


def release(association: Association, line: Line, seconds: float) -> None:
    """End an association in good order, if it still stands."""
    if association.is_established:
        with line.cut_after(seconds + GRACE_S):
            association.release()


def abort(association: Association, line: Line) -> None:
    """End an association after which nothing is certain. pynetdicom waits for the peer to hang up: not for long here."""
    with line.cut_after(GRACE_S):
        association.abort()
    _end(association, line)


def _end(association: Association, line: Line) -> None:
    """Its thread may read on for ever, where what the peer sent looks like the beginning of a PDU; the program would not end either."""
    reader = association.dul
    if reader.is_alive():
        reader.join(GRACE_S)
    if reader.is_alive():
        line.cut()
