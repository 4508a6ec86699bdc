"""Storage commitment as SCU (PS3.4 Annex J): asking, and the answer when it comes on the same association.

Most archives answer on an association of their own, to our listener; the outcome is the same row in the same table.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from triage_node.config.schema import ArchiveSettings
from triage_node.delivery.retry import Outcome, Verdict
from triage_node.delivery.store_scu import associate
from triage_node.dimse.calling import release
from triage_node.domain.errors import DeliveryError
from triage_node.domain.identifiers import is_uid

log = logging.getLogger(__name__)

WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
SAME_ASSOCIATION_S = 1.0
"""How long an archive may take that answers before we release."""

_REQUEST = 1
_PROCESSING_FAILURE = 0x0110


@dataclass(frozen=True, slots=True)
class Answer:
    """`committed`: SOP Instance UIDs; `failed`: (SOP Instance UID, Failure Reason, 0x0000 when none was given)."""

    transaction_uid: str
    committed: tuple[str, ...]
    failed: tuple[tuple[str, int], ...]


def request_commitment(
    archive: ArchiveSettings,
    transaction_uid: str,
    objects: Sequence[tuple[str, str]],
    on_answer: Callable[[Answer], None],
) -> Outcome:
    """Ask the archive to commit `objects`, pairs of (SOP Class UID, SOP Instance UID).

    STORED means that it will answer; `on_answer` is called if it does so on this association.
    """
    came = threading.Event()

    def answered(event: evt.Event) -> tuple[int, Dataset | None]:
        try:
            answer = read_answer(event.event_information)
        except DeliveryError as error:
            log.warning("archive=%s %s", archive.name, error)
            return _PROCESSING_FAILURE, None
        on_answer(answer)
        came.set()
        return 0x0000, None

    opened = associate(archive, (), commitment=True, handlers=[(evt.EVT_N_EVENT_REPORT, answered)])
    if isinstance(opened, Outcome):
        return opened
    association, line = opened
    wanted = Dataset()
    wanted.TransactionUID = transaction_uid
    wanted.ReferencedSOPSequence = [_reference(*o) for o in objects]
    try:
        with line.cut_after(2 * archive.response_timeout_s):
            status, _ = association.send_n_action(wanted, _REQUEST, StorageCommitmentPushModel, WELL_KNOWN_INSTANCE)
    except (RuntimeError, ValueError) as error:
        association.abort()
        return Outcome(Verdict.AGAIN, f"commitment request failed: {error}")
    accepted = "Status" in status and status.Status == 0
    if accepted:
        came.wait(SAME_ASSOCIATION_S)
    release(association, line, archive.response_timeout_s)
    if accepted:
        return Outcome(Verdict.STORED)
    words = f"commitment answered 0x{status.Status:04X}" if "Status" in status else "commitment was not answered"
    return Outcome(Verdict.AGAIN, words)


def read_answer(data_set: Dataset) -> Answer:
    """Read the data set of an N-EVENT-REPORT. Raises: DeliveryError when it does not say what it must (PS3.4 J.3.3)."""
    try:
        answer = Answer(
            str(data_set.TransactionUID),
            tuple(str(i.ReferencedSOPInstanceUID) for i in data_set.get("ReferencedSOPSequence") or ()),
            tuple(
                (str(i.ReferencedSOPInstanceUID), int(i.get("FailureReason") or 0))
                for i in data_set.get("FailedSOPSequence") or ()
            ),
        )
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        raise DeliveryError(f"storage commitment result cannot be read: {type(error).__name__}") from error
    if not all(map(is_uid, (answer.transaction_uid, *answer.committed, *(uid for uid, _ in answer.failed)))):
        raise DeliveryError("storage commitment result names what is no UID")
    return answer


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
