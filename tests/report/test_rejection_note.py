from __future__ import annotations

import dataclasses

import pytest

from tests.report import sample
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import ReportError
from triage_node.report.build import build_objects
from triage_node.report.read_back import read, rejected_instances
from triage_node.report.rejection_note import Rejection, RejectionRequest, build_rejection_note


def note_for(data, rejection=Rejection.QUALITY, **changes):
    return build_rejection_note(
        RejectionRequest(data, rejection, "Superseded by revision 2.", sample.NODE, sample.AT, **changes)
    )


@pytest.mark.parametrize(("rejection", "code"), [(Rejection.QUALITY, "113001"), (Rejection.PATIENT_SAFETY, "113037")])
def test_the_note_read_back_names_every_withdrawn_object_under_its_title(rejection, code):
    files = build_objects(sample.request())
    note = note_for([f.data for f in files], rejection)
    ds = read(note.data)
    assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.59"
    assert ds.Modality == "KO"
    assert ds.ConceptNameCodeSequence[0].CodeValue == code
    withdrawn = tuple(f.built.sop_instance_uid for f in files)
    assert rejected_instances(ds) == withdrawn
    assert note.built.refers_to == withdrawn
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    listed = {
        (s.SeriesInstanceUID, r.ReferencedSOPInstanceUID, r.ReferencedSOPClassUID)
        for s in study.ReferencedSeriesSequence
        for r in s.ReferencedSOPSequence
    }
    assert listed == {(f.built.series_instance_uid, f.built.sop_instance_uid, f.built.sop_class_uid) for f in files}


def test_the_note_stands_under_the_identity_of_what_it_withdraws():
    """After a patient merge, the archive still files the old objects under the old patient."""
    files = build_objects(sample.request(kinds=frozenset({ObjectKind.SUMMARY_SC})))
    note = read(note_for([files[0].data], Rejection.PATIENT_SAFETY).data)
    old = read(files[0].data)
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber", "IssuerOfPatientID"):
        assert note[keyword].value == old[keyword].value


def test_the_same_withdrawal_gives_the_same_bytes_and_another_one_another_uid():
    files = build_objects(sample.request())
    data = [f.data for f in files]
    assert note_for(data).data == note_for(data).data
    uids = {
        note_for(data).built.sop_instance_uid,
        note_for(data[:-1]).built.sop_instance_uid,
        note_for(data, Rejection.PATIENT_SAFETY).built.sop_instance_uid,
    }
    assert len(uids) == 3


def test_nothing_two_studies_or_rubbish_cannot_be_withdrawn():
    with pytest.raises(ReportError, match="at least one"):
        note_for([])
    with pytest.raises(ReportError, match="not a DICOM file"):
        note_for([b"rubbish"])
    volume = dataclasses.replace(sample.volume(), study_instance_uid="1.2.3.4")
    kinds = frozenset({ObjectKind.SUMMARY_SC})
    one, other = build_objects(sample.request(kinds=kinds)), build_objects(sample.request(volume, kinds=kinds))
    with pytest.raises(ReportError, match="one study"):
        note_for([one[0].data, other[0].data])
