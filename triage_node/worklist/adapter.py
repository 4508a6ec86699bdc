"""What every way into a foreign reading list does: the contract of the worklist adapters.

UPS, HL7 and FHIR come as one file each (`worklist/<key>.py`) that implements `WorklistAdapter`; its test subclasses
`tests.worklist.adapter_contract.AdapterContract`. Adapters are driven from the outbox, at least once and in order.

An adapter SHALL
- raise, and take back a raise of its own; it has no way to lower a study below what the peer had before;
- be idempotent by `message_id`: the same message twice has the effect of once;
- answer UNKNOWN_STUDY when the peer does not know the study, and TOO_LATE when it is being read or was read;
- say ACKNOWLEDGED only when the peer itself confirmed it: "re-ordered" is shown to people on nothing less;
- raise TransientDeliveryError when the peer cannot be reached or does not answer within `timeout_s`, and
  PermanentDeliveryError when it will never take the message; it keeps no queue and does not retry.

An adapter SHOULD
- prove at start that its peer answers, and say in words what is missing;
- send in words what the finding is and that it is not for diagnostic use.

Source: STANDARDS.md 3 (PS3.4 CC, HL7 v2, FHIR R4).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from triage_node.domain.priority import Urgency


class Outcome(StrEnum):
    ACKNOWLEDGED = "acknowledged"
    NOT_CONFIRMED = "sent, not confirmed"
    NOTHING_SENT = "nothing sent"
    UNKNOWN_STUDY = "unknown study"
    TOO_LATE = "too late"


@dataclass(frozen=True, slots=True)
class RaiseMessage:
    """A study that was raised. `message_id` is deterministic: the same raise of the same revision has the same one."""

    message_id: str
    study_instance_uid: str
    accession_number: str
    urgency: Urgency
    words: str


class WorklistAdapter(Protocol):
    key: str
    timeout_s: float

    def raise_study(self, message: RaiseMessage) -> Outcome:
        """The study stands higher in the peer's list, or the outcome says why not. Raises: DeliveryError."""
        ...

    def withdraw_raise(self, message: RaiseMessage) -> Outcome:
        """A person ended the flag: the study has again the priority that it had before our raise. Raises: DeliveryError."""
        ...

    def close(self) -> None: ...
