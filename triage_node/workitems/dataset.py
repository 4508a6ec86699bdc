"""The data set of a reading workitem. Source: PS3.4 table CC.2.5-3, PS3.3 C.30; code of CID 9231."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.valuerep import PersonName

from triage_node.domain.workitem import ItemState, StudyFacts, Workitem
from triage_node.workitems.plain import from_json, new_element

UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
"""The SOP class of every workitem, whichever of the five classes was negotiated (PS3.4 CC.3)."""
LABEL = "Interpretation"
WORKLIST_LABEL, SIMULATION_LABEL = "TRIAGE READING", "SIMULATION, NO PATIENTS"
NOT_FOR_DIAGNOSTIC_USE = "Not for diagnostic use."

_LENGTHS = {"SH": 16, "LO": 64, "CS": 16, "AE": 16, "LT": 10240, "ST": 1024}
_EMPTY_SEQUENCES = (
    "IssuerOfAdmissionIDSequence", "ScheduledProcessingParametersSequence", "ScheduledStationNameCodeSequence",
    "ScheduledStationClassCodeSequence", "ScheduledStationGeographicLocationCodeSequence",
    "ScheduledHumanPerformersSequence", "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)  # fmt: skip
_REQUIRED_AT_THE_END = (
    "PerformedStationNameCodeSequence", "PerformedWorkitemCodeSequence",
    "PerformedProcedureStepStartDateTime", "PerformedProcedureStepEndDateTime",
)  # fmt: skip

Instances = Mapping[str, list[tuple[str, str]]]
"""Series Instance UID -> (SOP class UID, SOP Instance UID) of each instance."""


def data_set(
    item: Workitem, study: StudyFacts, due_at: datetime, instances: Instances | None = None, simulation: bool = False
) -> Dataset:
    """Everything that a watcher may see. `instances` None: without the Input Information Sequence, which is long."""
    found = Dataset()
    found.SpecificCharacterSet = "ISO_IR 192"
    found.SOPClassUID, found.SOPInstanceUID = UPS_PUSH, item.uid
    who = study.identity
    _put(found, "PatientName", _name(who.patient_name))
    _put(found, "PatientID", who.patient_id)
    _put(found, "IssuerOfPatientID", who.issuer_of_patient_id)
    _put(found, "PatientBirthDate", who.patient_birth_date if re.fullmatch(r"\d{8}", who.patient_birth_date) else "")
    _put(found, "PatientSex", who.patient_sex if who.patient_sex in ("M", "F", "O") else "")
    _put(found, "AdmissionID", "")
    found.StudyInstanceUID = study.study_instance_uid
    found.ScheduledProcedureStepPriority = item.priority.value
    found.ScheduledProcedureStepModificationDateTime = instant(item.changed_at)
    found.ScheduledProcedureStepStartDateTime = instant(study.arrived_at)
    found.ExpectedCompletionDateTime = instant(due_at)
    found.ProcedureStepLabel, found.WorklistLabel = LABEL, SIMULATION_LABEL if simulation else WORKLIST_LABEL
    comment = f"{item.comment}. Finding and suggested priority. {NOT_FOR_DIAGNOSTIC_USE}" if item.comment else ""
    _put(found, "CommentsOnTheScheduledProcedureStep", comment)
    found.ScheduledWorkitemCodeSequence = Sequence([code("110005", "DCM", "Interpretation")])
    found.InputReadinessState = "READY" if item.input_ready else "INCOMPLETE"
    found.ProcedureStepState = item.state.value
    for keyword in _EMPTY_SEQUENCES:
        setattr(found, keyword, Sequence())
    found.ReferencedRequestSequence = Sequence([_request(study)])
    if instances is not None:
        found.InputInformationSequence = Sequence([_input(study, series, of) for series, of in instances.items()])
    found.update(from_json(item.performed))
    return found


def final_data_meets(item: Workitem, asked: ItemState) -> bool:
    """Whether what the performer told suffices (PS3.4 table CC.2.5-3, column "final state").

    COMPLETED needs station, workitem code, start and end of what was performed. The outputs may be none.
    CANCELED needs nothing of the performer: the node writes time and reason itself (`events.with_cancellation`).
    """
    if asked is not ItemState.COMPLETED:
        return True
    performed = from_json(item.performed).get("UnifiedProcedureStepPerformedProcedureSequence") or ()
    return any(all(step.get(keyword) for keyword in _REQUIRED_AT_THE_END) for step in performed)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def instant(at: datetime) -> str:
    """A DT in UTC, with its offset, since UPS has none of its own."""
    return f"{at.astimezone(UTC):%Y%m%d%H%M%S}+0000"


def _request(study: StudyFacts) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = study.study_instance_uid
    _put(item, "AccessionNumber", study.identity.accession_number)
    _put(item, "RequestedProcedureID", "")
    _put(item, "RequestedProcedureDescription", study.description)
    for keyword in ("IssuerOfAccessionNumberSequence", "RequestedProcedureCodeSequence"):
        setattr(item, keyword, Sequence())
    for keyword in ("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest"):
        _put(item, keyword, "")
    return item


def _input(study: StudyFacts, series: str, instances: list[tuple[str, str]]) -> Dataset:
    item = Dataset()
    item.TypeOfInstances = "DICOM"
    item.StudyInstanceUID, item.SeriesInstanceUID = study.study_instance_uid, series
    item.ReferencedSOPSequence = Sequence()
    for sop_class_uid, sop_instance_uid in instances:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        item.ReferencedSOPSequence.append(reference)
    where = Dataset()  # the node gives no images away: they are where they came from
    _put(where, "RetrieveAETitle", study.calling_ae_title)
    item.DICOMRetrievalSequence = Sequence([where])
    return item


def _put(found: Dataset, keyword: str, text: str) -> None:
    """Text as it came, cut to what the VR can hold: a scanner's slip must not hide the workitem."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    vr = dictionary_VR(tag)
    value: Any = "".join(c for c in text if c >= " " and c != "\\")
    if vr in _LENGTHS:
        value = value[: _LENGTHS[vr]]
    found.add(new_element(tag, vr, value))


def _name(text: str) -> str:
    groups = str(PersonName(text)).split("=")[:3]
    return "=".join(group[:64] for group in groups)
