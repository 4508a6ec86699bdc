"""Withdraws objects of ours: an IOCM rejection note, a key object selection that names them (STANDARDS.md 1.16).

Used for results that were superseded and for results under a wrong patient. The note stands in the study, and under the
identity, of the objects that it withdraws: a receiver must find them. Source: IHE IOCM; PS3.16 TID 2010, CID 7010.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import highdicom as hd
from pydicom.dataset import Dataset

from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import ReportError
from triage_node.report import codes
from triage_node.report.provenance import MANUFACTURER, SERIES_NUMBERS, Draft, finish
from triage_node.report.read_back import read
from triage_node.report.request import BuiltFile, NodeIdentity, ReportRequest, ResultIdentity


class Rejection(Enum):
    """Why objects are withdrawn."""

    QUALITY = codes.REJECTED_FOR_QUALITY
    PATIENT_SAFETY = codes.REJECTED_FOR_SAFETY


@dataclass(frozen=True, slots=True)
class RejectionRequest:
    """What is withdrawn (files of ours, all of one study), why, and who says so. `at` is an aware instant.

    `reason` is a sentence for people; superseded results are rejected for quality, a wrong patient for safety.
    """

    withdrawn: Sequence[bytes]
    rejection: Rejection
    reason: str
    node: NodeIdentity
    at: datetime
    revision: int = 1
    simulation: bool = False


def build_rejection_note(request: RejectionRequest) -> BuiltFile:
    """The note. Raises: ReportError when nothing is withdrawn, or objects of two studies at once."""
    objects = [read(data) for data in request.withdrawn]
    if not objects:
        raise ReportError("a rejection note names at least one object")
    if len({str(o.StudyInstanceUID) for o in objects}) > 1:
        raise ReportError("a rejection note names objects of one study only")
    draft = _draft(request, objects)
    references = [_reference(draft, o) for o in objects]
    content = hd.ko.KeyObjectSelection(
        document_title=request.rejection.value,
        referenced_objects=references,
        observer_device_context=draft.observer(),
        description=f"{' '.join(request.reason.split())[:800]} Withdrawn by {MANUFACTURER}.",
    )
    kind = ObjectKind.REJECTION_NOTE
    ds = hd.ko.KeyObjectSelectionDocument(
        evidence=references,
        content=content,
        series_instance_uid=draft.uid(kind, "series"),
        series_number=SERIES_NUMBERS[kind],
        sop_instance_uid=draft.uid(kind, request.rejection.name),
        instance_number=1,
        manufacturer=MANUFACTURER,
        series_description=draft.series_description("withdrawal"),
        contributing_equipment=draft.equipment(),
    )
    return finish(draft, ds, kind, refers_to=tuple(str(o.SOPInstanceUID) for o in objects))


def _draft(request: RejectionRequest, objects: Sequence[Dataset]) -> Draft:
    named = hashlib.sha256("|".join(sorted(str(o.SOPInstanceUID) for o in objects)).encode()).hexdigest()
    identity = ResultIdentity(named, "", "", 0, "", "", request.revision)
    return Draft.of(
        ReportRequest(
            sources=(objects[0],),
            kinds=frozenset({ObjectKind.REJECTION_NOTE}),
            identity=identity,
            node=request.node,
            at=request.at,
            simulation=request.simulation,
        )
    )


def _reference(draft: Draft, withdrawn: Dataset) -> Dataset:
    """The object's identifiers with clean patient and study attributes; images keep Rows and Columns, by which highdicom
    tells an image from a document.
    """
    reference = Dataset()
    for element in draft.sources.slices[0]:
        reference.add(element)
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns"):
        if keyword in withdrawn:
            reference[keyword] = withdrawn[keyword]
    return reference
