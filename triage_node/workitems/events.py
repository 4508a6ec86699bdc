"""What subscribers are told. Source: PS3.4 table CC.2.4-1 and CC.2.4.3.

Event 5, "UPS Assigned", is due when a station or a person is scheduled for an item. This manager schedules nobody, and lets
nobody else do so, so that it never has one to send.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from triage_node.domain.workitem import ItemState, Json, Workitem
from triage_node.workitems.dataset import code, instant
from triage_node.workitems.plain import from_json, to_json


class EventType(IntEnum):
    STATE_REPORT = 1
    CANCEL_REQUESTED = 2
    PROGRESS_REPORT = 3
    STATUS_CHANGE = 4


def state_report(item: Workitem) -> Json:
    """Sent at creation, at each change of state, readiness or priority.

    The standard has no event for a changed priority; it is added to the report of the state (a Standard Extended event),
    so that a watcher learns of a raise without asking for the whole list again.
    """
    body = Dataset()
    body.ProcedureStepState = item.state.value
    body.InputReadinessState = "READY" if item.input_ready else "INCOMPLETE"
    body.ScheduledProcedureStepPriority = item.priority.value
    if item.state is ItemState.CANCELED:
        body.ReasonForCancellation = item.ended.value if item.ended else ""
        progress = from_json(item.performed).get("ProcedureStepProgressInformationSequence") or ()
        for told in progress:
            if told.get("ProcedureStepDiscontinuationReasonCodeSequence"):
                body.ProcedureStepDiscontinuationReasonCodeSequence = (
                    told.ProcedureStepDiscontinuationReasonCodeSequence
                )
    return to_json(body)


def cancel_requested(information: Dataset, requesting_ae: str) -> Json:
    body = Dataset()
    body.RequestingAE = requesting_ae
    for keyword in ("ReasonForCancellation", "ContactURI", "ContactDisplayName"):
        if keyword in information:
            setattr(body, keyword, str(information.get(keyword) or ""))
    reasons = information.get("ProcedureStepDiscontinuationReasonCodeSequence")
    if reasons:
        body.ProcedureStepDiscontinuationReasonCodeSequence = reasons
    return to_json(body)


def progress_report(item: Workitem) -> Json:
    body = Dataset()
    told = from_json(item.performed).get("ProcedureStepProgressInformationSequence")
    body.ProcedureStepProgressInformationSequence = told if told is not None else Sequence()
    return to_json(body)


def restarted() -> Json:
    """The manager was started: its subscriptions and its list are those from before."""
    body = Dataset()
    body.SCPStatus, body.SubscriptionListStatus, body.UnifiedProcedureStepListStatus = (
        "RESTARTED",
        "WARM START",
        "WARM START",
    )
    return to_json(body)


def with_cancellation(performed: Json, at: datetime) -> Json:
    """What the performer told, with time and reason of the cancellation unless it told them: without, no item may be
    CANCELED (PS3.4 table CC.2.5-3, final state X; reason of CID 9300)."""
    held = from_json(performed)
    progress = list(held.get("ProcedureStepProgressInformationSequence") or ()) or [Dataset()]
    if not progress[0].get("ProcedureStepCancellationDateTime"):
        progress[0].ProcedureStepCancellationDateTime = instant(at)
    if not progress[0].get("ProcedureStepDiscontinuationReasonCodeSequence"):
        reason = code("110513", "DCM", "Discontinued for unspecified reason")
        progress[0].ProcedureStepDiscontinuationReasonCodeSequence = Sequence([reason])
    held.ProcedureStepProgressInformationSequence = Sequence(progress)
    return to_json(held)
