"""Modality Performed Procedure Step and Instance Availability Notification as SCP. Source: PS3.4 annexes F.7 and R, PS3.7 10."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import InstanceAvailabilityNotification, ModalityPerformedProcedureStep, Verification

from triage_node.domain.errors import StoreError
from triage_node.domain.identifiers import is_uid
from triage_node.gateway.announcements import MOST_REFERENCES, Refused, Status, changed_step, new_step, notification
from triage_node.store import expected
from triage_node.store.engine import Store
from triage_node.store.expected import Change

CLASSES = (ModalityPerformedProcedureStep, InstanceAvailabilityNotification)
TRANSFER_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
MESSAGE_BYTES = 4 << 20
"""Longest message that is taken: a reference has about 150 bytes."""
_MAY_NO_LONGER_BE_UPDATED = 0xA710
"""Error ID of a step in a final state (PS3.4 F.7.2.2.4)."""

_ITEM = b"\xfe\xff\x00\xe0"
"""How each item of a sequence begins, in both transfer syntaxes (PS3.5 7.5)."""

_Answer = tuple[int | Dataset, Dataset | None]

log = logging.getLogger(__name__)


def contexts() -> list[PresentationContext]:
    """What is offered."""
    return [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in (Verification, *CLASSES)]


def handlers(
    store: Store, clock: Callable[[], datetime], calling_ae_title: str, address: str
) -> list[tuple[Any, Callable[..., Any]]]:
    """pynetdicom's handlers for one association."""
    scp = _Scp(store, clock, f"{calling_ae_title} at {address}")
    return [(evt.EVT_N_CREATE, scp.create), (evt.EVT_N_SET, scp.set)]


class _Scp:
    def __init__(self, store: Store, clock: Callable[[], datetime], caller: str) -> None:
        self._store, self._clock, self._caller = store, clock, caller

    def create(self, event: evt.Event) -> _Answer:
        def answer() -> Status:
            sop_class = _class_of(event, event.request.AffectedSOPClassUID)
            uid = str(event.request.AffectedSOPInstanceUID or "")
            if not is_uid(uid):
                raise Refused(Status.INVALID_INSTANCE, "the instance has no UID")
            data = _decoded(event, event.request.AttributeList, "attribute_list")
            if sop_class == ModalityPerformedProcedureStep:
                studies, series = new_step(data)
                is_new = expected.begin_step(self._store, uid, self._caller, studies, series, self._clock())
                self._say("MPPS", uid, series if is_new else {})
            else:
                study, series = notification(data)
                is_new = expected.notify(self._store, uid, self._caller, study, series, self._clock())
                self._say("IAN", uid, series if is_new else {})
            return Status.SUCCESS if is_new else Status.DUPLICATE

        return self._guarded("N-CREATE", answer)

    def set(self, event: evt.Event) -> _Answer:
        def answer() -> Status | Dataset:
            if _class_of(event, event.request.RequestedSOPClassUID) != ModalityPerformedProcedureStep:
                raise Refused(Status.NO_SUCH_CLASS, "a notification is never changed")
            uid = str(event.request.RequestedSOPInstanceUID or "")
            told = changed_step(_decoded(event, event.request.ModificationList, "modification_list"))
            change = expected.change_step(self._store, uid, told.state, told.series, self._clock())
            if change is Change.NO_SUCH_STEP:
                return Status.NO_SUCH_INSTANCE
            if change is Change.STEP_IS_FINAL:
                return _final()
            self._say(f"MPPS {told.state or ''}", uid, told.series or {})
            return Status.SUCCESS

        return self._guarded("N-SET", answer)

    def _say(self, what: str, uid: str, series: Any) -> None:
        counts = sum(len(named) for named in series.values())
        log.info(
            "event=announced what=%s uid=%s series=%d images=%d by=%s", what, uid, len(series), counts, self._caller
        )

    def _guarded(self, what: str, answer: Callable[[], Status | Dataset]) -> _Answer:
        try:
            found = answer()
        except Refused as refused:
            log.warning("%s of %s refused 0x%04X: %s", what, self._caller, refused.status, refused)
            return int(refused.status), None
        except StoreError:
            log.exception("%s of %s", what, self._caller)
            return int(Status.PROCESSING_FAILURE), None
        return (found if isinstance(found, Dataset) else int(found)), None


def _final() -> Dataset:
    status = Dataset()
    status.Status, status.ErrorID = int(Status.PROCESSING_FAILURE), _MAY_NO_LONGER_BE_UPDATED
    status.ErrorComment = "Performed Procedure Step Object may no longer be updated"
    return status


def _class_of(event: evt.Event, named: object) -> str:
    """The SOP class of a request. Raises: Refused when it is none of ours, or not that of its context."""
    if named not in CLASSES or named != event.context.abstract_syntax:
        raise Refused(Status.NO_SUCH_CLASS, "another SOP class than the context's")
    return str(named)


def _decoded(event: evt.Event, raw: Any, name: str) -> Dataset:
    """The data set of a request; empty where there is none. Raises: Refused."""
    if raw is None or not raw.getbuffer():
        return Dataset()
    if raw.getvalue().count(_ITEM) > 2 * MOST_REFERENCES:  # decoding 100,000 items takes ten seconds
        raise Refused(Status.RESOURCE_LIMITATION, "more items than any real step has")
    try:
        found: Dataset = getattr(event, name)
        found.walk(lambda *_: None)  # what is read lazily is read now
    except Exception as error:  # the codec raises whatever damaged bytes bring it to
        raise Refused(Status.INVALID_VALUE, f"cannot be decoded: {type(error).__name__}") from error
    return found
