"""Another identity, by the same pixels or by ADT: a correction re-issues and withdraws, a conflict waits for a person.

And a rejection note of the archive (IOCM): what it names is out of use, what we delivered of it is withdrawn.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.journeys import modality
from tests.journeys.modality import Sent
from tests.support.key_objects import rejection_note
from tests.support.node import AE_TITLE, SETTLED, Node, node
from tests.support.pacs import Archive, free_port, orthanc, storescu
from tests.support.waiting import wait_until
from triage_node.hl7v2.mllp import MllpClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CORRECTOR = "PACS"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Archive, Path]]:
    folder = tmp_path_factory.mktemp("identity")
    port = free_port()
    senders = [{"ae_title": "*"}, {"ae_title": CORRECTOR, "may_correct_identity": True}]
    with (
        orthanc(folder / "orthanc", modalities={AE_TITLE: (AE_TITLE, "127.0.0.1", port)}) as archive,
        node(
            folder / "node",
            [archive],
            dicom_port=port,
            listener={"senders": senders},
            hl7_inbound={"port": free_port()},
            prognosis={"bundles": []},
        ) as running,
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
    sent = modality.phantom(folder, name, modality.now(), (modality.LARGE_BLEED,), seed=seed, size=256)
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

    new = issued_since(archive, sent.uid, old)
    assert {str(d.PatientID) for d in new.values()} == {"RIGHT-ID"}
    row = row_of(running, sent)
    assert row["flag"] is not None
    assert "identity corrected: patient id" in row["status"]


def issued_since(archive: Archive, study: str, old: dict[str, pydicom.Dataset]) -> dict[str, pydicom.Dataset]:
    """What came instead of `old`: one note rejects every object of it, one report names its predecessor. Without the note."""
    new = [d for d in held(archive, study) if str(d.SOPInstanceUID) not in old]
    [note] = [d for d in new if d.Modality == "KO"]
    assert note.ConceptNameCodeSequence[0].CodeValue == "113037"
    assert named_in(note) == {uid for uid, d in old.items() if d.Modality != "KO"}
    assert len([d for d in new if d.Modality == "SR" and "PredecessorDocumentsSequence" in d]) == 1
    return {str(d.SOPInstanceUID): d for d in new if d.Modality != "KO"}


def named_in(note: pydicom.Dataset) -> set[str]:
    return {
        str(item.ReferencedSOPInstanceUID)
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def row_of(running: Node, sent: Sent) -> dict[str, Any]:
    return next(r for r in running.rows() if r["study_instance_uid"] == sent.uid)


def test_a_merge_told_by_adt_is_issued_again_and_what_the_archive_rejects_then_is_withdrawn(place):
    running, archive, folder = place
    sent = sent_and_delivered(place, "adt", 9064)
    old = {str(d.SOPInstanceUID): d for d in held(archive, sent.uid)}
    [patient_id] = {str(d.PatientID) for d in old.values()}
    port = tomllib.loads(running.config.read_text())["hl7_inbound"]["port"]
    client = MllpClient("127.0.0.1", port, 30.0)
    head = "MSH|^~\\&|HIS|WARD|TRIAGE||20261121030000||ADT^A40|M1|P|2.5.1"
    message = "\r".join((head, "EVN|A40", "PID|1||ADT-RIGHT^^^^MR", f"MRG|{patient_id}", ""))
    assert b"MSA|AA" in client.exchange(message.encode(), lambda answer: b"MSA|" in answer)
    client.close()
    wait_until(lambda: running.study(sent.uid)["revision"] == 2, 120, "a second revision")
    assert running.wait_for_state(sent.uid, SETTLED, 120) == "delivered"
    new = issued_since(archive, sent.uid, old)
    assert {str(d.PatientID) for d in new.values()} == {"ADT-RIGHT"}
    listed = running.study(sent.uid)["to_correct"]
    assert {t["uid"] for t in listed} == set(old)
    assert {t["carries"] for t in listed} == {f"patient id {patient_id}"}

    images = [str(pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID) for f in sent.files]
    stranger = rejection_note(folder / "stranger.dcm", sent.uid, images, "113037")
    storescu([stranger], "127.0.0.1", running.dicom_port, AE_TITLE, calling="STRANGER")
    wait_until(
        lambda: "STRANGER may not reject" in row_of(running, sent)["status"], 120, "the stranger's note is shown"
    )
    storescu(
        [rejection_note(folder / "note.dcm", sent.uid, images, "113037")],
        "127.0.0.1",
        running.dicom_port,
        AE_TITLE,
        calling=CORRECTOR,
    )
    assert running.wait_for_state(sent.uid, {"declined"}, 120) == "declined"
    row = row_of(running, sent)
    assert row["flag"] is not None
    assert f"rejected by {CORRECTOR}: rejected for patient safety reasons" in row["status"]

    def withdrawn() -> bool:
        notes = [d for d in held(archive, sent.uid) if d.Modality == "KO"]
        return set(new) in [named_in(n) for n in notes]

    wait_until(withdrawn, 60, "what we delivered is withdrawn there")


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
