"""The nightly question to a real Orthanc, over C-FIND and QIDO-RS: one of three head CTs never reached the node."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.deciding import Site
from tests.support.pacs import free_port, orthanc, storescu
from tests.support.tiny_data import write_ct_slice
from tests.support.waiting import wait_until
from triage_node.cli.check import check
from triage_node.cli.terminal import terminal
from triage_node.config.reconciliation import ReconciliationSettings
from triage_node.config.schema import ArchiveSettings, NodeSettings
from triage_node.processes import feeds, scheduler
from triage_node.processes.reconciliation import AGAIN_AFTER, ask_when_due
from triage_node.processes.running import Running
from triage_node.store import audit
from triage_node.store import feeds as feed_store

NIGHT = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)  # 3:30 in Berlin
HEADS = ("1.2.1", "1.2.2", "1.2.3")


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    """Three head CTs of November 20th, a chest, a head of another day, and a head MR."""
    folder = tmp_path_factory.mktemp("pacs")
    told = {
        "1.2.1": {"BodyPartExamined": "HEAD", "StationName": "CT1"},
        "1.2.2": {"StudyDescription": "CT Schädel nativ", "SpecificCharacterSet": "ISO_IR 100", "StationName": "CT2"},
        "1.2.3": {"BodyPartExamined": "BRAIN", "StationName": "CT2", "PatientName": "SECRET^NAME"},
        "1.2.4": {"BodyPartExamined": "CHEST", "StationName": "CT2"},
        "1.2.5": {"BodyPartExamined": "HEAD", "StudyDate": "20261118", "StationName": "CT2"},
        "1.2.6": {"BodyPartExamined": "HEAD", "Modality": "MR", "StationName": "MR1"},
    }
    files = []
    for uid, tags in told.items():
        files.append(folder / f"{uid}.dcm")
        tags = {"StudyDate": "20261120"} | tags
        write_ct_slice(files[-1], study=uid, series=f"{uid}.1", patient=uid, sop=f"{uid}.1.1", **tags)
    with orthanc(folder / "orthanc") as archive:
        storescu(files, "127.0.0.1", archive.dicom_port, "ORTHANC")
        yield archive


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    made.arrive("1.2.1", "1.2.2")
    yield made
    made.store.close()


def running(site: Site, archive: ArchiveSettings | None = None, **asked) -> Running:
    """The role, asking `archive`, or where `asked` says."""
    asked = asked if "qido_url" in asked else {"archive": "pacs"} | asked
    more = {
        "node": NodeSettings(time_zone="Europe/Berlin"),
        "archives": () if archive is None else (archive,),
        "reconciliation": ReconciliationSettings(**asked),
    }
    return Running("scheduler", site.settings.model_copy(update=more), site.store, threading.Event())


def over_dimse(port: int, **more) -> ArchiveSettings:
    return ArchiveSettings(
        **{"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": port, "connect_timeout_s": 30} | more
    )


def found(site: Site) -> list[dict[str, str]]:
    return list(feed_store.said(site.store, feed_store.RECONCILIATION)["missing"])


@pytest.mark.parametrize("way", ["C-FIND", "STOW archive", "QIDO-RS"])
def test_head_ct_that_never_reached_the_node_is_found(site, pacs, way):
    url = f"http://127.0.0.1:{pacs.http_port}/dicom-web"
    role = {
        "C-FIND": lambda: running(site, over_dimse(pacs.dicom_port)),
        "STOW archive": lambda: running(site, ArchiveSettings(name="pacs", stow_url=url)),
        "QIDO-RS": lambda: running(site, qido_url=url),
    }[way]()
    ask_when_due(role, NIGHT)
    assert found(site) == [{"study_instance_uid": "1.2.3", "station": "CT2"}]
    name = "the archive" if way == "QIDO-RS" else "pacs"
    assert feeds.alarms(site.store) == (f"1 head CT of 20 Nov in {name} never reached this node: from CT2 (1).",)
    said = feed_store.said(site.store, feed_store.RECONCILIATION)
    assert "SECRET" not in str(said)
    site.arrive("1.2.3")
    assert feeds.alarms(site.store) == ()


def test_more_days_are_asked_for_when_so_configured(site, pacs):
    ask_when_due(running(site, over_dimse(pacs.dicom_port), days_back=3), NIGHT)
    assert sorted(m["study_instance_uid"] for m in found(site)) == ["1.2.3", "1.2.5"]
    assert feeds.alarms(site.store)[0].startswith("2 head CTs of 18 Nov to 20 Nov in pacs")


def test_asked_once_a_day_from_the_hour_on_by_the_clock_of_the_site(site, pacs):
    role = running(site, over_dimse(pacs.dicom_port))
    ask_when_due(role, NIGHT - timedelta(hours=1))  # 2:30 in Berlin
    assert feed_store.said(site.store, feed_store.RECONCILIATION) == {}
    ask_when_due(role, NIGHT + timedelta(hours=9))  # the node was off in the night
    assert len(found(site)) == 1
    site.arrive("1.2.3")
    ask_when_due(role, NIGHT + timedelta(hours=12))
    assert len(found(site)) == 1  # not asked again
    ask_when_due(role, NIGHT + timedelta(days=1))
    assert found(site) == []
    assert feed_store.said(site.store, feed_store.RECONCILIATION)["last"] == "2026-11-21"
    assert audit.first_broken(site.store) is None


def test_archive_that_is_down_is_told_asked_an_hour_later_and_hides_nothing(site, pacs):
    ask_when_due(running(site, over_dimse(pacs.dicom_port)), NIGHT)
    down = running(site, over_dimse(free_port()))
    tomorrow = NIGHT + timedelta(days=1)
    ask_when_due(down, tomorrow)
    missing, problem = feeds.alarms(site.store)
    assert missing.startswith("1 head CT of 20 Nov")
    assert problem.startswith("pacs could not be asked which head CTs never reached this node: no TCP connection to ")
    up = running(site, over_dimse(pacs.dicom_port))
    ask_when_due(up, tomorrow + AGAIN_AFTER - timedelta(minutes=1))
    assert len(feeds.alarms(site.store)) == 2
    ask_when_due(up, tomorrow + AGAIN_AFTER)
    assert feeds.alarms(site.store) == ()  # nothing of November 21st is there


def test_scheduler_asks_and_looks_at_the_senders_as_soon_as_it_runs(site):
    role = running(site, over_dimse(free_port()), hour=0)
    with site.store.write() as c:
        feed_store.say(c, feed_store.SILENCE, {"CT9": "CT9 is silent."})  # what nobody is any more
    thread = threading.Thread(target=scheduler.main, args=(role,))
    thread.start()
    try:
        wait_until(lambda: feed_store.said(site.store, feed_store.RECONCILIATION), 30, "the archive was asked")
        wait_until(lambda: not feed_store.said(site.store, feed_store.SILENCE), 30, "the senders were looked at")
    finally:
        role.stop.set()
        thread.join(30)
    assert "no TCP connection" in feeds.reconciliation_problem(site.store)


def test_off_unless_configured(site):
    role = Running("scheduler", site.settings, site.store, threading.Event())
    ask_when_due(role, NIGHT)
    assert feed_store.said(site.store, feed_store.RECONCILIATION) == {}


def test_node_that_is_told_to_stop_leaves_off_and_says_so(site, pacs):
    role = running(site, over_dimse(pacs.dicom_port))
    role.stop.set()
    ask_when_due(role, NIGHT)
    assert feeds.alarms(site.store) == (
        "pacs could not be asked which head CTs never reached this node: the node was stopped.",
    )


def test_check_lists_the_uids(site, pacs):
    with site.config.open("a") as config:
        config.write(f"\n[reconciliation]\nqido_url = 'http://127.0.0.1:{pacs.http_port}/dicom-web'\n")
    ask_when_due(running(site, qido_url=f"http://127.0.0.1:{pacs.http_port}/dicom-web"), NIGHT)
    out = io.StringIO()
    assert not check(site.config, terminal(file=out, width=400, no_color=True))
    assert (
        "WRONG reconciliation with the archive, 20 Nov: 4 CT studies there: 1 head CT of 20 Nov in the archive never "
        "reached this node: from CT2 (1). 1.2.3" in out.getvalue()
    )


@pytest.mark.parametrize(
    "asked",
    [{}, {"archive": "a", "qido_url": "http://h"}, {"archive": "a", "user": "u"}, {"qido_url": "ftp://h"}],
)
def test_configuration_names_one_archive_and_one_way(asked):
    with pytest.raises(ValueError, match=r"archive|qido_url|url must be"):
        ReconciliationSettings(**asked)
