"""The source's headers as clean data sets, one per slice: what highdicom copies from, and nothing else reaches it.

Multi-frame sources: each frame gets a data set of its own under a stand-in UID, since highdicom would otherwise want regular
geometry; `name_frames` afterwards writes the true instance with its frame number into the finished object (STANDARDS.md 6.9).
Character sets: text is decoded here; `provenance.finish` picks the set of the finished object (STANDARDS.md 2.6.4).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian

from triage_node.domain.errors import UNREADABLE, ReportError
from triage_node.domain.geometry import cosines
from triage_node.domain.identifiers import deterministic_uid, is_uid
from triage_node.domain.study import StudyIdentity
from triage_node.domain.volume import Volume
from triage_node.report import plain_values as plain

LONGEST_IDENTIFIER = 1024
"""An identifier longer than its VR allows is kept, since a shortened one names another patient; a longer one than this is junk."""

_TEXTS = {"StudyID": 16, "StudyDescription": 64}
_CODES = ("ProcedureCodeSequence",)
_READ = (
    *(
        "SpecificCharacterSet",
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
    ),
    *(
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "PatientAge",
        "IssuerOfPatientID",
        "PatientPosition",
    ),
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "TimezoneOffsetFromUTC", *_TEXTS, *_CODES),
    *(
        "IssuerOfAccessionNumberSequence",
        "Modality",
        "InstanceNumber",
        "Rows",
        "Columns",
        "PatientWeight",
        "PatientSize",
    ),
    *(
        "PixelSpacing",
        "SliceThickness",
        "ImagePositionPatient",
        "ImageOrientationPatient",
    ),
    *("PatientIdentityRemoved", "DeidentificationMethod"),
)


@dataclass(frozen=True, slots=True)
class Sources:
    """`slices[i]` belongs to slice i of the volume; without a volume there is one entry per header given.

    `study` holds the attributes of patient and study alone. `frames` maps a stand-in UID to (SOP Instance UID, SOP Class UID, frame number) of a multi-frame source.
    `character_set` is the source's first term, "" when it declared none. `utc_offset` is "" when the source has none.
    """

    slices: tuple[Dataset, ...]
    study: Dataset
    frames: dict[str, tuple[str, str, int]]
    character_set: str
    utc_offset: str

    def instance_number(self, slice_index: int) -> int:
        """The number that a reader sees: of the instance, of the frame, else the place in the volume."""
        return int(self.slices[slice_index].InstanceNumber)


def clean_sources(
    sources: Sequence[Dataset | Path], volume: Volume | None, patient: StudyIdentity | None = None
) -> Sources:
    """Read and clean the headers of the selected series. `patient`: who it is, whatever the headers say.

    Raises: ReportError when there is none, when one cannot be read, or when it does not fit the volume.
    """
    if not sources:
        raise ReportError("a report needs the header of at least one image of the study")
    with pydicom.config.disable_value_validation():  # each value is judged here; warnings would carry values into logs
        return _clean([_read(s) if isinstance(s, Path) else s for s in sources], volume, patient)


def _clean(given: Sequence[Dataset], volume: Volume | None, patient: StudyIdentity | None) -> Sources:
    first = given[0]
    study = _patient_and_study(first if patient is None else _named(first, patient))
    declared = plain.raw(first, "SpecificCharacterSet")
    character_set = str(
        declared[0] if isinstance(declared, Sequence) and not isinstance(declared, str) else declared or ""
    )
    offset = plain.utc_offset(first)
    if volume is None:
        slices = tuple(_image_of_any_kind(study, g) for g in given)
        return Sources(slices, study, {}, character_set, offset)
    if study.StudyInstanceUID != volume.study_instance_uid:
        raise ReportError("the headers belong to another study than the volume")
    by_uid = {plain.uid(g, "SOPInstanceUID"): g for g in given}
    frames: dict[str, tuple[str, str, int]] = {}
    slices = tuple(_slice(study, by_uid, volume, i, frames) for i in range(len(volume.hu)))
    return Sources(slices, study, frames, character_set, offset)


def name_frames(item: Dataset, frames: dict[str, tuple[str, str, int]]) -> None:
    """Replace stand-in UIDs by the multi-frame instance and its frame number, all through the data set.

    Sequences that list instances (PS3.3 table 10-11) name the instance once, without frame numbers.
    """
    if not frames:
        return
    for element in item:
        if element.VR != "SQ":
            continue
        lists_instances = element.keyword == "ReferencedInstanceSequence" or (
            element.keyword == "ReferencedSOPSequence" and "SeriesInstanceUID" in item
        )
        kept, seen = [], set()
        for child in element.value:
            name_frames(child, frames)
            stand_in = child.get("ReferencedSOPInstanceUID")
            if stand_in in frames:
                true_uid, class_uid, number = frames[stand_in]
                child.ReferencedSOPInstanceUID, child.ReferencedSOPClassUID = true_uid, class_uid
                if lists_instances:
                    if true_uid in seen:
                        continue
                    seen.add(true_uid)
                else:
                    child.ReferencedFrameNumber = number
            kept.append(child)
        element.value = kept


def _read(path: Path) -> Dataset:
    try:
        if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise ReportError("deflated images are not read: they could unpack to any size")
        return dcmread(path, stop_before_pixels=True, specific_tags=list(_READ), force=True)
    except (OSError, InvalidDicomError, BytesLengthException, EOFError, struct.error, *UNREADABLE) as error:
        raise ReportError(f"the header of an image cannot be read: {type(error).__name__}") from error


def _named(source: Dataset, patient: StudyIdentity) -> Dataset:
    """The header under another identity. What belongs to the old one alone (issuer of its accession number, age) is left out."""
    own = Dataset()
    for element in source:
        own.add(element)
    if plain.text(source, "AccessionNumber", LONGEST_IDENTIFIER) != patient.accession_number:
        own.pop("IssuerOfAccessionNumberSequence", None)
    if plain.date(source, "PatientBirthDate") not in ("", patient.patient_birth_date):
        own.pop("PatientAge", None)
    for keyword, vr, value in (
        ("PatientID", "LO", patient.patient_id),
        ("IssuerOfPatientID", "LO", patient.issuer_of_patient_id),
        ("PatientName", "PN", patient.patient_name),
        ("PatientBirthDate", "DA", patient.patient_birth_date),
        ("PatientSex", "CS", patient.patient_sex),
        ("AccessionNumber", "SH", patient.accession_number),
    ):
        own.add_new(keyword, vr, value)
    return own


def _patient_and_study(source: Dataset) -> Dataset:
    """Patient, General Study and Patient Study modules; attributes of type 2 are there even when empty.

    Raises: ReportError without a valid Study Instance UID, or with an identifier beyond LONGEST_IDENTIFIER.
    """
    study = Dataset()
    study.StudyInstanceUID = plain.uid(source, "StudyInstanceUID")
    if not study.StudyInstanceUID:
        raise ReportError("the study has no valid Study Instance UID")
    for keyword, vr in (("PatientID", "LO"), ("IssuerOfPatientID", "LO"), ("AccessionNumber", "SH")):
        identifier = plain.text(source, keyword, LONGEST_IDENTIFIER + 1)
        if len(identifier) > LONGEST_IDENTIFIER:
            raise ReportError(f"{keyword} is longer than {LONGEST_IDENTIFIER} characters")
        if identifier or keyword != "IssuerOfPatientID":
            study.add_new(keyword, vr, identifier)
    study.PatientName = plain.person_name(source, "PatientName")
    study.ReferringPhysicianName = plain.person_name(source, "ReferringPhysicianName")
    study.PatientBirthDate = plain.date(source, "PatientBirthDate")
    sex = plain.single_text(source, "PatientSex", 16).upper()
    study.PatientSex = sex if sex in ("M", "F", "O") else ""
    study.StudyDate, study.StudyTime = plain.date(source, "StudyDate"), plain.time(source, "StudyTime")
    for keyword, longest in _TEXTS.items():
        value = plain.single_text(source, keyword, longest)
        if value or keyword == "StudyID":
            setattr(study, keyword, value)
    if years := plain.age(source, "PatientAge"):
        study.PatientAge = years
    for keyword in ("PatientSize", "PatientWeight"):
        if number := plain.decimals(source, keyword, 1):
            setattr(study, keyword, number[0])
    method = plain.single_text(source, "DeidentificationMethod", 64)
    if method and plain.single_text(source, "PatientIdentityRemoved", 16) == "YES":
        study.PatientIdentityRemoved, study.DeidentificationMethod = "YES", method
    for keyword in _CODES:
        if items := [code for i in _items(source, keyword) if (code := _code(i)) is not None]:
            setattr(study, keyword, items)
    if issuers := [item for i in _items(source, "IssuerOfAccessionNumberSequence") if len(item := _issuer(i))]:
        study.IssuerOfAccessionNumberSequence = issuers[:1]
    return study


def _items(source: Dataset, keyword: str) -> list[Dataset]:
    found = plain.raw(source, keyword)
    return [i for i in found if isinstance(i, Dataset)][:8] if isinstance(found, Sequence) else []


def _code(item: Dataset) -> Dataset | None:
    code = Dataset()
    code.CodeValue = plain.single_text(item, "CodeValue", 16)
    code.CodingSchemeDesignator = plain.single_text(item, "CodingSchemeDesignator", 16)
    if version := plain.single_text(item, "CodingSchemeVersion", 16):
        code.CodingSchemeVersion = version
    code.CodeMeaning = plain.single_text(item, "CodeMeaning", 64)
    return code if code.CodeValue and code.CodingSchemeDesignator and code.CodeMeaning else None


def _issuer(item: Dataset) -> Dataset:
    issuer = Dataset()
    if local := plain.single_text(item, "LocalNamespaceEntityID", 64):
        issuer.LocalNamespaceEntityID = local
    universal = plain.single_text(item, "UniversalEntityID", 64)
    kind = plain.single_text(item, "UniversalEntityIDType", 16).upper()
    if universal and kind in ("DNS", "EUI64", "ISO", "URI", "UUID", "X400", "X500"):
        issuer.UniversalEntityID, issuer.UniversalEntityIDType = universal, kind
    return issuer


def _image_of_any_kind(study: Dataset, source: Dataset) -> Dataset:
    """Patient, study and the UIDs that evidence needs. Raises: ReportError without them."""
    image = _copy(study)
    for keyword in ("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID"):
        value = plain.uid(source, keyword)
        if not value:
            raise ReportError(f"an image of the study has no valid {keyword}")
        setattr(image, keyword, value)
    image.Modality = plain.single_text(source, "Modality", 16) or "CT"
    image.InstanceNumber = _positive(plain.whole_number(source, "InstanceNumber")) or 1
    return image


def _slice(
    study: Dataset, by_uid: dict[str, Dataset], volume: Volume, index: int, frames: dict[str, tuple[str, str, int]]
) -> Dataset:
    """One slice as a single-frame CT image without pixels. The volume's geometry decides; the source's digits are kept."""
    true_uid = volume.sop_instance_uids[index]
    source = by_uid.get(true_uid)
    if source is None or not is_uid(true_uid) or not is_uid(volume.series_instance_uid):
        raise ReportError(f"slice {index + 1} of the volume has no header or no valid UID")
    image = _copy(study)
    image.SOPClassUID = plain.uid(source, "SOPClassUID") or str(CTImageStorage)
    image.SOPInstanceUID, image.SeriesInstanceUID = true_uid, volume.series_instance_uid
    image.InstanceNumber = _positive(plain.whole_number(source, "InstanceNumber")) or index + 1
    number = volume.frame_numbers[index] if volume.frame_numbers else 0
    if number:
        stand_in = deterministic_uid("frame", true_uid, str(number))
        frames[stand_in] = (true_uid, str(image.SOPClassUID), number)
        image.SOPInstanceUID, image.SOPClassUID = stand_in, str(CTImageStorage)
        image.InstanceNumber = number
    image.Modality = "CT"
    image.Rows, image.Columns = volume.hu.shape[1:]
    frame_of_reference = volume.frame_of_reference_uid
    image.FrameOfReferenceUID = (
        frame_of_reference
        if is_uid(frame_of_reference)
        else deterministic_uid("frame of reference", volume.series_instance_uid)
    )
    image.PositionReferenceIndicator = ""
    image.PatientPosition = (
        position if (position := plain.single_text(source, "PatientPosition", 16)) in _POSITIONS else ""
    )
    orientation = (*volume.row_cosine, *volume.column_cosine)
    image.ImageOrientationPatient = _as_written(source, "ImageOrientationPatient", orientation, 1e-4)
    image.ImagePositionPatient = _as_written(source, "ImagePositionPatient", tuple(volume.origins_mm[index]), 1e-3)
    image.PixelSpacing = _as_written(source, "PixelSpacing", volume.pixel_spacing_mm, 1e-4)
    image.SliceThickness = _as_written(source, "SliceThickness", (float(volume.slice_thickness_mm[index]),), 1e-3)[0]
    if volume.lossy:
        image.LossyImageCompression = "01"
    return image


_POSITIONS = ("HFS", "HFP", "FFS", "FFP", "HFDR", "HFDL", "FFDR", "FFDL")


def _as_written(source: Dataset, keyword: str, values: Sequence[float], tolerance: float) -> list[str]:
    """The source's own decimal strings when they say what the volume says, else the volume's numbers."""
    written = plain.decimals(source, keyword, len(values))
    if written and np.allclose([float(w) for w in written], values, rtol=0, atol=tolerance):
        return list(written)
    return [plain.decimal(float(v)) for v in values]


def _positive(number: int | None) -> int | None:
    return number if number is not None and number > 0 else None


def _copy(study: Dataset) -> Dataset:
    """A data set of its own with the same elements (`Dataset(other)` would share one dictionary), but no true name.

    highdicom prints a name that it finds odd, and no name of a patient may reach a log; `provenance.finish` sets the true one.
    """
    own = Dataset()
    for element in study:
        own.add(element)
    del own.PatientName
    own.PatientName = "Withheld^Name"
    return own


def patient_sides(volume: Volume) -> tuple[str, str]:
    """Letters of the patient's side at the left and at the right edge of the picture: mostly ("R", "L")."""
    right = patient_orientation(volume)[0][0]
    return {"L": "R", "R": "L", "P": "A", "A": "P", "H": "F", "F": "H"}[right], right


def patient_orientation(volume: Volume) -> list[str]:
    """Patient Orientation of the rows and columns: the nearest axis and what leans to a second one by over 5 degrees.

    Source: PS3.3 C.7.6.1.1.1.
    """
    letters = (("L", "R"), ("P", "A"), ("H", "F"))
    found = []
    for direction in cosines((*volume.row_cosine, *volume.column_cosine)):
        strongest_first = np.argsort(-np.abs(direction), kind="stable")
        leaning = [a for a in strongest_first if abs(direction[a]) > 0.087]
        found.append("".join(letters[a][int(direction[a] < 0)] for a in leaning))
    return found
