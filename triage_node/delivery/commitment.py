"""Storage commitment as SCU (PS3.4 Annex J): asking; the answer mostly comes on a new association, to our listener."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from triage_node.config.schema import ArchiveSettings
from triage_node.delivery.retry import Outcome, Verdict
from triage_node.delivery.store_scu import associate

WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
_REQUEST = 1


def request_commitment(archive: ArchiveSettings, transaction_uid: str, objects: Sequence[tuple[str, str]]) -> Outcome:
    """Ask the archive to commit `objects`, pairs of (SOP Class UID, SOP Instance UID)."""
    association = associate(archive, (), commitment=True)
    if isinstance(association, Outcome):
        return association
    wanted = Dataset()
    wanted.TransactionUID = transaction_uid
    wanted.ReferencedSOPSequence = [_reference(*o) for o in objects]
    try:
        status, _ = association.send_n_action(wanted, _REQUEST, StorageCommitmentPushModel, WELL_KNOWN_INSTANCE)
    except (RuntimeError, ValueError) as error:
        association.abort()
        return Outcome(Verdict.AGAIN, f"commitment request failed: {error}")
    if association.is_established:
        association.release()
    if status and status.Status == 0:
        return Outcome(Verdict.STORED)
    return Outcome(
        Verdict.AGAIN, f"commitment answered 0x{status.Status:04X}" if status else "commitment was not answered"
    )


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
