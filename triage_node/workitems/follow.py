"""How a study's workitem follows its row of the reading list, as a pure function of both.

Invariants (tests/workitems/test_follow.py):
(1) a study on the list has exactly one open workitem, except one that somebody canceled before it was read and that has
    not become more urgent since;
(2) an open workitem is IN PROGRESS exactly while its row is being read;
(3) the priority of an item IN PROGRESS is left as it is, and no final item is changed;
(4) applying the steps and asking again gives none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from triage_node.domain.identifiers import deterministic_uid
from triage_node.domain.priority import OrderClass, ReadingState, Urgency, WorklistRow
from triage_node.domain.workitem import OPEN_STATES, Ended, ItemPriority, ItemState, Workitem

ON_THE_LIST = frozenset({ReadingState.WAITING, ReadingState.BEING_READ, ReadingState.NOT_CONFIRMED})
_RANK = {priority: rank for rank, priority in enumerate(ItemPriority)}


class Step(StrEnum):
    CREATE = "create"
    REVISE = "revise"  # priority, comment, readiness
    CLAIM = "claim"
    COMPLETE = "complete"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the row asks of an item. `comment`: the flag in words."""

    reading_state: ReadingState
    priority: ItemPriority = ItemPriority.LOW
    comment: str = ""
    input_ready: bool = False


def workitem_uid(study_instance_uid: str, attempt: int) -> str:
    """The same on every machine; a study that was put back on the list gets its next attempt."""
    return deterministic_uid("workitem", study_instance_uid, str(attempt))


def priority_of(row: WorklistRow) -> ItemPriority:
    """Pinned by a person, or flagged critical or high: HIGH. Flagged moderate, STAT or URGENT: MEDIUM. Else LOW.

    `row` is as readers may see it: in observe mode without its flag. A flag on a study that is not live raises nothing.
    """
    flag = row.flag if row.live else None
    if row.pinned_at is not None or (flag is not None and flag.urgency is not Urgency.MODERATE):
        return ItemPriority.HIGH
    if flag is not None or row.order_class is not OrderClass.ROUTINE:
        return ItemPriority.MEDIUM
    return ItemPriority.LOW


def wanted(row: WorklistRow, input_ready: bool) -> Wanted:
    """`row` as readers may see it."""
    words = row.flag.words if row.flag is not None and row.live else ""
    return Wanted(row.reading_state, priority_of(row), words, input_ready)


def steps(item: Workitem | None, want: Wanted) -> Sequence[tuple[Step, Ended | None]]:
    """What is to be done to the newest item of a study (None: it has none), in order."""
    if want.reading_state not in ON_THE_LIST:
        return _leave(item, want.reading_state)
    being_read = want.reading_state is ReadingState.BEING_READ
    claim: list[tuple[Step, Ended | None]] = [(Step.CLAIM, None)] if being_read else []
    if item is None:
        return [(Step.CREATE, None), *claim]
    if item.state not in OPEN_STATES:
        if item.ended is Ended.WITHDRAWN and not being_read and _RANK[want.priority] >= _RANK[item.own_priority]:
            return []
        return [(Step.CREATE, None), *claim]
    if item.state is ItemState.IN_PROGRESS:
        return [] if being_read else [(Step.CANCEL, Ended.LAPSED), (Step.CREATE, None)]
    held = (item.own_priority, item.comment, item.input_ready)
    revise = [(Step.REVISE, None)] if held != (want.priority, want.comment, want.input_ready) else []
    return [*revise, *claim]


def _leave(item: Workitem | None, reading_state: ReadingState) -> Sequence[tuple[Step, Ended | None]]:
    if item is None or item.state not in OPEN_STATES:
        return []
    if reading_state is not ReadingState.READ:
        return [(Step.CANCEL, Ended.EXPIRED)]
    claim: list[tuple[Step, Ended | None]] = [(Step.CLAIM, None)] if item.state is ItemState.SCHEDULED else []
    return [*claim, (Step.COMPLETE, Ended.READ)]
