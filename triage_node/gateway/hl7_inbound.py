"""The node's MLLP listener. Every message gets an answer, after what it told is durable in the store and not before.

AA (CA where the sender asks for commit acknowledgement): kept, also when no study is known that it belongs to. AE: our store
does not answer, send it again. AR: it cannot be read, or is of a type that is not taken. The same control ID from the same
sender is answered again and has no second effect.

Source: HL7 v2.5.1 chapter 2.9, table 0357.
"""

from __future__ import annotations

import logging
import ssl
import threading
import uuid
from collections.abc import Callable
from datetime import datetime, tzinfo

from triage_node.config.hl7_inbound import Hl7InboundSettings
from triage_node.domain.errors import StoreError
from triage_node.gateway.hl7_facts import TAKEN, facts_of
from triage_node.hl7v2.messages import Head, answer
from triage_node.hl7v2.mllp import Limits, MllpServer
from triage_node.hl7v2.parse import Message, Unreadable, parse
from triage_node.hl7v2.text import UnknownCharacterSet, codec_of
from triage_node.store import orders
from triage_node.store.engine import Store

_VERSIONS = ("2.3.1", "2.4", "2.5", "2.5.1")
_PROCESSING = ("P", "T", "D")
"""HL7 table 0103. Other words of a sender are not echoed: they could break its answer."""
_BAD_SYNTAX = ("100", "Segment sequence error")
_WRONG_TYPE = ("200", "Unsupported message type")
_WRONG_PROCESSING = ("202", "Unsupported processing id")
_OUR_FAULT = ("207", "Application internal error")

log = logging.getLogger(__name__)


class Hl7Inbound:
    """Answers messages. `simulation`: this node holds simulated patients, so that messages for training count."""

    def __init__(
        self,
        store: Store,
        settings: Hl7InboundSettings,
        zone: tzinfo,
        simulation: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._settings, self._zone = store, settings, zone
        self._simulation, self._clock = simulation, clock
        self._turn = threading.Lock()  # two connections may bring the same message at once

    def serve(self) -> MllpServer:
        """Listen, on threads of its own. Raises: OSError when the port is taken or a certificate cannot be read."""
        s = self._settings
        limits = Limits(
            message_bytes=s.maximum_message_kb << 10,
            idle_s=s.idle_s,
            connections=s.maximum_connections,
            connections_per_address=s.maximum_connections_per_address,
            addresses=s.addresses,
        )
        server = MllpServer(s.host, s.port, self.answer, limits, _tls(s))
        server.start()
        return server

    def answer(self, payload: bytes, address: str) -> bytes:
        """The acknowledgement of one message; never raises for what somebody sent."""
        try:
            message = parse(payload)
        except Unreadable as error:
            log.warning("from=%s unreadable: %s", address, error.words)
            head = Head(uuid.uuid4().hex[:20], self._clock())
            return answer(head, "", "AR", error.control_id, _BAD_SYNTAX, error.words)
        head = self._head(message)
        event, of = message.kind[1], message.control_id
        # commit acknowledgement alone is asked for (MSH-15 AL, MSH-16 NE or empty)
        commit = message.head.get(15) == "AL" and message.head.get(16) in ("", "NE")
        first = "C" if commit else "A"
        if message.kind not in TAKEN:
            return answer(head, event, f"{first}R", of, _WRONG_TYPE, f"{'^'.join(message.kind)} is not taken here")
        if message.head.get(11) in ("T", "D") and not self._simulation:
            return answer(head, event, f"{first}R", of, _WRONG_PROCESSING, "this node takes production messages")
        try:
            facts = facts_of(message, self._settings.observations, self._zone)
        except ValueError as error:
            return answer(head, event, f"{first}R", of, _BAD_SYNTAX, str(error))
        try:
            with self._turn:
                new = orders.take(self._store, message.sender[:400], of[:199], facts, self._clock())
        except StoreError as error:
            log.error("from=%s control_id=%s not kept: %s", address, of, error)
            return answer(head, event, f"{first}E", of, _OUR_FAULT, "not kept, send it again")
        log.info("from=%s control_id=%s kind=%s orders=%d new=%s", address, of, "^".join(message.kind), len(facts), new)
        return answer(head, event, f"{first}A", of)

    def _head(self, message: Message) -> Head:
        got = message.head
        version = got.get(12) if got.get(12) in _VERSIONS else "2.5.1"
        try:
            character_set = got.get(18) if codec_of(got.get(18)) else "UNICODE UTF-8"
        except UnknownCharacterSet:
            character_set = "UNICODE UTF-8"
        return Head(
            control_id=uuid.uuid4().hex[:20],
            at=self._clock(),
            version=version,
            character_set=character_set,
            sending_application=got.get(5) or "TRIAGE",
            sending_facility=got.get(6),
            receiving_application=got.get(3),
            receiving_facility=got.get(4),
            processing=got.get(11) if got.get(11) in _PROCESSING else "P",
        )


def _tls(settings: Hl7InboundSettings) -> ssl.SSLContext | None:
    if settings.certificate is None or settings.private_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.private_key)
    if settings.client_ca is not None:
        context.load_verify_locations(settings.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
