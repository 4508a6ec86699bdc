"""Slices that arrive after the report open a revision: a new SR that names the one before, whose objects are withdrawn."""

import io
from pathlib import Path

import pydicom
import pytest

from tests.journeys import modality
from tests.support.node import AE_TITLE, Node, node
from tests.support.pacs import Archive, free_port, orthanc
from tests.support.waiting import wait_until
from triage_node.simulation.phantom_bleeds import Bleed

HIGH_BLEED = Bleed("iph", 40.0, (-34.0, 20.0, 40.0), 66.0)
HELD_BACK = 10
"""Slices of the vertex, more than half of the bleed among them."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_late_slices_open_a_revision_whose_report_names_its_predecessor(tmp_path: Path) -> None:
    study = modality.phantom(tmp_path, "late", modality.now(), (HIGH_BLEED,), seed=9054, size=256)
    early, late = study.files[:-HELD_BACK], study.files[-HELD_BACK:]
    port = free_port()
    with (
        orthanc(tmp_path / "orthanc", modalities={AE_TITLE: (AE_TITLE, "127.0.0.1", port)}) as archive,
        node(tmp_path / "node", [archive], dicom_port=port, completeness={"minimum_coverage_mm": 90.0}) as running,
    ):
        modality.send(early, port, associations=1)
        running.wait_for_state(study.uid, {"delivered"}, 120)
        first = running.study(study.uid)
        assert first["revision"] == 1
        [old] = findings_reports(archive)
        before = objects(running, study.uid)
        assert set(archive.instances()) == before
        position = [r["study_instance_uid"] for r in running.rows()].index(study.uid)
        flag = running.rows()[position]["flag"]
        assert flag is not None

        modality.send(late, port, associations=1)
        wait_until(lambda: running.study(study.uid)["revision"] == 2, 120, "a second revision")
        running.wait_for_state(study.uid, {"delivered"}, 120)
        reports = findings_reports(archive)
        [new] = [r for r in reports if r.SOPInstanceUID != old.SOPInstanceUID]
        [predecessor] = predecessors(new)
        assert predecessor == old.SOPInstanceUID
        assert old.SOPInstanceUID in withdrawn(archive)
        assert new.SOPInstanceUID not in withdrawn(archive)
        row = running.rows()[position]
        assert row["revision"] == 2
        assert row["flag"] is not None
        assert row["flag"]["words"] != flag["words"], "the volume in words grew"
        closed = [e for e in running.timeline(study.uid) if e["moment"] == "complete"]
        assert len(closed) == 2
        after = objects(running, study.uid)
        assert not before & after, "a revision has objects of its own"
        assert set(archive.instances()) == before | after
        assert archive.count() == len(before | after)


def objects(running: Node, study_instance_uid: str) -> set[str]:
    """What the revision in force has sent."""
    return {o["sop_instance_uid"] for o in running.study(study_instance_uid)["objects"] if o["deliveries"]}


def data_sets(archive: Archive) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(io.BytesIO(archive.file(i)), stop_before_pixels=True) for i in archive.instances().values()]


def findings_reports(archive: Archive) -> list[pydicom.Dataset]:
    return [d for d in data_sets(archive) if d.Modality == "SR" and "findings" in d.SeriesDescription]


def predecessors(report: pydicom.Dataset) -> list[str]:
    return [
        str(instance.ReferencedSOPInstanceUID)
        for study in report.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]


def withdrawn(archive: Archive) -> set[str]:
    """What the rejection notes in the archive name (IOCM, STANDARDS.md 1.16)."""
    return {
        str(instance.ReferencedSOPInstanceUID)
        for note in data_sets(archive)
        if note.Modality == "KO"
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
