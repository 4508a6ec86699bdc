"""Radiologists, as the web role lets them act: through processes.console.feedback, and at the switch of the mode."""

from __future__ import annotations

import random

from tests.simulated_faults import seams
from tests.simulated_faults.ledger import Ledger
from tests.simulated_faults.node import Node
from triage_node.console.feedback import Saying
from triage_node.domain.errors import TriageNodeError
from triage_node.domain.feedback import Said
from triage_node.domain.mode_switch import ModeAction, ModeChange
from triage_node.domain.person import Person, Role
from triage_node.processes.console import feedback
from triage_node.processes.wiring import list_policy
from triage_node.store import feedback as shown
from triage_node.store import modes, worklist
from triage_node.store.worklist import ListedStudy

_DEEDS = (*(said for said in Said if said is not Said.UNCERTAIN), Said.DISAGREE, Said.DISAGREE)


class Reader:
    """One person. What the page refuses is refused; a database that is away is tried again by nobody."""

    def __init__(self, name: str, node: Node, ledger: Ledger, seed: int) -> None:
        self.person = Person(name, frozenset({Role.RADIOLOGIST, Role.READER, Role.ADMINISTRATOR}))
        self._node, self._ledger, self._chance = node, ledger, random.Random(seed)

    def do_something(self) -> None:
        store, chance = self._node.store, self._chance
        try:
            if chance.random() < 0.04:
                self._switch()
                return
            listed = worklist.rows(store)
            if not listed:
                return
            study = chance.choice([item for item in listed if item.row.flag is not None] or listed)
            if chance.random() < 0.15:
                policy = list_policy(self._node.settings, self._node.settings.worklist.mode)
                feedback.undo(store, policy, study.row.study_instance_uid, self.person.name, seams._now())
            else:
                self._say(study, chance.choice(_DEEDS))
        except TriageNodeError as refused:
            self._node.world.note(f"refused: {type(refused).__name__}")

    def switch_on(self) -> None:
        """What waits for people does so for ever. Those who still act are let finish."""
        self._node.world.pause(20.0)
        while modes.switch(self._node.store).paused is not None:
            try:
                self._switch()
            except TriageNodeError:
                self._node.world.pause(1.0)

    def _say(self, study: ListedStudy, said: Said) -> None:
        uid = study.row.study_instance_uid
        if said is Said.DISAGREE:
            shown.image_was_shown(self._node.store, uid, study.revision, self.person.name, seams._now())
        self._node.world.note(f"says {said} of {uid}")
        if said is Said.DISAGREE:
            self._ledger.disagreed.add(uid)
        feedback.record(self._node.store, uid, self.person, Saying(said, study.revision), seams._now())

    def _switch(self) -> None:
        store = self._node.store
        is_paused = modes.switch(store).paused is not None
        action = ModeAction.APPROVE if is_paused else ModeAction.PAUSE
        with store.write() as c:
            modes.add(c, ModeChange(seams._now(), self.person.name, action, "simulated", "b" * 64))
        self._ledger.paused.append((self._node.world.seconds, not is_paused))
        self._node.world.note(f"the node is {'switched on' if is_paused else 'paused'}")
