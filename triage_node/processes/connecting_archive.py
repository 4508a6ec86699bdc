"""A new archive: which of our objects it takes, and whether an SR and an SC of the test patient come back out of it.

The two objects are what the report room writes of a study that was not analysed, marked as simulated: they say nothing of
anybody. Each run has UIDs of its own, so that finding them proves that these arrived.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from triage_node import __version__
from triage_node.config.schema import ArchiveSettings
from triage_node.delivery import store_scu, stow_rs
from triage_node.delivery.outgoing import Outgoing
from triage_node.delivery.retry import Verdict
from triage_node.dimse.calling import GRACE_S, Callee, NotAssociated, associate, release
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.identifiers import deterministic_uid, is_uid
from triage_node.processes.connecting import (
    TEST_ACCESSION,
    TEST_PATIENT_ID,
    TEST_PATIENT_NAME,
    TEST_STUDY_UID,
    Step,
    StepFailed,
)
from triage_node.processes.connecting_echo import echo_step
from triage_node.processes.connecting_line import line_steps
from triage_node.report.build import build_objects
from triage_node.report.request import BuiltFile, NodeIdentity, ReportRequest, ResultIdentity
from triage_node.rest.calling import NoAnswer, calling

FILED_WITHIN_S = 15.0
"""How long an archive may take from its answer until its own index knows the object."""
_BETWEEN_LOOKS_S = 0.5
_CLASSES = {
    Comprehensive3DSRStorage: ("SR", frozenset(k for k in ObjectKind if k.value.endswith("_sr"))),
    SegmentationStorage: ("SEG", frozenset({ObjectKind.SEG})),
    SecondaryCaptureImageStorage: ("SC", frozenset(k for k in ObjectKind if k.value.endswith("_sc"))),
}
_SENT = "an SR and an SC of the test patient, which stay in the archive"
_MOST_SERIES = 10_000


class ArchiveWalk:
    """`settled` is what is worth writing down after the steps: without the kinds of objects that the archive does not take."""

    table = "archives"
    always = ("clinical",)

    def __init__(self, settings: ArchiveSettings, at: datetime) -> None:
        self.settled = settings
        self._at = at
        self._sent: tuple[BuiltFile, ...] = ()

    def steps(self) -> list[Step]:
        a = self.settled
        if a.stow_url:
            parts = urlsplit(a.stow_url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            steps = line_steps(parts.hostname or "", port, a.connect_timeout_s, parts.scheme == "https", a.tls_ca)
            steps.append(Step("DICOMweb answers", self._answers))
            steps.append(Step("STOW-RS of an SR and an SC", lambda: self._send(stow_rs.send_batch), sends=_SENT))
            return [*steps, Step("found by QIDO-RS", lambda: self._found(self._series_by_qido))]
        steps = line_steps(a.host, a.port, a.connect_timeout_s, a.tls, a.tls_ca)
        steps.append(echo_step(self._callee, [build_context(c, ExplicitVRLittleEndian) for c in _CLASSES]))
        steps.append(Step("presentation contexts", self._contexts))
        steps.append(Step("C-STORE of an SR and an SC", lambda: self._send(store_scu.send_batch), sends=_SENT))
        return [*steps, Step("found by C-FIND", lambda: self._found(self._series_by_c_find))]

    @property
    def _callee(self) -> Callee:
        a = self.settled
        timeouts = a.connect_timeout_s, a.response_timeout_s
        return Callee(a.host, a.port, a.ae_title, a.calling_ae_title, *timeouts, a.tls, a.tls_ca)

    def _answers(self) -> str:
        if problem := stow_rs.problem_with(self.settled):
            raise StepFailed(problem)
        return "it answers a search"

    def _contexts(self) -> str:
        wanted = {c: name for c, (name, kinds) in _CLASSES.items() if kinds & set(self.settled.kinds)}
        try:
            association, line = associate(self._callee, [build_context(c, ExplicitVRLittleEndian) for c in wanted])
        except NotAssociated as error:
            raise StepFailed(str(error)) from None
        taken = {c.abstract_syntax for c in association.accepted_contexts}
        release(association, line, self.settled.response_timeout_s)
        refused = [c for c in wanted if c not in taken]
        words = f"takes {', '.join(name for c, name in wanted.items() if c in taken)}"
        if not refused:
            return words
        lost = frozenset[ObjectKind]().union(*(_CLASSES[c][1] for c in refused))
        kinds = tuple(k for k in self.settled.kinds if k not in lost)
        self.settled = ArchiveSettings(**(self.settled.model_dump(exclude_unset=True) | {"kinds": kinds}))
        return f"{words}; not {', '.join(wanted[c] for c in refused)}, so that its kinds are left out of `kinds`"

    def _send(self, send_batch: Callable[..., dict[str, store_scu.Outcome]]) -> str:
        has = {k for c, (_, kinds) in _CLASSES.items() if kinds & set(self.settled.kinds) for k in kinds}
        built = build_objects(_request(self._at, frozenset(has)))
        with tempfile.TemporaryDirectory(prefix="triage-node-connect-") as folder:
            outgoing = []
            for file in built:
                path = Path(folder) / f"{file.built.kind}.dcm"
                path.write_bytes(file.data)
                outgoing.append(Outgoing(file.built.sop_instance_uid, file.built.sop_class_uid, path))
            outcomes = send_batch(self.settled, outgoing)
        said = {f.built.kind: outcomes[f.built.sop_instance_uid] for f in built}
        if bad := [f"{_name(k)}: {o.words or o.verdict}" for k, o in said.items() if o.verdict is not Verdict.STORED]:
            raise StepFailed("; ".join(bad))
        self._sent = built
        return ", ".join(f"{_name(k)} stored" + (f" ({o.words})" if o.words else "") for k, o in said.items())

    def _found(self, ask: Callable[[], set[str] | str]) -> str:
        """Look until the series that were sent are listed. A string from `ask`: it offers no such search, and why."""
        wanted = {f.built.series_instance_uid for f in self._sent}
        deadline = time.monotonic() + FILED_WITHIN_S
        while True:
            found = ask()
            if isinstance(found, str):
                return f"not offered ({found}): look for the test patient there"
            if wanted <= found:
                return f"{len(wanted)} series of this run are there"
            if time.monotonic() > deadline:
                raise StepFailed(
                    f"{len(wanted - found)} of {len(wanted)} series are not listed after {FILED_WITHIN_S:g} s",
                    "Accepted, but not filed: the archive may hold back patients or orders that it does not know.",
                )
            threading.Event().wait(_BETWEEN_LOOKS_S)

    def _series_by_c_find(self) -> set[str] | str:
        question = Dataset()
        question.QueryRetrieveLevel, question.StudyInstanceUID, question.SeriesInstanceUID = (
            "SERIES",
            TEST_STUDY_UID,
            "",
        )
        contexts = [build_context(StudyRootQueryRetrieveInformationModelFind)]
        try:
            association, line = associate(self._callee, contexts)
        except NotAssociated as error:
            return str(error)
        found: set[str] = set()
        status = None
        try:
            with line.cut_after(self.settled.response_timeout_s + GRACE_S):
                for answer, item in association.send_c_find(question, contexts[0].abstract_syntax):
                    status = answer.get("Status")
                    if item is not None and len(found) < _MOST_SERIES:
                        found.add(str(item.get("SeriesInstanceUID", "")))
        except (RuntimeError, OSError, AttributeError, ValueError, TypeError, KeyError) as error:
            raise StepFailed(f"C-FIND: no valid answer in time ({type(error).__name__})") from None
        finally:
            release(association, line, self.settled.response_timeout_s)
        if status is None:
            raise StepFailed("C-FIND: no valid answer in time, or the association was lost")
        return found if status == 0 else f"C-FIND answered 0x{int(status):04X}"

    def _series_by_qido(self) -> set[str] | str:
        a = self.settled
        try:
            with calling(a, a.stow_url, a.connect_timeout_s, "application/dicom+json") as caller:
                reply = caller.ask("GET", f"{a.stow_url}/studies/{TEST_STUDY_UID}/series", a.response_timeout_s)
        except NoAnswer as error:
            raise StepFailed(str(error)) from None
        if reply.status == 204:
            return set()
        if reply.status != 200:
            return f"answered {reply.status}"
        try:
            models = json.loads(reply.body)
        except (ValueError, RecursionError):
            raise StepFailed("an answer that is no DICOM JSON") from None
        return {uid for m in models if (uid := _series_of(m))} if isinstance(models, list) else set()


def _series_of(model: object) -> str:
    element = model.get("0020000E") if isinstance(model, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    uid = values[0] if isinstance(values, list) and values else None
    return uid if isinstance(uid, str) and is_uid(uid) else ""


def _name(kind: ObjectKind) -> str:
    return kind.value.rsplit("_", 1)[-1].upper()


def _request(at: datetime, has: frozenset[ObjectKind]) -> ReportRequest:
    run = uuid.uuid4().hex
    header = Dataset()
    header.PatientID, header.PatientName, header.PatientBirthDate, header.PatientSex = (
        TEST_PATIENT_ID,
        TEST_PATIENT_NAME,
        "",
        "",
    )
    header.StudyInstanceUID, header.AccessionNumber, header.StudyID = TEST_STUDY_UID, TEST_ACCESSION, "TEST"
    header.StudyDate, header.StudyTime = f"{at:%Y%m%d}", f"{at:%H%M%S}"
    header.StudyDescription = "Triage Node connection test"
    header.SOPClassUID, header.Modality, header.InstanceNumber = UID(CTImageStorage), "CT", 1
    header.SeriesInstanceUID = deterministic_uid(TEST_STUDY_UID, "images that do not exist", "series")
    header.SOPInstanceUID = deterministic_uid(TEST_STUDY_UID, "images that do not exist", "1")
    return ReportRequest(
        sources=(header,),
        kinds=frozenset({ObjectKind.NOT_ANALYSED_SC, ObjectKind.NOT_ANALYSED_SR}) & has,
        identity=ResultIdentity(run, "", "", 0, "", "", 1),
        node=NodeIdentity("TRIAGE-NODE", "", __version__),
        at=at,
        simulation=True,
        not_analysed_reason="Connection test. There is no patient and there are no images. Please ignore or delete.",
    )
