"""The tree of errors.

TriageNodeError
├── InstanceRefused(status)            C-STORE status in .status
├── StudyRejected(reason)              the study is shown as not analysed, with the reason
│   └── VolumeError                    MissingSlices, MixedOrientation, DuplicatePositions, NotHounsfield, NotAHead, NoImageContent
├── DecodeError                        a pixel stream that does not hold what its header says
├── NoteRefused                        a rejection note of somebody else that is not applied, with the reason
├── BundleError                        HashMismatch, ManifestInvalid
├── ReportError
├── DeliveryError                      TransientDeliveryError (retry), PermanentDeliveryError (park)
├── BlobError                          BlobMissing (for good), BlobDamaged, BlobsAway (mends itself): bytes that cannot be had
├── StoreError                         StoreUnavailable (the same again may work), LeaseLost (somebody else has it now)
├── StatementRefused(problems)         what somebody stated of a patient cannot be; StatementConflict: not now
├── DataSetError                       a folder of labelled images is not what it must be: CaseUnreadable for one study
├── EvaluationError                    an evaluation cannot begin, or its report cannot be written
└── ConfigError(path, line)
"""

from __future__ import annotations

import struct


class TriageNodeError(Exception):
    """Base of every error that this project raises on purpose."""


class InstanceRefused(TriageNodeError):
    """An instance is answered with a failure status (PS3.4 B.2.3)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"0x{status:04X}: {reason}")
        self.status = status
        self.reason = reason


class StudyRejected(TriageNodeError):
    """A study or series cannot be analysed; `reason` is read by radiologists, so it is a sentence without jargon."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class VolumeError(StudyRejected):
    """A series does not make a volume."""


class MissingSlices(VolumeError): ...


class MixedOrientation(VolumeError): ...


class DuplicatePositions(VolumeError): ...


class NotHounsfield(VolumeError): ...


class NotAHead(VolumeError): ...


class NoImageContent(VolumeError): ...


class DecodeError(VolumeError):
    """Pixels could not be decoded inside the limits of the decoding child."""


class NoteRefused(TriageNodeError):
    """A rejection note that cannot be read, or says more than a note may; shown to people."""


class BundleError(TriageNodeError): ...


class HashMismatch(BundleError): ...


class ManifestInvalid(BundleError): ...


class ReportError(TriageNodeError): ...


class DeliveryError(TriageNodeError): ...


class TransientDeliveryError(DeliveryError):
    """Worth another try later.

    `held` and `written`: what a peer held and what was being written when it fell silent in the middle of a change. The
    change may have arrived; a second try would take it for what the peer had by itself.
    """

    def __init__(self, words: str = "", held: str = "", written: str = "") -> None:
        super().__init__(words)
        self.held, self.written = held, written


class PermanentDeliveryError(DeliveryError):
    """The peer will never take it; park it and raise an alarm."""


class StoreError(TriageNodeError): ...


class AnotherTenant(StoreError):
    """The store, or the login of it that is used, belongs to another hospital, or to all of them."""


class BlobError(TriageNodeError):
    """Bytes that cannot be had, or kept; the message says where they are looked for."""


class BlobMissing(BlobError):
    """They are known not to be there."""


class BlobDamaged(BlobError):
    """Other bytes lie there."""


class BlobsAway(BlobError):
    """The store of the bytes does not answer, or refuses. It mends itself, so nothing counts as failed because of it."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, is busy or full: the same may work later, and says nothing about what was written."""


class LeaseLost(StoreError):
    """What was worked on belongs to somebody else by now: whoever came back late writes nothing."""


class StatementRefused(TriageNodeError):
    """Clinical facts that cannot be true; `problems` are sentences for whoever stated them."""

    def __init__(self, *problems: str) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


class StatementConflict(StatementRefused):
    """The statement may be true, but it does not fit what the node holds now: look again, then state again."""


class RefusedAction(TriageNodeError):
    """What a person asked for cannot be done now; the message is a sentence for that person."""


class DataSetError(TriageNodeError):
    """A folder of labelled images does not fit; the message names the file or column expected and what was found."""


class CaseUnreadable(DataSetError):
    """The pixels of one study cannot be had; the study is left out with this reason and counted."""


class ConfigError(TriageNodeError):
    """The configuration file does not say what it must; the message names file, key and remedy."""


class EvaluationError(TriageNodeError):
    """An evaluation that cannot begin, or whose report cannot be written; the message names the remedy."""


UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    IndexError,
    EOFError,
    RecursionError,
    struct.error,
)
"""What pydicom raises where it turns bytes into elements and values; NotImplementedError: a VR that does not exist."""
