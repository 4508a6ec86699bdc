"""The state machine against its rules, and against random walks (PS3.4 table CC.1.1-2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from triage_node.domain.workitem import ItemState
from triage_node.workitems.state import answer_to_cancel_request, answer_to_change, answer_to_update
from triage_node.workitems.status import WORDS, Status

S = ItemState
UIDS = st.sampled_from(["", "2.25.1", "2.25.2"])


@pytest.mark.parametrize(
    ("asked", "held", "owner", "given", "answer"),
    [
        (S.IN_PROGRESS, S.SCHEDULED, "", "2.25.1", Status.SUCCESS),
        (S.IN_PROGRESS, S.SCHEDULED, "", "", Status.WRONG_TRANSACTION_UID),
        (S.IN_PROGRESS, S.IN_PROGRESS, "2.25.1", "2.25.2", Status.ALREADY_IN_PROGRESS),
        (S.IN_PROGRESS, S.COMPLETED, "2.25.1", "2.25.2", Status.MAY_NO_LONGER_BE_UPDATED),
        (S.IN_PROGRESS, S.CANCELED, "2.25.1", "2.25.2", Status.MAY_NO_LONGER_BE_UPDATED),
        (S.COMPLETED, S.SCHEDULED, "", "2.25.1", Status.NOT_YET_IN_PROGRESS),
        (S.COMPLETED, S.IN_PROGRESS, "2.25.1", "2.25.1", Status.SUCCESS),
        (S.COMPLETED, S.IN_PROGRESS, "2.25.1", "2.25.2", Status.WRONG_TRANSACTION_UID),
        (S.COMPLETED, S.COMPLETED, "2.25.1", "2.25.1", Status.ALREADY_COMPLETED_WARNING),
        (S.COMPLETED, S.CANCELED, "2.25.1", "2.25.1", Status.MAY_NO_LONGER_BE_UPDATED),
        (S.CANCELED, S.SCHEDULED, "", "2.25.1", Status.NOT_YET_IN_PROGRESS),
        (S.CANCELED, S.COMPLETED, "2.25.1", "2.25.1", Status.MAY_NO_LONGER_BE_UPDATED),
        (S.CANCELED, S.CANCELED, "2.25.1", "2.25.1", Status.ALREADY_CANCELED),
        (S.SCHEDULED, S.IN_PROGRESS, "2.25.1", "2.25.1", Status.ONLY_CREATE_SCHEDULES),
    ],
)
def test_answer_of_the_table(asked, held, owner, given, answer):
    assert answer_to_change(asked, held, owner, given, True) is answer


def test_final_state_needs_what_was_performed():
    assert answer_to_change(S.COMPLETED, S.IN_PROGRESS, "2.25.1", "2.25.1", False) is Status.FINAL_REQUIREMENTS_NOT_MET


@pytest.mark.parametrize(
    ("held", "answer"),
    [
        (S.SCHEDULED, Status.SUCCESS),
        (S.IN_PROGRESS, Status.SUCCESS),
        (S.COMPLETED, Status.ALREADY_COMPLETED),
        (S.CANCELED, Status.ALREADY_CANCELED),
    ],
)
def test_answer_to_a_cancel_request(held, answer):
    assert answer_to_cancel_request(held) is answer


@given(asked=st.sampled_from(S), held=st.sampled_from(S), owner=UIDS, given=UIDS, final=st.booleans())
def test_each_question_has_one_answer_and_nobody_but_the_owner_ends_a_claim(asked, held, owner, given, final):
    answer = answer_to_change(asked, held, owner, given, final)
    assert answer in WORDS
    if answer is Status.SUCCESS:
        assert held in (S.SCHEDULED, S.IN_PROGRESS)
        assert given
        if held is S.IN_PROGRESS:
            assert given == owner or not owner


def test_warnings_count_as_done_and_failures_do_not():
    done = {s for s in Status if not s.is_failure}
    assert done == {
        Status.SUCCESS,
        Status.OPTIONAL_NOT_SUPPORTED,
        Status.ALREADY_CANCELED,
        Status.COERCED,
        Status.ALREADY_COMPLETED_WARNING,
    }
    assert set(WORDS) == set(Status)


class OneItem(RuleBasedStateMachine):
    """Two readers act on one item as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.owner, self.trail = S.SCHEDULED, "", [S.SCHEDULED]

    @rule(asked=st.sampled_from(S), given=UIDS, final=st.booleans())
    def change(self, asked, given, final):
        if answer_to_change(asked, self.held, self.owner, given, final) is Status.SUCCESS:
            self.held = asked
            self.owner = self.owner or given
            self.trail.append(asked)

    @rule(given=UIDS)
    def update(self, given):
        answer = answer_to_update(self.held, self.owner, given)
        if self.held is S.IN_PROGRESS:
            assert (answer is Status.SUCCESS) == (given == self.owner)
        else:
            assert (answer is Status.SUCCESS) == (self.held is S.SCHEDULED and not given)

    @invariant()
    def only_the_ways_of_the_standard(self):
        assert self.trail in (
            [S.SCHEDULED],
            [S.SCHEDULED, S.IN_PROGRESS],
            [S.SCHEDULED, S.IN_PROGRESS, S.COMPLETED],
            [S.SCHEDULED, S.IN_PROGRESS, S.CANCELED],
        )
        assert bool(self.owner) == (len(self.trail) > 1)


TestOneItem = OneItem.TestCase
