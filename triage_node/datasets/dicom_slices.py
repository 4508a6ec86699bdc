"""DICOM files of data sets: what each is, which belong together, and their pixels as Hounsfield units.

Decoding and stacking are those of the node (volume/), in this process: data sets are files that somebody chose to open.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataelem import RawDataElement

from triage_node.domain import geometry
from triage_node.domain.case import HeadVolume
from triage_node.domain.errors import CaseUnreadable, VolumeError
from triage_node.domain.instance import InstanceHeader
from triage_node.domain.scan_source import ScanSource, source_of
from triage_node.instances.header import WANTED, header_from
from triage_node.study import vocabulary
from triage_node.volume import codecs
from triage_node.volume.assemble import assemble_volume
from triage_node.volume.read_instance import decode_frames, open_instance, slice_headers
from triage_node.volume.series_pixels import SeriesPixels, SliceHeader

_UIDS = {0x00080018: "sop_instance_uid", 0x0020000D: "study_instance_uid", 0x0020000E: "series_instance_uid"}
_RESCALE_INTERCEPT, _BITS_ALLOCATED, _BITS_STORED, _WINDOW_CENTRE, _WINDOW_WIDTH, _SIGNED = (
    0x00281052,
    0x00280100,
    0x00280101,
    0x00281050,
    0x00281051,
    0x00280103,
)
_TAGS = [*WANTED, _RESCALE_INTERCEPT, _BITS_ALLOCATED, _BITS_STORED, _WINDOW_CENTRE, _WINDOW_WIDTH, _SIGNED]
WRAP = 4096
NO_AGENT = frozenset(("", "none", "no", "n", "0", "without", "no contrast", "non", "nein", "ohne", "-"))
USUAL_INTERCEPT = -1000


@dataclass(frozen=True, slots=True)
class DicomFile:
    """One file without its pixels. `name` is relative to the data set's folder; UIDs stand as written, valid or not."""

    name: str
    path: Path
    header: InstanceHeader
    bits_allocated: int
    has_rescale: bool

    @property
    def is_hu(self) -> bool:
        """16-bit CT with a rescale; all else is a picture (a secondary capture, a screenshot)."""
        return self.bits_allocated == 16 and self.has_rescale and (self.header.samples_per_pixel or 1) == 1

    @property
    def made_by(self) -> ScanSource:
        """Named as the node names it when it asks which evaluation covers a study."""
        return source_of([self.header])

    @property
    def age_years(self) -> float | None:
        return age_from(self.header.patient_age)


