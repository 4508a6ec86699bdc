"""Ticks that clean up beside people who work on the same rows."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from tests.support.deciding import Site
from triage_node.domain.priority import ReadingState
from triage_node.processes import housekeeping
from triage_node.processes.running import Running, now
from triage_node.store import worklist


@pytest.mark.parametrize(("meanwhile", "afterwards"), [(None, ReadingState.STATUS_UNKNOWN), (ReadingState.READ,) * 2])
def test_a_study_that_is_read_while_the_tick_looks_does_not_expire(tmp_path, monkeypatch, meanwhile, afterwards):
    site = Site(tmp_path / "site")
    site.arrive("1.2.3")
    late = now() + timedelta(hours=25)
    monkeypatch.setattr(housekeeping, "now", lambda: late)
    real, looks = housekeeping.departures, []

    def departures(*asked):
        due = real(*asked)
        looks.append(due)
        if meanwhile is not None and len(looks) == 1:
            with site.store.write() as c:
                worklist.set_reading_state(c, "1.2.3", meanwhile, late, "a radiologist")
        return due

    monkeypatch.setattr(housekeeping, "departures", departures)
    housekeeping.expire_rows(Running("scheduler", site.settings, site.store, threading.Event()))
    assert [d.new for d in looks[0]] == [ReadingState.STATUS_UNKNOWN]
    assert worklist.row_of(site.store, "1.2.3").row.reading_state is afterwards
