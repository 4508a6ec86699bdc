"""What a raise does at a real UPS manager, whatever it speaks: subclass it as `Test...` beside the contract suite."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from tests.worklist.adapter_contract import KNOWN, AdapterContract, Peer
from tests.worklist.ups_items import QUALITY_CONTROL, Item, raise_of
from triage_node.domain.priority import Urgency
from triage_node.worklist.adapter import Outcome, WorklistAdapter

OTHER = "1.2.9"
LONGEST = "A" * 31 + "^" + "B" * 32
NAMES = {
    "umlauts": "Müßig^Jürgen Åse",
    "64 characters": LONGEST,
    "CJK": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "64 characters that take three bytes each": "漢" * 64,
}


class Manager(Peer, Protocol):
    def make(self, **settings: Any) -> WorklistAdapter: ...
    def held(self) -> dict[str, Item]: ...


class RaisingSuite(AdapterContract):
    def manager(self, *items: Item) -> Manager:
        """A manager that holds these workitems; without any, those of the contract suite."""
        raise NotImplementedError

    def make(self):
        manager = self.manager()
        return manager.make(), manager

    def test_a_workitem_that_names_only_the_accession_is_found_by_it(self):
        manager = self.manager(Item("1.3.1", "", "A1"))
        assert manager.make().raise_study(raise_of()).outcome is Outcome.ACKNOWLEDGED
        assert manager.held()["1.3.1"].priority == "HIGH"

    def test_a_workitem_of_the_accession_that_names_another_study_is_left_alone(self):
        manager = self.manager(Item("1.3.1", OTHER, "A1"))
        assert manager.make().raise_study(raise_of()).outcome is Outcome.UNKNOWN_STUDY
        assert manager.held()["1.3.1"].priority == "LOW"

    def test_both_readings_of_a_study_are_raised_and_given_back_and_its_other_work_is_left_alone(self):
        items = [Item("1.3.1", KNOWN), Item("1.3.2", KNOWN, priority="MEDIUM")]
        manager = self.manager(*items, Item("1.3.3", KNOWN, code=QUALITY_CONTROL), Item("1.3.4", OTHER))
        adapter = manager.make()
        raised = adapter.raise_study(raise_of())
        assert (raised.held, raised.written) == ("1.3.1=LOW, 1.3.2=MEDIUM", "1.3.1=HIGH, 1.3.2=HIGH")
        assert {u: i.priority for u, i in manager.held().items()} == {
            "1.3.1": "HIGH",
            "1.3.2": "HIGH",
            "1.3.3": "LOW",
            "1.3.4": "LOW",
        }
        assert adapter.withdraw_raise(raise_of(), raised).outcome is Outcome.ACKNOWLEDGED
        assert [i.priority for i in manager.held().values()] == ["LOW", "MEDIUM", "LOW", "LOW"]

    def test_of_two_readings_the_one_that_waits_is_raised_and_the_claimed_one_left_alone(self):
        manager = self.manager(Item("1.3.1", KNOWN, state="IN PROGRESS"), Item("1.3.2", KNOWN))
        raised = manager.make().raise_study(raise_of())
        assert (raised.outcome, raised.written) == (Outcome.ACKNOWLEDGED, "1.3.2=HIGH")
        assert manager.held()["1.3.1"].priority == "LOW"

    @pytest.mark.parametrize("state", ["IN PROGRESS", "COMPLETED", "CANCELED"])
    def test_a_reading_that_no_longer_waits_is_too_late_and_nothing_is_created(self, state):
        manager = self.manager(Item("1.3.1", KNOWN, state=state))
        answer = manager.make(create_missing=True).raise_study(raise_of())
        assert (answer.outcome, answer.words) == (Outcome.TOO_LATE, f"the reading is {state}")
        assert {u: i.priority for u, i in manager.held().items()} == {"1.3.1": "LOW"}

    def test_what_the_manager_held_before_is_never_taken_back_below_that(self):
        manager = self.manager(Item("1.3.1", KNOWN, priority="HIGH"))
        adapter = manager.make()
        raised = adapter.raise_study(raise_of(urgency=Urgency.MODERATE))
        assert (raised.outcome, raised.held, raised.written) == (Outcome.ACKNOWLEDGED, "1.3.1=HIGH", "1.3.1=HIGH")
        adapter.withdraw_raise(raise_of(), raised)
        assert manager.held()["1.3.1"].priority == "HIGH"

    def test_a_raise_is_not_taken_back_from_a_reading_that_somebody_has_begun(self):
        manager = self.manager(Item("1.3.1", KNOWN))
        adapter = manager.make()
        raised = adapter.raise_study(raise_of())
        self.begin_reading(manager, "1.3.1")
        assert adapter.withdraw_raise(raise_of(), raised).outcome is Outcome.TOO_LATE
        assert manager.held()["1.3.1"].priority == "HIGH"

    def begin_reading(self, manager: Any, uid: str) -> None:
        manager.held()[uid].state = "IN PROGRESS"

    @pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
    def test_a_missing_reading_is_created_once_and_the_manager_understands_the_name(self, name):
        manager = self.manager(Item("1.3.9", OTHER))
        adapter = manager.make(create_missing=True)
        asked = raise_of(patient_name=name, patient_id="P1")
        first = adapter.raise_study(asked)
        assert (first.outcome, adapter.raise_study(asked).outcome) == (Outcome.ACKNOWLEDGED, Outcome.ACKNOWLEDGED)
        (new,) = (i for i in manager.held().values() if i.uid != "1.3.9")
        assert first.held == f"{new.uid}="
        assert (new.study, new.accession, new.state, new.priority) == (KNOWN, "A1", "SCHEDULED", "HIGH")
        assert new.created == {"PatientName": name, "PatientID": "P1"}

    def test_a_created_reading_stays_with_a_neutral_priority_when_the_raise_is_taken_back(self):
        manager = self.manager(Item("1.3.9", OTHER))
        adapter = manager.make(create_missing=True)
        raised = adapter.raise_study(raise_of())
        assert adapter.withdraw_raise(raise_of(), raised).outcome is Outcome.ACKNOWLEDGED
        (new,) = (i for i in manager.held().values() if i.uid != "1.3.9")
        assert (new.state, new.priority) == ("SCHEDULED", "MEDIUM")
