from __future__ import annotations

import threading
from datetime import timedelta

from tests.support.lab import add_studies, uid_of
from triage_node.domain.finding import OperatingPoint
from triage_node.processes.lab import shadow
from triage_node.processes.running import Running, now
from triage_node.store import drafts, meta, outbox, policy, results, worklist

LOWER = OperatingPoint("ich", 0.3, 0.8, 0)


def test_new_results_are_judged_by_a_draft_in_shadow_once_and_nothing_is_acted_on(made):
    store, settings = made(4)
    running = Running("scheduler", settings, store, threading.Event())
    number = drafts.add(store, [LOWER], (), "ann", "try", now(), 1)
    shadow.tick(running)
    assert drafts.shadow_of(store, number) == []
    drafts.switch_shadow(store, number, True, "ann", now() - timedelta(seconds=1))
    add_studies(store, [(50, now(), 0.35), (51, now(), 0.9), (52, now(), 0.1)])
    before = (meta.list_version(store), [results.latest(store, uid_of(i)) for i in (50, 51, 52)])
    for _ in range(2):
        shadow.tick(running)
    said = {
        a.study_instance_uid: (a.answer_in_force, a.answer, a.policy_version) for a in drafts.shadow_of(store, number)
    }
    assert said == {
        uid_of(50): ("not raised", "raised", 1),
        uid_of(51): ("notified", "notified", 1),
        uid_of(52): ("not raised", "not raised", 1),
    }
    assert len(drafts.shadow_of(store, number)) == 3
    assert before == (meta.list_version(store), [results.latest(store, uid_of(i)) for i in (50, 51, 52)])
    assert all(worklist.row_of(store, uid_of(i)).row.flag is None for i in (50, 52))
    assert outbox.of_study(store, uid_of(50)) == []


def test_an_approved_draft_comes_into_force_by_the_scheduler_on_its_day(made):
    store, settings = made(2)
    running = Running("scheduler", settings, store, threading.Event())
    first = drafts.add(store, [LOWER], (), "ann", "try", now(), 1)
    drafts.approve(store, first, "bea", now() + timedelta(hours=1), now())
    shadow.tick(running)
    assert policy.in_force(store).version == 1
    drafts.withdraw(store, first, "ann", now())
    second = drafts.add(store, [LOWER], (), "ann", "try", now(), 1)
    drafts.approve(store, second, "bea", now() - timedelta(seconds=1), now())
    shadow.tick(running)
    assert policy.in_force(store).version == 2
    add_studies(store, [(60, now(), 0.35)])
    assert (results.latest(store, uid_of(60)).policy_version, results.latest(store, uid_of(60)).flagged) == (2, True)
