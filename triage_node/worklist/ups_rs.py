"""Raises a reading workitem at a UPS manager over DICOMweb (PS3.18 section 11): the same steps as over DIMSE.

A peer may be slow, send too much, or point elsewhere: each request ends within `timeout_s`, an answer is read up to a limit
and as it lies on the wire, and no redirect is followed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydicom.dataset import Dataset

from triage_node.config.worklist_peers import UpsRsPeerSettings
from triage_node.domain.errors import PermanentDeliveryError, TransientDeliveryError
from triage_node.rest.calling import Caller, NoAnswer, calling
from triage_node.workitems import foreign
from triage_node.workitems.foreign import Workitem
from triage_node.workitems.plain import BadDataSet
from triage_node.workitems.replies import Verdict, of_http_status
from triage_node.worklist.workitem_raising import MOST_RESULTS, TOO_MANY, ReadingAdapter, judged

log = logging.getLogger(__name__)

_JSON = "application/dicom+json"
_GONE = (404, 410)
_INCLUDED = (
    "ProcedureStepState",
    "ScheduledProcedureStepPriority",
    "ScheduledWorkitemCodeSequence",
    "ReferencedRequestSequence",
)


class UpsRsAdapter(ReadingAdapter[UpsRsPeerSettings]):
    key = "ups-rs"

    @contextmanager
    def manager(self) -> Iterator[_Manager]:
        peer = self._settings
        try:
            with calling(peer, peer.url, self.timeout_s, _JSON) as caller:
                yield _Manager(caller, f"{peer.url}/workitems", self.timeout_s)
        except NoAnswer as error:
            raise TransientDeliveryError(str(error)) from error


class _Manager:
    def __init__(self, caller: Caller, url: str, timeout_s: float) -> None:
        self._caller = caller
        self._url = url
        self._timeout_s = timeout_s

    def find(self, study_instance_uid: str = "", accession_number: str = "") -> list[Workitem]:
        wanted = {
            "ReferencedRequestSequence.StudyInstanceUID": study_instance_uid,
            "ReferencedRequestSequence.AccessionNumber": accession_number,
        }
        params: dict[str, str] = {key: value for key, value in wanted.items() if value}
        params |= {"includefield": ",".join(_INCLUDED), "limit": str(MOST_RESULTS + 1)}
        status, body = self._ask("GET", "", params=params)
        if status in _GONE:
            raise PermanentDeliveryError(f"search answered with {status}: there is no UPS-RS under {self._url}")
        self._judged("search", status)
        models = _models(body) if body.strip() else []
        if len(models) > MOST_RESULTS:
            raise PermanentDeliveryError(TOO_MANY)
        return [_workitem(model) for model in models]

    def get(self, uid: str) -> Workitem | None:
        status, body = self._ask("GET", f"/{uid}")
        if status in _GONE:
            return None
        self._judged("retrieve", status)
        models = _models(body)
        if len(models) != 1:
            raise TransientDeliveryError("retrieve answered with other than one workitem")
        return _workitem(models[0], uid)

    def set_priority(self, uid: str, priority: str) -> Verdict:
        status, _ = self._ask("POST", f"/{uid}", foreign.priority_change(priority))
        # PS3.18 table 11.6.3-1: 400 is also what a workitem answers that was claimed or ended since we looked
        return Verdict.LOOK_AGAIN if status == 400 else self._judged("update", status)

    def create(self, uid: str, item: Dataset) -> Verdict:
        # PS3.18 11.4: the UID is the name of a query parameter without value; 409 says that there is one of this UID
        status, _ = self._ask("POST", f"?{uid}", item)
        return Verdict.EXISTS if status == 409 else self._judged("create", status)

    def _judged(self, what: str, status: int) -> Verdict:
        """Verdict of an answer that has one. Raises: DeliveryError for RETRY and STOP."""
        verdict = of_http_status(status)
        log.info("%s answered with %d: %s", what, status, verdict)
        return judged(verdict, f"{what} answered with {status}")

    def _ask(
        self, method: str, path: str, payload: Dataset | None = None, params: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body. Raises: TransientDeliveryError."""
        content = None if payload is None else json.dumps([payload.to_json_dict()]).encode("ascii")
        headers = {} if payload is None else {"Content-Type": _JSON}
        try:
            reply = self._caller.ask(method, self._url + path, self._timeout_s, headers, params, content)
        except NoAnswer as error:
            raise TransientDeliveryError(str(error)) from error
        return reply.status, reply.body


def _models(body: bytes) -> list[object]:
    """The data sets of an answer. Raises: TransientDeliveryError."""
    try:
        read = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise TransientDeliveryError("an answer that is no DICOM JSON") from error
    return read if isinstance(read, list) else [read]


def _workitem(model: object, uid: str = "") -> Workitem:
    try:
        return foreign.of_json(model, uid)
    except BadDataSet as error:
        raise TransientDeliveryError(f"an answer that is no workitem: {error}") from error
