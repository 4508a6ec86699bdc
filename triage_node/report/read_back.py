"""What the node wrote, read again from its bytes."""

from __future__ import annotations

import io

import highdicom as hd
import numpy as np
from highdicom import sr
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from triage_node.domain.errors import UNREADABLE, ReportError


def read(data: bytes) -> FileDataset:
    """The data set of a file. Raises: ReportError when the bytes are no DICOM file, or end before they say what they are."""
    try:
        ds = dcmread(io.BytesIO(data))
        identified = all(ds.get(k) for k in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"))
    except (InvalidDicomError, BytesLengthException, OSError, *UNREADABLE) as error:
        raise ReportError(f"not a DICOM file: {type(error).__name__}") from error
    if not identified:
        raise ReportError("not a DICOM file of ours: its identifiers are missing")
    return ds


def read_report(data: bytes) -> sr.EnhancedSR | sr.ComprehensiveSR | sr.Comprehensive3DSR:
    """An SR with highdicom's view of its content. Raises: ReportError."""
    try:
        return sr.srread(io.BytesIO(data))
    except (InvalidDicomError, BytesLengthException, OSError, *UNREADABLE) as error:
        raise ReportError(f"not a structured report: {type(error).__name__}") from error


def read_segmentation(data: bytes) -> hd.seg.Segmentation:
    """Raises: ReportError."""
    try:
        return hd.seg.segread(io.BytesIO(data))
    except (InvalidDicomError, BytesLengthException, OSError, *UNREADABLE) as error:
        raise ReportError(f"not a segmentation: {type(error).__name__}") from error


def read_capture(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a secondary capture of ours. Shape: (row, column, 3), RGB. Raises: ReportError."""
    ds = read(data)
    rows, columns = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    pixels = ds.get("PixelData", b"")
    if ds.get("PhotometricInterpretation") != "RGB" or not 0 < rows * columns * 3 <= len(pixels):
        raise ReportError("not an RGB secondary capture")
    return np.frombuffer(pixels, np.uint8, rows * columns * 3).reshape(rows, columns, 3)


def rejected_instances(ds: Dataset) -> tuple[str, ...]:
    """SOP Instance UIDs that a rejection note withdraws, in the order in which it names them."""
    return tuple(
        str(reference.ReferencedSOPInstanceUID)
        for item in ds.get("ContentSequence", ())
        if item.get("ValueType") in ("IMAGE", "COMPOSITE")
        for reference in item.get("ReferencedSOPSequence", ())
    )
