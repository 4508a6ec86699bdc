"""A real Orthanc is asked how many instances it holds of a series that arrives; and archives that help nobody."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.study.headers import series
from tests.support.arriving import SERIES, STUDY, closed_by, come, looking
from tests.support.deciding import Site
from tests.support.pacs import free_port, orthanc, storescu
from tests.support.tiny_data import write_ct_slice
from tests.support.waiting import wait_until
from triage_node.config.schema import ArchiveSettings, CompletenessSettings, Settings
from triage_node.domain.expected import CountSource
from triage_node.processes import archive_counts, scheduler
from triage_node.processes import running as process
from triage_node.processes.archive_counts import AFTER_FAILURE, EVERY, ArchiveCounts
from triage_node.processes.running import Running
from triage_node.store import expected, studies

HELD = 28
LONG_AGO_S = 300.0
"""Seconds since the last slice: quiet, whatever the machine."""
NEVER_S = 3000.0


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    """28 slices of the study."""
    folder = tmp_path_factory.mktemp("pacs")
    files = [folder / f"{k}.dcm" for k in range(HELD)]
    for file, header in zip(files, series(slices=HELD).headers, strict=True):
        write_ct_slice(file, study=STUDY, series=SERIES, sop=header.sop_instance_uid, size=8)
    with orthanc(folder / "orthanc") as archive:
        storescu(files, "127.0.0.1", archive.dicom_port, "ORTHANC")
        yield archive


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.store.close()


def over_dimse(port: int) -> ArchiveSettings:
    return ArchiveSettings(name="pacs", ae_title="ORTHANC", host="127.0.0.1", port=port, connect_timeout_s=30)


def role(site: Site, archive: ArchiveSettings, timeout_s: float = 30.0) -> Running:
    more = {
        "archives": (archive,),
        "completeness": CompletenessSettings(ask_archive="pacs", ask_timeout_s=timeout_s, deadline_s=NEVER_S),
    }
    return Running("scheduler", site.settings.model_copy(update=more), site.store, threading.Event())


def told(site: Site) -> list[tuple[CountSource, int]]:
    return [(c.source, c.instances) for c in expected.of_study(site.store, STUDY).get(SERIES, ())]


@pytest.mark.parametrize("way", ["C-FIND", "QIDO-RS"])
def test_two_equal_answers_close_a_study_whose_association_is_open(site, pacs, way):
    stow = ArchiveSettings(name="pacs", stow_url=f"http://127.0.0.1:{pacs.http_port}/dicom-web")
    asking = role(site, over_dimse(pacs.dicom_port) if way == "C-FIND" else stow)
    come(site, series(slices=HELD).headers, LONG_AGO_S, is_open=True)
    ArchiveCounts(asking).tick()
    assert told(site) == [(CountSource.C_FIND, HELD)]
    assert closed_by(site, looking(site, deadline_s=NEVER_S)) == ""
    ArchiveCounts(asking).tick()
    assert closed_by(site, looking(site, quiet_s=600, deadline_s=NEVER_S)) == ""
    assert closed_by(site, looking(site, deadline_s=NEVER_S)) == "C-FIND"


def test_archive_that_is_behind_closes_nothing_early(site, pacs):
    come(site, series(slices=HELD + 2).headers, LONG_AGO_S, is_open=True)
    for _ in range(3):
        ArchiveCounts(role(site, over_dimse(pacs.dicom_port))).tick()
    assert told(site) == [(CountSource.C_FIND, HELD)]
    assert closed_by(site, looking(site, deadline_s=NEVER_S)) == ""


def test_archive_that_holds_more_makes_the_study_wait_until_the_deadline(site, pacs):
    come(site, series(slices=HELD - 1).headers, LONG_AGO_S)
    ArchiveCounts(role(site, over_dimse(pacs.dicom_port))).tick()
    assert closed_by(site, looking(site, deadline_s=NEVER_S)) == ""
    assert closed_by(site, looking(site, deadline_s=60)) == "deadline, incomplete"


def test_only_quiet_studies_are_asked_for_and_not_before_the_time_has_come(site, monkeypatch):
    asked = []

    def failing(*_):
        asked.append(clock)
        raise archive_counts.SearchFailed("down")

    monkeypatch.setattr(archive_counts, "open_archive", failing)
    clock = process.now()
    monkeypatch.setattr(process, "now", lambda: clock)
    counts = ArchiveCounts(role(site, over_dimse(104)))
    counts.tick()
    come(site, series(slices=HELD).headers)
    counts.tick()
    assert asked == []
    began = clock
    hour = timedelta(hours=1)
    for wait in (hour, EVERY, AFTER_FAILURE - EVERY, timedelta(0)):
        clock += wait
        counts.tick()
    assert asked == [began + hour, began + hour + AFTER_FAILURE]


@pytest.mark.parametrize("kind", ["down", "silent"])
def test_archive_that_is_down_or_silent_changes_nothing(site, kind):
    """The scheduler itself, beside an archive that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if kind == "silent" else free_port()
        asking = role(site, over_dimse(port), timeout_s=60)
        thread = threading.Thread(target=scheduler.main, args=(asking,))
        come(site, series(slices=HELD).headers, LONG_AGO_S)
        thread.start()
        try:
            wait_until(lambda: studies.get(site.store, STUDY).closed_at, 60, "the study closes")
        finally:
            asking.stop.set()
            silent.close()
            thread.join(90)
    assert not thread.is_alive()
    assert studies.get(site.store, STUDY).close_signal == "association released, quiet, no gap, covered"
    assert told(site) == []


def test_archive_that_is_asked_must_be_there_and_nobody_is_asked_by_default():
    assert Settings().completeness.ask_archive == ""
    with pytest.raises(ValueError, match=r"completeness.ask_archive: no archive is named 'pacs'"):
        Settings(completeness={"ask_archive": "pacs"})
