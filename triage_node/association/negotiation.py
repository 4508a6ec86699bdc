"""Reads an A-ASSOCIATE-RQ and writes the answer. Source: PS3.8 section 9.3, PS3.7 annex D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID = "2.25.188674214305361526372936484730250716541"
IMPLEMENTATION_VERSION_NAME = "TRIAGE_NODE"


class NotARequest(Exception):
    """The bytes are no A-ASSOCIATE-RQ."""


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What a requestor asks for. Equal to itself only."""

    calling_ae_title: str
    called_ae_title: str
    primitive: A_ASSOCIATE


def read_request(data: bytes) -> Request:
    """Parse the whole PDU. Raises: NotARequest."""
    pdu = A_ASSOCIATE_RQ()
    try:
        pdu.decode(data)
        primitive = pdu.to_primitive()
        calling, called = str(primitive.calling_ae_title), str(primitive.called_ae_title)
        contexts = primitive.presentation_context_definition_list
    except Exception as error:  # the codec raises whatever its parts raise on damaged bytes
        raise NotARequest(type(error).__name__) from error
    if primitive.application_context_name != APPLICATION_CONTEXT or not contexts:
        raise NotARequest("application context or presentation contexts are missing")
    if any(c.abstract_syntax is None or not c.transfer_syntax for c in contexts):
        raise NotARequest("a presentation context is not complete")
    return Request(calling.strip(), called.strip(), primitive)


def accept(
    request: Request, supported: Sequence[PresentationContext], maximum_pdu_bytes: int
) -> tuple[bytes, dict[int, Context]]:
    """Return the A-ASSOCIATE-AC and what was accepted, by presentation context ID."""
    rq = request.primitive
    roles = {
        item.sop_class_uid: (item.scu_role, item.scp_role)
        for item in rq.user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
    }
    results, role_answers = negotiate_as_acceptor(rq.presentation_context_definition_list, list(supported), roles)
    answer = A_ASSOCIATE()
    answer.application_context_name = UID(APPLICATION_CONTEXT)
    answer.calling_ae_title, answer.called_ae_title = rq.calling_ae_title, rq.called_ae_title
    answer.result, answer.result_source = 0, 1
    answer.presentation_context_definition_results_list = results
    length = MaximumLengthNotification()
    length.maximum_length_received = maximum_pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    answer.user_information = [length, implementation, version, *role_answers]
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(answer)
    accepted = {
        int(c.context_id): Context(str(c.abstract_syntax), str(c.transfer_syntax[0]))
        for c in results
        if c.result == 0 and c.context_id is not None
    }
    return pdu.encode(), accepted


def reject(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ. Source: PS3.8 table 9-21."""
    return bytes((3, 0, 0, 0, 0, 4, 0, result, source, reason))


def abort(source: int, reason: int) -> bytes:
    """An A-ABORT. Source: PS3.8 table 9-26."""
    return bytes((7, 0, 0, 0, 0, 4, 0, 0, source, reason))


RELEASED = bytes((6, 0, 0, 0, 0, 4, 0, 0, 0, 0))  # A-RELEASE-RP
