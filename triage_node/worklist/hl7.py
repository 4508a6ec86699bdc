"""HL7 v2 towards a RIS or a worklist engine: a result (ORU^R01), and if the site wants it an order's priority after it.

What an answer means: AA or CA of a result confirms that it was received, no more; AA of an order change that the RIS took
it. AE, CE and silence are tried again. AR and CR of a result are for good; of an order change after it they are IN_PART, for the
result was received. A peer that knows no such study says so with 204 in ERR-3, one where it is being read or was read with 206
(table 0357). No answer tells what the peer holds, so `Answer.written` is empty; only where an order change fails after a result
that was received does the error say so, since that result can be taken back.

An order is only ever asked to become STAT, the highest: a weaker word could lower what the peer has. It goes back only to
what an order message had told the node before, and what somebody changed there since cannot be seen; else it is left.

Source: STANDARDS.md 3.3; HL7 v2.5.1 chapters 2.9.2 and 2.9.3 (acknowledgement), 4, 7.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from triage_node.config.worklist_peers import Hl7PeerSettings
from triage_node.domain.errors import PermanentDeliveryError, TransientDeliveryError
from triage_node.domain.finding import FINDINGS, EvidenceLevel
from triage_node.domain.priority import OrderClass, Urgency
from triage_node.hl7v2.messages import (
    LOCAL,
    STAT,
    STUDY_UID,
    Head,
    Observation,
    Order,
    Patient,
    order_change,
    result,
)
from triage_node.hl7v2.mllp import MllpClient
from triage_node.hl7v2.parse import Acknowledgement, Unreadable, acknowledgement
from triage_node.worklist.adapter import Answer, Outcome, RaiseMessage

NOT_DIAGNOSTIC = "Not for diagnostic use."
_FINDING = ("121071", "Finding", "DCM")
_PROBABILITY = ("122157", "Probability", "DCM")
_VOLUME = ("118565006", "Volume", "SCT")
_COMMENT = ("121106", "Comment", "DCM")
_PRIORITY = ("PRIORITY", "Suggested reading priority", LOCAL)
_EVIDENCE = ("EVIDENCE", "Evidence level", LOCAL)
_LINK = ("LINK", "Link to the study", LOCAL)
_RATIO, _MILLILITERS = ("1", "no units", "UCUM"), ("mL", "milliliter", "UCUM")
_UNKNOWN_KEY, _LOCKED = "204", "206"
_ASKS_FOR_STAT = frozenset({Urgency.CRITICAL, Urgency.HIGH})
_CODES = {OrderClass.STAT: "S", OrderClass.URGENT: "A", OrderClass.ROUTINE: "R"}
CORRECTED, VOID = "C", "X"
"""OBR-25 and OBX-11 of a withdrawal. OBR-25 is never X: there it would mean that the order was cancelled (table 0123)."""

log = logging.getLogger(__name__)

_RESULT = "the result"

Action = Literal["result", "order", "correction", "order back"]


class Hl7Adapter:
    """One RIS or worklist engine: one connection, one message outstanding on it."""

    key = "hl7"

    def __init__(self, settings: Hl7PeerSettings) -> None:
        self._settings = settings
        self.timeout_s = settings.timeout_s
        tls = ssl.create_default_context(cafile=settings.tls_ca) if settings.tls else None
        self._client = MllpClient(settings.host, settings.port, settings.timeout_s, tls)

    def raise_study(self, message: RaiseMessage) -> Answer:
        """The result, and the order after it where that is switched on. Raises: DeliveryError."""
        head = self._head(message, "result")
        answer = self._send(result(head, _patient(message), _order(message), self._status, self._found(message)), head)
        if (refused := _refused(answer)) is not None:
            return refused
        words, held = f"result received ({_said(answer)})", _told_before(message)
        if self._settings.order_update == "none":
            return Answer(Outcome.NOT_CONFIRMED, held, words=words)
        if message.urgency not in _ASKS_FOR_STAT:
            return Answer(Outcome.NOT_CONFIRMED, held, words=f"{words}; order left: {message.urgency}")
        return self._change_order(message, "order", STAT, held, words)

    def withdraw_raise(self, message: RaiseMessage, raised: Answer) -> Answer:
        """A corrected result, and the order back to what an order message had told before the raise. Raises: DeliveryError."""
        head = self._head(message, "correction")
        answer = self._send(result(head, _patient(message), _order(message), CORRECTED, _taken_back(message)), head)
        if (refused := _refused(answer)) is not None:
            return refused
        words = f"correction received ({_said(answer)})"
        asked_for_stat = self._settings.order_update != "none" and raised.outcome is Outcome.ACKNOWLEDGED
        if not asked_for_stat or raised.held == STAT:
            return Answer(Outcome.NOT_CONFIRMED, words=words)
        if not raised.held:
            return Answer(Outcome.NOT_CONFIRMED, words=f"{words}; order left at STAT: what it had before is not known")
        return self._change_order(message, "order back", raised.held, raised.held, words)

    def close(self) -> None:
        self._client.close()

    @property
    def _status(self) -> str:
        return self._settings.result_status

    def _change_order(self, message: RaiseMessage, action: Action, priority: str, held: str, before: str) -> Answer:
        """What the RIS makes of an order change. Its refusal is an answer in words, no error: the result before it was
        received, and must be corrected when a person disagrees. Raises: TransientDeliveryError, which says so too.
        """
        head = self._head(message, action)
        kind = self._settings.order_update
        try:
            answer = self._send(order_change(kind, head, _patient(message), _order(message), priority), head)
        except PermanentDeliveryError as refused:
            log.error("study=%s %s", message.study_instance_uid, refused)
            return Answer(Outcome.IN_PART, held, words=f"{before}; order not changed: {refused}")
        except TransientDeliveryError as error:
            raise TransientDeliveryError(f"{before}; order not changed: {error}", held, _RESULT) from error
        if (left := _refused(answer)) is not None:
            # being read or read there is no refusal, and nobody's alarm
            outcome = Outcome.NOT_CONFIRMED if left.outcome is Outcome.TOO_LATE else Outcome.IN_PART
            return Answer(outcome, held, words=f"{before}; order not changed: {_said(answer)}")
        if answer.code != "AA":  # CA says that it was stored, not that the order was changed
            return Answer(Outcome.NOT_CONFIRMED, held, words=f"{before}; order change received ({_said(answer)})")
        return Answer(Outcome.ACKNOWLEDGED, held, words=f"{before}; order set to {priority} ({_said(answer)})")

    def _head(self, message: RaiseMessage, action: Action) -> Head:
        s = self._settings
        return Head(
            control_id=control_id(message.message_id, action),
            at=message.issued_at or datetime.now(UTC),
            version=s.version,
            character_set=s.character_set,
            sending_application=s.sending_application,
            sending_facility=s.sending_facility,
            receiving_application=s.receiving_application,
            receiving_facility=s.receiving_facility,
            processing="T" if message.simulation else "P",
        )

    def _found(self, message: RaiseMessage) -> list[Observation]:
        abnormal = "AA" if message.urgency is Urgency.CRITICAL else "A"
        found = [Observation("ST", STUDY_UID, message.study_instance_uid)]
        for key in dict.fromkeys((message.finding, message.subtype)):
            if key in FINDINGS:
                code, scheme, meaning = FINDINGS[key].code
                found.append(Observation("CE", _FINDING, (code, f"Suspected {meaning}", scheme), abnormal=abnormal))
        if message.probability is not None:
            found.append(Observation("NM", _PROBABILITY, f"{message.probability:.3f}", _RATIO, abnormal))
        if message.hematoma_volume_ml is not None:
            found.append(Observation("NM", _VOLUME, f"{message.hematoma_volume_ml:.1f}", _MILLILITERS, abnormal))
        found.append(Observation("ST", _PRIORITY, message.urgency.value))
        if message.link:
            found.append(Observation("TX", _LINK, message.link))
        level = EvidenceLevel(message.evidence)
        found.append(Observation("ST", _EVIDENCE, f"{level.value}: {level.in_words}"))
        return [*found, *_words(message, message.words)]

    def _send(self, payload: bytes, head: Head) -> Acknowledgement:
        answers: list[Acknowledgement] = []
        try:
            self._client.exchange(payload, _names(head.control_id, answers))
        except Unreadable as error:
            raise TransientDeliveryError(f"{self._settings.name} answered with something else: {error}") from error
        except OSError as error:
            words = str(error) or type(error).__name__
            raise TransientDeliveryError(f"{self._settings.name} does not answer: {words}") from error
        answer = answers[-1]
        if answer.error in (_UNKNOWN_KEY, _LOCKED) and answer.code not in ("AA", "CA"):
            return answer
        if answer.code in ("AA", "CA"):
            return answer
        if answer.code in ("AR", "CR"):
            raise PermanentDeliveryError(f"{self._settings.name} rejects the message: {_said(answer)}")
        raise TransientDeliveryError(f"{self._settings.name} could not take the message: {_said(answer)}")


def control_id(message_id: str, action: str) -> str:
    """MSH-10: the same for the same message on every try; 100 bits in 20 characters."""
    digest = hashlib.sha256(f"{message_id}|{action}".encode()).digest()
    return base64.b32encode(digest)[:20].decode("ascii")


def _names(wanted: str, answers: list[Acknowledgement]) -> Callable[[bytes], bool]:
    """Whether an answer is for this message (MSA-2 = MSH-10); late ones of others are passed over."""

    def is_answer(payload: bytes) -> bool:
        answers.append(acknowledgement(payload))
        return answers[-1].of == wanted

    return is_answer


def _refused(answer: Acknowledgement) -> Answer | None:
    if answer.code in ("AA", "CA"):
        return None
    if answer.error == _UNKNOWN_KEY:
        return Answer(Outcome.UNKNOWN_STUDY, words=_said(answer))
    return Answer(Outcome.TOO_LATE, words=_said(answer))


def _said(answer: Acknowledgement) -> str:
    return " ".join(part for part in (answer.code, answer.error, answer.words) if part)


def _told_before(message: RaiseMessage) -> str:
    return next((code for known, code in _CODES.items() if known.value == message.order_class), "")


def _patient(message: RaiseMessage) -> Patient:
    return Patient(
        message.patient_id,
        message.issuer_of_patient_id,
        message.patient_name,
        message.patient_birth_date,
        message.patient_sex,
    )


def _order(message: RaiseMessage) -> Order:
    return Order(message.accession_number, message.study_instance_uid)


def _taken_back(message: RaiseMessage) -> list[Observation]:
    code, scheme, meaning = FINDINGS[message.finding if message.finding in FINDINGS else "ich"].code
    return [
        Observation("ST", STUDY_UID, message.study_instance_uid),
        Observation("CE", _FINDING, (code, f"Suspected {meaning}", scheme), status=VOID),
        *_words(message, "Withdrawn: a person disagreed with the suspected finding. The suggested priority ends."),
    ]


def _words(message: RaiseMessage, words: str) -> list[Observation]:
    said = [words] if NOT_DIAGNOSTIC.rstrip(".").casefold() in words.casefold() else [words, NOT_DIAGNOSTIC]
    if message.simulation:
        said.append("SIMULATED DATA: no real patient.")
    return [Observation("TX", _COMMENT, text) for text in said]
