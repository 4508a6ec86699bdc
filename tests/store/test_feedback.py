"""What people say of a study: appended, taken back once, and the row of the list as it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.store.conftest import NOW
from tests.store.test_studies import received
from triage_node.domain.feedback import UNDO_FOR, Feedback, Said
from triage_node.domain.priority import Flag, OrderClass, ReadingState, Urgency, WorklistRow
from triage_node.store import audit, feedback, instances, worklist

STUDY = "1.2.3"
LEE = Feedback(0, STUDY, 1, "dr. lee", NOW, Said.DISAGREE, "sah", "an artefact, 不是出血")


@pytest.fixture
def late(store):
    """A study with a late flag, of which nobody said that it was read."""
    instances.record_batch(store, [received(1)])
    with store.write() as c:
        worklist.add_row(c, WorklistRow(STUDY, OrderClass.ROUTINE, NOW, live=False), "acquired 2 d before it arrived")
        worklist.raise_flag(c, STUDY, Flag("ich", Urgency.HIGH, "Suspected ICH", NOW))
    return store


def test_what_was_said_is_kept_and_taken_back_once(late):
    with late.write() as c:
        number = feedback.add(c, LEE)
    (held,) = feedback.of_study(late, STUDY)
    assert held == replace(LEE, id=number)
    assert feedback.verdicts(late, NOW) == {STUDY: held}
    with late.write() as c:
        assert feedback.take_back(c, held, NOW)
        assert not feedback.take_back(c, held, NOW)
    assert feedback.of_study(late, STUDY) == [replace(held, undone_at=NOW)]
    assert feedback.verdicts(late, NOW) == {}
    acts = [(actor, action) for _, actor, action in audit.entries(late, STUDY)]
    assert acts[-2:] == [("dr. lee", "feedback"), ("dr. lee", "feedback taken back")]


def test_the_last_verdict_stands_and_a_reading_is_none(late):
    with late.write() as c:
        for said in (Said.DISAGREE, Said.AGREE, Said.READ):
            feedback.add(c, replace(LEE, said=said))
    assert feedback.verdicts(late, NOW)[STUDY].said is Said.AGREE
    assert feedback.verdicts(late, NOW + timedelta(seconds=1)) == {}


def test_only_the_same_person_may_take_it_back_and_for_a_minute():
    assert LEE.may_be_undone("dr. lee", NOW + UNDO_FOR - timedelta(seconds=1))
    assert not LEE.may_be_undone("dr. lee", NOW + UNDO_FOR)
    assert not LEE.may_be_undone("dr. who", NOW)
    assert not replace(LEE, undone_at=NOW).may_be_undone("dr. lee", NOW)


def test_an_image_was_shown_to_one_person_of_one_revision(late):
    assert not feedback.was_image_shown(late, STUDY, 1, "dr. lee")
    for _ in range(2):
        feedback.image_was_shown(late, STUDY, 1, "dr. lee", NOW)
    assert feedback.was_image_shown(late, STUDY, 1, "dr. lee")
    assert not feedback.was_image_shown(late, STUDY, 2, "dr. lee")
    assert not feedback.was_image_shown(late, STUDY, 1, "dr. who")


def test_a_late_flag_that_a_person_raises_is_live_and_pinned_and_goes_back(late):
    with late.write() as c:
        before = worklist.as_it_is(c, STUDY)
        assert worklist.raise_late(c, STUDY, "dr. lee", NOW)
        assert not worklist.raise_late(c, STUDY, "dr. lee", NOW), "it is none any more"
    raised = worklist.row_of(late, STUDY)
    assert (raised.row.live, raised.row.pinned_at) == (True, NOW)
    assert raised.live_words == "raised by dr. lee, acquired 2 d before it arrived"
    with late.write() as c:
        worklist.set_reading_state(c, STUDY, ReadingState.BEING_READ, NOW, "dr. lee", "dr. lee")
        claimed = worklist.as_it_is(c, STUDY)
        worklist.put_back(c, STUDY, before, "dr. lee", NOW)
    back = worklist.row_of(late, STUDY)
    assert (back.row.live, back.row.pinned_at, back.row.claimed_by) == (False, None, "")
    with late.write() as c:
        worklist.put_back(c, STUDY, claimed, "dr. lee", NOW)
    assert worklist.row_of(late, STUDY).row == replace(
        raised.row, reading_state=ReadingState.BEING_READ, claimed_by="dr. lee", claimed_at=NOW
    )


def test_a_pin_is_set_and_taken_back(late):
    for pinned in (True, False):
        with late.write() as c:
            worklist.pin(c, STUDY, "dr. lee", NOW, pinned)
        assert worklist.row_of(late, STUDY).row.pinned_at == (NOW if pinned else None)
    with late.write() as c:
        assert worklist.as_it_is(c, "1.2.404") is None
        assert not worklist.raise_late(c, "1.2.404", "dr. lee", NOW)
