"""Who made an object, under which UIDs, when and in which character set: what all objects have in common.

DESIGN. highdicom takes the clock and random UIDs in several places (STANDARDS.md 2.7.4); `finish` overwrites each of them
from the request, so that one request always gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta, timezone
from functools import cached_property

import highdicom as hd
from highdicom import sr
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import PersonName

from triage_node.domain.delivery import BuiltObject, ObjectKind
from triage_node.domain.errors import ReportError
from triage_node.domain.identifiers import deterministic_uid
from triage_node.report import codes, wording
from triage_node.report.plain_values import without_control
from triage_node.report.request import BuiltFile, ReportRequest
from triage_node.report.source_headers import Sources, clean_sources, name_frames

MANUFACTURER = "Triage Node"
MODEL = "triage-node"
IMPLEMENTATION_CLASS_UID = deterministic_uid("triage-node", "implementation")

SERIES_NUMBERS = {
    ObjectKind.FINDINGS_SR: 900,
    ObjectKind.SEG: 901,
    ObjectKind.LOCATION_SR: 902,
    ObjectKind.HEATMAP_SC: 903,
    ObjectKind.SUMMARY_SC: 904,
    ObjectKind.NOT_FLAGGED_SR: 905,
    ObjectKind.NOT_ANALYSED_SC: 906,
    ObjectKind.NOT_ANALYSED_SR: 907,
    ObjectKind.REJECTION_NOTE: 908,
}
_LANGUAGES = {"en": "English", "en-US": "English-United States", "en-GB": "English-United Kingdom"}
_BYTES_KEPT_AS_LATIN1 = ("", "ISO_IR 6", "ISO 2022 IR 6", "ISO_IR 100", "ISO 2022 IR 100")


@dataclass(frozen=True)
class Draft:
    """A request with its cleaned sources: what every writer of an object starts from."""

    request: ReportRequest
    sources: Sources

    @classmethod
    def of(cls, request: ReportRequest) -> Draft:
        """Raises: ReportError when the request cannot be reported."""
        if request.at.tzinfo is None:
            raise ReportError("the instant of a report needs a time zone")
        if request.language not in _LANGUAGES:
            raise ReportError(f"the report has no text in {request.language!r}; it can be {', '.join(_LANGUAGES)}")
        return cls(request, clean_sources(request.sources, request.volume, request.patient))

    @property
    def study_instance_uid(self) -> str:
        return str(self.sources.study.StudyInstanceUID)

    def uid(self, kind: ObjectKind | str, index: str) -> str:
        return self.request.identity.uid(self.study_instance_uid, str(kind), index)

    def tracking_uid(self, label: str) -> str:
        """Equal in SR and SEG: the link between them (STANDARDS.md 2.3.4)."""
        return self.uid("tracking", label)

    def series_description(self, what: str) -> str:
        return wording.series_description(what, self.request.simulation)

    @cached_property
    def station(self) -> str:
        return without_control(self.request.node.name)[:16] or "TRIAGE"

    @cached_property
    def institution(self) -> str:
        return without_control(self.request.node.institution)[:64]

    @cached_property
    def software_version(self) -> str:
        return without_control(self.request.node.software_version)[:64] or "unknown"

    @cached_property
    def moment(self) -> tuple[str, str]:
        """(DA, TM) in the source's time zone where it names one (PS3.3 C.12.1.1.8), else in the request's own."""
        at = self.request.at
        if offset := self.sources.utc_offset:
            minutes = int(offset[1:3]) * 60 + int(offset[3:5])
            at = at.astimezone(timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)))
        return at.strftime("%Y%m%d"), at.strftime("%H%M%S.%f")

    # highdicom's parts

    def equipment(self) -> list[hd.ContributingEquipment]:
        return [
            hd.ContributingEquipment(
                manufacturer=MANUFACTURER,
                purpose_of_reference=codes.PROCESSING_EQUIPMENT,
                manufacturer_model_name=MODEL,
                software_versions=self.software_version,
                institution_name=self.institution or None,
                station_name=self.station,
                contribution_description="Triage of head CT. " + wording.NOT_FOR_DIAGNOSIS,
            )
        ]

    def observer(self) -> sr.ObserverContext:
        return sr.ObserverContext(
            sr.CodedConcept.from_code(codes.DEVICE),
            sr.DeviceObserverIdentifyingAttributes(
                uid=deterministic_uid("device", self.station, self.institution),
                name=self.station,
                manufacturer_name=MANUFACTURER,
                model_name=MODEL,
                serial_number=self.station,
            ),
        )

    def language(self) -> sr.LanguageOfContentItemAndDescendants:
        code = sr.CodedConcept(self.request.language, "RFC5646", _LANGUAGES[self.request.language])
        return sr.LanguageOfContentItemAndDescendants(code)

    def parameters(self) -> tuple[str, ...]:
        """What one must know to repeat the result (TID 4019, "Algorithm Parameters")."""
        request = self.request
        said = []
        if request.decision is not None:
            bundle, point = request.decision.bundle, request.decision.operating_point
            said = [
                f"model_digest=sha256:{bundle.digest.removeprefix('sha256:')}",
                f"runtime={bundle.runtime}",
                f"finding={point.finding}",
                f"raise_probability={point.raise_probability:g}",
                f"notify_probability={point.notify_probability:g}",
            ]
        return (
            *said,
            f"policy_version={request.identity.policy_version}",
            f"evidence_level={request.evidence.value} ({request.evidence.in_words})",
            f"calibrated={'yes' if request.calibrated else 'no'}",
            f"result_revision={request.identity.revision}",
            f"software_version={self.software_version}",
            *(["simulated_data=yes"] if request.simulation else []),
        )

    def algorithm_name(self) -> tuple[str, str]:
        decision = self.request.decision
        name, version = (decision.bundle.name, decision.bundle.version) if decision else (MODEL, self.software_version)
        return without_control(name)[:64] or MODEL, without_control(version)[:64] or "unknown"

    def algorithm(self) -> sr.AlgorithmIdentification:
        """TID 4019. A new one each time: content items belong to one parent."""
        name, version = self.algorithm_name()
        return sr.AlgorithmIdentification(
            name=name,
            version=version,
            parameters=list(self.parameters()),
            family=codes.ARTIFICIAL_INTELLIGENCE,
            manufacturer=MANUFACTURER,
        )


def finish(
    draft: Draft,
    ds: Dataset,
    kind: ObjectKind,
    refers_to: tuple[str, ...] = (),
    dimension_organization_uid: str = "",
) -> BuiltFile:
    """Set what the objects have in common, take out what the clock and chance put in, and write the file."""
    name_frames(ds, draft.sources.frames)
    date, clock = draft.moment
    study = draft.sources.study
    for element in study:
        ds[element.tag] = element
    ds.Manufacturer, ds.ManufacturerModelName = MANUFACTURER, MODEL
    ds.SoftwareVersions, ds.DeviceSerialNumber, ds.StationName = draft.software_version, draft.station, draft.station
    if draft.institution:
        ds.InstitutionName = draft.institution
    if draft.sources.utc_offset:
        ds.TimezoneOffsetFromUTC = draft.sources.utc_offset
    ds.InstanceCreationDate = ds.SeriesDate = ds.ContentDate = date
    ds.InstanceCreationTime = ds.SeriesTime = ds.ContentTime = clock
    ds.InstanceCreatorUID = deterministic_uid("device", draft.station, draft.institution)
    for item in ds.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = date + clock
    if dimension_organization_uid:
        _set_everywhere(ds, "DimensionOrganizationUID", dimension_organization_uid)
    _choose_character_set(ds, draft.sources.character_set)
    data = _as_file(ds)
    return BuiltFile(
        built=BuiltObject(
            sop_instance_uid=str(ds.SOPInstanceUID),
            sop_class_uid=str(ds.SOPClassUID),
            series_instance_uid=str(ds.SeriesInstanceUID),
            study_instance_uid=str(ds.StudyInstanceUID),
            kind=kind,
            revision=draft.request.identity.revision,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            refers_to=refers_to,
        ),
        data=data,
    )


def _set_everywhere(ds: Dataset, keyword: str, value: str) -> None:
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                _set_everywhere(item, keyword, value)
        elif element.keyword == keyword:
            element.value = value


def _texts(ds: Dataset) -> Iterable[str]:
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in ("LO", "SH", "PN", "LT", "ST", "UT", "UC"):
            value = element.value
            for one in value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]:
                yield str(one) if isinstance(one, str | PersonName) else ""


def _choose_character_set(ds: Dataset, declared: str) -> None:
    """Latin-1 stays what it was, everything else becomes UTF-8 (STANDARDS.md 2.6.4).

    A source that declares nothing but holds bytes above 0x7F is written as Latin-1: those are the bytes that came.
    """
    text = "".join(_texts(ds))
    if text.isascii() and declared in _BYTES_KEPT_AS_LATIN1[:3]:
        if "SpecificCharacterSet" in ds:
            del ds.SpecificCharacterSet
    elif declared in _BYTES_KEPT_AS_LATIN1 and all(ord(c) < 256 for c in text):
        ds.SpecificCharacterSet = "ISO_IR 100"
    else:
        ds.SpecificCharacterSet = "ISO_IR 192"


def _as_file(ds: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(IMPLEMENTATION_CLASS_UID), "TRIAGE_NODE"
    ds.file_meta = meta
    out = io.BytesIO()
    try:
        dcmwrite(out, ds, enforce_file_format=True)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise ReportError(f"the object cannot be written: {type(error).__name__}: {error}") from error
    return out.getvalue()
