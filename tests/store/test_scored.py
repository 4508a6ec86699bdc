"""What a change of thresholds is judged by again, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import insert

from tests.store.conftest import NOW
from tests.support.lab import POINT, add_studies, uid_of
from triage_node.domain.priority import ReadingState
from triage_node.domain.scan_source import ScanSource
from triage_node.store import policy, results, schema, scored, worklist


def test_the_newest_result_of_each_recent_study_comes_with_scanner_sender_and_reading_time(store):
    policy.add(store, [POINT], "init", "first", NOW)
    add_studies(store, [(i, NOW + timedelta(minutes=i), 0.1 + 0.2 * i) for i in range(4)], reading_min=5.5)
    again = replace(results.latest(store, uid_of(3)), revision=2, probability=0.33)
    with store.write() as c:
        c.execute(insert(schema.result).values(**{n: getattr(again, n) for n in type(again).__slots__}))
    found = scored.recent(store, NOW + timedelta(minutes=1), 2)
    assert [(s.study_instance_uid, s.revision, s.probability) for s in found] == [
        (uid_of(2), 1, 0.5),
        (uid_of(3), 2, 0.33),
    ]
    assert (found[0].calling_ae_title, found[0].policy_version, found[0].flagged) == ("CT1", 1, True)
    made = scored.scan_sources(store, [s.series_instance_uid for s in found] + ["", "1.2.nobody"])
    assert made == {
        f"{uid_of(2)}.1": ScanSource("ACME CT9", "H31s", "1"),
        f"{uid_of(3)}.1": ScanSource("Zenith Z2", "FC21", "1"),
    }
    assert scored.was_flagged(store, uid_of(2), 1) is True
    assert scored.was_flagged(store, uid_of(1), 1) is False
    assert scored.was_flagged(store, uid_of(2), 9) is None
    assert scored.reading_minutes(store, NOW) == {uid_of(i): 5.5 for i in range(4)}
    with store.write() as c:  # opened and given back: nobody read it
        worklist.set_reading_state(c, uid_of(0), ReadingState.BEING_READ, NOW, "x", "x")
        worklist.set_reading_state(c, uid_of(0), ReadingState.WAITING, NOW, "x")
    assert scored.reading_minutes(store, NOW)[uid_of(0)] == 5.5
