"""The workitem of a study against its row: invariants of workitems/follow.py on random histories."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage_node.domain.identifiers import is_uid
from triage_node.domain.priority import Flag, OrderClass, ReadingState, Urgency, WorklistRow
from triage_node.domain.workitem import OPEN_STATES, Ended, ItemPriority, ItemState, Workitem
from triage_node.workitems.follow import ON_THE_LIST, Step, Wanted, priority_of, steps, workitem_uid

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
WANTS = st.builds(Wanted, st.sampled_from(ReadingState), st.sampled_from(ItemPriority), input_ready=st.booleans())


def applied(item, want):
    """What the service makes of the steps."""
    made = 0
    for step, ended in steps(item, want):
        if step is Step.CREATE:
            attempt = 1 if item is None else item.attempt + 1
            item = Workitem(
                workitem_uid("1.2.3", attempt), "1.2.3", attempt, want.priority, NOW, NOW, input_ready=want.input_ready
            )
            made += 1
        elif step is Step.REVISE:
            assert item.state is ItemState.SCHEDULED
            item = replace(item, own_priority=want.priority, input_ready=want.input_ready, comment=want.comment)
        elif step is Step.CLAIM:
            assert item.state is ItemState.SCHEDULED
            item = replace(item, state=ItemState.IN_PROGRESS)
        else:
            assert item.state in OPEN_STATES
            state = ItemState.COMPLETED if step is Step.COMPLETE else ItemState.CANCELED
            item = replace(item, state=state, ended=ended)
    assert made <= 1
    return item


@given(st.lists(WANTS, max_size=12), st.data())
def test_item_follows_any_history_of_its_row(history, data):
    item = None
    for want in history:
        before, item = item, applied(item, want)
        assert list(steps(item, want)) == []  # invariant 4
        listed = want.reading_state in ON_THE_LIST
        withdrawn = item is not None and item.ended is Ended.WITHDRAWN
        if listed and not withdrawn:  # invariants 1 and 2
            being_read = want.reading_state is ReadingState.BEING_READ
            assert item.state is (ItemState.IN_PROGRESS if being_read else ItemState.SCHEDULED)
        if not listed:
            assert item is None or item.state not in OPEN_STATES
        if before is not None and before.state is ItemState.IN_PROGRESS and item.uid == before.uid:  # invariant 3
            assert item.own_priority is before.own_priority
        if item is not None and item.state is ItemState.SCHEDULED and data.draw(st.booleans()):
            item = replace(item, state=ItemState.CANCELED, ended=Ended.WITHDRAWN)


@pytest.mark.parametrize(
    ("before", "now", "comes_back"),
    [("LOW", "LOW", False), ("LOW", "MEDIUM", True), ("LOW", "HIGH", True), ("HIGH", "LOW", False), ("HIGH", "HIGH", False)],
)  # fmt: skip
def test_withdrawn_item_comes_back_only_when_more_urgent(before, now, comes_back):
    item = Workitem(
        "2.25.1", "1.2.3", 1, ItemPriority(before), NOW, NOW, state=ItemState.CANCELED, ended=Ended.WITHDRAWN
    )
    found = steps(item, Wanted(ReadingState.WAITING, ItemPriority(now)))
    assert [step for step, _ in found] == ([Step.CREATE] if comes_back else [])


def test_row_that_expired_cancels_and_one_that_was_read_completes():
    item = Workitem("2.25.1", "1.2.3", 1, ItemPriority.LOW, NOW, NOW)
    assert steps(item, Wanted(ReadingState.STATUS_UNKNOWN)) == [(Step.CANCEL, Ended.EXPIRED)]
    assert steps(item, Wanted(ReadingState.READ)) == [(Step.CLAIM, None), (Step.COMPLETE, Ended.READ)]


def row(**values):
    return WorklistRow("1.2.3", OrderClass.ROUTINE, NOW, **values)


@pytest.mark.parametrize(
    ("held", "priority"),
    [
        (row(), "LOW"),
        (row(pinned_at=NOW), "HIGH"),
        (row(flag=Flag("ich", Urgency.HIGH, "w", NOW)), "HIGH"),
        (row(flag=Flag("ich", Urgency.MODERATE, "w", NOW)), "MEDIUM"),
        (row(flag=Flag("ich", Urgency.CRITICAL, "w", NOW), live=False), "LOW"),
        (replace(row(), order_class=OrderClass.STAT), "MEDIUM"),
        (replace(row(), order_class=OrderClass.URGENT), "MEDIUM"),
    ],
)
def test_priority_of_a_row(held, priority):
    assert priority_of(held).value == priority


def test_uid_is_the_same_everywhere_and_another_for_each_attempt():
    assert workitem_uid("1.2.3", 1) == workitem_uid("1.2.3", 1)
    assert len({workitem_uid(s, a) for s in ("1.2.3", "1.2.4") for a in (1, 2)}) == 4
    assert is_uid(workitem_uid("1.2.3", 1))


def test_a_peer_raises_and_nobody_lowers():
    item = Workitem("2.25.1", "1.2.3", 1, ItemPriority.MEDIUM, NOW, NOW)
    assert item.priority is ItemPriority.MEDIUM
    assert replace(item, asked_priority=ItemPriority.HIGH).priority is ItemPriority.HIGH
    assert replace(item, asked_priority=ItemPriority.LOW).priority is ItemPriority.MEDIUM
