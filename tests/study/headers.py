"""Headers for tests: synthetic series, and those of real files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom

from triage_node.domain.instance import InstanceHeader
from triage_node.study.selection import SeriesHeaders

CT = "1.2.840.10008.5.1.4.1.1.2"
FLAT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

HEAD = InstanceHeader(
    sop_instance_uid="1.2.3.0",
    sop_class_uid=CT,
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.1",
    modality="CT",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    manufacturer="SIEMENS",
    patient_id="P1",
    series_number=2,
    acquisition_number=1,
    acquisition_date="20260105",
    acquisition_time="101500",
    body_part_examined="HEAD",
    study_description="CT HEAD",
    series_description="HEAD 5.0",
    convolution_kernel=("H31s",),
    slice_thickness_mm=5.0,
    image_orientation_patient=FLAT,
    rows=512,
    columns=512,
    samples_per_pixel=1,
)


def series(number: int = 2, slices: int = 30, step_mm: float = 5.0, start: int = 0, **changes: Any) -> SeriesHeaders:
    """An axial series along z; `changes` are header fields of every instance."""
    uid = f"1.2.3.{number}"
    base = replace(HEAD, series_instance_uid=uid, series_number=number, **changes)
    headers = []
    for i in range(start, start + slices):
        header = replace(base, sop_instance_uid=f"{uid}.{i + 1}", instance_number=i + 1)
        if header.image_position_patient is None and header.image_orientation_patient is not None:
            header = replace(header, image_position_patient=(-125.0, -125.0, i * step_mm))
        headers.append(header)
    return SeriesHeaders(uid, tuple(headers))


def read_series(paths: list[Path]) -> SeriesHeaders:
    """Headers of real files, read with pydicom."""
    headers = tuple(_read(p) for p in paths)
    return SeriesHeaders(headers[0].series_instance_uid, headers)


def _read(path: Path) -> InstanceHeader:
    ds = pydicom.dcmread(path, stop_before_pixels=True)

    def text(keyword: str) -> str:
        return str(ds.get(keyword) or "")

    def texts(keyword: str) -> tuple[str, ...]:
        value = ds.get(keyword) or ()
        return (value,) if isinstance(value, str) else tuple(value)

    def number(keyword: str) -> Any:
        value = ds.get(keyword)
        return None if value in (None, "") else float(value)

    def numbers(keyword: str) -> Any:
        value = ds.get(keyword)
        return tuple(float(v) for v in value) if value else None

    return InstanceHeader(
        sop_instance_uid=text("SOPInstanceUID"),
        sop_class_uid=text("SOPClassUID"),
        study_instance_uid=text("StudyInstanceUID"),
        series_instance_uid=text("SeriesInstanceUID"),
        modality=text("Modality"),
        image_type=texts("ImageType"),
        manufacturer=text("Manufacturer"),
        patient_id=text("PatientID"),
        patient_birth_date=text("PatientBirthDate"),
        acquisition_date=text("AcquisitionDate"),
        acquisition_time=text("AcquisitionTime"),
        study_date=text("StudyDate"),
        study_description=text("StudyDescription"),
        series_description=text("SeriesDescription"),
        series_number=None if number("SeriesNumber") is None else int(number("SeriesNumber")),
        acquisition_number=None if number("AcquisitionNumber") is None else int(number("AcquisitionNumber")),
        body_part_examined=text("BodyPartExamined"),
        protocol_name=text("ProtocolName"),
        convolution_kernel=texts("ConvolutionKernel"),
        contrast_bolus_agent=text("ContrastBolusAgent"),
        slice_thickness_mm=number("SliceThickness"),
        pixel_spacing_mm=numbers("PixelSpacing"),
        image_orientation_patient=numbers("ImageOrientationPatient"),
        image_position_patient=numbers("ImagePositionPatient"),
        number_of_frames=int(ds.get("NumberOfFrames") or 1),
        rows=ds.get("Rows"),
        columns=ds.get("Columns"),
        samples_per_pixel=ds.get("SamplesPerPixel"),
    )
