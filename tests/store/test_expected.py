"""What others announced of a series, on both databases."""

from __future__ import annotations

from datetime import timedelta

from tests.store.conftest import NOW
from triage_node.domain.expected import CountSource, StepState
from triage_node.store import expected
from triage_node.store.engine import open_store
from triage_node.store.expected import Change

LATER = NOW + timedelta(seconds=5)
A, B = frozenset({"1.1", "1.2"}), frozenset({"1.2", "1.3"})


def told(store, study="1.2.3"):
    return {
        uid: [(c.source, c.instances, c.sop_instance_uids) for c in counts]
        for uid, counts in expected.of_study(store, study).items()
    }


def test_step_tells_its_last_series_when_it_is_completed_and_is_closed_then(store):
    assert expected.begin_step(store, "9.1", "CT1", ["1.2.3", "1.2.4"], {"5": A}, NOW)
    assert not expected.begin_step(store, "9.1", "CT1", ["1.2.3"], {"6": A}, NOW)
    assert expected.change_step(store, "9.1", None, {"5": B}, NOW) is Change.DONE
    assert told(store) == {}
    assert expected.change_step(store, "9.1", StepState.COMPLETED, None, LATER) is Change.DONE
    assert told(store) == told(store, "1.2.4") == {"5": [(CountSource.MPPS, 2, B)]}
    assert expected.change_step(store, "9.1", StepState.COMPLETED, {"5": A}, LATER) is Change.STEP_IS_FINAL
    assert expected.change_step(store, "9.2", StepState.COMPLETED, {"5": A}, LATER) is Change.NO_SUCH_STEP
    assert told(store) == {"5": [(CountSource.MPPS, 2, B)]}


def test_discontinued_step_tells_nothing(store):
    expected.begin_step(store, "9.1", "CT1", ["1.2.3"], {"5": A}, NOW)
    assert expected.change_step(store, "9.1", StepState.DISCONTINUED, {"5": B}, NOW) is Change.DONE
    assert expected.change_step(store, "9.1", StepState.COMPLETED, {"5": B}, NOW) is Change.STEP_IS_FINAL
    assert told(store) == {}


def test_notifications_add_to_one_another_and_are_taken_once(store):
    assert expected.notify(store, "8.1", "PACS", "1.2.3", {"5": A}, NOW)
    assert not expected.notify(store, "8.1", "PACS", "1.2.3", {"5": frozenset({"6.6"})}, NOW)
    assert expected.notify(store, "8.2", "PACS", "1.2.3", {"5": B, "6": A}, LATER)
    assert expected.change_step(store, "8.1", StepState.COMPLETED, {}, LATER) is Change.NO_SUCH_STEP
    assert told(store) == {"5": [(CountSource.IAN, 3, A | B)], "6": [(CountSource.IAN, 2, A)]}


def test_answers_of_an_archive_replace_one_another_and_say_since_when_they_are_the_same(store):
    at = [NOW + timedelta(seconds=s) for s in range(4)]
    for when, count in zip(at, (10, 28, 28, 28), strict=True):
        expected.answered(store, "1.2.3", "pacs", {"5": count}, when)
    [count] = expected.of_study(store, "1.2.3")["5"]
    assert (count.instances, count.first_told_at, count.told_at) == (28, at[1], at[3])
    assert expected.last_told(store, ["1.2.3", "1.2.4"]) == {"1.2.3": at[3]}


def test_what_was_told_survives_a_restart_and_is_forgotten_in_the_end(store):
    expected.begin_step(store, "9.1", "CT1", ["1.2.3"], {"5": A}, NOW)
    expected.notify(store, "8.1", "PACS", "1.2.3", {"5": A}, LATER)
    again = open_store(store.engine.url.render_as_string(hide_password=False))
    assert expected.change_step(again, "9.1", StepState.COMPLETED, None, NOW) is Change.DONE
    assert told(again) == {"5": [(CountSource.MPPS, 2, A), (CountSource.IAN, 2, A)]}
    again.close()
    expected.forget_before(store, LATER)
    assert told(store) == {"5": [(CountSource.IAN, 2, A)]}
    assert not expected.notify(store, "8.1", "PACS", "1.2.3", {"5": A}, LATER)
    assert expected.change_step(store, "9.1", None, None, LATER) is Change.NO_SUCH_STEP
