"""A new reading list of others: a workitem of the test study is raised, read back and put back; a result gets its ACK.

Every step goes through the adapter that will serve the peer later, so that what is proved is what will run.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from pydicom.uid import UID
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
)

from triage_node.config.worklist_peers import FhirPeerSettings, Hl7PeerSettings, UpsPeerSettings, UpsRsPeerSettings
from triage_node.dimse.calling import Callee, NotAssociated, associate, release
from triage_node.domain.errors import TransientDeliveryError
from triage_node.domain.priority import Urgency
from triage_node.processes.connecting import (
    TEST_ACCESSION,
    TEST_PATIENT_ID,
    TEST_PATIENT_NAME,
    TEST_STUDY_UID,
    NothingToUndo,
    Step,
    StepFailed,
)
from triage_node.processes.connecting_echo import echo_step
from triage_node.processes.connecting_line import line_steps
from triage_node.processes.peers import adapter_for
from triage_node.rest.calling import NoAnswer, Reply, calling
from triage_node.worklist.adapter import Answer, Outcome, RaiseMessage

_WORKITEM = "a reading workitem of the test study, which stays there"
_RESULT = "a result (ORU^R01, MSH-11 T) of the test patient, and its correction"
_ACCEPTED = {"AA": "application accept", "CA": "commit accept: stored, not yet worked on"}


def _message(at: datetime) -> RaiseMessage:
    return RaiseMessage(
        message_id=f"connection test {uuid.uuid4().hex}",
        study_instance_uid=TEST_STUDY_UID,
        accession_number=TEST_ACCESSION,
        urgency=Urgency.MODERATE,
        words="Connection test of Triage Node: there is no patient and no finding. Not for diagnostic use.",
        simulation=True,
        issued_at=at,
        patient_id=TEST_PATIENT_ID,
        patient_name=TEST_PATIENT_NAME,
    )


class UpsWalk:
    """Over DIMSE or DICOMweb: the same steps once the line stands."""

    always = ("create_missing",)

    def __init__(self, settings: UpsPeerSettings | UpsRsPeerSettings, at: datetime) -> None:
        self.settled = settings
        self.table = "ups_peers" if isinstance(settings, UpsPeerSettings) else "ups_rs_peers"
        # the test study has no order there, so that its workitem must be made; what is written down stays as it is
        self._raising = settings.model_copy(update={"create_missing": True})
        self._message = _message(at)
        self._held = ""
        self._raised: Answer | None = None

    def steps(self) -> list[Step]:
        return [
            *self._line_steps(),
            Step("workitem of the test study", self._create, sends=_WORKITEM),
            Step("raise, read back", self._raise),
            Step("put back", self._put_back, undoes=True),
        ]

    def _line_steps(self) -> list[Step]:
        p = self.settled
        if isinstance(p, UpsRsPeerSettings):
            found = {"ReferencedRequestSequence.StudyInstanceUID": TEST_STUDY_UID, "limit": "1"}
            return [*_url_steps(p), Step("UPS-RS answers", lambda: _search(p, f"{p.url}/workitems", found))]
        timeouts = p.timeout_s, p.timeout_s
        callee = Callee(p.host, p.port, p.ae_title, p.calling_ae_title, *timeouts, p.tls, p.tls_ca)
        ours = [build_context(UnifiedProcedureStepPull), build_context(UnifiedProcedureStepPush)]
        return [
            *line_steps(p.host, p.port, p.timeout_s, p.tls, p.tls_ca),
            echo_step(callee, ours),
            Step("presentation contexts", lambda: self._contexts(callee)),
        ]

    def _contexts(self, callee: Callee) -> str:
        taken = _accepted(callee, [UnifiedProcedureStepPull, UnifiedProcedureStepPush])
        if UnifiedProcedureStepPull not in taken:
            raise StepFailed(
                "UPS Pull is not accepted", "Without UPS Pull nothing can be found or raised: allow it there."
            )
        if UnifiedProcedureStepPush not in taken:
            self._raising = self.settled
            return "takes UPS Pull; not UPS Push, so that nothing can be created there"
        return "takes UPS Pull, UPS Push"

    def _create(self) -> str:
        answer = self._told(self._message)
        self._held = answer.held
        self._raised = answer
        return f"is there ({_priorities(answer.written)})"

    def _raise(self) -> str:
        answer = self._raised = self._told(replace(self._message, urgency=Urgency.HIGH))
        if answer.held == answer.written:
            raise StepFailed(
                f"{_priorities(answer.held)} already, so that no raise can be seen",
                "Have the workitem of the test study set to LOW there, or deleted.",
            )
        return f"{_priorities(answer.held)} before, {_priorities(answer.written)} read back"

    def _told(self, message: RaiseMessage) -> Answer:
        try:
            answer = adapter_for(self._raising).raise_study(message)
        except TransientDeliveryError as error:
            if error.written:  # the change may have arrived
                self._raised = Answer(Outcome.NOT_CONFIRMED, error.held, error.written)
            raise
        if answer.outcome is Outcome.UNKNOWN_STUDY:
            raise StepFailed(
                answer.words,
                f"It lets us create nothing: have a reading workitem made there for accession number {TEST_ACCESSION}.",
            )
        if answer.outcome is Outcome.TOO_LATE:
            raise StepFailed(
                f"{answer.outcome}: {answer.words}",
                "Somebody took, ended or cancelled the workitem of the test study: have it deleted at the manager.",
            )
        if answer.outcome is not Outcome.ACKNOWLEDGED:
            self._raised = answer
            raise StepFailed(
                f"{answer.outcome}: {answer.words}",
                "The manager answers with success and keeps another priority: who may set it there?",
            )
        return answer

    def _put_back(self) -> str:
        if self._raised is None:
            raise NothingToUndo
        # what it held before the first of the two steps; a workitem that was made here held nothing
        raised = replace(self._raised, held=self._held or self._raised.held)
        answer = adapter_for(self._raising).withdraw_raise(self._message, raised)
        if answer.outcome not in (Outcome.ACKNOWLEDGED, Outcome.NOTHING_SENT):
            raise StepFailed(f"{answer.outcome}: {answer.words}")
        return f"{_priorities(answer.written)} now; the workitem itself stays"


class Hl7Walk:
    table = "hl7_peers"
    always = ("result_status", "order_update")

    def __init__(self, settings: Hl7PeerSettings, at: datetime) -> None:
        self.settled = settings
        self._message = _message(at)
        self._received = False

    def steps(self) -> list[Step]:
        p = self.settled
        return [
            *line_steps(p.host, p.port, p.timeout_s, p.tls, p.tls_ca),
            Step("ORU^R01 and its ACK", self._result, sends=_RESULT),
            Step("correction and its ACK", self._correction, undoes=True),
        ]

    def _result(self) -> str:
        return self._sent(lambda adapter: adapter.raise_study(self._message))

    def _correction(self) -> str:
        if not self._received:
            raise NothingToUndo
        return self._sent(lambda adapter: adapter.withdraw_raise(self._message, Answer(Outcome.NOT_CONFIRMED)))

    def _sent(self, send: Any) -> str:
        adapter = adapter_for(self.settled.model_copy(update={"order_update": "none"}))
        try:
            answer: Answer = send(adapter)
        except TransientDeliveryError:
            self._received = True  # it may have arrived, and only its answer be lost
            raise
        finally:
            adapter.close()
        if answer.outcome is Outcome.UNKNOWN_STUDY:
            return f"read and answered: {answer.words} (it has no order of the test study, as it should be)"
        if answer.outcome is Outcome.TOO_LATE:
            raise StepFailed(answer.words, "The test study counts as read there: have it removed.")
        self._received = True
        code = next((c for c in _ACCEPTED if f"({c}" in answer.words), "")
        return f"MSA-1 {code}: {_ACCEPTED[code]}" if code else answer.words


class FhirWalk:
    """Nothing is sent: what a FHIR server can do, it says itself."""

    table = "fhir_peers"
    always = ("raises",)

    def __init__(self, settings: FhirPeerSettings, at: datetime) -> None:
        self.settled = settings

    def steps(self) -> list[Step]:
        p = self.settled
        wanted = {"_count": "1"}
        return [
            *_url_steps(p),
            Step("capability statement", self._capabilities),
            Step(f"search of {p.raises}", lambda: _search(p, f"{p.url}/{p.raises}", wanted)),
            Step("adapter", lambda: adapter_for(p).key + " can be loaded"),
        ]

    def _capabilities(self) -> str:
        p = self.settled
        reply = _ask(p, f"{p.url}/metadata")
        if reply.status != 200:
            raise StepFailed(f"answered {reply.status}")
        try:
            told = json.loads(reply.body)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict) or told.get("resourceType") != "CapabilityStatement":
            raise StepFailed("no CapabilityStatement", "There is no FHIR server under this base URL: check its path.")
        version = str(told.get("fhirVersion", ""))
        if not version.startswith("4.0"):
            raise StepFailed(
                f"FHIR version {version or 'not told'}", "The node speaks R4 (4.0): ask for that endpoint."
            )
        can = _interactions(told)
        missing = sorted({"read", "search-type"} - can.get(p.raises, set()))
        if missing or not can.get(p.raises, set()) & {"patch", "update"}:
            lacks = ", ".join(
                [*missing, *([] if can.get(p.raises, set()) & {"patch", "update"} else ["patch or update"])]
            )
            raise StepFailed(
                f"FHIR {version}; {p.raises} lacks {lacks}",
                "The server, or this account, does not offer it: have it granted, or raise the other kind (--set raises=…).",
            )
        return f"FHIR {version}; {p.raises}: {', '.join(sorted(can[p.raises]))}"


def _interactions(statement: dict[str, Any]) -> dict[str, set[str]]:
    """Kind of resource -> what may be done with it. What is not of FHIR's form is left out."""
    can: dict[str, set[str]] = {}
    for rest in _dicts(statement.get("rest")):
        for resource in _dicts(rest.get("resource")):
            codes = {str(i.get("code")) for i in _dicts(resource.get("interaction"))}
            can.setdefault(str(resource.get("type")), set()).update(codes)
    return can


