"""Raises a reading workitem at a UPS manager over DIMSE: one association for each message (PS3.4 Annex CC).

N-requests name UPS Push as their SOP class on whatever context they travel (PS3.4 CC.3.1.1).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
)

from triage_node.config.worklist_peers import UpsPeerSettings
from triage_node.dimse.calling import GRACE_S, Callee, NotAssociated, abort, associate, release
from triage_node.dimse.line import Line
from triage_node.domain.errors import PermanentDeliveryError, TransientDeliveryError
from triage_node.workitems import foreign
from triage_node.workitems.foreign import Workitem
from triage_node.workitems.plain import BadDataSet
from triage_node.workitems.replies import Verdict, of_dimse_status
from triage_node.worklist.workitem_raising import MOST_RESULTS, TOO_MANY, ReadingAdapter, judged

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_BYTES = 16 << 20

_NO_ANSWER = "no valid answer in time, or the association was lost"
_PENDING = (0xFF00, 0xFF01)
_SYNTAXES: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_ATTRIBUTES = [BaseTag(0x00741000), BaseTag(0x00741200)]  # state and priority


class UpsAdapter(ReadingAdapter[UpsPeerSettings]):
    key = "ups"

    @contextmanager
    def manager(self) -> Iterator[_Manager]:
        peer = self._settings
        classes = [UnifiedProcedureStepPull, *([UnifiedProcedureStepPush] if peer.create_missing else [])]
        callee = Callee(
            peer.host,
            peer.port,
            peer.ae_title,
            peer.calling_ae_title,
            self.timeout_s,
            self.timeout_s,
            peer.tls,
            peer.tls_ca,
        )
        received = _Received()
        try:
            association, line = associate(
                callee,
                [build_context(c, _SYNTAXES) for c in classes],
                [(evt.EVT_DATA_RECV, received.more), (evt.EVT_DIMSE_RECV, received.message)],
            )
        except NotAssociated as error:
            raise (PermanentDeliveryError if error.permanent else TransientDeliveryError)(str(error)) from error
        received.line = line
        association.dimse_timeout = self.timeout_s
        try:
            yield _Manager(association, line, received, self.timeout_s)
        finally:
            release(association, line, self.timeout_s)


class _Received:
    """What comes in on one association: cut off at MOST_BYTES, and each answer must belong to the request that waits.

    pynetdicom takes the next message as the answer, so that one which comes late or twice would count for another request.
    """

    def __init__(self) -> None:
        self.line: Line | None = None
        self.expected = 0
        self.out_of_turn = False
        self._answered: set[int] = set()
        self._bytes = 0

    def more(self, event: evt.Event) -> None:
        self._bytes += len(event.data)
        if self._bytes > MOST_BYTES and self.line is not None:
            self.line.cut()

    def message(self, event: evt.Event) -> None:
        command = event.message.command_set
        number = command.get("MessageIDBeingRespondedTo")
        if number != self.expected or number in self._answered:
            self.out_of_turn = True
        elif command.get("Status") not in _PENDING:
            self._answered.add(number)


class _Manager:
    def __init__(self, association: Association, line: Line, received: _Received, timeout_s: float) -> None:
        self._association = association
        self._line = line
        self._received = received
        self._timeout_s = timeout_s
        self._accepted = {str(c.abstract_syntax) for c in association.accepted_contexts}
        if UnifiedProcedureStepPull not in self._accepted:
            raise PermanentDeliveryError("the manager does not take UPS Pull")

    def find(self, study_instance_uid: str = "", accession_number: str = "") -> list[Workitem]:
        return self._step("C-FIND", lambda n: self._find(foreign.question(study_instance_uid, accession_number), n))

    def get(self, uid: str) -> Workitem | None:
        answer, item = self._step(
            "N-GET",
            lambda n: self._association.send_n_get(
                _ATTRIBUTES, UnifiedProcedureStepPush, uid, msg_id=n, meta_uid=UnifiedProcedureStepPull
            ),
        )
        if self._judged("N-GET", answer) is not Verdict.DONE:
            return None
        return _workitem(item, uid)

    def set_priority(self, uid: str, priority: str) -> Verdict:
        change = foreign.priority_change(priority)
        answer, _ = self._step(
            "N-SET",
            lambda n: self._association.send_n_set(
                change, UnifiedProcedureStepPush, uid, msg_id=n, meta_uid=UnifiedProcedureStepPull
            ),
        )
        return self._judged("N-SET", answer)

    def create(self, uid: str, item: Dataset) -> Verdict:
        if UnifiedProcedureStepPush not in self._accepted:
            raise PermanentDeliveryError("the manager does not take UPS Push, so nothing can be created there")
        answer, _ = self._step(
            "N-CREATE", lambda n: self._association.send_n_create(item, UnifiedProcedureStepPush, uid, msg_id=n)
        )
        return self._judged("N-CREATE", answer)

    def _find(self, asked: Dataset, number: int) -> list[Workitem]:
        found: list[Workitem] = []
        for answer, item in self._association.send_c_find(asked, UnifiedProcedureStepPull, number):
            status = _status(answer)
            if status not in _PENDING:
                self._judged("C-FIND", answer)
                return found
            if len(found) == MOST_RESULTS:
                abort(self._association, self._line)
                raise PermanentDeliveryError(TOO_MANY)
            found.append(_workitem(item))
        raise TransientDeliveryError(f"C-FIND: {_NO_ANSWER}")

    def _judged(self, what: str, answer: Dataset) -> Verdict:
        """Verdict of an answer that has one. Raises: DeliveryError for RETRY and STOP."""
        status = _status(answer)
        verdict = of_dimse_status(status)
        log.info("%s answered with 0x%04X: %s", what, status, verdict)
        comment = str(answer.get("ErrorComment", "")).strip()
        words = f"{what} answered with 0x{status:04X}" + (f" ({comment})" if comment else "")
        return judged(verdict, words)

    def _step(self, what: str, call: Callable[[int], T]) -> T:
        """One request with its answers, within a bounded time. After a failure the association is not used again."""
        self._received.expected += 1
        try:
            with self._line.cut_after(self._timeout_s + GRACE_S):
                done = call(self._received.expected)
        except (RuntimeError, OSError, AttributeError, ValueError, TypeError, KeyError) as error:
            abort(self._association, self._line)
            raise TransientDeliveryError(f"{what}: {_NO_ANSWER}") from error
        except TransientDeliveryError:
            abort(self._association, self._line)
            raise
        if self._received.out_of_turn:
            abort(self._association, self._line)
            raise TransientDeliveryError(f"{what}: an answer came twice, or to another request")
        return done


def _status(answer: Dataset) -> int:
    """Raises: TransientDeliveryError when pynetdicom waited in vain or the answer was none."""
    if "Status" not in answer:
        raise TransientDeliveryError(_NO_ANSWER)
    return int(answer.Status)


def _workitem(item: Dataset | None, uid: str = "") -> Workitem:
    if item is None:
        raise TransientDeliveryError("an answer that cannot be decoded")
    try:
        return foreign.of_data_set(item, uid)
    except BadDataSet as error:
        raise TransientDeliveryError(f"an answer that is no workitem: {error}") from error
