"""The same pixels come again under another identity: a correction re-issues and withdraws, a conflict waits for a person."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from tests.journeys import modality
from tests.journeys.modality import Sent
from tests.support.node import AE_TITLE, SETTLED, Node, node
from tests.support.pacs import Archive, free_port, orthanc, storescu
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CORRECTOR = "PACS"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Archive, Path]]:
    folder = tmp_path_factory.mktemp("identity")
    port = free_port()
    senders = [{"ae_title": "*"}, {"ae_title": CORRECTOR, "may_correct_identity": True}]
    with (
        orthanc(folder / "orthanc", modalities={AE_TITLE: (AE_TITLE, "127.0.0.1", port)}) as archive,
        node(folder / "node", [archive], dicom_port=port, listener={"senders": senders}) as running,
    ):
        yield running, archive, folder


def under_another_id(sent: Sent, folder: Path, patient_id: str) -> Sent:
    """The files of a study with another Patient ID; UIDs and pixels stay."""
    folder.mkdir()
    out = []
    for file in sent.files:
        ds = pydicom.dcmread(file)
        ds.PatientID = patient_id
        out.append(folder / file.name)
        ds.save_as(out[-1])
    return Sent(sent.name, tuple(out))


def sent_and_delivered(place: tuple[Node, Archive, Path], name: str, seed: int) -> Sent:
    running, _, folder = place
    sent = modality.phantom(folder, name, modality.now(), (modality.LARGE_BLEED,), seed=seed)
    modality.send(sent.files, running.dicom_port)
    assert running.wait_for_state(sent.uid, SETTLED, 120) == "delivered"
    return sent


def held(archive: Archive, study: str) -> list[pydicom.Dataset]:
    """Every object that the archive has of a study."""
    found = [pydicom.dcmread(BytesIO(archive.file(i))) for i in archive.instances().values()]
    return [d for d in found if study == d.StudyInstanceUID]


def test_corrected_identity_is_issued_again_and_the_old_objects_are_withdrawn(place):
    running, archive, folder = place
    sent = sent_and_delivered(place, "merged", 9061)
    old = {str(d.SOPInstanceUID): d for d in held(archive, sent.uid)}
    corrected = under_another_id(sent, folder / "corrected", "RIGHT-ID")
    storescu(corrected.files, "127.0.0.1", running.dicom_port, AE_TITLE, calling=CORRECTOR)
    wait_until(lambda: running.study(sent.uid)["revision"] == 2, 60, "a second revision")
    assert running.wait_for_state(sent.uid, SETTLED, 120) == "delivered"

    new = [d for d in held(archive, sent.uid) if str(d.SOPInstanceUID) not in old]
    notes = [d for d in new if d.Modality == "KO"]
    assert len(notes) == 1
    assert notes[0].ConceptNameCodeSequence[0].CodeValue == "113037"
    named = {
        str(item.ReferencedSOPInstanceUID)
        for study in notes[0].CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert named == set(old)
    reports = [d for d in new if d.Modality == "SR" and "PredecessorDocumentsSequence" in d]
    assert len(reports) == 1
    assert {str(d.PatientID) for d in new if d.Modality != "KO"} == {"RIGHT-ID"}
    row = next(r for r in running.rows() if r["study_instance_uid"] == sent.uid)
    assert row["flag"] is not None
    assert "identity corrected: patient id" in row["status"]


def test_identity_from_a_stranger_is_a_conflict_and_changes_nothing(place):
    running, archive, folder = place
    sent = sent_and_delivered(place, "conflict", 9062)
    before = {str(d.SOPInstanceUID) for d in held(archive, sent.uid)}
    modality.send(under_another_id(sent, folder / "stranger", "WRONG-ID").files, running.dicom_port)

    def notice() -> str:
        row = next(r for r in running.rows() if r["study_instance_uid"] == sent.uid)
        return row["status"] if "identity conflict" in row["status"] else ""

    assert "identity conflict: patient id" in wait_until(notice, 60, "the conflict is shown")
    assert running.wait_for_state(sent.uid, SETTLED, 120) == "delivered"
    assert {str(d.SOPInstanceUID) for d in held(archive, sent.uid)} == before
    assert next(r for r in running.rows() if r["study_instance_uid"] == sent.uid)["flag"] is not None
    assert running.study(sent.uid)["revision"] == 1


def test_same_study_again_changes_nothing(place):
    running, archive, folder = place
    sent = sent_and_delivered(place, "again", 9063)
    before, closed = archive.count(), len(running.timeline(sent.uid))
    modality.send(sent.files, running.dicom_port)
    assert running.study(sent.uid)["state"] == "delivered"
    assert (archive.count(), len(running.timeline(sent.uid))) == (before, closed)
