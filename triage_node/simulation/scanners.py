"""Writes volumes as a CT scanner would: headers, localizer, bone-kernel series, contrast, character sets.

Every patient is plainly fictitious, and every UID follows from a key, so that the same call gives the same files.
Source of the required attributes: PS3.3 A.3 (CT Image IOD), C.8.2.1 (CT Image Module), C.11.2 (VOI LUT); checked by dciodvfy.
"""

from __future__ import annotations

from collections.abc import Iterable
from csv import DictReader
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from scipy import ndimage

from triage_node.domain.errors import TriageNodeError
from triage_node.domain.identifiers import deterministic_uid
from triage_node.domain.volume import Volume
from triage_node.simulation.ct_noise import noisy

INTERCEPT = -1024
PADDING = -2000
"""Stored value outside the scanned circle: below air after rescale, as GE writes it."""
WRITABLE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
IMPLEMENTATION = deterministic_uid("simulated scanner", "implementation")


@dataclass(frozen=True, slots=True)
class Patient:
    """A person who does not exist. `character_set`: terms of Specific Character Set; name and others are plain text."""

    name: str
    patient_id: str
    birth_date: str = "19580312"
    sex: str = "O"
    character_set: tuple[str, ...] = ()
    issuer: str = "SIMULATED"


@dataclass(frozen=True, slots=True)
class Scanner:
    """The machine. Kernel names are the maker's own words."""

    station: str = "SIMCT1"
    manufacturer: str = "SIMULATED MEDICAL SYSTEMS"
    model: str = "Phantom CT 64"
    soft_kernel: str = "STANDARD"
    bone_kernel: str = "BONE"
    serial: str = "SIM-0001"
    software: str = "phantom 1"


@dataclass(frozen=True, slots=True)
class Exam:
    """One visit to the scanner. `key` makes the UIDs; `started` carries its time zone."""

    key: str
    started: datetime
    accession: str
    description: str = "CT HEAD WO CONTRAST"
    study_id: str = "1"

    @property
    def study_uid(self) -> str:
        return deterministic_uid("study", self.key)

    def uid(self, *parts: str) -> str:
        return deterministic_uid(*parts, self.key)


def _common(patient: Patient, exam: Exam, scanner: Scanner, at: datetime, series: int) -> Dataset:
    """Modules that every image of a series shares: patient, study, series, frame of reference, equipment."""
    ds = Dataset()
    if patient.character_set:
        ds.SpecificCharacterSet = list(patient.character_set)
    ds.TimezoneOffsetFromUTC = at.strftime("%z") or "+0000"
    ds.PatientName = patient.name
    ds.PatientID = patient.patient_id
    ds.IssuerOfPatientID = patient.issuer
    ds.PatientBirthDate = patient.birth_date
    ds.PatientSex = patient.sex
    if patient.birth_date:
        born = datetime.strptime(patient.birth_date, "%Y%m%d").date()
        had_birthday = (exam.started.month, exam.started.day) >= (born.month, born.day)
        ds.PatientAge = f"{exam.started.year - born.year - (0 if had_birthday else 1):03d}Y"
    ds.StudyInstanceUID = exam.study_uid
    ds.StudyDate, ds.StudyTime = exam.started.strftime("%Y%m%d"), exam.started.strftime("%H%M%S")
    ds.StudyID = exam.study_id
    ds.AccessionNumber = exam.accession
    ds.ReferringPhysicianName = "SIMULATED^REFERRER"
    ds.StudyDescription = exam.description
    ds.Modality = "CT"
    ds.SeriesInstanceUID = exam.uid("series", str(series))
    ds.SeriesNumber = series
    ds.SeriesDate, ds.SeriesTime = at.strftime("%Y%m%d"), at.strftime("%H%M%S")
    ds.AcquisitionDate, ds.AcquisitionTime = ds.SeriesDate, at.strftime("%H%M%S.%f")
    ds.ContentDate, ds.ContentTime = ds.SeriesDate, ds.AcquisitionTime
    ds.PatientPosition = "HFS"
    ds.BodyPartExamined = "HEAD"
    ds.FrameOfReferenceUID = exam.uid("frame")
    ds.PositionReferenceIndicator = "OM"
    ds.Manufacturer, ds.ManufacturerModelName = scanner.manufacturer, scanner.model
    ds.StationName, ds.DeviceSerialNumber, ds.SoftwareVersions = scanner.station, scanner.serial, scanner.software
    ds.InstitutionName = "Simulated Hospital"
    ds.KVP = "120"
    return ds


