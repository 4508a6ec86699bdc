"""What analysis leaves for the study page: on its real way, with a painted detector."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.journeys import modality
from tests.support.analysed import analysis, receive, settings_in
from triage_node.blobs.opened import open_blobs
from triage_node.console.viewer import Shown
from triage_node.domain.errors import NotAHead
from triage_node.domain.priority import ReadingState
from triage_node.domain.study import StudyState
from triage_node.domain.volume import Volume
from triage_node.processes import housekeeping
from triage_node.processes.analysis import Analysis
from triage_node.processes.console import display as console_display
from triage_node.processes.console.viewer import viewer_deps
from triage_node.processes.wiring import built_folder
from triage_node.report import display
from triage_node.store import prognosis, results, studies, worklist
from triage_node.store.schema import study as study_table


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> list[modality.Sent]:
    folder = tmp_path_factory.mktemp("sent")
    first = modality.phantom(folder, "first", modality.now(), seed=9073, slices=24, thickness_mm=6.0, size=128)
    return modality.copies(first, folder, 6)


@pytest.fixture(scope="module")
def role(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Analysis]:
    with analysis(settings_in(tmp_path_factory.mktemp("site"))) as opened:
        yield opened


def shown(role: Analysis, uid: str) -> Shown | None:
    return viewer_deps(role.store, open_blobs(role.settings.store), built_folder(role.settings)).shown(uid)


def test_a_flagged_study_shows_its_slices_at_once_and_its_maps_when_there_is_time(role, sent, monkeypatch):
    seen: list[Volume] = []
    detect = role.detector.detect
    monkeypatch.setattr(role.detector, "detect", lambda volume: seen.append(volume) or detect(volume))
    uid = receive(role, sent[0].files)
    assert role.work()
    found = shown(role, uid)
    assert found is not None
    assert (found.revision, found.frame.slices, found.with_findings, found.maps_come) == (1, 24, (12,), True)
    assert found.probabilities == pytest.approx([0.97] * 24)
    path = display.path_of(built_folder(role.settings), uid)
    for i in (0, 12, 23):
        piece = display.pixels_of(path, found.digest, i)
        assert (display.unpacked(piece, 128, 128) == seen[0].hu[i].clip(-1024, 3071)).all()
    assert role.displays.explain()
    still = shown(role, uid)
    assert still is not None
    assert still.maps_come, "one step is not all"
    while role.displays.explain():
        pass
    told = shown(role, uid)
    assert told is not None
    assert not told.maps_come
    named = [m.label for m in told.maps] + [label for label, _ in told.silent]
    for task in ("intracranial hemorrhage", "subdural hemorrhage", "GCS (multitask_prognosis)"):
        assert f"Grad-CAM: {task}" in named
    assert any("expansion" in label and "feature map" in why for label, why in told.silent)
    abstained = {p.name: p.abstained for p in prognosis.latest(role.store, uid, 1).predictions}
    of_prognosis = {i: m.prognosis for i, m in enumerate(told.maps) if m.prognosis}
    assert of_prognosis
    assert told.idle == {i for i, name in of_prognosis.items() if abstained[name]}, (
        "a figure that is not told has no map"
    )


def test_a_declined_study_shows_what_was_assembled_and_nothing_of_a_result(role, sent, monkeypatch):
    def refused(volume: Volume) -> None:
        raise NotAHead("not a patient's head, the interior is air")

    monkeypatch.setattr("triage_node.processes.scans.check_head", refused)
    uid = receive(role, sent[1].files)
    assert role.work()
    assert studies.get(role.store, uid).state is StudyState.DECLINED
    found = shown(role, uid)
    assert found is not None
    assert (found.revision, found.frame.slices, found.probabilities, found.with_findings) == (0, 24, (), ())


def test_a_study_in_quarantine_shows_nothing(role, sent):
    uid = receive(role, sent[4].files)
    assert role.work()
    found = shown(role, uid)
    assert found is not None
    with role.store.write() as c:
        quarantined = update(study_table).where(study_table.c.study_instance_uid == uid)
        c.execute(quarantined.values(state=StudyState.QUARANTINED.value))
    assert shown(role, uid) is None
    assert (
        viewer_deps(role.store, open_blobs(role.settings.store), built_folder(role.settings)).pixels(
            uid, found.digest, 0
        )
        is None
    )


def test_a_full_disk_costs_the_picture_and_not_the_study(role, sent, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(display, "write", full)
    uid = receive(role, sent[2].files)
    assert role.work()
    assert results.latest(role.store, uid).flagged
    assert shown(role, uid) is None
    while role.displays.explain():
        pass
    assert display.read_maps(display.path_of(built_folder(role.settings), uid)) is None, "no maps beside no slices"


def test_slices_go_with_the_pixels_that_they_were_made_of(role, sent):
    uid = receive(role, sent[3].files)
    assert role.work()
    path = display.path_of(built_folder(role.settings), uid)
    display.write_maps(path, 1, [], [("none", "of this test")])
    housekeeping.remove_old_sources(role.running)
    assert shown(role, uid) is not None, "a study on the list keeps them"
    with role.store.write() as c:
        at = studies.get(role.store, uid).arrived_at
        worklist.set_reading_state(c, uid, ReadingState.READ, at, "Dr. Lee")
        long_ago = at - timedelta(days=role.settings.store.source_days + 1)
        c.execute(
            update(study_table)
            .where(study_table.c.study_instance_uid == uid)
            .values(state=StudyState.DELIVERED.value, last_instance_at=long_ago)
        )
    housekeeping.remove_old_sources(role.running)
    assert shown(role, uid) is None
    assert list(path.parent.glob(f"{path.stem}*")) == []


def test_studies_wait_for_their_maps_on_disk_the_oldest_goes_without_when_too_many_do_and_what_fails_costs_nothing(
    role, sent, monkeypatch
):
    monkeypatch.setattr(console_display, "WAITING", 1)
    uid = receive(role, sent[5].files)
    assert role.work()
    role.displays.explain_later("1.2", 1, None, None)
    told = shown(role, uid)
    assert told is not None
    assert (told.maps, told.maps_come) == ((), False)
    assert ("Grad-CAM", "too many studies came at once") in told.silent
    assert [role.displays.explain() for _ in range(2)] == [True, False]
