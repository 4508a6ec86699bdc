"""The state machine of a workitem as one table. Source: PS3.4 CC.1.1, table CC.1.1-2.

A claim brings a Transaction UID of the performer's own, so each present one is "correct" until somebody has claimed; from
then on only the one that the claim brought is. A second claim is therefore told "already IN PROGRESS" whichever UID it
brings, which says more than "wrong Transaction UID" (STANDARDS.md 3.2.8).
"""

from __future__ import annotations

from triage_node.domain.workitem import ItemState
from triage_node.workitems.status import Status

_S = ItemState
_TABLE: dict[ItemState, dict[ItemState, Status]] = {
    # asked -> held -> answer; SUCCESS means that the change is made
    _S.IN_PROGRESS: {
        _S.SCHEDULED: Status.SUCCESS,
        _S.IN_PROGRESS: Status.ALREADY_IN_PROGRESS,
        _S.COMPLETED: Status.MAY_NO_LONGER_BE_UPDATED,
        _S.CANCELED: Status.MAY_NO_LONGER_BE_UPDATED,
    },
    _S.COMPLETED: {
        _S.SCHEDULED: Status.NOT_YET_IN_PROGRESS,
        _S.IN_PROGRESS: Status.SUCCESS,
        _S.COMPLETED: Status.ALREADY_COMPLETED_WARNING,
        _S.CANCELED: Status.MAY_NO_LONGER_BE_UPDATED,
    },
    _S.CANCELED: {
        _S.SCHEDULED: Status.NOT_YET_IN_PROGRESS,
        _S.IN_PROGRESS: Status.SUCCESS,
        _S.COMPLETED: Status.MAY_NO_LONGER_BE_UPDATED,
        _S.CANCELED: Status.ALREADY_CANCELED,
    },
}
_CANCEL_REQUEST: dict[ItemState, Status] = {
    _S.SCHEDULED: Status.SUCCESS,
    _S.IN_PROGRESS: Status.SUCCESS,
    _S.COMPLETED: Status.ALREADY_COMPLETED,
    _S.CANCELED: Status.ALREADY_CANCELED,
}


def answer_to_change(asked: ItemState, held: ItemState, owner: str, given: str, final_data: bool) -> Status:
    """The answer to N-ACTION "change state". `owner`, `given`: Transaction UIDs of the claim and of this request.

    `final_data`: what the performer told meets the requirements of the final state.
    """
    if asked is ItemState.SCHEDULED:
        return Status.ONLY_CREATE_SCHEDULES
    claims = asked is ItemState.IN_PROGRESS
    if not given or (owner and given != owner and not claims):
        return Status.WRONG_TRANSACTION_UID
    answer = _TABLE[asked][held]
    if answer is Status.SUCCESS and not claims and not final_data:
        return Status.FINAL_REQUIREMENTS_NOT_MET
    return answer


def answer_to_update(held: ItemState, owner: str, given: str) -> Status:
    """The answer to N-SET: anybody while SCHEDULED, the owner of the claim while IN PROGRESS, nobody afterwards.

    Whoever gives a Transaction UID takes the item for claimed, and is told that it is not (PS3.4 CC.2.6.2).
    """
    if held in (ItemState.COMPLETED, ItemState.CANCELED):
        return Status.MAY_NO_LONGER_BE_UPDATED
    if held is ItemState.SCHEDULED and given:
        return Status.NOT_YET_IN_PROGRESS
    if held is ItemState.IN_PROGRESS and given != owner:
        return Status.WRONG_TRANSACTION_UID
    return Status.SUCCESS


def answer_to_cancel_request(held: ItemState) -> Status:
    """The answer to N-ACTION "request cancel", by itself; the performer of an item IN PROGRESS must still be told."""
    return _CANCEL_REQUEST[held]