def _pixels(ds: Dataset, stored: NDArray[np.int16]) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelPaddingValue = PADDING
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(INTERCEPT), "1", "HU"
    ds.PixelData = np.ascontiguousarray(stored, "<i2").tobytes()


def _finish(ds: Dataset, sop_instance_uid: str, transfer_syntax: str) -> Dataset:
    if transfer_syntax not in WRITABLE:
        raise TriageNodeError(f"the simulated scanner writes uncompressed little endian only, not {transfer_syntax}")
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, sop_instance_uid
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, sop_instance_uid
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION, "TRIAGE_SIM"
    ds.file_meta = meta
    return ds


def _number(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return f"{value:.6f}".rstrip("0").rstrip(".")[:16]


def axial_series(
    volume: Volume,
    patient: Patient,
    exam: Exam,
    scanner: Scanner = Scanner(),
    *,
    number: int = 2,
    description: str = "",
    kernel: str = "",
    contrast_agent: str = "",
    window: tuple[int, int] = (40, 80),
    seconds_after_start: float = 30.0,
    tilt_deg: float | None = None,
    transfer_syntax: str = ExplicitVRLittleEndian,
    comments: str = "",
) -> list[Dataset]:
    """CT Image Storage data sets of a volume, lowest slice first, one per slice.

    Stored values are HU + 1024, signed 16 bit; outside the scanned circle they are padding. `tilt_deg` defaults to the tilt of
    the volume's own orientation. Raises TriageNodeError for a transfer syntax that would need a compressor.
    """
    tilt = tilt_deg if tilt_deg is not None else float(np.degrees(np.arcsin(-volume.column_cosine[2])))
    rows, columns = volume.hu.shape[1:]
    outside = np.hypot(*np.meshgrid(np.arange(columns) - (columns - 1) / 2, np.arange(rows) - (rows - 1) / 2))
    padded = outside > max(rows, columns) / 2
    orientation = [_number(v) for v in (*volume.row_cosine, *volume.column_cosine)]
    thickness = float(volume.slice_thickness_mm[0])
    steps = np.diff(volume.positions_mm)
    out = []
    for i in range(volume.hu.shape[0]):
        at = exam.started + timedelta(seconds=seconds_after_start + 0.4 * i)
        ds = _common(patient, exam, scanner, at, number)
        ds.SeriesTime = (exam.started + timedelta(seconds=seconds_after_start)).strftime("%H%M%S")
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SeriesDescription = description or f"HEAD {_number(thickness)}MM"
        ds.ProtocolName = "HEAD ROUTINE"
        ds.ConvolutionKernel = kernel or scanner.soft_kernel
        ds.AcquisitionNumber, ds.InstanceNumber = 1, i + 1
        ds.SliceThickness = _number(float(volume.slice_thickness_mm[i]))
        if len(steps):
            ds.SpacingBetweenSlices = _number(float(steps[min(i, len(steps) - 1)]))
        ds.GantryDetectorTilt = _number(tilt)
        ds.PixelSpacing = [_number(v) for v in volume.pixel_spacing_mm]
        ds.ImageOrientationPatient = orientation
        ds.ImagePositionPatient = [_number(float(v)) for v in volume.origins_mm[i]]
        ds.SliceLocation = _number(float(volume.origins_mm[i][2]))
        ds.DataCollectionDiameter = "250"
        ds.ReconstructionDiameter = _number(volume.pixel_spacing_mm[1] * columns)
        ds.WindowCenter, ds.WindowWidth = [str(window[0])], [str(window[1])]
        ds.XRayTubeCurrent, ds.Exposure, ds.ExposureTime = 220, 220, 1000
        if contrast_agent:
            ds.ContrastBolusAgent, ds.ContrastBolusRoute = contrast_agent, "IV"
        if comments:
            ds.ImageComments = comments
        stored = (volume.hu[i].astype(np.int32) - INTERCEPT).clip(-32768, 32767).astype(np.int16)
        stored[padded] = PADDING
        _pixels(ds, stored)
        out.append(_finish(ds, exam.uid("instance", str(number), str(i)), transfer_syntax))
    return out


def sharpened(volume: Volume, seed: int) -> Volume:
    """The volume as a bone kernel shows it: edges overshoot, noise is several times higher. UIDs stay: the exam makes its own."""
    hu = volume.hu.astype(np.float32)
    blurred = ndimage.gaussian_filter(hu, (0, 1.2, 1.2))
    sharp = noisy(
        hu + 1.4 * (hu - blurred), np.random.default_rng([seed, 0xB0E]), volume.pixel_spacing_mm[0], 14.0, 0.8
    )
    return replace(volume, hu=np.clip(np.round(sharp), -1024, 3071).astype(np.int16))


def localizer(
    volume: Volume, patient: Patient, exam: Exam, scanner: Scanner = Scanner(), *, number: int = 1
) -> Dataset:
    """A lateral scout: the volume summed from side to side. 256 rows (1 mm) by 256 columns."""
    n = volume.hu.shape[0]
    positions = volume.origins_mm[:, 2]
    top = float(positions[-1]) + 10
    thickness = np.maximum(volume.hu.astype(np.float32) + 1000, 0).sum(axis=2) * np.float32(
        volume.pixel_spacing_mm[1] / 1000
    )
    size = 256
    z = top - np.arange(size, dtype=np.float32)
    at = np.interp(z, positions, np.arange(n), left=-1, right=-1)
    across = np.linspace(0, volume.hu.shape[1] - 1, size)
    yy, cc = np.meshgrid(at, across, indexing="ij")
    water_mm = ndimage.map_coordinates(thickness, [yy, cc], order=1, cval=0.0)
    water_mm[at < 0] = 0
    stored = np.clip(np.round(water_mm * 8.0) - 1000 - INTERCEPT, 0, 4095).astype(np.int16)
    ds = _common(patient, exam, scanner, exam.started, number)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.SeriesDescription = "SCOUT"
    ds.AcquisitionNumber, ds.InstanceNumber = 1, 1
    spacing = volume.pixel_spacing_mm[0] * volume.hu.shape[1] / size
    ds.PixelSpacing = ["1", _number(spacing)]
    ds.SliceThickness = "0.625"
    ds.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    ds.ImagePositionPatient = ["0", _number(float(volume.origins_mm[0, 1])), _number(top)]
    ds.WindowCenter, ds.WindowWidth = ["400"], ["1600"]
    _pixels(ds, stored)
    ds.RescaleType = "US"  # what a projection adds up is no Hounsfield unit
    return _finish(ds, exam.uid("instance", str(number), "scout"), ExplicitVRLittleEndian)


def write_files(data_sets: Iterable[Dataset], folder: Path) -> list[Path]:
    """Write each data set as a DICOM file `series-instance.dcm` below `folder`, in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for ds in data_sets:
        path = folder / f"{int(ds.SeriesNumber):03d}-{int(ds.InstanceNumber):04d}.dcm"
        pydicom.dcmwrite(path, ds, enforce_file_format=True)
        paths.append(path)
    return paths


def names_in_many_scripts() -> tuple[Patient, ...]:
    """Fictitious patients whose names test the character sets that modalities send (PS3.3 C.12.1.1.2, PS3.5 H and I)."""
    return (
        Patient("SIMULATED^MÜLLER ÅSE", "SIM-LATIN1", character_set=("ISO_IR 100",)),
        Patient("SIMULATED^Ţîrlea Łódź", "SIM-UTF8", character_set=("ISO_IR 192",)),
        Patient("Yamada^Tarou=山田^太郎=やまだ^たろう", "SIM-JAPANESE", character_set=("", "ISO 2022 IR 87")),
        Patient("Hong^Gildong=洪^吉洞=홍^길동", "SIM-KOREAN", character_set=("", "ISO 2022 IR 149")),
    )


def phe_sich_patient(folder: Path, patient_id: str) -> Volume:
    """One patient of the PHE-SICH copy (CC BY 4.0) as a volume of 256 x 256 slices, lowest first.

    `folder` holds vol256/ and patients.csv. The source knows HU inside a window only and no geometry: 5 mm slices and
    0.508 mm pixels at 512 are ASSUMED, and bone and outside air, which the source clips to the ends of its window, are put at
    900 and -1000 HU where they are the skull (the largest connected saturated body) and the surroundings.
    Raises TriageNodeError when the patient is not there.
    """
    with (folder / "patients.csv").open(newline="") as stream:
        rows = {r["patient"]: r for r in DictReader(stream)}
    if patient_id not in rows:
        raise TriageNodeError(f"no patient {patient_id!r} in {folder / 'patients.csv'}")
    row = rows[patient_id]
    slices, low, width = int(row["slices"]), float(row["hu_low"]), float(row["window_width"])
    mosaic = np.asarray(Image.open(folder / "vol256" / f"{patient_id}.webp").convert("L"))
    side, columns = 256, mosaic.shape[1] // 256
    tiles = mosaic.reshape(-1, side, columns, side).transpose(0, 2, 1, 3).reshape(-1, side, side)[:slices]
    hu = np.round(tiles.astype(np.float32) + low).astype(np.int16)
    bodies, _ = cast(tuple[NDArray[np.int32], int], ndimage.label(tiles >= width - 1))
    sizes = np.bincount(bodies.ravel())
    sizes[0] = 0
    hu[bodies == int(sizes.argmax())] = 900
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1, 1, :] = in_plane[1, :, 1] = True
    empty, _ = cast(tuple[NDArray[np.int32], int], ndimage.label(tiles == 0, in_plane))
    border = np.unique(np.concatenate([empty[:, 0, :], empty[:, -1, :], empty[:, :, 0], empty[:, :, -1]], axis=None))
    hu[np.isin(empty, border[border > 0])] = -1000
    pixel, thickness = 2 * 0.5078125, 5.0
    key = ("phe_sich", patient_id)
    corner = -(side - 1) / 2 * pixel
    positions = np.arange(slices) * thickness
    return Volume(
        hu=hu,
        origins_mm=np.stack([np.full(slices, corner), np.full(slices, corner), positions], axis=1),
        row_cosine=np.array([1.0, 0.0, 0.0]),
        column_cosine=np.array([0.0, 1.0, 0.0]),
        pixel_spacing_mm=(pixel, pixel),
        slice_extent_mm=np.full(slices, thickness),
        slice_thickness_mm=np.full(slices, thickness),
        frame_of_reference_uid=deterministic_uid(*key, "frame"),
        study_instance_uid=deterministic_uid(*key, "study"),
        series_instance_uid=deterministic_uid(*key, "series"),
        sop_instance_uids=tuple(deterministic_uid(*key, str(i)) for i in range(slices)),
        notes=("5 mm slices and 0.508 mm pixels are assumed", "HU is known inside the source's window only"),
    )


def phe_sich_series(folder: Path, patient_id: str, exam: Exam, scanner: Scanner = Scanner()) -> list[Dataset]:
    """A PHE-SICH patient as CT files that say what is assumed in them."""
    volume = phe_sich_patient(folder, patient_id)
    patient = Patient(f"PHE-SICH^{patient_id}", f"SIM-PHE-{patient_id}", birth_date="")
    comments = "PHE-SICH-CT-IDS (CC BY 4.0), HU clipped to the source's window, 5 mm and pixel spacing assumed"
    return axial_series(
        volume, patient, exam, scanner, description="HEAD 5MM (ASSUMED), WINDOWED HU", comments=comments
    )