def _dicts(value: object) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _url_steps(peer: UpsRsPeerSettings | FhirPeerSettings) -> list[Step]:
    parts = urlsplit(peer.url)
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    return line_steps(parts.hostname or "", port, peer.timeout_s, tls, peer.tls_ca)


def _search(peer: UpsRsPeerSettings | FhirPeerSettings, url: str, params: dict[str, str]) -> str:
    reply = _ask(peer, url, params)
    if reply.status not in (200, 204):
        raise StepFailed(f"answered {reply.status}")
    return f"answered {reply.status}"


def _ask(peer: UpsRsPeerSettings | FhirPeerSettings, url: str, params: dict[str, str] | None = None) -> Reply:
    accept = "application/fhir+json" if isinstance(peer, FhirPeerSettings) else "application/dicom+json"
    try:
        with calling(peer, peer.url, peer.timeout_s, accept) as caller:
            return caller.ask("GET", url, peer.timeout_s, params=params)
    except NoAnswer as error:
        raise StepFailed(str(error)) from None


def _accepted(callee: Callee, classes: list[UID]) -> set[UID | None]:
    try:
        association, line = associate(callee, [build_context(c) for c in classes])
    except NotAssociated as error:
        raise StepFailed(str(error)) from None
    taken = {c.abstract_syntax for c in association.accepted_contexts}
    release(association, line, callee.response_timeout_s)
    return taken


def _priorities(listed: str) -> str:
    """ "1.2=LOW, 1.3=HIGH" without the UIDs."""
    return ", ".join(part.partition("=")[2] or "nothing" for part in listed.split(", ")) if listed else "nothing"
