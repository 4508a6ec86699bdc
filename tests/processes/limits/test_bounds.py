"""How long a study may take: stated from the settings, watched, and said on the list, the pages and in `check`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.study.headers import series
from tests.support.arriving import STUDY, closed_by, come, looking
from tests.support.deciding import Site
from triage_node.config.schema import CompletenessSettings, ModelSettings, Settings
from triage_node.domain.study import StudyState
from triage_node.processes import arrival
from triage_node.processes.limits import bounds
from triage_node.processes.limits.passing import may_pass
from triage_node.processes.operations.alarms import node_alarms
from triage_node.processes.running import Running, now
from triage_node.store import studies, worklist
from triage_node.volume.decode import KilledDecoder


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.store.close()


def test_bounds_follow_the_settings():
    short = Settings(completeness=CompletenessSettings(deadline_s=10), model=ModelSettings(decode_timeout_s=20))
    usual = {b.of: b.longest for b in bounds.bounds(Settings())}
    assert usual["arriving"] - bounds.arriving(short) == timedelta(seconds=50)
    assert usual["waiting and analysed"] - bounds.analysed(short) == 3 * bounds.MOST_TRIED * timedelta(seconds=40)
    assert bounds.analysed(short, ahead=2) == 3 * bounds.analysed(short)


def first_arrived(site: Site, ago: timedelta) -> None:
    """Two complete studies, the first one so long ago."""
    site.arrive("1.2.1", "1.2.2")
    with site.store.write() as c:
        for uid in ("1.2.1", "1.2.2"):
            at = (now() - ago).strftime("%Y-%m-%d %H:%M:%S.%f")
            c.exec_driver_sql(f"UPDATE study SET closed_at = '{at}' WHERE study_instance_uid = '{uid}'")


@pytest.mark.parametrize(
    ("share", "late"), [(0.5, []), (1.5, ["1.2.1"]), (2.5, ["1.2.1", "1.2.2"])], ids=["in time", "first", "both"]
)
def test_study_beyond_its_bound_is_named_on_the_list_and_counted_everywhere(site, share, late):
    first_arrived(site, share * bounds.analysed(site.settings))
    running = Running("scheduler", site.settings, site.store, threading.Event())
    for _ in range(2):
        bounds.watch(running)
    words = {item.row.study_instance_uid: item.row.status_words for item in worklist.rows(site.store)}
    assert [uid for uid, said in words.items() if "longer than the" in said] == late
    counted = [alarm for alarm in node_alarms(site.store, site.settings) if "longer than this node promises" in alarm]
    assert len(counted) == bool(late)
    studies.claim(site.store, "analysis", now(), timedelta(minutes=1))
    assert worklist.row_of(site.store, "1.2.1").row.status_words == "being analysed"


def test_study_that_cannot_be_judged_closes_at_its_deadline_and_holds_up_no_other(site, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    arrivals = looking(site, 0.01, 30.0)
    come(site, series(slices=28).headers, seconds_ago=20)
    monkeypatch.setattr(arrival, "evaluate_study", broken)
    assert closed_by(site, arrivals) == ""
    come(site, series(slices=28).headers, seconds_ago=0)
    assert closed_by(site, looking(site, 0.01, 10.0)) == "not judged: ZeroDivisionError, incomplete"
    assert studies.get(site.store, STUDY).state is StudyState.COMPLETE


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError(30, "Read-only file system"), True),
        (OSError(24, "Too many open files"), True),
        (MemoryError(), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("something else"), False),
        (KilledDecoder("killed"), True),
        (FileNotFoundError(2, "No such file"), False),
        (ValueError("a bug"), False),
    ],
)
def test_only_what_the_machine_lacks_is_tried_again_later(error, passes):
    assert may_pass(error) is passes
    behind = RuntimeError("what a library made of it")
    behind.__cause__ = error
    assert may_pass(behind) is passes
