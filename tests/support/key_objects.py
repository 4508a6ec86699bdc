"""Key object selections as an archive sends them: rejection notes of IHE IOCM, good and bad."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from triage_node.domain.rejection import KEY_OBJECT_SELECTION

CT = "1.2.840.10008.5.1.4.1.1.2"


def rejection_note(
    file: Path,
    study_uid: str,
    instance_uids: Sequence[str],
    code: str = "113001",
    named_study_uid: str = "",
    **changes: object,
) -> Path:
    """A note that stands in `study_uid` and names instances of it, or of `named_study_uid`. `changes`: attributes of the note."""
    ds = _document(study_uid)
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = code, "DCM", "Rejected"
    ds.ConceptNameCodeSequence = [title]
    ds.CurrentRequestedProcedureEvidenceSequence = [_evidence(named_study_uid or study_uid, instance_uids)]
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.save_as(file, enforce_file_format=True)
    return file


def _document(study_uid: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = KEY_OBJECT_SELECTION, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, generate_uid()
    ds.Modality, ds.Manufacturer, ds.SeriesNumber, ds.InstanceNumber = "KO", "Archive", 1, 1
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    return ds


def _evidence(study_uid: str, instance_uids: Sequence[str]) -> Dataset:
    references = []
    for uid in instance_uids:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, uid
        references.append(reference)
    series, study = Dataset(), Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = generate_uid(), references
    study.StudyInstanceUID, study.ReferencedSeriesSequence = study_uid, [series]
    return study
