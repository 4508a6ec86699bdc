"""A Secondary Capture Image that every viewer shows: single frame, RGB, 8 bit (PS3.3 A.8.1, STANDARDS.md 2.4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from triage_node.domain.delivery import ObjectKind
from triage_node.report import codes
from triage_node.report.provenance import SERIES_NUMBERS, Draft


def capture(
    draft: Draft,
    kind: ObjectKind,
    pixels: NDArray[np.uint8],
    *,
    index: str,
    instance_number: int,
    image_type: str,
    what: str,
    derived_from: list[Dataset],
    description: str,
) -> Dataset:
    """The data set without what `provenance.finish` adds. Shape: pixels (row, column, 3), RGB."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, draft.uid(kind, index)
    ds.SeriesInstanceUID, ds.SeriesNumber = draft.uid(kind, "series"), SERIES_NUMBERS[kind]
    ds.SeriesDescription = draft.series_description(what)
    # OT, not CT: archives pick series for reading protocols and dose by Modality, and this is no CT
    ds.Modality, ds.ConversionType = "OT", "WSD"
    ds.BodyPartExamined = "HEAD"
    ds.ImageType = ["DERIVED", "SECONDARY", image_type]
    ds.InstanceNumber = instance_number
    ds.PatientOrientation = ""
    ds.BurnedInAnnotation, ds.LossyImageCompression = "YES", "00"
    ds.DerivationDescription = description
    if derived_from:
        ds.SourceImageSequence = [_source(image) for image in derived_from]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB"
    ds.ContributingEquipmentSequence = draft.equipment()
    return ds


def _source(image: Dataset) -> Dataset:
    reference, purpose = Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    code = codes.SOURCE_IMAGE
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = (
        code.value,
        code.scheme_designator,
        code.meaning,
    )
    reference.PurposeOfReferenceCodeSequence = [purpose]
    return reference
