"""Tiny files in the formats of data sets: a few pixels, true headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, ornt_transform
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"


def write_grey(path: Path, size: tuple[int, int] = (32, 32), seed: int = 0) -> NDArray[np.uint8]:
    """An 8-bit picture (PNG or JPEG by its suffix) of noise; returned as an array."""
    image = np.random.default_rng(seed).integers(0, 255, size, np.uint8)
    Image.fromarray(image).save(path)
    return image


def write_hu_png(path: Path, hu: NDArray[np.int16]) -> None:
    """16 bits, HU + 1024."""
    Image.fromarray((hu.astype(np.int32) + 1024).astype(np.uint16)).save(path)


def write_ct_slice(
    path: Path,
    hu: float = 30.0,
    z_mm: float = 0.0,
    study: str = "1.2.826.1",
    series: str = "1.2.826.1.1",
    patient: str = "PAT",
    words: NDArray[Any] | None = None,
    intercept: int = -1024,
    bits_stored: int | None = None,
    size: int = 32,
    sop: str | None = None,
    **tags: Any,
) -> None:
    """A CT image of one density (or of given words), 0.5 mm pixels, 5 mm thick."""
    words = np.full((size, size), round(hu) + 1024, np.uint16) if words is None else words
    bits = 8 * words.dtype.itemsize
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CT
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = sop or generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.PatientID = study, series, patient
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Manufacturer, data.ManufacturerModelName = "GE", "Tiny"
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z_mm]
    data.PixelSpacing, data.SliceThickness = [0.5, 0.5], 5
    data.Rows, data.Columns = words.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored = bits, bits_stored or bits
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    if bits == 16:
        data.RescaleSlope, data.RescaleIntercept = 1, intercept
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.PixelData = words.tobytes()
    data["PixelData"].VR = "OW"
    data.save_as(path, enforce_file_format=True)


def write_nifti(
    path: Path, values: NDArray[Any], axes: str = "LPS", spacing_mm: float = 0.5, step_mm: float = 5.0
) -> None:
    """`values` (slice, row, column) from the lowest slice up, front to back, right to left; stored along `axes`."""
    stored = values.transpose(2, 1, 0)  # now L, P, S
    lps = np.diag([-spacing_mm, -spacing_mm, step_mm, 1.0])  # to RAS mm
    image = nibabel.Nifti1Image(stored, lps)
    turn = ornt_transform(axcodes2ornt(tuple("LPS")), axcodes2ornt(tuple(axes)))
    nibabel.save(image.as_reoriented(turn), path)


def head_hu(slices: int = 4, side: int = 32) -> NDArray[np.int16]:
    """Air around a block of tissue; slice i holds 30 + i HU, so that orders can be told apart."""
    hu = np.full((slices, side, side), -1000, np.int16)
    for i in range(slices):
        hu[i, 8:24, 8:24] = 30 + i
    return hu
