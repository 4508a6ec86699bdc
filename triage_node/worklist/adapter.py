"""What every way into a foreign reading list does: the contract of the worklist adapters.

UPS, HL7 and FHIR come as one file each (`worklist/<key>.py`) that implements `WorklistAdapter`; its test subclasses
`tests.worklist.adapter_contract.AdapterContract`. Adapters are driven from the outbox, at least once and in order.

An adapter SHALL
- raise, and take back a raise of its own; it has no way to lower a study below what the peer had before;
- say in its answer what the peer held before and what it wrote; take a raise back only while the peer still holds that;
- be idempotent by `message_id`: the same message twice has the effect of once;
- answer UNKNOWN_STUDY when the peer does not know the study, and TOO_LATE when it is being read or was read;
- say ACKNOWLEDGED only when the peer itself confirmed it: "re-ordered" is shown to people on nothing less;
- say IN_PART when the peer took the result and will never change its order: people are alarmed, and the result can be taken back;
- raise TransientDeliveryError when the peer cannot be reached or does not answer within `timeout_s`, and
  PermanentDeliveryError when it will never take the message; it keeps no queue and does not retry.

An adapter SHOULD
- prove at start that its peer answers, and say in words what is missing;
- send in words what the finding is and that it is not for diagnostic use.

Source: STANDARDS.md 3 (PS3.4 CC, HL7 v2, FHIR R4).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from triage_node.domain.priority import Urgency


class Outcome(StrEnum):
    ACKNOWLEDGED = "acknowledged"
    NOT_CONFIRMED = "sent, not confirmed"
    IN_PART = "told, order refused"
    NOTHING_SENT = "nothing sent"
    UNKNOWN_STUDY = "unknown study"
    TOO_LATE = "too late"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one message. `held` and `written`: the peer's priority before and after, in the peer's own words; empty
    where it does not tell. They are stored, and handed back when the raise is withdrawn. `words`: for people and the audit."""

    outcome: Outcome
    held: str = ""
    written: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class RaiseMessage:
    """Finding and suggested priority of one study, never a place in somebody else's list.

    `message_id` is deterministic: the same raise of the same revision has the same one. `finding` is a key of
    domain.finding.FINDINGS, `subtype` one of its subtypes or empty, `probability` in [0, 1], `evidence` E0 to E3. `link`
    opens the study in a viewer. Of the patient only what `peer.identifiers` of the site allows is filled in. `order_class`: of the
    order, when an order message told it; empty when nobody did.
    """

    message_id: str
    study_instance_uid: str
    accession_number: str
    urgency: Urgency
    words: str
    result_revision: int = 1
    finding: str = "ich"
    subtype: str = ""
    probability: float | None = None
    hematoma_volume_ml: float | None = None
    evidence: str = "E0"
    simulation: bool = False
    link: str = ""
    issued_at: datetime | None = None
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    order_class: str = ""


class WorklistAdapter(Protocol):
    key: str
    timeout_s: float

    def raise_study(self, message: RaiseMessage) -> Answer:
        """The study stands higher in the peer's list, or the outcome says why not. Raises: DeliveryError."""
        ...

    def withdraw_raise(self, message: RaiseMessage, raised: Answer) -> Answer:
        """A person ended the flag: the study has again what it had before our raise, if the peer still holds what we wrote.

        `raised` is the stored answer to that raise. TOO_LATE when somebody else has changed the priority since.
        Raises: DeliveryError.
        """
        ...

    def close(self) -> None: ...
