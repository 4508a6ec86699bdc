"""Small valid files to send."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from triage_node.delivery.outgoing import Outgoing
from triage_node.domain.delivery import BuiltObject, ObjectKind

STUDY = "2.25.4711"


def write(
    folder: Path,
    number: int,
    sop_class_uid: str = SecondaryCaptureImageStorage,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    rows: int = 16,
) -> Outgoing:
    """A picture of `rows` x `rows` grey values, with a private element and a value of odd length."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, f"2.25.{1000 + number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, "2.25.4712"
    ds.PatientName, ds.PatientID = "Marked^Delivery", "D1"
    ds.Modality, ds.ConversionType, ds.InstanceNumber = "OT", "WSD", str(number)
    ds.add_new(0x00091010, "LO", "NOT A KNOWN CREATOR")
    ds.add_new(0x00280002, "US", 1)
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows = ds.Columns = rows
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = bytes((number + i) & 0xFF for i in range(256)) * (rows * rows // 256)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    path = folder / f"{number}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return Outgoing(ds.SOPInstanceUID, str(sop_class_uid), path)


def data_set_of(path: Path) -> bytes:
    """The bytes after the file meta information, as they lie on disk."""
    length = read_file_meta_info(path).FileMetaInformationGroupLength
    return path.read_bytes()[128 + 4 + 12 + length :]


def built(outgoing: Outgoing, kind: ObjectKind = ObjectKind.HEATMAP_SC, refers_to: tuple[str, ...] = ()) -> BuiltObject:
    data = outgoing.path.read_bytes()
    return BuiltObject(
        outgoing.sop_instance_uid,
        outgoing.sop_class_uid,
        "2.25.4712",
        STUDY,
        kind,
        1,
        hashlib.sha256(data).hexdigest(),
        len(data),
        refers_to,
    )
