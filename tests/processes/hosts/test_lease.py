"""The analysis role and a study that is somebody else's by now, or whose database falls silent; delivery that lost its turn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.journeys import modality
from tests.journeys.modality import Sent
from tests.support.analysed import Painted, analysis, receive, settings_in
from tests.support.waiting import wait_until
from triage_node.domain.errors import StoreUnavailable
from triage_node.domain.study import Moment, StudyState
from triage_node.processes.analysis import Analysis
from triage_node.processes.delivery import Queue
from triage_node.processes.hosts import lease
from triage_node.processes.running import now
from triage_node.store import outbox, results, studies, worklist
from triage_node.store.schema import study as study_rows

LONG = timedelta(hours=1)
ARCHIVE = """
[worklist]
mode = "active"
[[archives]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 9
"""


@pytest.fixture
def role(tmp_path: Path) -> Iterator[Analysis]:
    with analysis(settings_in(tmp_path / "site", text=ARCHIVE)) as made:
        yield made


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    folder = tmp_path_factory.mktemp("sent")
    return modality.phantom(folder, "late", modality.now(), seed=9074, slices=24, thickness_mm=6.0, size=128)


@pytest.fixture
def uid(role: Analysis, sent: Sent) -> str:
    return receive(role, sent.files)


def meanwhile(role: Analysis, monkeypatch: pytest.MonkeyPatch, happens) -> None:
    """Something happens while the study is with the detector, the first time."""
    found, times = Painted.detect, []

    def detect(self, volume):
        times.append(1)
        if len(times) == 1:
            happens()
        return found(self, volume)

    monkeypatch.setattr(Painted, "detect", detect)


def test_who_was_taken_for_dead_and_comes_back_writes_nothing(role, uid, monkeypatch):
    meanwhile(role, monkeypatch, lambda: studies.claim(role.store, "analysis@other:1", now() + LONG, LONG))
    assert role.work()
    assert results.latest(role.store, uid) is None
    assert worklist.row_of(role.store, uid).row.flag is None
    assert outbox.of_study(role.store, uid) == []
    moments = {entry.moment for entry in studies.timeline_of(role.store, uid)}
    assert not moments & {Moment.DECIDED, Moment.REPORTED, Moment.FAILED}
    study = studies.get(role.store, uid)
    assert (study.state, study.tries) == (StudyState.ANALYSING, 1)


def test_a_lease_is_put_off_while_its_owner_works(role, uid, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_S", 0.01)

    def until() -> object:
        with role.store.read() as c:
            return c.execute(study_rows.select().where(study_rows.c.study_instance_uid == uid)).one().lease_until

    def stays() -> None:
        first = until()
        wait_until(lambda: until() > first, 30, "the lease was put off")

    meanwhile(role, monkeypatch, stays)
    assert role.work()
    assert results.latest(role.store, uid).flagged


def test_a_database_that_falls_silent_costs_the_study_no_try(role, uid, monkeypatch):
    def silent() -> None:
        raise StoreUnavailable("no answer")

    meanwhile(role, monkeypatch, silent)
    with pytest.raises(StoreUnavailable):
        role.work()
    assert studies.get(role.store, uid).state is StudyState.ANALYSING
    assert role.work()
    assert results.latest(role.store, uid).revision == 1
    assert studies.get(role.store, uid).tries == 0


def test_a_batch_stops_between_two_objects_when_the_destination_is_another_hosts(role, uid, monkeypatch):
    assert role.work()
    asked = []

    def send_batch(archive, files, must_stop):
        asked.append(must_stop())
        role.running.turns.give_up()
        asked.append(must_stop())
        return {}

    queue = Queue(role.running, role.settings.archives[0], send_batch)
    with pytest.raises(KeyError):  # nothing came of the objects
        queue.send_some()
    assert asked == [False, True]
