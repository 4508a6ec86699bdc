"""What scanners do to a head: densities as another scanner would show them, and files as it would write them.

`Scan` and `scanned` change kernel, noise, tilt, thickness and calibration of a stack of HU, each by a function of its own.
The rest writes volumes: headers, localizer, bone-kernel series, contrast, character sets.

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


@dataclass(frozen=True, slots=True)
class Scan:
    """How another scanner, or another protocol, would have shown the same head. The defaults change nothing.

    kernel: -1 is much smoother, 1 much sharper than the source. noise_hu: added, deviation in the brain of the slices that
    come out. tilt_deg: planes turned about the left-right axis, front up. slice_mm: thickness and step afterwards, 0 as it was.
    offset_hu and slope: an error of calibration. crop: share of each side of the picture that is cut off.
    """

    kernel: float = 0.0
    noise_hu: float = 0.0
    tilt_deg: float = 0.0
    slice_mm: float = 0.0
    offset_hu: float = 0.0
    slope: float = 1.0
    crop: float = 0.0

    def __post_init__(self) -> None:
        if not -1 <= self.kernel <= 1 or not 0 <= self.noise_hu <= 60 or not abs(self.tilt_deg) <= 30:
            raise ValueError(f"kernel must be -1 to 1, noise_hu 0 to 60, tilt_deg within 30, got {self}")
        if not (self.slice_mm == 0 or 0.3 <= self.slice_mm <= 20) or not 0 <= self.crop < 0.4 or self.slope <= 0:
            raise ValueError(f"slice_mm must be 0 or 0.3 to 20, crop 0 to 0.4, slope positive, got {self}")


SCANS: dict[str, Scan] = {
    "as scanned": Scan(),
    "smooth kernel": Scan(kernel=-1.0),
    "sharp kernel": Scan(kernel=0.8, noise_hu=3.0),
    "noise 3 HU": Scan(noise_hu=3.0),
    "noise 7 HU": Scan(noise_hu=7.0),
    "0.6 mm": Scan(slice_mm=0.6, noise_hu=9.0),
    "1.25 mm": Scan(slice_mm=1.25, noise_hu=6.0),
    "2.5 mm": Scan(slice_mm=2.5, noise_hu=4.0),
    "7 mm": Scan(slice_mm=7.0),
    "tilt +15": Scan(tilt_deg=15.0),
    "tilt -15": Scan(tilt_deg=-15.0),
    "offset +6 HU": Scan(offset_hu=6.0),
    "offset -6 HU": Scan(offset_hu=-6.0),
    "old scanner": Scan(kernel=-0.5, noise_hu=4.0, slice_mm=7.0, tilt_deg=10.0, offset_hu=-4.0),
    "sharp thin": Scan(kernel=0.7, noise_hu=11.0, slice_mm=1.0, offset_hu=4.0, slope=1.03),
}
"""Named sets for stress tests: one scanner for a whole hospital."""


def drawn_scan(rng: np.random.Generator) -> Scan:
    """A scanner by chance, within what the named ones span."""
    thin = rng.random() < 0.3
    return Scan(
        kernel=float(rng.uniform(-1, 0.8)),
        noise_hu=float(rng.uniform(2, 9) if thin else rng.uniform(0, 6)),
        tilt_deg=float(rng.uniform(-18, 18)) if rng.random() < 0.4 else 0.0,
        slice_mm=float(rng.uniform(0.6, 3) if thin else rng.choice([0.0, 4.0, 5.0, 6.0, 7.0])),
        offset_hu=float(rng.uniform(-6, 6)),
        slope=float(rng.uniform(0.97, 1.03)),
        crop=float(rng.uniform(0, 0.06)),
    )


Stack = NDArray[np.float32]
Labels = NDArray[np.uint8]


def with_kernel(hu: Stack, pixel_mm: float, kernel: float) -> Stack:
    """Smoother (below 0) or sharper (above 0) in the plane. Shape: (slice, row, column)."""
    if not kernel:
        return hu
    blurred = ndimage.gaussian_filter(hu, (0, 0.75 / pixel_mm, 0.75 / pixel_mm))
    return np.asarray(hu + (1.2 if kernel > 0 else 1.0) * kernel * (hu - blurred), np.float32)


def with_noise(hu: Stack, rng: np.random.Generator, pixel_mm: float, level_hu: float, kernel: float = 0.0) -> Stack:
    """Quantum noise of a deviation of `level_hu` in the brain; a sharper kernel makes it finer."""
    if not level_hu:
        return hu
    _, rows, columns = hu.shape
    padded = np.pad(hu, ((0, 0), (0, -rows % 4), (0, -columns % 4)), mode="edge")
    cutoff = min(0.42 * float(np.exp(0.5 * kernel)), 0.45 / pixel_mm)
    return noisy(padded, rng, pixel_mm, level_hu, cutoff)[:, :rows, :columns]


def with_thickness(hu: Stack, labels: Labels, old_mm: float, new_mm: float) -> tuple[Stack, Labels]:
    """Contiguous slices of another thickness over the same height. Thicker ones average; thinner ones lie on lines between.

    A label stays where at least half of the new slice has it.
    """
    if not new_mm or abs(new_mm - old_mm) < 1e-6:
        return hu, labels
    n = len(hu)
    count = max(1, round(n * old_mm / new_mm))
    edges = np.arange(count + 1) * new_mm / old_mm
    if new_mm > old_mm:
        share = np.clip(
            np.minimum(edges[1:, None], np.arange(1, n + 1)) - np.maximum(edges[:-1, None], np.arange(n)), 0, 1
        )
    else:
        at = np.clip((edges[:-1] + edges[1:]) / 2 - 0.5, 0, n - 1)
        share = np.clip(1 - np.abs(at[:, None] - np.arange(n)), 0, 1)
    share = (share / np.maximum(share.sum(axis=1, keepdims=True), 1e-6)).astype(np.float32)
    out = np.tensordot(share, hu, axes=1).astype(np.float32)
    kept = np.zeros(out.shape, np.uint8)
    for value in np.unique(labels[labels > 0]):
        kept[np.tensordot(share, (labels == value).astype(np.float32), axes=1) > 0.499] = value
    return out, kept


def with_tilt(hu: Stack, labels: Labels, pixel_mm: float, slice_mm: float, degrees: float) -> tuple[Stack, Labels]:
    """Planes turned about the left-right axis through the middle of the stack; beyond its ends the last slice goes on."""
    if not degrees:
        return hu, labels
    n, rows, _ = hu.shape
    angle = np.radians(degrees)
    r, z = (np.arange(rows) - (rows - 1) / 2) * pixel_mm, (np.arange(n) - (n - 1) / 2) * slice_mm
    # front (row 0) up: the plane rises towards it
    height = z[:, None] / np.cos(angle) - r[None] * np.sin(angle)
    back = np.broadcast_to(r[None] * np.cos(angle), height.shape)
    at = [height / slice_mm + (n - 1) / 2, back / pixel_mm + (rows - 1) / 2]
    out, kept = np.empty_like(hu), np.empty_like(labels)
    for column in range(hu.shape[2]):
        out[:, :, column] = ndimage.map_coordinates(hu[:, :, column], at, order=1, mode="nearest")
        kept[:, :, column] = ndimage.map_coordinates(labels[:, :, column], at, order=0, mode="nearest")
    return out, kept


def scanned(
    hu: Stack, labels: Labels, pixel_mm: float, slice_mm: float, scan: Scan, rng: np.random.Generator
) -> tuple[Stack, Labels, float]:
    """A stack as `scan` would show it: tilt, thickness, kernel, noise, calibration, crop, in this order.

    Shape: hu, labels (slice, row, column), lowest slice first. Values stay within the range that the source knows, since
    what was clipped there stays clipped. Returns the stack, its labels and the new thickness in mm.
    """
    low, high = float(hu.min()), float(hu.max())
    out, kept = with_tilt(hu, labels, pixel_mm, slice_mm, scan.tilt_deg)
    out, kept = with_thickness(out, kept, slice_mm, scan.slice_mm)
    out = with_noise(with_kernel(out, pixel_mm, scan.kernel), rng, pixel_mm, scan.noise_hu, scan.kernel)
    if scan.offset_hu or scan.slope != 1:
        # air and bone that the source clipped have no density to be wrong about
        known = (out > low + 1) & (out < high - 1)
        out = np.where(known, out * scan.slope + scan.offset_hu, out)
    if scan.crop:
        r, c = (int(scan.crop * side) for side in out.shape[1:])
        out, kept = (
            out[:, r : out.shape[1] - r, c : out.shape[2] - c],
            kept[:, r : kept.shape[1] - r, c : kept.shape[2] - c],
        )
    return np.clip(out, low, high).astype(np.float32), kept, scan.slice_mm or slice_mm


def rescanned(volume: Volume, scan: Scan, seed: int) -> Volume:
    """A volume as `scan` would show it, with new UIDs that follow from its own and the arguments.

    The positions are those of upright, contiguous slices: a tilt is in the pixels, as when the patient's chin is up.
    """
    pixel, step = volume.pixel_spacing_mm[0], float(np.median(np.diff(volume.positions_mm)))
    nothing = np.zeros(volume.hu.shape, np.uint8)
    hu, _, slice_mm = scanned(
        volume.hu.astype(np.float32), nothing, pixel, step, scan, np.random.default_rng([seed, 0x5CA7])
    )
    n = len(hu)
    key = ("rescanned", volume.series_instance_uid, repr(scan), str(seed))
    cut = (volume.hu.shape[2] - hu.shape[2]) / 2 * pixel
    first = volume.origins_mm[0] + (volume.row_cosine + volume.column_cosine) * cut
    return replace(
        volume,
        hu=np.round(hu).astype(np.int16),
        origins_mm=first + volume.normal * ((np.arange(n) + 0.5) * slice_mm - 0.5 * step)[:, None],
        slice_extent_mm=np.full(n, slice_mm),
        slice_thickness_mm=np.full(n, slice_mm),
        study_instance_uid=deterministic_uid(*key, "study"),
        series_instance_uid=deterministic_uid(*key, "series"),
        frame_of_reference_uid=deterministic_uid(*key, "frame"),
        sop_instance_uids=tuple(deterministic_uid(*key, str(i)) for i in range(n)),
        frame_numbers=(),
        notes=(*volume.notes, "shown as another scanner would: simulated"),
    )


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
