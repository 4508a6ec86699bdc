"""Workitems of somebody else's UPS manager: which of them is the reading of a study, and what we write to them.

Source: PS3.4 Table CC.2.5-3 (attributes), PS3.3 C.30.1 (priority), PS3.16 CID 9231 (kinds of workitems).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from triage_node.domain.identifiers import is_uid
from triage_node.domain.priority import Urgency
from triage_node.workitems import plain
from triage_node.workitems.dataset import code, instant
from triage_node.workitems.plain import BadDataSet

SCHEDULED = "SCHEDULED"
NEUTRAL = "MEDIUM"
RANK = {"": 0, "LOW": 1, "MEDIUM": 2, "HIGH": 3}
"""Of a priority; a word that is not here cannot be compared, so it is never overwritten."""

_INTERPRETATION = ("110005", "DCM", "Interpretation")
_OTHER_WORK = frozenset(
    ("110001", "110002", "110003", "110004", "110006", "110007", "110008", "110009", "110010", "110013")
)
"""Image processing, quality control, CAD, transcription, verification, print and the like: raising them raises no reading."""

_READ = (
    "SOPInstanceUID",
    "ProcedureStepState",
    "ScheduledProcedureStepPriority",
    "ReferencedRequestSequence",
    "ScheduledWorkitemCodeSequence",
)
"""All that is read of an answer: damage elsewhere in it does not matter."""


@dataclass(frozen=True, slots=True)
class Workitem:
    """What a manager says of one workitem; `codes`: of the kind of work, (value, scheme)."""

    uid: str
    state: str
    priority: str
    study_instance_uids: frozenset[str] = frozenset()
    accession_numbers: frozenset[str] = frozenset()
    codes: frozenset[tuple[str, str]] = frozenset()


def wanted_priority(urgency: Urgency) -> str:
    return "MEDIUM" if urgency is Urgency.MODERATE else "HIGH"


def raised(held: str, urgency: Urgency) -> str:
    """The priority that a workitem gets which has `held`: never less than that."""
    wanted = wanted_priority(urgency)
    return wanted if held in RANK and RANK[held] < RANK[wanted] else held


def of_data_set(answer: Dataset, uid: str = "") -> Workitem:
    """Read an answer that came over DIMSE. `uid`: for answers that do not repeat it. Raises: BadDataSet."""
    part = Dataset()
    try:
        for keyword in _READ:
            if keyword in answer:
                part.add(answer[keyword])
    except Exception as error:  # whatever damaged bytes make the library raise
        raise BadDataSet(type(error).__name__) from error
    return _workitem(plain.checked(part), uid)


def of_json(model: object, uid: str = "") -> Workitem:
    """Read an answer in the DICOM JSON model. Raises: BadDataSet."""
    if not isinstance(model, dict):
        raise BadDataSet("a data set is an object of tags")
    tags = [f"{tag_for_keyword(keyword):08X}" for keyword in _READ]
    return _workitem(plain.from_json({tag: model[tag] for tag in tags if tag in model}), uid)


def _workitem(item: Dataset, uid: str) -> Workitem:
    requests, kinds = item.get("ReferencedRequestSequence") or (), item.get("ScheduledWorkitemCodeSequence") or ()
    found = Workitem(
        uid=uid or _text(item, "SOPInstanceUID"),
        state=_text(item, "ProcedureStepState"),
        priority=_text(item, "ScheduledProcedureStepPriority"),
        study_instance_uids=frozenset(_text(r, "StudyInstanceUID") for r in requests) - {""},
        accession_numbers=frozenset(_text(r, "AccessionNumber") for r in requests) - {""},
        codes=frozenset((_text(k, "CodeValue"), _text(k, "CodingSchemeDesignator")) for k in kinds),
    )
    if not is_uid(found.uid) or not found.state:
        raise BadDataSet("UID or state is missing")
    return found


def readings_of(items: Iterable[Workitem], study_instance_uid: str, accession_number: str) -> list[Workitem]:
    """The workitems that are the reading of this study, in a fixed order; empty when there is none.

    A manager may leave out keys that it does not know and answer with every workitem it has, so each is compared here. An
    accession number alone counts only where the workitem names no study: one that names another study is that study's.
    """
    items = list(items)
    own = [i for i in items if study_instance_uid in i.study_instance_uids]
    if not own and accession_number:
        own = [i for i in items if accession_number in i.accession_numbers and not i.study_instance_uids]
    named = [i for i in own if _INTERPRETATION[:2] in i.codes]
    open_ = [i for i in own if not any(scheme == "DCM" and code in _OTHER_WORK for code, scheme in i.codes)]
    return sorted(named or open_, key=lambda i: i.uid)


def question(study_instance_uid: str = "", accession_number: str = "") -> Dataset:
    """Identifier of a C-FIND for the workitems of a study or of an accession, in whatever state."""
    request = Dataset()
    request.StudyInstanceUID = study_instance_uid
    request.AccessionNumber = accession_number
    asked = Dataset()
    if not accession_number.isascii():
        asked.SpecificCharacterSet = "ISO_IR 192"
    asked.SOPInstanceUID = ""
    asked.ProcedureStepState = ""
    asked.ScheduledProcedureStepPriority = ""
    asked.ScheduledWorkitemCodeSequence = []
    asked.ReferencedRequestSequence = [request]
    return asked


def may_be_asked(accession_number: str) -> bool:
    """False for what a question cannot carry: wildcards and the backslash between values would ask for something else."""
    return bool(accession_number) and not set(accession_number) & set("*?\\")


def priority_change(priority: str) -> Dataset:
    """Modification list of an N-SET while nobody has claimed the workitem: no Transaction UID yet."""
    change = Dataset()
    change.ScheduledProcedureStepPriority = priority
    return change


@dataclass(frozen=True, slots=True)
class Person:
    """Of the patient only what the site allows; the rest is empty."""

    patient_id: str = ""
    issuer_of_patient_id: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""


def new_reading(
    study_instance_uid: str, accession_number: str, priority: str, words: str, person: Person, start: datetime
) -> Dataset:
    """Attribute list of an N-CREATE: a reading that waits. `start`: aware. Attributes of type 2 that we do not know are empty."""
    request = Dataset()
    request.StudyInstanceUID = study_instance_uid
    request.AccessionNumber = _fit(accession_number, 16)
    request.IssuerOfAccessionNumberSequence = []
    request.RequestedProcedureID = ""
    request.RequestedProcedureDescription = ""
    request.RequestedProcedureCodeSequence = []
    request.PlacerOrderNumberImagingServiceRequest = ""
    request.FillerOrderNumberImagingServiceRequest = ""
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 192"
    item.TransactionUID = ""
    item.ProcedureStepState = SCHEDULED
    item.ProcedureStepProgressInformationSequence = []
    item.ScheduledProcedureStepPriority = priority
    item.ProcedureStepLabel = "Head CT reading"
    item.WorklistLabel = "Reading"
    item.CommentsOnTheScheduledProcedureStep = _fit(words, 10240)
    item.ScheduledProcedureStepStartDateTime = instant(start)
    item.ScheduledProcessingParametersSequence = []
    item.ScheduledStationNameCodeSequence = []
    item.ScheduledStationClassCodeSequence = []
    item.ScheduledStationGeographicLocationCodeSequence = []
    item.ScheduledHumanPerformersSequence = []
    item.ScheduledWorkitemCodeSequence = [code(*_INTERPRETATION)]
    item.InputReadinessState = "READY"
    item.InputInformationSequence = []
    item.PatientName = "=".join(_fit(group, 64) for group in person.name.split("=")[:3])
    item.PatientID = _fit(person.patient_id, 64)
    item.IssuerOfPatientID = _fit(person.issuer_of_patient_id, 64)
    item.IssuerOfPatientIDQualifiersSequence = []
    item.OtherPatientIDsSequence = []
    item.PatientBirthDate = person.birth_date
    item.PatientSex = person.sex
    item.AdmissionID = ""
    item.IssuerOfAdmissionIDSequence = []
    item.AdmittingDiagnosesDescription = ""
    item.AdmittingDiagnosesCodeSequence = []
    item.ReferencedRequestSequence = [request]
    item.UnifiedProcedureStepPerformedProcedureSequence = []
    return item


def _text(item: Dataset, keyword: str) -> str:
    value = item.get(keyword)
    return "" if value is None else str(value).strip()


def _fit(text: str, length: int) -> str:
    """Text as an element of one value can hold it."""
    return "".join(c for c in text if c >= " " and c != "\\")[:length]
