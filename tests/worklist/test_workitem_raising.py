"""The steps of a raise at a manager in memory that fails wherever chance wants it: nothing is ever lowered."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worklist.ups_items import raise_of
from triage_node.domain.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError
from triage_node.domain.priority import Urgency
from triage_node.workitems.foreign import RANK, Workitem
from triage_node.workitems.replies import Verdict
from triage_node.worklist.adapter import Answer, Outcome
from triage_node.worklist.workitem_raising import raise_reading, withdraw_reading

STUDY = "1.2.1"
STATES = ("SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED")
FAULTS = ("none", "none", "none", "lost before", "lost after", "refused", "claimed", "raised by another", "gone")


class Manager:
    """Each step takes the next fault; `lost after`: the change is made, its acknowledgement never comes."""

    def __init__(self, items: list[Workitem], faults: list[str]) -> None:
        self.items = {i.uid: i for i in items}
        self._faults = list(faults)
        self.most = {i.uid: RANK[i.priority] for i in items}
        """The highest priority that others gave each workitem."""

    def _step(self, uid: str = "") -> str:
        fault = self._faults.pop(0) if self._faults else "none"
        if fault == "lost before":
            raise TransientDeliveryError("lost")
        if fault == "refused":
            raise PermanentDeliveryError("refused")
        if uid in self.items:
            if fault == "claimed":
                self.items[uid] = replace(self.items[uid], state="IN PROGRESS")
            elif fault == "raised by another":
                self.items[uid] = replace(self.items[uid], priority="HIGH")
                self.most[uid] = RANK["HIGH"]
            elif fault == "gone":
                del self.items[uid]
        return fault

    def find(self, study_instance_uid="", accession_number=""):
        self._step()
        return [i for i in self.items.values() if study_instance_uid in i.study_instance_uids]

    def get(self, uid):
        self._step(uid)
        return self.items.get(uid)

    def set_priority(self, uid, priority):
        fault = self._step(uid)
        item = self.items.get(uid)
        if item is None or item.state != "SCHEDULED":
            return Verdict.LOOK_AGAIN
        self.items[uid] = replace(item, priority=priority)
        if fault == "lost after":
            raise TransientDeliveryError("lost")
        return Verdict.DONE

    def create(self, uid, item):
        fault = self._step()
        if uid in self.items:
            return Verdict.EXISTS
        study = item.ReferencedRequestSequence[0].StudyInstanceUID
        self.items[uid] = Workitem(uid, "SCHEDULED", item.ScheduledProcedureStepPriority, frozenset({study}))
        if fault == "lost after":
            raise TransientDeliveryError("lost")
        return Verdict.DONE


def some_items() -> st.SearchStrategy[list[Workitem]]:
    item = st.builds(
        Workitem,
        uid=st.sampled_from(["1.3.1", "1.3.2", "1.3.3"]),
        state=st.sampled_from(STATES),
        priority=st.sampled_from(["LOW", "MEDIUM", "HIGH"]),
        study_instance_uids=st.sampled_from([frozenset({STUDY}), frozenset({"1.2.9"})]),
    )
    return st.lists(item, max_size=3, unique_by=lambda i: i.uid)


def tried(step) -> Answer | None:
    try:
        return step()
    except DeliveryError:
        return None


@given(some_items(), st.lists(st.sampled_from(FAULTS), max_size=12), st.sampled_from(Urgency), st.booleans())
def test_whatever_fails_no_reading_ends_lower_than_before_our_raise(items, faults, urgency, create):
    manager = Manager(items, faults)
    before = {i.uid: i for i in items}
    message = raise_of(STUDY, urgency)
    for _ in range(2):  # at least once
        answer = tried(lambda: raise_reading(manager, message, "ris", create))
    after_raise = dict(manager.items)
    if answer is not None:
        for _ in range(2):
            tried(lambda: withdraw_reading(manager, answer))
    for uid, item in manager.items.items():
        if uid not in before:
            continue
        assert RANK[item.priority] >= RANK[before[uid].priority]
        if before[uid].state != "SCHEDULED":
            assert item.priority in (before[uid].priority, "HIGH" if manager.most[uid] == RANK["HIGH"] else "")
        if STUDY not in before[uid].study_instance_uids:
            assert RANK[item.priority] == manager.most[uid]
        assert RANK[after_raise.get(uid, item).priority] >= RANK[before[uid].priority]


@given(some_items(), st.sampled_from(Urgency), st.booleans())
def test_without_faults_a_raise_and_its_withdrawal_leave_everything_as_it_was(items, urgency, create):
    manager = Manager(items, [])
    answer = raise_reading(manager, raise_of(STUDY, urgency), "ris", create)
    if answer.outcome is Outcome.ACKNOWLEDGED:
        assert withdraw_reading(manager, answer).outcome is Outcome.ACKNOWLEDGED
    assert {i.uid: i for i in items}.items() <= manager.items.items()


def test_a_raise_that_was_never_made_has_nothing_to_take_back():
    manager = Manager([Workitem("1.3.1", "SCHEDULED", "HIGH", frozenset({STUDY}))], ["refused"])
    assert withdraw_reading(manager, Answer(Outcome.TOO_LATE)).outcome is Outcome.NOTHING_SENT
    assert manager.items["1.3.1"].priority == "HIGH"


def test_a_workitem_that_is_gone_is_too_late_to_take_back():
    answer = withdraw_reading(Manager([], []), Answer(Outcome.ACKNOWLEDGED, "1.3.1=LOW", "1.3.1=HIGH"))
    assert (answer.outcome, answer.words) == (Outcome.TOO_LATE, "the workitem is gone")


def test_a_creation_whose_acknowledgement_is_lost_is_known_as_ours_and_made_once():
    manager = Manager([], ["none", "none", "lost after"])
    with pytest.raises(TransientDeliveryError) as lost:
        raise_reading(manager, raise_of(STUDY), "ris", create_missing=True)
    (uid,) = manager.items
    assert (lost.value.held, lost.value.written) == (f"{uid}=", f"{uid}=HIGH")
    again = raise_reading(manager, raise_of(STUDY), "ris", create_missing=True)
    assert (again.outcome, again.held, again.written) == (Outcome.ACKNOWLEDGED, f"{uid}=HIGH", f"{uid}=HIGH")
    assert list(manager.items) == [uid]


def test_a_second_reading_of_which_the_answer_is_lost_is_told_with_the_first():
    items = [Workitem(uid, "SCHEDULED", "LOW", frozenset({STUDY})) for uid in ("1.3.1", "1.3.2")]
    manager = Manager(items, ["none", "none", "lost after"])
    with pytest.raises(TransientDeliveryError) as lost:
        raise_reading(manager, raise_of(STUDY), "ris", create_missing=False)
    assert (lost.value.held, lost.value.written) == ("1.3.1=LOW, 1.3.2=LOW", "1.3.1=HIGH, 1.3.2=HIGH")
