"""UPS Push, Pull, Watch, Event and Query as SCP. Source: PS3.4 annex CC, PS3.7 sections 9 and 10.

In N-GET, N-SET and N-ACTION the command names UPS Push, whichever of the classes the context is of (PS3.4 CC.3); every
class is therefore served by the same handlers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
    Verification,
)

from triage_node.domain.errors import StoreError
from triage_node.gateway.workitem_service import WELL_KNOWN, Caller, WorkitemService
from triage_node.workitems.plain import BadDataSet, checked
from triage_node.workitems.status import Status

CLASSES = (
    UnifiedProcedureStepPush,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepWatch,
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepQuery,
)
TRANSFER_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
MESSAGE_BYTES = 1 << 20
"""Longest message that is taken; real ones have a few hundred bytes."""
_CHANGE_STATE, _REQUEST_CANCEL, _SUBSCRIBE, _UNSUBSCRIBE, _SUSPEND = range(1, 6)
_PENDING = 0xFF00

_Answer = tuple[int, Dataset | None]

log = logging.getLogger(__name__)


def contexts() -> list[PresentationContext]:
    """What is offered."""
    return [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in (Verification, *CLASSES)]


def handlers(service: WorkitemService, calling_ae_title: str, address: str) -> list[tuple[Any, Callable[..., Any]]]:
    """pynetdicom's handlers for one association."""
    scp = _Scp(service, Caller(f"{calling_ae_title} at {address}", calling_ae_title))
    return [
        (evt.EVT_C_FIND, scp.find),
        (evt.EVT_N_GET, scp.get),
        (evt.EVT_N_SET, scp.set),
        (evt.EVT_N_CREATE, scp.create),
        (evt.EVT_N_ACTION, scp.action),
    ]


class _Scp:
    def __init__(self, service: WorkitemService, caller: Caller) -> None:
        self._service, self._caller = service, caller

    def find(self, event: evt.Event) -> Iterator[_Answer]:
        try:
            status, found = self._service.find(_decoded(event, "identifier"))
        except BadDataSet as error:
            log.warning("C-FIND of %s: %s", self._caller.name, error)
            status, found = Status.DOES_NOT_MATCH_SOP_CLASS, []
        except StoreError:
            log.exception("C-FIND of %s", self._caller.name)
            status, found = Status.OUT_OF_RESOURCES, []
        return self._answers(event, status, found)

    def _answers(self, event: evt.Event, status: Status, found: list[Dataset]) -> Iterator[_Answer]:
        for answer in found:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield _PENDING, answer
        if status is not Status.SUCCESS:
            yield int(status), None

    def get(self, event: evt.Event) -> _Answer:
        def answer() -> _Answer:
            found = self._service.get(str(event.request.RequestedSOPInstanceUID or ""), self._caller)
            if found is None:
                return int(Status.NO_SUCH_WORKITEM), None
            wanted = event.attribute_identifiers
            if not wanted:
                return int(Status.SUCCESS), found
            part = Dataset()
            part.SpecificCharacterSet = found.SpecificCharacterSet
            for tag in wanted:
                if tag in found:
                    part.add(found[tag])
            return int(Status.SUCCESS), part

        return self._guarded(answer)

    def set(self, event: evt.Event) -> _Answer:
        def answer() -> _Answer:
            data = _decoded(event, "modification_list")
            uid = str(event.request.RequestedSOPInstanceUID or "")
            return int(self._service.update(uid, data, _transaction_uid(data), self._caller)), None

        return self._guarded(answer)

    def create(self, event: evt.Event) -> _Answer:
        def answer() -> _Answer:
            uid = str(event.request.AffectedSOPInstanceUID or "")
            return int(self._service.create(uid, _decoded(event, "attribute_list"))), None

        return self._guarded(answer)

    def action(self, event: evt.Event) -> _Answer:
        def answer() -> _Answer:
            information = _decoded(event, "action_information")
            uid = str(event.request.RequestedSOPInstanceUID or "")
            return int(self._act(int(event.action_type or 0), uid, information)), None

        return self._guarded(answer)

    def _act(self, action: int, uid: str, information: Dataset) -> Status:
        service, caller = self._service, self._caller
        if action == _CHANGE_STATE:
            asked = str(information.get("ProcedureStepState") or "")
            return service.change_state(uid, asked, _transaction_uid(information), caller)
        if action == _REQUEST_CANCEL:
            return service.request_cancel(uid, information, caller)
        ae_title = str(information.get("ReceivingAE") or "").strip()
        if action == _SUBSCRIBE:
            keys = None
            if uid in WELL_KNOWN:
                keys = Dataset()
                keys.update({e.tag: e for e in information if e.keyword not in ("ReceivingAE", "DeletionLock")})
            return service.subscribe(uid, ae_title, information.get("DeletionLock") == "TRUE", keys, caller)
        if action == _UNSUBSCRIBE:
            return service.unsubscribe(uid, ae_title, caller)
        if action == _SUSPEND:
            return service.suspend(uid, ae_title, caller)
        return Status.NO_SUCH_ACTION

    def _guarded(self, answer: Callable[[], _Answer]) -> _Answer:
        try:
            return answer()
        except BadDataSet as error:
            log.warning("request of %s cannot be read: %s", self._caller.name, error)
            return int(Status.INVALID_VALUE), None
        except StoreError:
            log.exception("request of %s", self._caller.name)
            return int(Status.PROCESSING_FAILURE), None


def _transaction_uid(data: Dataset) -> str:
    return str(data.get("TransactionUID") or "")


_BYTES = {
    "identifier": "Identifier",
    "modification_list": "ModificationList",
    "attribute_list": "AttributeList",
    "action_information": "ActionInformation",
}
"""What the request calls the bytes that the event decodes."""


def _decoded(event: evt.Event, name: str) -> Dataset:
    """The data set of a request, checked; empty where there is none. Raises: BadDataSet."""
    raw = getattr(event.request, _BYTES[name])
    if raw is None or not raw.getbuffer():
        return Dataset()
    try:
        found = getattr(event, name)
    except Exception as error:  # the codec raises whatever damaged bytes bring it to
        raise BadDataSet(type(error).__name__) from error
    data = checked(found)
    if not data:
        # the codec makes something of any bytes; a query of nothing known would match everything
        raise BadDataSet("nothing in it is known")
    return data
