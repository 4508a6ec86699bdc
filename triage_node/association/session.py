"""What both receive paths are given, and what they tell afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.presentation import PresentationContext

from triage_node.association.limits import Limits
from triage_node.association.status import Status
from triage_node.domain.errors import UNREADABLE
from triage_node.domain.identifiers import is_uid
from triage_node.domain.reception import Peer, Reception, StoreRequest

log = logging.getLogger(__name__)

Committed = Sequence[tuple[str, str]]  # (SOP class UID, SOP instance UID)
Failed = Sequence[tuple[str, str, int]]  # the same and the failure reason, 0x0000 when none was given
OnCommitment = Callable[[str, Committed, Failed], None]


class Outcome(StrEnum):
    """How an association ended."""

    RELEASED = "released"
    ABORTED = "aborted"
    LOST = "lost"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class OtherService:
    """What a listener serves instead of reception: the same admission and limits, other SOP classes.

    `handlers(peer)` gives pynetdicom's (event, handler) pairs for one association.
    """

    contexts: Sequence[PresentationContext]
    handlers: Callable[[Peer], Sequence[tuple[Any, Callable[..., Any]]]]


@dataclass(frozen=True, slots=True)
class Services:
    """What an association may call."""

    limits: Limits
    open_reception: Callable[[StoreRequest], Reception]
    on_commitment: OnCommitment
    stopping: Callable[[], bool]
    spool: Path = Path()  # where the stock path keeps what it has not handed on


def report_commitment(services: Services, data_set: Dataset) -> Status:
    """Hand a storage commitment result on. Returns the status of the N-EVENT-REPORT. Source: PS3.4 J.3.3."""
    try:
        transaction = str(data_set.TransactionUID)
        committed = [_reference(i) for i in data_set.get("ReferencedSOPSequence") or ()]
        failed = [(*_reference(i), int(i.get("FailureReason") or 0)) for i in data_set.get("FailedSOPSequence") or ()]
    except UNREADABLE as error:
        log.warning("storage commitment result cannot be read: %s", type(error).__name__)
        return Status.PROCESSING_FAILURE
    if not is_uid(transaction) or not all(is_uid(uid) for uid in [r[1] for r in committed] + [r[1] for r in failed]):
        log.warning("storage commitment result names what is no UID")
        return Status.PROCESSING_FAILURE
    services.on_commitment(transaction, committed, failed)
    return Status.SUCCESS


def _reference(item: Dataset) -> tuple[str, str]:
    return str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)
