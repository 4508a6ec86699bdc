"""Trials in the analysis role: a step at a time, each only while no live study waits."""

from __future__ import annotations

import logging
from collections.abc import Generator
from datetime import timedelta

from triage_node.domain.errors import StoreError, TriageNodeError
from triage_node.domain.selection import FolderAnswer
from triage_node.domain.trial import Reading, Trial
from triage_node.processes.running import Running, is_dead, now, owner
from triage_node.processes.trials import folders
from triage_node.processes.trials.folder import FolderTrials
from triage_node.processes.trials.replay import DetectorOf, Replay
from triage_node.store import jobs

log = logging.getLogger(__name__)

LEASE = timedelta(minutes=10)


Answer = Reading | FolderAnswer


class Trials:
    """A study that was begun by a process that is gone is begun anew; a folder is erased."""

    def __init__(self, running: Running, detector_of: DetectorOf) -> None:
        self._store = running.store
        self._replay = Replay(running.store, running.settings, detector_of)
        self._folders = FolderTrials(running.store, running.settings, self._replay, detector_of)
        self._owner = owner("trials")
        self._at_hand: tuple[Trial, Generator[None, None, Answer]] | None = None
        if not running.takes_over:
            folders.erase_all(running)
        jobs.take_from_dead(self._store, is_dead, now())

    def step(self) -> bool:
        """Do the next step of the trial at hand, or take one up. False when there is nothing to do."""
        if self._at_hand is None:
            trial = jobs.claim(self._store, self._owner, now(), LEASE)
            if trial is None:
                return False
            self._at_hand = trial, self._steps(trial)
        trial, steps = self._at_hand
        try:
            next(steps)
        except StopIteration as done:
            self._finish(trial, done.value, "")
        except TriageNodeError as error:
            self._finish(trial, None, str(error)[:400])
        except Exception as error:  # whatever a model on trial does: live studies go on
            log.exception("event=trial_failed trial=%d", trial.id)
            self._finish(trial, None, f"{type(error).__name__}: {error}"[:400])
        return True

    def hand_back(self) -> None:
        """This process ends: who comes next begins the trial at hand anew, and does not wait for the end of its lease."""
        try:
            jobs.take_from_dead(self._store, lambda owner: owner == self._owner, now())
        except StoreError as error:
            log.warning("event=trial_waits_for_its_lease %s", error)

    def _steps(self, trial: Trial) -> Generator[None, None, Answer]:
        if trial.is_folder:
            return self._folders.steps(trial)
        return self._replay.steps(trial.study_instance_uid, trial.bundle, trial.policy_version)

    def _finish(self, trial: Trial, answer: Answer | None, reason: str) -> None:
        self._at_hand = None
        jobs.finish(self._store, trial.id, self._owner, now(), answer, reason)