def age_from(text: str) -> float | None:
    """Years of a DICOM age string (PS3.5 6.2 AS: `067Y`, `018M`)."""
    found = re.fullmatch(r"(\d{1,3})([DWMY])", text.strip())
    return None if found is None else int(found[1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[found[2]]


def is_dicom(path: Path) -> bool:
    """By the prefix of Part 10 (PS3.10 7.1), since teaching sets leave the extension away."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


class CutShort(CaseUnreadable):
    """The attributes are whole, the pixels are not."""

    def __init__(self, words: str, header: InstanceHeader) -> None:
        super().__init__(words)
        self.header = header


def read_header(path: Path, name: str) -> DicomFile:
    """Read a file's attributes. Raises CaseUnreadable when it is no image that can be decoded, CutShort when its end is missing."""
    try:
        with path.open("rb") as file:
            data = dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
            left = path.stat().st_size - file.tell()
        syntax = str(data.file_meta.get("TransferSyntaxUID", ""))
        values = {}
        for tag in _TAGS:
            element = data.get_item(tag)
            if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
                values[tag] = element.value
        for tag in (0x00080016, *_UIDS):
            values.setdefault(tag, b"")
        header = header_from(values, syntax)
        # UIDs of RSNA are `ID_xxxx`: no UIDs, but names all the same
        told = {
            f: values[t].rstrip(b"\0 ").decode("ascii", "replace") for t, f in _UIDS.items() if not getattr(header, f)
        }
        header = dataclasses.replace(header, **told)
        bits = int(data.get("BitsAllocated") or 0)
    except CaseUnreadable:
        raise
    except Exception as error:
        raise CaseUnreadable(
            f"not a DICOM file that can be read ({type(error).__name__}: {str(error)[:80]})"
        ) from error
    if syntax not in codecs.SUPPORTED:
        raise CaseUnreadable(f"transfer syntax {syntax or '(none)'} is not supported")
    if not header.rows or not header.columns or bits not in (8, 16):
        raise CaseUnreadable("the DICOM file holds no image")
    needed = header.rows * header.columns * bits // 8 * header.number_of_frames * (header.samples_per_pixel or 1)
    # tag and length of Pixel Data take eight bytes at least
    if syntax in codecs.NATIVE and left < needed + 8:
        raise CutShort(f"pixel data cut short: {needed} bytes needed, {left} are left in the file", header)
    return DicomFile(name, path, header, bits, _RESCALE_INTERCEPT in values)


def position_mm(file: DicomFile) -> float | None:
    """Place along the slice normal; None when the header does not place the image."""
    header = file.header
    if header.image_orientation_patient is None or header.image_position_patient is None:
        return None
    try:
        normal = geometry.normal_of(header.image_orientation_patient)
    except ValueError:
        return None
    up = normal if normal[2] >= 0 else -normal
    return float(np.asarray(header.image_position_patient) @ up)


def in_order(files: Sequence[DicomFile]) -> list[DicomFile] | None:
    """From the lowest up by position; None when not every one has a place of its own."""
    placed = [(position_mm(f), f.header.sop_instance_uid, f) for f in files]
    if any(p is None for p, _, _ in placed):
        return None
    ordered = sorted(placed, key=lambda p: (p[0] or 0.0, p[1]))
    steps = np.diff([p[0] or 0.0 for p in ordered])
    return None if (steps <= geometry.SAME_PLACE_MM).any() else [f for _, _, f in ordered]


def read_stack(files: Sequence[DicomFile], strict: bool, repair_intercept: bool = False) -> HeadVolume:
    """The images as one volume in HU, in the order of `files` (`in_order` first).

    With `strict` a series that the node would decline raises CaseUnreadable with the node's reason; else a series with gaps
    or without places is a plain stack of labelled slices (no `native`, not contiguous).
    `repair_intercept` undoes the wrapped values of some RSNA files (PAPERS.md 7.1). Raises CaseUnreadable.
    """
    try:
        series = _decoded(files, repair_intercept)
    except CaseUnreadable:
        raise
    except VolumeError as error:
        raise CaseUnreadable(error.reason) from error
    except Exception as error:
        raise CaseUnreadable(f"pixels cannot be read ({type(error).__name__}: {str(error)[:80]})") from error
    try:
        volume = assemble_volume(series)
        if strict or volume.sop_instance_uids == tuple(f.header.sop_instance_uid for f in files):
            return HeadVolume(
                is_hu=True,
                hu=volume.hu,
                pixel_spacing_mm=volume.pixel_spacing_mm,
                positions_mm=volume.positions_mm,
                thickness_mm=volume.slice_thickness_mm,
                native=volume,
            )
    except VolumeError as error:
        if strict:
            raise CaseUnreadable(error.reason) from error
    return _plain_stack(series, len(files))


def read_picture(file: DicomFile) -> NDArray[np.uint8]:
    """An image that is no CT in HU, as grey levels through its window. Shape: (row, column). Raises CaseUnreadable."""
    try:
        instance = open_instance(file.path)
        words = next(decode_frames(instance))
        values = codecs.stored_values(words, instance.format, instance.high_bit).astype(np.float32)
        told = dcmread(file.path, stop_before_pixels=True, specific_tags=[_WINDOW_CENTRE, _WINDOW_WIDTH])
        centre, width = (_first_number(told.get(k)) for k in ("WindowCenter", "WindowWidth"))
    except VolumeError as error:
        raise CaseUnreadable(error.reason) from error
    except Exception as error:
        raise CaseUnreadable(f"pixels cannot be read ({type(error).__name__}: {str(error)[:80]})") from error
    if values.ndim == 3:
        values = values @ np.array([0.299, 0.587, 0.114], np.float32)
    if values.max() == values.min():
        raise CaseUnreadable("no image content: all pixels are the same")
    if instance.format.bits_stored > 8:
        low, high = float(values.min()), float(values.max())
        if centre is not None and width is not None and width > 1:
            low, high = centre - width / 2, centre + width / 2
        values = (values - low) / (high - low) * 255
    if file.header.photometric_interpretation == "MONOCHROME1":
        values = 255 - values
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _first_number(value: object) -> float | None:
    first = value[0] if isinstance(value, Sequence) and not isinstance(value, str) and value else value
    try:
        return float(first)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _decoded(files: Sequence[DicomFile], repair_intercept: bool) -> SeriesPixels:
    headers: list[SliceHeader] = []
    frames: list[NDArray[np.uint16]] = []
    for file in files:
        instance = open_instance(file.path)
        its_headers = slice_headers(instance)
        for header, words in zip(its_headers, decode_frames(instance), strict=True):
            if words.dtype != np.uint16 or words.ndim != 2:
                raise CaseUnreadable(f"{file.name}: not a 16-bit grey image")
            if frames and words.shape != frames[0].shape:
                raise CaseUnreadable(f"{file.name}: {words.shape} pixels in a series of {frames[0].shape}")
            frame = np.array(words, np.uint16)
            if repair_intercept:
                header, frame = _repaired(header, frame)
            headers.append(_with_slope(header))
            frames.append(frame)
    return SeriesPixels(np.stack(frames), tuple(headers))


def _with_slope(header: SliceHeader) -> SliceHeader:
    return dataclasses.replace(header, rescale_slope=1.0) if header.rescale_slope is None else header


def _repaired(header: SliceHeader, words: NDArray[np.uint16]) -> tuple[SliceHeader, NDArray[np.uint16]]:
    """Unsigned 12-bit files that say intercept 0 or so hold values that wrapped at 4096 (third-party fix, PAPERS.md 7.1).

    Only where the repair makes a CT of it: the lowest values become air.
    """
    if header.signed or header.rescale_intercept is None or header.rescale_intercept <= -100 or header.bits_stored > 12:
        return header, words
    stored = words & np.uint16((1 << header.bits_stored) - 1)
    repaired = ((stored.astype(np.int32) - USUAL_INTERCEPT) % WRAP).astype(np.uint16)
    if np.percentile(repaired, 5) > 500:
        return header, words
    whole = dataclasses.replace(
        header,
        rescale_intercept=float(USUAL_INTERCEPT),
        rescale_slope=1.0,
        bits_stored=16,
        high_bit=15,
        pixel_padding=None,
    )
    return whole, repaired


def _plain_stack(series: SeriesPixels, expected: int) -> HeadVolume:
    """HU of each image by itself, through the node's own conversion, in the order in which the images came."""
    pictures = []
    for i, header in enumerate(series.slices):
        # two copies a millimetre apart: a Volume needs two slices, and one of them is read
        pair = tuple(
            dataclasses.replace(
                header,
                sop_instance_uid=str(k),
                image_orientation_patient=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
                image_position_patient=(0.0, 0.0, float(k)),
                pixel_spacing_mm=(1.0, 1.0),
                slice_thickness_mm=1.0,
            )
            for k in range(2)
        )
        words = np.broadcast_to(series.words[i], (2, *series.words.shape[1:]))
        try:
            pictures.append(assemble_volume(SeriesPixels(words, pair)).hu[0])
        except VolumeError as error:
            raise CaseUnreadable(error.reason) from error
    if len(pictures) != expected:
        raise CaseUnreadable("several frames in one file, and their places do not make a volume")
    spacings = {h.pixel_spacing_mm for h in series.slices}
    spacing = spacings.pop() if len(spacings) == 1 else None
    thickness = [h.slice_thickness_mm for h in series.slices]
    return HeadVolume(
        is_hu=True,
        hu=np.stack(pictures),
        pixel_spacing_mm=spacing,
        thickness_mm=np.array(thickness, np.float64) if None not in thickness else None,
        contiguous=False,
    )


SIMULATED = "SIMULATED"
"""With this word simulated instances say what they are (simulation/scanners.py), in maker, issuer or patient id."""


def says_simulated(file: DicomFile) -> bool:
    h = file.header
    return SIMULATED in " ".join((h.manufacturer, h.issuer_of_patient_id, h.patient_id)).upper()


def says_contrast(file: DicomFile) -> bool:
    """A scan after contrast agent, by ContrastBolusAgent first and the series' description second (PAPERS.md 7.2)."""
    agent = file.header.contrast_bolus_agent.strip().casefold()
    return agent not in NO_AGENT or vocabulary.says_contrast(file.header.series_description)
