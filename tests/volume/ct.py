"""CT files and decoded series made for tests. Nothing is square or isotropic, so that swapped rows and columns show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

from tests.volume.make_self_test_images import streams_of
from triage_node.volume.series_pixels import SeriesPixels, SliceHeader

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
COMPRESSED = tuple(
    f"1.2.840.10008.1.2.{s}"
    for s in ("5", "4.57", "4.70", "4.80", "4.90", "4.201", "4.202", "4.51", "4.81", "4.91", "4.203")
)
CT_IMAGE, ENHANCED_CT, LEGACY_CT = (f"1.2.840.10008.5.1.4.1.1.2{s}" for s in ("", ".1", ".2"))
ROWS, COLUMNS = 48, 64
SPACING = (0.6, 0.45)


def picture(seed: int = 0, rows: int = ROWS, columns: int = COLUMNS) -> NDArray[np.uint16]:
    """12-bit stored values: a disc of tissue with a little structure in air (intercept -1024)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    inside = ((y - rows / 2) / (rows * 0.4)) ** 2 + ((x - columns / 2) / (columns * 0.4)) ** 2 < 1
    return np.where(inside, 1060 + rng.integers(0, 20, (rows, columns)), 24).astype(np.uint16)


def ct_dataset(
    stored: NDArray[Any], position: Sequence[float] = (0.0, 0.0, 0.0), number: int = 1, **changes: Any
) -> FileDataset:
    """A single-frame CT in explicit little endian. `changes` are keywords; None removes one."""
    ds = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    ds.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
    ds.SOPClassUID, ds.SOPInstanceUID = CT_IMAGE, f"1.2.3.9.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.3.9", "1.2.3.8"
    ds.Modality, ds.InstanceNumber, ds.AcquisitionNumber = "CT", number, 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = list(position)
    ds.PixelSpacing = list(SPACING)
    ds.SliceThickness = 5
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.PixelData = np.ascontiguousarray(stored).astype("<u2").tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def recompressed(ds: FileDataset, stored: NDArray[Any], syntax: str) -> FileDataset:
    """The same image in a compressed transfer syntax."""
    stream = streams_of(stored.astype(np.int32), ds.BitsStored, bool(ds.PixelRepresentation))[syntax]
    ds.PixelData = encapsulate([stream])
    ds["PixelData"].VR = "OB"
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def saved(ds: FileDataset, path: Path) -> Path:
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)
    return path


def stack(folder: Path, slices: int = 6, step_mm: float = 5.0, **changes: Any) -> list[Path]:
    """A small axial series on disk."""
    return [
        saved(ct_dataset(picture(i), (-10.0, -20.0, i * step_mm), i + 1, **changes), folder / f"{i}.dcm")
        for i in range(slices)
    ]


def enhanced(stored: NDArray[Any], positions: Sequence[Sequence[float]], sop_class: str = ENHANCED_CT) -> FileDataset:
    """A multi-frame CT: orientation and measures shared, place and rescale per frame (intercept -1000 - frame index)."""
    ds = ct_dataset(stored[0], SOPClassUID=sop_class)
    for keyword in (
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(ds, keyword)
    shared = Dataset()
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    shared.PixelMeasuresSequence = [_item(PixelSpacing=list(SPACING), SliceThickness=4)]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for i, position in enumerate(positions):
        frame = Dataset()
        frame.PlanePositionSequence = [_item(ImagePositionPatient=list(position))]
        frame.PixelValueTransformationSequence = [_item(RescaleSlope=1, RescaleIntercept=-1000 - i, RescaleType="HU")]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.NumberOfFrames = len(frames)
    ds.PixelData = stored.astype("<u2").tobytes()
    return ds


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


HEADER = SliceHeader(
    sop_instance_uid="1.2.3.9.0",
    frame_number=0,
    image_orientation_patient=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    image_position_patient=(0.0, 0.0, 0.0),
    pixel_spacing_mm=SPACING,
    slice_thickness_mm=5.0,
    rescale_slope=1.0,
    rescale_intercept=-1024.0,
    rescale_type="",
    pixel_padding=None,
    bits_stored=12,
    high_bit=11,
    signed=False,
    instance_number=1,
    acquisition_number=1,
    frame_of_reference_uid="1.2.3.8",
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.9",
    lossy=False,
)


def decoded(positions: Sequence[Sequence[float]], words: NDArray[Any] | None = None, **changes: Any) -> SeriesPixels:
    """A decoded series; slice i is filled with the stored value 1000 + i unless `words` are given."""
    n = len(positions)
    if words is None:
        words = np.broadcast_to(np.arange(1000, 1000 + n, dtype=np.uint16)[:, None, None], (n, ROWS, COLUMNS)).copy()
    headers = tuple(
        replace(
            HEADER,
            sop_instance_uid=f"1.2.3.9.{i}",
            image_position_patient=tuple(map(float, p)),
            instance_number=i,
            **changes,
        )
        for i, p in enumerate(positions)
    )
    return SeriesPixels(words.astype(np.uint16), headers)


def along_z(*z: float) -> list[tuple[float, float, float]]:
    return [(-10.0, -20.0, value) for value in z]
