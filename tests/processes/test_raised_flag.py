"""A raised flag stays whatever is found later, and a bleed is raised also where nobody told when the scan was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest

from tests.journeys import modality
from tests.study.headers import HEAD, series
from tests.support.analysed import Painted, analysis, close, receive, settings_in, take_in
from tests.support.arriving import STUDY, come
from triage_node.domain.priority import ListPolicy, Mode, OrderClass, WorklistRow
from triage_node.processes.analysis import Analysis
from triage_node.processes.arrival import Arrivals
from triage_node.processes.listing import reading_list
from triage_node.processes.running import now
from triage_node.store import policy, results, studies, worklist

ACTIVE = '[worklist]\nmode = "active"\n[prognosis]\nbundles = []\n'


@pytest.fixture(scope="module")
def bleed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("raised")
    return modality.phantom(folder, "raised", modality.now(), seed=9083, slices=24, thickness_mm=6.0, size=128).files


@pytest.fixture
def role(tmp_path: Path) -> Iterator[Analysis]:
    with analysis(settings_in(tmp_path / "site", text=ACTIVE)) as made:
        yield made


def same_model(role: Analysis) -> None:
    """It finds next to nothing from now on, as a late slice may make it."""
    role.detector = Painted(role.bundle, probability=0.01)  # type: ignore[assignment]


def new_model(role: Analysis) -> None:
    role.bundle = replace(role.bundle, version="9.9.9", digest="9" * 64)
    points = policy.current(role.store, "")
    policy.add(role.store, list(points.values()), "node", "its own", now(), bundle_digest=role.bundle.digest)
    same_model(role)


def older_study(role: Analysis) -> None:
    """It came two hours ago and is still arriving, without a flag."""
    come(role, [HEAD], is_open=True)
    with role.store.write() as c:
        worklist.add_row(c, WorklistRow(STUDY, OrderClass.ROUTINE, now() - timedelta(hours=2)), "older")


def places(role: Analysis) -> list[str]:
    shown = reading_list(role.store, ListPolicy(mode=Mode.ACTIVE), now(), False, shows_names=False)
    return [p.row.study_instance_uid for p in shown.placed]


@pytest.mark.parametrize("model", [same_model, new_model])
def test_a_late_slice_after_which_nothing_is_found_leaves_flag_and_place(role, bleed, model):
    uid = receive(role, bleed[:-1])
    role.work()
    raised = worklist.row_of(role.store, uid).row.flag
    older_study(role)
    model(role)
    take_in(role, bleed[-1:])
    close(role, uid)
    role.work()
    later = results.latest(role.store, uid)
    assert (later.revision, later.flagged) == (2, False)
    assert worklist.row_of(role.store, uid).row.flag == raised
    assert places(role) == [uid, STUDY]


def retimed(files: Sequence[Path], folder: Path, date: str, time: str) -> list[Path]:
    """The same images with another acquisition time."""
    for file in files:
        ds = pydicom.dcmread(file)
        for kind in ("Acquisition", "Content", "Series", "Study"):
            setattr(ds, f"{kind}Date", date)
            setattr(ds, f"{kind}Time", time)
        ds.save_as(folder / file.name)
    return sorted(folder.glob("*.dcm"))


@pytest.mark.parametrize(("date", "time"), [("", ""), ("29991231", "120000")])
def test_a_bleed_without_a_time_that_can_be_is_live_and_stands_first(role, bleed, tmp_path, date, time):
    older_study(role)
    timeless = take_in(role, retimed(bleed, tmp_path, date, time))
    uid = timeless[0].header.study_instance_uid
    Arrivals(role.store, role.settings).tick()
    close(role, uid)
    role.work()
    row = worklist.row_of(role.store, uid).row
    assert row.live
    assert row.flag is not None
    assert places(role) == [uid, STUDY]


DOSE_REPORT = "1.2.840.10008.5.1.4.1.1.88.67"


@pytest.mark.parametrize("first_is_old", [True, False])
def test_a_report_that_comes_first_does_not_tell_when_the_scan_was_made(role, first_is_old):
    """A dose report of last year beside a scan of now, and the other way round."""
    fresh = {
        "acquisition_date": f"{now():%Y%m%d}",
        "acquisition_time": f"{now():%H%M%S}",
        "timezone_offset_from_utc": "+0000",
    }
    of_report, of_scan = ({}, fresh) if first_is_old else (fresh, {})
    report = replace(
        HEAD, sop_class_uid=DOSE_REPORT, sop_instance_uid="1.2.3.9", series_instance_uid="1.2.3.99", **of_report
    )
    come(role, [report], seconds_ago=30)
    Arrivals(role.store, role.settings).tick()
    assert worklist.row_of(role.store, STUDY).live_words == "no image yet, treated as live"
    come(role, [replace(h, **of_scan) for h in series().headers], seconds_ago=30)
    Arrivals(role.store, role.settings).tick()
    assert studies.get(role.store, STUDY).closed_at is not None
    row = worklist.row_of(role.store, STUDY)
    assert row.row.live is first_is_old
    assert "acquired" in row.live_words
