"""IOCM: somebody else takes instances out of use by a rejection note, a key object selection with a title of CID 7011.

Source: IHE RAD TF-3 4.66 (Rejection Note Stored); PS3.3 C.17.6; PS3.16 CID 7011.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"


class RejectionReason(StrEnum):
    """Document titles, scheme DCM."""

    QUALITY = "113001"
    PATIENT_SAFETY = "113037"
    WRONG_WORKLIST_ENTRY = "113038"
    RETENTION_EXPIRED = "113039"

    @property
    def in_words(self) -> str:
        return {
            RejectionReason.QUALITY: "rejected for quality reasons",
            RejectionReason.PATIENT_SAFETY: "rejected for patient safety reasons",
            RejectionReason.WRONG_WORKLIST_ENTRY: "incorrect modality worklist entry",
            RejectionReason.RETENTION_EXPIRED: "data retention policy expired",
        }[self]


@dataclass(frozen=True, slots=True)
class RejectionNote:
    """What a note says: why, and which instances of which study, each (Study Instance UID, SOP Instance UID)."""

    reason: RejectionReason
    named: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RejectedInstance:
    """As stored: `by` is the AE title that may reject, `note_uid` the SOP Instance UID of its note."""

    sop_instance_uid: str
    reason: RejectionReason
    by: str
    at: datetime
    note_uid: str
