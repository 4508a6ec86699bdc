"""Rejection notes of others (IOCM): what a permitted peer rejects is out of use, and the flag stays until somebody closes it."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from tests.journeys import modality
from tests.processes.test_corrections import TEXT, analysed_again, delivered
from tests.support.analysed import analysis, receive, settings_in, take_in
from tests.support.key_objects import rejection_note
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import DecodeError, ReportError
from triage_node.domain.identifiers import deterministic_uid
from triage_node.domain.priority import ReadingState
from triage_node.domain.study import StudyState
from triage_node.processes import reporting
from triage_node.processes.analysis import Analysis
from triage_node.processes.running import now
from triage_node.processes.study_details import study_details
from triage_node.store import audit, instances, rejections, results, studies, worklist

PERMITTED = """
[[listener.senders]]
ae_title = "*"
[[listener.senders]]
ae_title = "PACS"
may_correct_identity = true
"""


@pytest.fixture(scope="module")
def bleed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("rejected")
    return modality.phantom(folder, "kos", modality.now(), seed=9082, slices=24, thickness_mm=6.0, size=128).files


@pytest.fixture(scope="module")
def uids(bleed: tuple[Path, ...]) -> tuple[str, ...]:
    return tuple(str(pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID) for f in bleed)


@pytest.fixture
def role(tmp_path: Path) -> Iterator[Analysis]:
    with analysis(settings_in(tmp_path / "site", text=TEXT + PERMITTED)) as made:
        yield made


def reported(role: Analysis, files: tuple[Path, ...]) -> str:
    uid = receive(role, files)
    role.work()
    delivered(role, uid)
    return uid


def hears(role: Analysis, uid: str, note: Path, calling: str = "PACS") -> None:
    take_in(role, [note], calling)
    analysed_again(role, uid)


def status(role: Analysis, uid: str) -> str:
    return str(worklist.row_of(role.store, uid).row.status_words)


def names(role: Analysis, sop_instance_uid: str) -> str:
    built = results.object_by_uid(role.store, sop_instance_uid)
    return pydicom.dcmread(BytesIO(role.reporter.path(built).read_bytes())).to_json()


def test_some_rejected_slices_are_left_out_of_a_new_revision(role, bleed, uids, tmp_path):
    uid = reported(role, bleed)
    hears(role, uid, rejection_note(tmp_path / "note", uid, uids[-2:]))
    assert results.latest(role.store, uid).revision == 2
    assert {i.sop_instance_uid for i in instances.of_study(role.store, uid)}.isdisjoint(uids[-2:])
    sent = delivered(role, uid)
    reports = [r for r in sent if r.kind is ObjectKind.FINDINGS_SR]
    assert len(reports) == 1
    assert not any(rejected in names(role, reports[0].sop_instance_uid) for rejected in uids[-2:])
    assert len([r for r in sent if r.kind is ObjectKind.REJECTION_NOTE]) == 1
    assert "2 instances named by PACS: rejected for quality reasons" in status(role, uid)
    assert worklist.row_of(role.store, uid).row.flag is not None


@pytest.mark.parametrize(("code", "ours"), [("113001", "113001"), ("113037", "113037"), ("113038", "113037")])
def test_a_study_that_was_rejected_stays_in_sight_with_its_flag_and_our_objects_are_withdrawn(
    role, bleed, uids, tmp_path, code, ours
):
    uid = reported(role, bleed)
    hears(role, uid, rejection_note(tmp_path / "note", uid, uids, code))
    assert studies.get(role.store, uid).state is StudyState.DECLINED
    assert "rejected by PACS: " in status(role, uid)
    row = worklist.row_of(role.store, uid).row
    assert row.flag is not None
    assert row.reading_state is ReadingState.WAITING
    assert [n.row.study_instance_uid for n in worklist.rows(role.store)] == [uid]
    [note] = delivered(role, uid)
    assert note.kind is ObjectKind.REJECTION_NOTE
    assert f'"{ours}"' in names(role, note.sop_instance_uid)
    listed = study_details(role.store, role.blobs.built, uid, shows_names=False).to_correct
    assert {t.what for t in listed} == {"findings_sr", "summary_sc"}
    assert {t.done for t in listed} == {"Withdrawn there by a rejection note."}
    assert all("rejected by PACS" in t.why for t in listed)
    assert "instances rejected" in {action for _, _, action in audit.entries(role.store, uid)}
    with role.store.write() as c:
        worklist.set_reading_state(c, uid, ReadingState.READ, now(), "Dr. A")
    assert worklist.rows(role.store) == []


def test_what_was_rejected_stays_rejected_and_images_under_new_uids_are_read(role, bleed, uids, tmp_path):
    uid = reported(role, bleed[:-1])
    hears(role, uid, rejection_note(tmp_path / "note", uid, uids, "113038"))
    assert studies.get(role.store, uid).state is StudyState.DECLINED
    take_in(role, bleed[-1:])  # named before it came
    analysed_again(role, uid)
    assert studies.get(role.store, uid).state is StudyState.DECLINED
    renewed = []
    for file in bleed:
        ds = pydicom.dcmread(file)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = deterministic_uid("anew", ds.SOPInstanceUID)
        ds.SeriesInstanceUID = deterministic_uid("anew", ds.SeriesInstanceUID)
        renewed.append(tmp_path / file.name)
        ds.save_as(renewed[-1])
    take_in(role, renewed)
    analysed_again(role, uid)
    assert results.latest(role.store, uid).revision == 2
    assert studies.get(role.store, uid).state is StudyState.REPORTED


WITHOUT_EFFECT = (
    ("STRANGER", {}, "STRANGER may not reject, its note is ignored: rejected for quality reasons"),
    ("PACS", {"code": "113000"}, "STRANGER may not reject"),
    ("PACS", {"Manufacturer": "Triage Node"}, "STRANGER may not reject"),
    ("PACS", {"ConceptNameCodeSequence": []}, "STRANGER may not reject"),
    ("PACS", {"code": "113039"}, "note of PACS: data retention policy expired"),
    ("PACS", {"named_study_uid": "1.2.3.4"}, "24 references to other studies ignored"),
    ("PACS", {"CurrentRequestedProcedureEvidenceSequence": []}, "0 instances named by PACS"),
)
"""From whom, what is wrong with the note, what the row says after it; some say nothing and leave what stood there."""


def test_a_note_that_does_not_count_changes_nothing_but_the_notice(role, bleed, uids, tmp_path):
    uid = reported(role, bleed)
    for number, (calling, what, said) in enumerate(WITHOUT_EFFECT):
        hears(role, uid, rejection_note(tmp_path / f"note {number}", uid, uids, **what), calling)
        assert said in status(role, uid), what
        assert studies.get(role.store, uid).state is StudyState.DELIVERED
    assert rejections.of_study(role.store, uid) == []
    assert results.latest(role.store, uid).revision == 1
    assert delivered(role, uid) == []


def test_a_note_that_comes_before_the_images_and_names_notes_too_counts_for_images_only(role, bleed, uids, tmp_path):
    """Two notes that name each other and themselves: neither ends the other."""
    study = str(pydicom.dcmread(bleed[0], stop_before_pixels=True).StudyInstanceUID)
    one, two = "2.25.1", "2.25.2"
    first = rejection_note(tmp_path / "first", study, (one, two, uids[-1]), SOPInstanceUID=one)
    second = rejection_note(tmp_path / "second", study, (one, two, uids[-2]), SOPInstanceUID=two)
    take_in(role, [first, second], "PACS")
    uid = receive(role, bleed)
    role.work()
    assert results.latest(role.store, uid).revision == 1
    held = {i.sop_instance_uid for i in instances.of_study(role.store, uid)}
    assert held == {one, two, *uids} - set(uids[-2:])
    assert worklist.row_of(role.store, uid).row.flag is not None


def test_a_study_that_can_neither_be_read_nor_declined_is_tried_again_and_fails_in_sight(role, bleed, monkeypatch):
    uid = receive(role, bleed)

    def nothing(*_: object) -> None:
        raise ReportError("the objects could not be built")

    def unreadable(*_: object) -> None:
        raise DecodeError("an image cannot be read")

    monkeypatch.setattr(role.decoder, "read_series", unreadable)
    monkeypatch.setattr(reporting, "build_objects", nothing)
    monkeypatch.setattr(reporting.Reporter, "wanted", lambda *_: {"pacs": reporting.NOT_ANALYSED})
    for _ in range(studies.MAX_TRIES):
        assert role.work()  # and does not take the process along, which holds the studies after it too
    assert status(role, uid).startswith("not analysed, failed: ")
    assert "the objects could not be built" in status(role, uid)
