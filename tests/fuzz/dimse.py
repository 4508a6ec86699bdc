"""Data sets of commands that are no C-STORE, as pynetdicom hands them to the gateway's handlers (UPS, MPPS, IAN).

An input: which request, in which transfer syntax, the bytes of the data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.dimse_primitives import C_FIND, N_ACTION, N_CREATE, N_SET
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContextTuple
from pynetdicom.sop_class import (
    InstanceAvailabilityNotification,
    ModalityPerformedProcedureStep,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
)

from tests.fuzz import corpus
from tests.support.deciding import Site
from triage_node.domain.priority import ListPolicy
from triage_node.gateway import announcement_scp, ups_scp
from triage_node.gateway.workitem_service import WorkitemService
from triage_node.workitems.follow import workitem_uid

LONGEST = 1 << 14
STUDY, STEP = "1.2.3", "1.2.77"
ITEM = workitem_uid(STUDY, 1)
_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


def _data_set(**values: Any) -> Dataset:
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, Sequence([_data_set(**v) for v in value]) if isinstance(value, list) else value)
    return found


def seeds() -> Iterator[bytes]:
    image = {"ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "ReferencedSOPInstanceUID": "1.2.3.1.1"}
    told = [
        _data_set(
            PerformedProcedureStepStatus="IN PROGRESS",
            ScheduledStepAttributesSequence=[{"StudyInstanceUID": STUDY}],
            PerformedSeriesSequence=[],
        ),
        _data_set(
            PerformedProcedureStepStatus="COMPLETED",
            PerformedSeriesSequence=[{"SeriesInstanceUID": "1.2.3.1", "ReferencedImageSequence": [image]}],
        ),
        _data_set(
            StudyInstanceUID=STUDY,
            ReferencedPerformedProcedureStepSequence=[],
            ReferencedSeriesSequence=[
                {"SeriesInstanceUID": "1.2.3.1", "ReferencedSOPSequence": [image | {"InstanceAvailability": "ONLINE"}]}
            ],
        ),
        _data_set(ProcedureStepState="IN PROGRESS", TransactionUID="2.25.111"),
        _data_set(ScheduledProcedureStepPriority="HIGH", ReferencedRequestSequence=[{"StudyInstanceUID": STUDY}]),
        _data_set(ReceivingAE="WATCH1", DeletionLock="TRUE"),
    ]
    for request in range(_REQUESTS):
        for syntax in range(2):
            for data in told:
                yield bytes([request, syntax]) + (encode(data, bool(syntax), True) or b"")
    for data in corpus.small(LONGEST // 2):
        yield bytes([0, 0]) + data[132:]


_REQUESTS = 10


def prepare(folder: Path) -> Callable[[bytes], None]:
    site = Site(folder)
    site.arrive(STUDY)
    service = WorkitemService(
        site.store, lambda: datetime.now(UTC), lambda row: row, ListPolicy().bounds, frozenset({"WATCH1"}), True
    )
    service.follow(always=True)
    steps = dict(announcement_scp.handlers(site.store, lambda: datetime.now(UTC), "CT1", "127.0.0.1"))
    items = dict(ups_scp.handlers(service, "READ1", "127.0.0.1"))

    def check(data: bytes) -> None:
        if len(data) < 2:
            return
        request, handlers, kind, abstract = _request(data[0] % _REQUESTS, BytesIO(data[2:]), steps, items)
        context = PresentationContextTuple(1, UID(abstract), UID(_SYNTAXES[data[1] % 2]))
        association = SimpleNamespace()
        event = evt.Event(
            association,  # type: ignore[arg-type]
            kind,
            {"request": request, "context": context, "_is_cancelled": lambda _: False},
        )
        answer = handlers[kind](event)
        for status, _ in answer if kind is evt.EVT_C_FIND else (answer,):
            said = int(status.Status) if isinstance(status, Dataset) else int(status)
            # on a sound store "processing failure" is what only an error of ours can make
            assert said != 0x0110 or isinstance(status, Dataset), hex(said)

    return check


def _request(number: int, data: BytesIO, steps: Any, items: Any) -> tuple[Any, Any, Any, str]:
    """Which request it is: (primitive, its handlers, event, abstract syntax)."""
    uid = STEP if number < 3 else ITEM
    if number in (0, 1, 3):
        create = N_CREATE()
        create.AffectedSOPClassUID = (
            ModalityPerformedProcedureStep,
            InstanceAvailabilityNotification,
            "",
            UnifiedProcedureStepPush,
        )[number]
        create.AffectedSOPInstanceUID, create.AttributeList = uid, data
        return create, items if number == 3 else steps, evt.EVT_N_CREATE, create.AffectedSOPClassUID
    if number in (2, 4):
        change = N_SET()
        change.RequestedSOPClassUID = ModalityPerformedProcedureStep if number == 2 else UnifiedProcedureStepPush
        change.RequestedSOPInstanceUID, change.ModificationList = uid, data
        return change, steps if number == 2 else items, evt.EVT_N_SET, change.RequestedSOPClassUID
    if number == 5:
        find = C_FIND()
        find.AffectedSOPClassUID, find.Identifier = UnifiedProcedureStepPull, data
        return find, items, evt.EVT_C_FIND, UnifiedProcedureStepPull
    action = N_ACTION()
    action.RequestedSOPClassUID, action.ActionTypeID = UnifiedProcedureStepPush, number - 5
    action.RequestedSOPInstanceUID, action.ActionInformation = uid, data
    return action, items, evt.EVT_N_ACTION, UnifiedProcedureStepPush
