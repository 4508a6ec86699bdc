"""Trials wait, are done once, and are taken over; readings by a second model are kept beside results."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.store.conftest import NOW
from tests.support.lab import POINT, add_studies, uid_of
from triage_node.domain.errors import RefusedAction
from triage_node.domain.finding import OperatingPoint
from triage_node.domain.selection import FolderAnswer, SeriesTried, StudyTried
from triage_node.domain.study import StudyState
from triage_node.domain.trial import FOLDER, Reading, ShadowReading, TrialState
from triage_node.store import audit, folder_trials, jobs, policy, schema, shadow

UID, LEASE = "1.2.3", timedelta(minutes=5)
READING = Reading("bloodnet", "2", "d" * 64, 1, answer="raised", probability=0.8, subtypes=("iph",))
SHADOW = ShadowReading(UID, 1, NOW, 0.9, True, 30.0, "other", "1", "e" * 64, 0.2, False, 0.0, 0.4)


@pytest.fixture
def trials(store):
    policy.add(store, [OperatingPoint("ich", 0.3, 0.6, 0)], "test", "first", NOW)
    return store


def asked(store, at=NOW, uid=UID) -> int:
    return jobs.ask(store, uid, 1, "Ada", at, "bloodnet", 1)


def test_trial_is_done_once_by_whoever_holds_it_and_names_who_asked(trials):
    number = asked(trials)
    taken = jobs.claim(trials, "one", NOW, LEASE)
    assert (taken.id, taken.asked_by, taken.bundle) == (number, "Ada", "bloodnet")
    assert jobs.claim(trials, "two", NOW, LEASE) is None
    jobs.finish(trials, number, "two", NOW, None, "not mine")
    assert jobs.get(trials, number).state is TrialState.RUNNING
    jobs.finish(trials, number, "one", NOW, READING)
    (done,) = jobs.of_study(trials, UID)
    assert (done.state, done.answer) == (TrialState.DONE, READING)
    assert [(actor, what) for _, actor, what in audit.entries(trials, UID)] == [("Ada", jobs.ASKED)]


def test_trial_of_a_dead_process_is_taken_over_and_fails_after_its_last_try(trials):
    number = asked(trials)
    for _ in range(jobs.MAX_TRIES):
        assert jobs.claim(trials, "dead", NOW, LEASE).id == number
        jobs.take_from_dead(trials, lambda owner: owner == "dead", NOW)
    assert jobs.claim(trials, "one", NOW, LEASE) is None
    assert jobs.get(trials, number).state is TrialState.FAILED


def test_queue_is_bounded_and_old_trials_are_forgotten(trials):
    numbers = [asked(trials) for _ in range(jobs.MOST_WAITING)]
    with pytest.raises(RefusedAction, match="wait already"):
        asked(trials)
    assert jobs.claim(trials, "one", NOW, LEASE).id == numbers[0]
    jobs.finish(trials, numbers[0], "one", NOW, None, "no pixels")
    asked(trials, NOW + jobs.KEPT + timedelta(seconds=1))
    assert jobs.get(trials, numbers[0]) is None


def test_second_model_is_kept_once_a_revision_and_read_by_its_newest(store):
    policy.add(store, [POINT], "init", "first", NOW)
    add_studies(store, [(1, NOW - timedelta(seconds=8), 0.9), (2, NOW, 0.1)], reading_min=None)
    assert shadow.newest_digest(store) == ""
    assert shadow.waiting(store, NOW, "e" * 64) is None, "taken before its objects are on their way"
    with store.write() as c:
        c.execute(update(schema.study).values(state=StudyState.REPORTED.value))
    assert shadow.waiting(store, NOW, "e" * 64) == (uid_of(1), 1)
    first = replace(SHADOW, study_instance_uid=uid_of(1))
    for reading in (first, replace(first, shadow_probability=0.9)):
        shadow.save(store, reading)
    assert shadow.waiting(store, NOW, "e" * 64) == (uid_of(2), 1)
    shadow.save(store, replace(SHADOW, study_instance_uid=uid_of(2), shadow_digest="f" * 64, why_not="no"))
    assert shadow.newest_digest(store) == "f" * 64
    assert shadow.since(store, NOW, "e" * 64, 10) == [first]
    assert shadow.since(store, NOW + timedelta(seconds=1), "e" * 64, 10) == []
    with store.write() as c:
        c.execute(update(schema.worklist_row).values(live=False))
    assert shadow.waiting(store, NOW, "e" * 64) is None, "a study that is not live was taken"


def test_folder_waits_among_the_trials_and_is_forgotten_without_a_trace_of_others(trials):
    study = asked(trials)
    folder_trials.ask(trials, f"{FOLDER}1", "Ada", NOW, "bloodnet", 1, "2 files, 1.0 MB")
    jobs.finish(trials, jobs.claim(trials, "one", NOW, LEASE).id, "one", NOW, READING)
    taken = jobs.claim(trials, "one", NOW, LEASE)
    assert (taken.is_folder, taken.answer) == (True, None)
    series = SeriesTried(2, "HEAD", 24, True, "axial", True)
    answer = FolderAnswer(25, (("no DICOM file", 1),), (StudyTried("Suspected ICH", True, (series,), READING, 24),))
    jobs.finish(trials, taken.id, "one", NOW, answer)
    found = folder_trials.get(trials, f"{FOLDER}1")
    assert (found.state, found.answer) == (TrialState.DONE, answer)
    folder_trials.forget(trials, UID, "Ada", NOW)  # a study is none
    folder_trials.forget(trials, f"{FOLDER}1", "Ada", NOW)
    assert folder_trials.get(trials, f"{FOLDER}1") is None
    folder_trials.ask(trials, f"{FOLDER}2", "Ada", NOW, "bloodnet", 1, "1 files, 0.0 MB")
    folder_trials.forget_before(trials, NOW)
    assert folder_trials.get(trials, f"{FOLDER}2") is not None
    folder_trials.forget_before(trials, NOW + timedelta(seconds=1))
    assert folder_trials.get(trials, f"{FOLDER}2") is None
    assert jobs.get(trials, study).answer == READING
